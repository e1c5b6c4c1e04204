import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reports.ledger import LARGEST, Ledger, LedgerError, write_atomically
from reports.record import Measure, Record, RecordError, Status


def record(
    identity: str = "aaaaaaaaaaaa0001", created: str = "2026-11-23T12:00:00Z", model: str = "dynamicvis_b"
) -> Record:
    return Record(
        cell={"model": model, "resolution": 512},
        identity=identity,
        status=Status.OK,
        reason="",
        measures={"latency_ms": Measure(1.5, "ms", "measured", samples=(1.5,))},
        environment={},
        created=created,
        command="dvbench profile",
        group="g",
    )


def test_what_is_written_is_found_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "made" / "when missing")
    path = ledger.write(record())
    assert path.name == "dynamicvis_b-512-aaaaaaaaaaaa.json"
    assert ledger.find(record().identity) == record()
    assert ledger.records() == [record()]


def test_a_missing_folder_is_an_empty_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "none")
    assert ledger.records() == []
    assert ledger.find(record().identity) is None


def test_records_come_oldest_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    late = record("bbbbbbbbbbbb", "2026-11-23T13:00:00Z", model="a_first_name")
    ledger.write(late)
    ledger.write(record())
    assert ledger.records() == [record(), late]


def test_the_same_identity_replaces_its_record(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(replace(record(), status=Status.CRASHED, reason="signal 11"))
    ledger.write(record())
    assert ledger.records() == [record()]


@pytest.mark.parametrize("status", Status)
def test_a_cell_that_is_not_settled_is_tried_again(tmp_path: Path, status: Status) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(replace(record(), status=status))
    assert (ledger.find(record().identity) is not None) is status.done


def test_a_shared_beginning_of_the_identity_is_not_a_match(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(record("aaaaaaaaaaaa0001"))
    assert ledger.find("aaaaaaaaaaaa0002") is None


def test_corrupt_files_are_named_and_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(record())
    (tmp_path / "cut.json").write_text(record().to_json()[:50])
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "notes.txt").write_text("not a record, not a problem")
    for _ in range(2):
        assert ledger.records() == [record()]
        assert len(ledger.problems) == 2
        assert "binary.json" in ledger.problems[0]
        assert "cut.json" in ledger.problems[1]
    assert (tmp_path / "cut.json").exists()


def test_what_is_no_file_of_a_records_size_is_set_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(record())
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(LARGEST + 1)
    (tmp_path / "a\x1b[2J.json").write_text("{")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.json", os.O_CREAT))
    assert ledger.records() == [record()]
    assert len(ledger.problems) == 6
    told = "\n".join(ledger.problems)
    assert told.count("is a file, and this is none; move it elsewhere") == 3
    assert "large.json: larger than 16 MiB" in told
    assert r"a\x1b[2J.json" in told
    told.encode()


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    path = Ledger(tmp_path / "records").write(record(model="../../evil model"))
    assert path.parent.resolve() == (tmp_path / "records").resolve()


@pytest.mark.parametrize(
    ("number", "mend"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "make it writable"), (errno.EIO, "choose another folder")],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, mend: str
) -> None:
    ledger = Ledger(tmp_path)
    path = ledger.write(record())

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LedgerError) as caught:
        ledger.write(replace(record(), command="another"))
    assert str(caught.value).startswith(f"cannot write to {tmp_path}: {os.strerror(number)}; {mend}")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    assert ledger.records() == [record()]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "table.md", b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file")
    with pytest.raises(LedgerError, match=r"cannot write to .*file.*choose another folder"):
        ledger.write(record())
    with pytest.raises(LedgerError, match=r"cannot read .*file"):
        ledger.records()


def test_a_record_that_is_no_json_writes_nothing(tmp_path: Path) -> None:
    bad = replace(record(), measures={"latency_ms": Measure(float("nan"), "ms", "measured")})
    with pytest.raises(RecordError):
        Ledger(tmp_path).write(bad)
    assert list(tmp_path.iterdir()) == []
