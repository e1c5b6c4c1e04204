"""What a dataset on disk is, told by its content: drawn, incomplete, changed or never looked at is never genuine."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dvbench import cli
from dvbench.data import catalog, contents, provenance
from dvbench.data.make import MARK, make
from dvbench.data.make.source import SIGNATURE
from dvbench.data.origin import Origin, SplitOrigin
from dvbench.data.provenance import ensure_verified, verified
from dvbench.data.provenance import provenance as told
from dvbench.data.remembered import VERIFIED
from reports.ledger import LedgerError

SOME = 12


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "ssdd"
    make("ssdd", folder, SOME, 0)
    return folder


@pytest.fixture
def published(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that nothing tells from a published dataset: no mark, no signature, and a card with its counts."""
    root = tmp_path / "ssdd"
    shutil.copytree(drawn, root)
    (root / MARK).unlink()
    monkeypatch.setattr("dvbench.data.contents._SIGNATURE", b"in none of these files")
    entry = catalog.CATALOG["ssdd"]
    listed = provenance.listing("ssdd", root).members
    splits = tuple(replace(split, count=len(listed[split.name])) for split in entry.card.splits)
    monkeypatch.setitem(catalog.CATALOG, "ssdd", replace(entry, card=replace(entry.card, splits=splits, archives=())))
    return root


def images(root: Path) -> list[Path]:
    return sorted(root.rglob("*.jpg"))


def test_what_was_never_verified_is_not_genuine(published: Path) -> None:
    assert told("ssdd", published).origin is Origin.UNVERIFIED
    assert told("ssdd", published).fingerprint is None


def test_verified_as_published_it_is_genuine_by_count_and_remembered(published: Path) -> None:
    report, found = verified("ssdd", published)
    assert (report.problems, found.origin, found.pinned) == ((), Origin.GENUINE, False)
    assert "counts and sizes as published" in found.how
    assert told("ssdd", published) == found
    assert found.as_dict()["words"].startswith("ssdd is genuine")


def test_drawn_data_is_known_by_its_note(drawn: Path) -> None:
    assert told("ssdd", drawn).origin is Origin.DRAWN


def test_drawn_data_is_known_by_its_content_when_the_note_is_gone(drawn: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(drawn, root)
    (root / MARK).unlink()
    assert verified("ssdd", root)[1].origin is Origin.DRAWN
    assert told("ssdd", root).origin is Origin.DRAWN


def test_a_missing_image_makes_it_incomplete(published: Path) -> None:
    verified("ssdd", published)
    images(published)[0].unlink()
    found = told("ssdd", published)
    assert found.origin is Origin.INCOMPLETE
    assert "1 files are missing" in found.how


@pytest.mark.parametrize("look_again", [False, True])
def test_a_byte_changed_after_the_verification_is_noticed(published: Path, look_again: bool) -> None:
    verified("ssdd", published)
    victim = images(published)[0]
    victim.write_bytes(victim.read_bytes() + b"\0")
    found = verified("ssdd", published)[1] if look_again else told("ssdd", published)
    assert found.origin is Origin.CHANGED
    assert "verified" in found.how


def test_nothing_is_read_again_while_nothing_changes(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = verified("ssdd", published)[1]
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "read", None)  # would be an error
        assert verified("ssdd", published)[1] == first
    assert verified("ssdd", published, fresh=True)[1].fingerprint == first.fingerprint


def test_the_fingerprint_is_of_names_and_bytes_and_of_nothing_else(published: Path, tmp_path: Path) -> None:
    first = verified("ssdd", published)[1].fingerprint
    other = tmp_path / "elsewhere"
    for path in sorted((path for path in published.rglob("*") if path.is_file()), reverse=True):
        place = other / path.relative_to(published)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    (other / VERIFIED).unlink()
    assert verified("ssdd", other)[1].fingerprint == first
    victim = images(other)[0]
    victim.write_bytes(victim.read_bytes() + b"\0")
    assert verified("ssdd", other, fresh=True)[1].fingerprint != first


@pytest.mark.parametrize("text", ["", "{", '{"version": 1}', '{"version": 9}'])
def test_a_foreign_memory_counts_as_none(published: Path, text: str) -> None:
    (published / VERIFIED).write_text(text)
    found = told("ssdd", published)
    assert found.origin is Origin.UNVERIFIED
    assert "counts as never verified" in found.how


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told_all_the_same(published: Path) -> None:
    published.chmod(0o500)
    assert verified("ssdd", published)[1].origin is Origin.GENUINE


def test_a_memory_that_cannot_be_kept_is_said(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LedgerError("cannot write")

    monkeypatch.setattr("dvbench.data.remembered.write_atomically", full)
    assert verified("ssdd", published)[1].origin is Origin.GENUINE
    assert told("ssdd", published).origin is Origin.UNVERIFIED


def test_lists_that_are_not_the_authors_make_another_split(published: Path) -> None:
    assert verified("ssdd", published)[1].split.origin is SplitOrigin.OTHER  # drawn annotations have no pinned hash


def test_a_dataset_is_verified_once_before_it_is_needed(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(published.parent))
    ensure_verified("ssdd")
    assert told("ssdd").origin is Origin.GENUINE
    monkeypatch.setattr(provenance, "read", None)
    ensure_verified("ssdd")


def test_what_comes_with_the_package_is_embedded_or_synthetic() -> None:
    trees, scenes = told("neon_trees"), told("synthetic_detection")
    assert (trees.origin, scenes.origin) == (Origin.EMBEDDED, Origin.SYNTHETIC)
    assert trees.fingerprint
    assert trees.split.origin is scenes.split.origin is SplitOrigin.NOT_APPLICABLE


def test_a_drawn_file_is_known_wherever_its_mark_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in chunks, and the mark may lie in two of them."""
    mark, path = SIGNATURE.encode(), tmp_path / "image"
    monkeypatch.setattr("dvbench.data.contents._CHUNK", chunk := len(mark) + 20)
    for before in range(chunk):
        path.write_bytes(bytes(before) + mark + bytes(5))
        assert contents._read(path).is_drawn, before


@pytest.mark.parametrize("name", ["uc_merced", "levir_cd", "whu_building", "oscd", "bigearthnet", "forestnet", "fmow"])
def test_every_layout_is_known_as_drawn_without_its_note(name: str, tmp_path: Path) -> None:
    make(name, tmp_path / name, SOME, 0)
    (tmp_path / name / MARK).unlink()
    assert verified(name, tmp_path / name)[1].origin is Origin.DRAWN


def test_the_command_says_what_it_found(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "verify", "ssdd", "--root", str(published)]) == 0
    assert "ssdd is genuine" in capsys.readouterr().out
