"""The documentation can be followed word by word, and says of commands and options only what there is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HOUSE = Path(__file__).resolve().parent.parent
FOLLOWED = ("adding-a-model.md", "adding-a-dataset.md", "adding-a-task.md")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    return (Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8")))


def patched(text: str, diff: str) -> str:
    """Apply a diff without line numbers: its lines without `+`, once in the text, become those without `-`."""
    old = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] != "+")
    new = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] != "-")
    assert text.count(old) == 1, f"these lines stand {text.count(old)} times in the file:\n{old}"
    return text.replace(old, new)


def follow(block: Block, house: Path) -> None:
    """Do what a block says: write a file, change one, or run commands."""
    if block.kind == "sh":
        places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        here = {**os.environ, "PATH": places, "PYTHONPATH": str(house), "DVBENCH_DATA": str(house / "data")}
        done = subprocess.run(  # noqa: S603
            ["/bin/bash", "-euxc", block.text], cwd=house, env=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        return
    assert block.title, f"a block that nobody can follow:\n{block.text}"
    place = house / block.title
    if block.kind == "diff":
        place.write_text(patched(place.read_text(encoding="utf-8"), block.text), encoding="utf-8")
    else:
        assert not place.exists(), f"{block.title} is there already"
        place.write_text(block.text, encoding="utf-8")
        if place.suffix == ".py":
            compile(block.text, block.title, "exec")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project."""
    for folder in ("dvbench", "models", "reports", "tasks", "tests"):
        shutil.copytree(HOUSE / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "out"))
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", FOLLOWED)
def test_files_and_changes_of_a_page_fit_the_code_as_it_is(page: str, house: Path) -> None:
    found = list(blocks(HOUSE / "docs" / page))
    assert {block.kind for block in found} >= {"python", "diff", "sh"}
    for block in found:
        if block.kind != "sh":
            follow(block, house)


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_can_be_followed_word_by_word(page: str, house: Path) -> None:
    for block in blocks(HOUSE / "docs" / page):
        follow(block, house)


def test_a_change_whose_context_is_gone_is_noticed() -> None:
    assert patched("a\nb\n", " a\n+c\n") == "a\nc\nb\n"
    with pytest.raises(AssertionError, match="stand 0 times"):
        patched("a\nb\n", " x\n+c\n")


def test_every_citation_of_the_paper_names_its_version() -> None:
    """Of the paper's versions, one is compared with: a citation without it may be read as the newest."""
    endings = {".py", ".md", ".yaml", ".toml", ".html", ".csv"}
    folders = ("dvbench", "models", "tasks", "reports", "docs")
    files = [path for folder in folders for path in (HOUSE / folder).rglob("*") if path.suffix in endings]
    files += [path for path in HOUSE.iterdir() if path.suffix in endings]
    files.remove(HOUSE / "dvbench/paper/__init__.py")  # puts address and version together
    out = HOUSE / "reports/out"
    bare = [path for path in files if out not in path.parents and re.search(r"2503\.16426(?!v1\b)", path.read_text())]
    assert bare == []
