"""Class embeddings from a file: which row goes where, what is refused, and what stays as it would have been drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tasks.embeddings import ClassEmbeddings, EmbeddingsError, by_content, pinned, read
from tasks.protocol import ProtocolError
from tasks.region_classification import RegionClassification
from tasks.task import Problem
from tests.tasks.made_up import backbone, protocol

NAMES = ("house", "ship", "tree")
ROWS = torch.arange(24.0).reshape(3, 8)


def written(path: Path, rows: Tensor = ROWS, names: object = NAMES, **about: str) -> str:
    save_file({"embeddings": rows}, path, {"about": json.dumps({"classes": names, "encoder": "made up", **about})})
    return f"text:{path}"


def head(embeddings: str, classes: tuple[str, ...] = NAMES, width: int = 8) -> RegionClassification:
    chosen = protocol("region_classification", head={"width": width, "embeddings": embeddings})
    return RegionClassification(backbone(), Problem(classes), chosen)


def test_rows_go_to_the_class_of_their_name_whatever_the_order_and_what_else_there_is(tmp_path: Path) -> None:
    task = head(written(tmp_path / "a.safetensors"), classes=("tree", "house"))
    assert torch.equal(task.embeddings.weight, ROWS[[2, 0]])
    assert task.embeddings.weight.requires_grad
    assert task.embedded is not None
    assert (task.embedded["name"], task.embedded["encoder"]) == ("a.safetensors", "made up")


def test_all_else_is_drawn_as_without_a_file(tmp_path: Path) -> None:
    drawn, started = (head(option).state_dict() for option in ("random", written(tmp_path / "a.safetensors")))
    assert [name for name in drawn if not torch.equal(drawn[name], started[name])] == ["embeddings.weight"]
    assert head("random").embedded is None


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    made = ClassEmbeddings(ROWS, NAMES, {"seed": "3", "prompts": "[]", "encoder": "made up"})
    assert len({made.as_bytes() for _ in range(20)}) == 1
    path.write_bytes(made.as_bytes())
    found = read(f"text:{path}", NAMES, 8)
    assert torch.equal(found.rows, ROWS)
    assert found.about["seed"] == "3"


def broken(write: Callable[[Path], object]) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        write(folder / "a.safetensors")
        return f"text:{folder / 'a.safetensors'}"

    return make


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (broken(lambda path: path.unlink(missing_ok=True)), "is missing; give a file"),
        (broken(lambda path: path.mkdir()), "is a folder"),
        (broken(lambda path: path.write_bytes(b"")), "holds no class embeddings"),
        (broken(lambda path: torch.save({"embeddings": ROWS}, path)), "holds no class embeddings"),
        (broken(lambda path: path.write_bytes(ClassEmbeddings(ROWS, NAMES, {}).as_bytes()[:-9])), "no class embedd"),
        (broken(lambda path: save_file({"embeddings": ROWS}, path)), "holds no class embeddings"),
        (broken(lambda path: save_file({"a": ROWS}, path, {"about": '{"classes": []}'})), "holds no class embeddings"),
        (broken(lambda path: save_file({"embeddings": ROWS}, path, {"about": "[]"})), "holds no class embeddings"),
        (broken(lambda path: written(path, names=1)), "holds no class embeddings"),
        (broken(lambda path: written(path, names=NAMES[:2])), "no float32 row for each class"),
        (broken(lambda path: written(path, names=("a", "b", "a"))), "no float32 row for each class"),
        (broken(lambda path: written(path, ROWS.half())), "no float32 row for each class"),
        (broken(lambda path: written(path, ROWS[0, :3].contiguous())), "no float32 row for each class"),
        (broken(lambda path: written(path, ROWS / 0)), "not finite"),
        (broken(lambda path: written(path, ROWS[:, :4].contiguous())), "width 4, the head has 8"),
        (broken(lambda path: written(path, names=("house", "ship", "palm"))), "no embedding of class 'tree' among 3"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(
    make: Callable[[Path], str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(EmbeddingsError, match=told) as caught:
        head(make(tmp_path))
    assert "\n" not in str(caught.value)
    assert "a.safetensors" in str(caught.value)


@pytest.mark.parametrize("option", ["clip", "text", "text:", 3])
def test_any_other_option_is_refused_by_the_protocol(option: str) -> None:
    with pytest.raises(ProtocolError, match=r"head\.embeddings"):
        head(option)


def test_a_pinned_file_means_its_content(tmp_path: Path) -> None:
    option = pinned(written(tmp_path / "a.safetensors"))
    assert pinned(option) == option
    read(option, NAMES, 8)
    other = pinned(written(tmp_path / "b.safetensors"))
    assert other != option
    nested = [by_content(json.dumps({"a": json.dumps([one, 1]), "b": one})) for one in (option, other)]
    assert nested[0] == nested[1]
    changed = pinned(written(tmp_path / "b.safetensors", ROWS + 1))
    assert by_content(json.dumps(changed)) != by_content(json.dumps(option))
    written(tmp_path / "a.safetensors", ROWS + 1)
    with pytest.raises(EmbeddingsError, match="has changed"):
        read(option, NAMES, 8)
    assert pinned("random") == "random"
