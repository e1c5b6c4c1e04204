"""What is kept between runs is what would be worked out again, and a damaged file costs only time."""

from pathlib import Path

import pytest

from dvbench.kept import kept_file
from dvbench.profile import kept_counts, sweep
from dvbench.profile.cell import Cell

CELL = Cell("dynamicvis_t", 64).settled()


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DVBENCH_CACHE", str(tmp_path))
    forget()
    return tmp_path


def forget() -> None:
    """Begin as a new process does."""
    kept_counts._known.cache_clear()
    sweep._counts.cache_clear()


def test_a_count_is_taken_once_and_comes_back_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep.counts_of(CELL)
    forget()
    monkeypatch.setattr(sweep, "count", None)  # would be an error
    assert sweep.counts_of(CELL) == first


def test_another_size_or_batch_is_counted_anew() -> None:
    first = sweep.counts_of(CELL)
    forget()
    assert sweep.counts_of(CELL, 2).macs == 2 * first.macs


def test_other_code_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kept_file("counts")
    monkeypatch.setattr("dvbench.kept.code_fingerprint", lambda: "another")
    assert kept_file("counts") != before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', '{"x": {"parameters": 1.5}}'])
def test_a_damaged_file_only_means_that_it_is_counted_again(text: str) -> None:
    first = sweep.counts_of(CELL)
    kept_file("counts").write_text(text)
    forget()
    assert sweep.counts_of(CELL) == first


def test_a_folder_that_cannot_be_written_keeps_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DVBENCH_CACHE", str(tmp_path / "file"))
    assert sweep.counts_of(CELL).parameters
