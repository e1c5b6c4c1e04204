"""Runs without a record yet: still going, or interrupted. Only the machine that runs them knows which."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reports.escape import printable
from reports.ledger import write_atomically
from tasks.files import LOG, MARK

MEASURING = "records/.measuring"  # no ending of a record


@dataclass(frozen=True)
class Unfinished:
    """A training run, or a measurement, that has begun and left no record.

    Attributes:
        protocol: of a training run; empty for a measurement.
        what: the run in a few words.
        epochs: that are finished.
        touched: when it last wrote something, UTC, to the minute.
    """

    protocol: str
    what: str
    epochs: int
    touched: str

    def told(self) -> str:
        """One sentence for notes."""
        done = f", {self.epochs} epochs done" if self.protocol else ""
        again = "the same command goes on from there if it was interrupted"
        return f"Still going or interrupted: {self.what}{done}, last written {self.touched} UTC; {again}."


def unfinished(out: Path, finished: Collection[str]) -> list[Unfinished]:
    """Return what has begun in a folder of results and has no record.

    Args:
        out: the folder, with runs in `runs`.
        finished: identities of the records that there are.
    """
    found = [_run(mark, finished) for mark in sorted(out.glob(f"runs/*/{MARK}"))]
    measuring = _measuring(out / MEASURING)
    return [one for one in (*found, measuring) if one]


def begin_measuring(out: Path, command: str) -> Path:
    """Leave a mark while cells are measured; the caller removes it at the end.

    Raises:
        LedgerError: the folder cannot be written.
    """
    return write_atomically(out / MEASURING, (json.dumps({"command": command}) + "\n").encode())


def _run(mark: Path, finished: Collection[str]) -> Unfinished | None:
    told = _read(mark)
    cell = told.get("cell")
    if not isinstance(cell, dict) or told.get("identity") in finished:
        return None
    log = mark.parent / LOG
    epochs = max(0, len(log.read_text(encoding="utf-8").splitlines()) - 1) if log.is_file() else 0
    what = printable(f"{cell.get('model')} on {cell.get('dataset')}, seed {cell.get('seed')}")
    newest = max(file.stat().st_mtime for file in (log, mark) if file.is_file())
    return Unfinished(str(cell.get("protocol", "")), what, epochs, _minute(newest))


def _measuring(mark: Path) -> Unfinished | None:
    told = _read(mark)
    return (
        Unfinished("", printable(str(told["command"])), 0, _minute(mark.stat().st_mtime)) if "command" in told else None
    )


def _read(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
