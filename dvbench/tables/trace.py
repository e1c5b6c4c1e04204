"""From a number to its evidence: what was printed, what was found, by which rule, and all that it rests on."""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from dvbench.costs.numbers import COUNTED
from dvbench.data.origin import Provenance
from dvbench.environment import code_fingerprint
from dvbench.paper import PAPER, ablation_rows
from dvbench.tables import ablations, scores
from dvbench.tables.standing import comparisons
from dvbench.tables.targets import target
from dvbench.training.summary import run_folder
from dvbench.verdicts.basis import Departure
from reports.compare import Comparison, Verdict
from reports.record import Record

Fact = tuple[str, str]
"""A label, and what it says."""


class UnknownNumberError(ValueError):
    """A number that a target does not have; the message gives the nearest that it has."""


def trace(name: str, row: str, column: str, records: Sequence[Record], out: Path) -> list[Fact]:
    """Return the evidence of one number.

    Args:
        name: a key of `dvbench.tables.targets.TARGETS`.
        row: of the table, as it is printed.
        column: of the table.
        records: oldest first.
        out: folder of results, with runs in `runs`.

    Raises:
        UnknownTargetError: no such table.
        UnknownNumberError: it has no such number.
    """
    found = comparisons(name, records)
    if not found:
        raise UnknownNumberError(f"{name} has no numbers to trace: {target(name).about}")
    rows = list(dict.fromkeys(one.row for one in found))
    if row not in rows:
        raise UnknownNumberError(f"{name} has no row '{row}': {_nearest(row, rows)}")
    columns = {one.column: one for one in found if one.row == row}
    if column not in columns:
        raise UnknownNumberError(f"{name} has no number '{column}' in row '{row}': {_nearest(column, list(columns))}")
    return list(_facts(name, columns[column], _known(records), _departures(name, records), out))


def traces(name: str, found: Sequence[Comparison], records: Sequence[Record], out: Path) -> list[list[Fact]]:
    """Return the evidence of many numbers of one target; arguments as `trace`."""
    known, departures = _known(records), _departures(name, records)
    return [list(_facts(name, one, known, departures, out)) for one in found]


def _facts(
    name: str,
    one: Comparison,
    known: Mapping[str, Record],
    departures: Mapping[str, Sequence[Departure]],
    out: Path,
) -> Iterator[Fact]:
    yield "number", f"{name}, {one.row}, {one.column}"
    if one.paper is not None:
        yield "paper", f"{one.paper:g}, arXiv {PAPER.cited}"
    if one.ours is not None:
        yield "ours", str(one.estimate or f"{one.ours:g}")
    if one.difference is not None:
        yield "difference", f"{one.difference:+g}" + (f" ({one.relative:+.2%})" if one.relative is not None else "")
    yield "verdict", one.verdict
    yield "rule", one.rule or _no_rule(one)
    if one.reason:
        yield "why", one.reason
    if one.source == COUNTED:
        how = "on the meta device, exact on any machine: dvbench profile --dry-run"
        yield "counted", f"{how}; code {code_fingerprint()}"
    for word in one.source.split():
        if word in known:
            yield from _of_record(known[word], departures.get(known[word].identity, ()), out)
        elif one.source != COUNTED:
            yield "source", one.source
            break


def _of_record(record: Record, departed: Sequence[Departure], out: Path) -> Iterator[Fact]:
    here, basis = record.environment, record.basis
    yield "record", f"{record.identity[:12]}, schema {record.schema}, {record.status}"
    yield "made", f"{record.created} on {here.get('hardware')}"
    yield "command", record.command
    dirty = " with changes that are not in it" if here.get("git_dirty") else ""
    yield "code", f"commit {here.get('git_commit')}{dirty}, dvbench {here.get('dvbench')}, torch {here.get('torch')}"
    if "protocol" not in record.cell:
        return
    yield "data", _of_data(basis.get("data"))
    yield "weights", _of_weights(record)
    yield "departures", "; ".join(f"{one.words}{'' if one.disqualifies else ' (noted)'}" for one in departed) or "none"
    folder = run_folder(out, record)
    yield "run folder", f"{folder}{'' if folder.is_dir() else ' (no longer there)'}"


def _of_data(told: object) -> str:
    if not isinstance(told, Mapping):
        return "unknown"
    taken = told.get("fingerprint")
    words = f"{told.get('words') or told.get('origin')}, fingerprint {str(taken or 'not taken')[:16]}"
    here = _here(str(told.get("dataset")))
    return f"{words} (not what lies here now)" if taken and here and here.fingerprint != taken else words


@cache
def _here(dataset: str) -> Provenance | None:
    """Return what a dataset is as it lies here now; None where it does not."""
    # TorchGeo takes a second to import, for what few traces need.
    from dvbench.data.catalog import MissingDatasetError, UnknownDatasetError  # noqa: PLC0415
    from dvbench.data.provenance import provenance  # noqa: PLC0415

    try:
        return provenance(dataset)
    except (MissingDatasetError, UnknownDatasetError):
        return None


def _of_weights(record: Record) -> str:
    told = record.basis.get("weights")
    if not isinstance(told, Mapping):
        return "random" if record.basis else "unknown"
    words = f"{told.get('name')}, SHA-256 {told.get('sha256')}, {told.get('kind')}"
    file = str(record.cell.get("weights"))
    # Unlike Path's, this one says no to a name that no file can have.
    return words if "://" in file or os.path.isfile(file) else f"{words} (no longer there)"


def _no_rule(one: Comparison) -> str:
    if one.verdict == Verdict.NOT_RUN:
        return "the paper's number, copied; there is none of ours"
    return "beside no number of the paper" if one.paper is None else "set beside the paper's, without a verdict"


def _known(records: Sequence[Record]) -> dict[str, Record]:
    return {record.identity[:12]: record for record in records}


def _departures(name: str, records: Sequence[Record]) -> dict[str, Sequence[Departure]]:
    """Return in what each run of a table departs from its row, by identity."""
    number = target(name).trained
    if number is None or target(name).compared is None:
        return {}
    found = (ablations if number in ablation_rows.TABLES else scores).found(number, records)
    return {run.identity: one.departures for one in found for run in one.runs}


def _nearest(name: str, there: Sequence[str]) -> str:
    near = get_close_matches(name, there, n=3, cutoff=0.4) or there[:3]
    return f"nearest are {', '.join(repr(one) for one in near)}"
