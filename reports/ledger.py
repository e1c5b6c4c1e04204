"""A folder of records, one JSON file each, and the atomic write that every report goes through."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Self

from reports.escape import file_name, printable
from reports.record import Record, RecordError

LARGEST = 16 * 2**20
"""Bytes of a record's file; the samples of ten thousand runs are a tenth of that."""

_MEND = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "make it writable or choose another folder",
    errno.EPERM: "make it writable or choose another folder",
    errno.EROFS: "make it writable or choose another folder",
}


class LedgerError(OSError):
    """A folder that cannot be read or written; the message is one line."""

    @classmethod
    def of(cls, verb: str, folder: Path, error: OSError) -> Self:
        """The one line for ``error``, raised while trying to ``verb`` in ``folder``."""
        mend = _MEND.get(error.errno or 0, "choose another folder")
        return cls(f"cannot {verb} {folder}: {error.strerror or error}; {mend}")


def write_atomically(path: Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` completely or not at all, making its folder when missing.

    Returns:
        ``path``.

    Raises:
        LedgerError: The folder cannot be made or written, or the disk is full; what was at ``path`` is unchanged.
    """
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise LedgerError.of("write to", path.parent, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


class Ledger:
    """The records of one folder.

    Attributes:
        folder: Where the records lie; made by the first write.
        problems: One line for each file that the last read skipped. Such files are never deleted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def path(self, record: Record) -> Path:
        """Where a record lies, or would."""
        readable = [str(record.cell[key]) for key in ("model", "resolution") if key in record.cell]
        return self.folder / f"{file_name('-'.join([*readable, record.identity[:12]]))}.json"

    def write(self, record: Record) -> Path:
        """Store ``record``, in place of an earlier one with the same identity.

        Raises:
            RecordError: The record holds a value that JSON does not have.
            LedgerError: The folder cannot be written, or the disk is full.
        """
        return write_atomically(self.path(record), record.to_json().encode())

    def records(self) -> list[Record]:
        """All readable records, oldest first.

        Raises:
            LedgerError: The folder exists but cannot be read.
        """
        return self._read(".json")

    def find(self, identity: str) -> Record | None:
        """The settled record of ``identity``; None when the cell has yet to be run, or to be tried again.

        Raises:
            LedgerError: The folder exists but cannot be read.
        """
        candidates = self._read(f"{identity[:12]}.json")
        return next((record for record in candidates if record.identity == identity and record.status.done), None)

    def _read(self, ending: str) -> list[Record]:
        self.problems = []
        records = []
        for path in self._paths(ending):
            try:
                records.append(load(path))
            except RecordError as error:
                self.problems.append(printable(str(error)))
        return sorted(records, key=lambda record: (record.created, record.identity))

    def _paths(self, ending: str) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.name.endswith(ending))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LedgerError.of("read", self.folder, error) from error


def load(path: Path) -> Record:
    """Read the record of one file.

    Raises:
        RecordError: The file cannot be read, or holds no record of a version that is known.
    """
    if not path.is_file():  # reading a pipe would wait for ever
        raise RecordError(f"{path}: a record is a file, and this is none; move it elsewhere")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise RecordError(f"{path}: larger than {LARGEST // 2**20} MiB, and no record is; move it elsewhere")
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: unreadable record ({error}); remove it and measure the cell again") from error
    return Record.from_json(text, str(path))
