"""Records from other people's machines: is each what it says it is, possible, complete, and fit to be published?"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dvbench.profile import cell as measuring
from dvbench.training import run_cell as training
from dvbench.verdicts.possible import close, latency, memory, values
from dvbench.verdicts.said import is_training, unsaid
from reports.ledger import Ledger, load
from reports.outcomes import Outcomes
from reports.record import Record, RecordError, Status

LEFT = ("README.md",)  # besides records and outcomes
BASELINE = "baseline"  # the only share that does not come from outcomes
PRIVATE = re.compile(
    r"/(?:home|Users)/[^\s/'\"]+"
    r"|[A-Za-z]:\\+Users\\+[^\s\\'\"]+"
    r"|[\w.+-]+@[A-Za-z][\w-]*(?:\.[\w-]+)*"  # addresses, and user@host
    r"|ray://[^\s'\"]+"
    r"|\b(?:\d{1,3}\.){3}\d{1,3}:\d+"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:local|lan|internal|corp)\b"
)
AHEAD = timedelta(days=1)  # of clocks that differ


class RecordsError(ValueError):
    """A folder that holds nothing to check; the message is one line."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file.

    Attributes:
        file: below the folder that is checked.
        what: is wrong, and how to mend it where that is not plain.
        fails: the check; a note does not.
    """

    file: str
    what: str
    fails: bool = True


def check(folder: Path) -> tuple[int, list[Finding]]:
    """Check all records below a folder.

    Returns:
        How many records there are, and what is wrong, by file.

    Raises:
        RecordsError: there is no such folder, or no record in it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    records: dict[Path, Record] = {}
    findings = []
    for path in (path for path in files if path.suffix == ".json" and not path.is_symlink()):
        try:
            records[path] = _readable(path)
        except RecordError as error:
            findings.append((path, str(error).removeprefix(f"{path}: ")))
    if not records and not findings:
        raise RecordsError(f"{folder} holds no records: give a folder such as reports/out/records")
    for path, record in records.items():
        findings += [(path, what) for what in _of_record(record, path)]
    findings += _of_folder(files, records)
    notes = [(path, what) for path, record in records.items() for what in _notes(record)]
    return len(records), [
        Finding(path.relative_to(folder).as_posix(), what, fails)
        for told, fails in ((findings, True), (notes, False))
        for path, what in sorted(told)
    ]


def _readable(path: Path) -> Record:
    """Read a record that could be written again: NaN and halves of surrogate pairs can be read, but not written."""
    try:
        record = load(path)
        record.to_json().encode()
    except (RecursionError, UnicodeError) as error:
        raise RecordError(
            f"unreadable record ({type(error).__name__}); a record is sent as dvbench wrote it"
        ) from error
    return record


def _of_record(record: Record, path: Path) -> Iterator[str]:
    if is_training(record) and record.status != Status.OK:
        yield f"ended '{record.status}' and has no score: remove it"
        return
    for rule in RULES:
        yield from rule(record)
    if path.name != Ledger(path.parent).path(record).name:
        yield f"is called {Ledger(path.parent).path(record).name} where dvbench wrote it: leave the name"
    if "outcomes" in record.basis:
        yield from _outcomes(record, path)


def _of_folder(files: Sequence[Path], records: Mapping[Path, Record]) -> Iterator[tuple[Path, str]]:
    first: dict[str, Path] = {}
    for path, record in records.items():
        if first.setdefault(record.identity, path) != path:
            yield path, f"has the identity of {first[record.identity].name}: keep one of them"
    named = {path.parent / str(_part(record, "outcomes").get("file")) for path, record in records.items()}
    for path in files:
        if path.is_symlink():
            yield path, "is a link: put the file itself there"
        elif path.suffix != ".json" and path not in named and path.name not in LEFT:
            yield path, "belongs to no record: remove it"


def _notes(record: Record) -> Iterator[str]:
    if _is_older(record):
        yield "identity cannot be recomputed: measured by an earlier version, which did not say what a score rests on"


def _is_older(record: Record) -> bool:
    """Whether a training record is of the first schema, which does not hold the hash of the code."""
    return is_training(record) and record.schema == 1


def _identity(record: Record) -> Iterator[str]:
    if _is_older(record):
        return
    try:
        found = _recomputed(record)
    except (KeyError, TypeError, ValueError, RecursionError):
        yield "identity cannot be recomputed: what it is made from is missing"
        return
    if found != record.identity:
        yield f"identity is not that of its content, which is {found[:12]}: a record is sent as dvbench wrote it"


def _recomputed(record: Record) -> str:
    if is_training(record):
        protocol = json.loads(str(record.environment["protocol"]))
        return training.identity(record.cell, protocol, str(record.basis["code"]))
    where = measuring.PART_WHERE if "part" in record.cell else measuring.WHERE
    return measuring.identity(record.cell, record.environment, where)


def _circumstances(record: Record) -> Iterator[str]:
    here = record.environment
    yield from unsaid(record)
    if here.get("git_dirty"):
        yield "was made by code with changes that no commit holds: commit them and run it again"
    if None not in (card := here.get("gpu"), name := here.get("hardware")) and card != name:
        yield "its hardware is not the gpu that it names"
    if not is_training(record) and record.cell.get("device") != here.get("device"):
        yield "its cell and its environment are of different devices"
    if not record.command:
        yield "does not say by which command it was made"


def _created(record: Record) -> Iterator[str]:
    created = datetime.fromisoformat(record.created)  # which reading has checked
    if created.tzinfo is None:
        yield f"was created '{record.created}': no time in ISO 8601 with a zone"
    elif created > datetime.now(UTC) + AHEAD:
        yield f"was created in the future, {record.created}"


def _strings(record: Record) -> Iterator[str]:
    found = list(_texts(asdict(record)))
    for private in dict.fromkeys(match for text in found for match in PRIVATE.findall(text)):
        yield f"tells '{private}', which is personal: use relative paths, name no machine, and run it again"
    if not all(text.isprintable() for text in found):
        yield "holds control characters, or others that cannot be printed"


def _outcomes(record: Record, path: Path) -> Iterator[str]:
    try:
        outcomes = Outcomes.of(record, path.parent)
    except ValueError as error:  # a name may be none of a file at all
        yield str(error).replace(f"{path.parent}/", "")
        return
    if _part(record, "outcomes").get("images") != len(outcomes.images):
        yield f"its outcomes are of {len(outcomes.images)} images, and it says otherwise"
    given = outcomes.score(np.arange(len(outcomes.images)))
    told = {name: one.value for name, one in record.measures.items() if one.unit == "%" and name != BASELINE}
    for name in sorted(given.keys() | told.keys()):
        one, other = (math.nan if score is None else score for score in (told.get(name), given.get(name)))
        if not (close(one, other) or (math.isnan(one) and math.isnan(other))):
            yield f"{name} is not what its outcomes give, {'nothing' if math.isnan(other) else f'{other:.4f} %'}"


#: What a record has to pass. Each rule says what is wrong, in words.
RULES: tuple[Callable[[Record], Iterator[str]], ...] = (
    _identity, values, latency, memory, _circumstances, _created, _strings
)  # fmt: skip


def _part(record: Record, name: str) -> Mapping[str, Any]:
    part = record.basis.get(name)
    return part if isinstance(part, Mapping) else {}


def _texts(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, keys too."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from _texts(inner)
        case list() | tuple():
            for inner in value:
                yield from _texts(inner)
