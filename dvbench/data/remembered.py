"""What a verification found, kept in the dataset's folder, and whether the files are still those it read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from dvbench.data.origin import Provenance
from dvbench.data.watch import Watch
from reports.ledger import LedgerError, write_atomically

VERIFIED = "dvbench-verified.json"


class Stamp(NamedTuple):
    """By what a change of a file is noticed without reading it: its size, and when it was last written, in ns."""

    bytes: int
    mtime_ns: int


class Genuine(NamedTuple):
    """A verification that found the published dataset.

    Attributes:
        body: Fingerprint of the files that have no published checksum of their own.
        verified: When that was.
    """

    body: str
    verified: str


class Remembered(BaseModel):
    """A verification.

    Attributes:
        version: Of this layout.
        provenance: What it found.
        genuine: The last verification that found the published dataset, which may be this one.
        files: Name below the dataset's folder -> stamp, of all files that were read.
        archives: The same of the archives that were there.
        opened, made_by, problems: As of `verify.Report`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    provenance: Provenance
    genuine: Genuine | None
    files: dict[str, Stamp]
    archives: dict[str, Stamp]
    opened: dict[str, int]
    made_by: str
    problems: tuple[str, ...]


def recall(name: str, root: Path) -> Remembered | str:
    """What the last verification of a dataset found.

    Args:
        name: Key in the catalog.
        root: The dataset's folder.

    Returns:
        The verification; or, in one line, why what is kept of one cannot be used, and nothing where none is kept.
    """
    try:
        found = Remembered.model_validate_json((root / VERIFIED).read_bytes())
    except FileNotFoundError:
        return ""
    except ValidationError:
        return f"{VERIFIED} is not as a verification leaves it, so it counts as never verified"
    except OSError as error:
        return f"{VERIFIED} cannot be read ({error.strerror}), so it counts as never verified"
    if found.provenance.dataset != name:
        return f"{VERIFIED} tells of {found.provenance.dataset}, so it counts as never verified"
    return found


def remember(found: Remembered, root: Path, watch: Watch) -> None:
    """Keep a verification in the dataset's folder, or say that it cannot be kept."""
    try:
        write_atomically(root / VERIFIED, found.model_dump_json().encode())
    except LedgerError as error:
        watch.tell(f"the verification is not remembered: {error}")


def stamps(root: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """Stamps of files below a folder; those that are not there are left out."""
    found = {}
    for name in names:
        try:
            status = (root / name).stat()
        except OSError:
            continue
        found[name] = Stamp(status.st_size, status.st_mtime_ns)
    return found


def glance(name: str, root: Path) -> str:
    """One line on what a dataset is, in which files that were added since its verification are not noticed.

    Args:
        name: Key in the catalog.
        root: The dataset's folder.
    """
    known = recall(name, root)
    if isinstance(known, str):
        return known or f"{name} was never verified; dvbench data verify {name} does it"
    if stamps(root, known.files) == known.files:
        return known.provenance.line
    since = f"{name} has changed since it was verified on {known.provenance.verified}"
    return f"{since}; dvbench data verify {name} looks again"
