"""Rounds of a ratio: from samples taken in turn, from pytest-benchmark's JSON, and from records."""

import json
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from reports.gate_baseline import Values
from reports.ledger import Ledger
from reports.record import Record, Status
from reports.stats import StatsError, paired_ratio

ROUNDS = 3
"""Fewest rounds that a ratio is judged by."""


class RoundsError(ValueError):
    """Samples from which no ratio can be taken; the message is one line."""


def rounds(ours: Sequence[float], theirs: Sequence[float]) -> Values:
    """Cut samples that were taken in turn into three rounds; each becomes the median of its ratios, pair by pair.

    Raises:
        StatsError: There are fewer than three pairs, or a sample is zero, negative or NaN.
    """
    pairs = min(len(ours), len(theirs))
    if pairs < ROUNDS:
        raise StatsError(f"{pairs} pairs of samples; take at least {ROUNDS}")
    cuts = [pairs * i // ROUNDS for i in range(ROUNDS + 1)]
    return tuple(paired_ratio(ours[a:b], theirs[a:b]) for a, b in pairwise(cuts))


def from_benchmark(path: Path) -> dict[str, Values]:
    """Read the rounds of each side-by-side benchmark from pytest-benchmark's JSON (``nox -s bench``).

    Returns:
        Benchmark -> rounds of ours / theirs. Benchmarks that compare nothing are left out.

    Raises:
        RoundsError: The file is missing, is not of pytest-benchmark, or compares nothing.
    """
    mend = "make it with nox -s bench"
    try:
        benchmarks = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        found = {
            one["name"]: rounds(one["stats"]["data"], one["extra_info"]["opponent_seconds"])
            for one in benchmarks
            if "ratio" in one["extra_info"]
        }
    except FileNotFoundError:
        raise RoundsError(f"{path} is missing: {mend}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RoundsError(f"{path} is not pytest-benchmark's JSON with samples ({error!r}): {mend}") from error
    if not found:
        raise RoundsError(f"{path} holds no benchmark with a ratio: {mend}")
    return found


def from_records(ledger: Ledger, is_ours: Callable[[str], bool]) -> tuple[dict[str, Values], Record]:
    """Read the rounds of each pair of records whose samples were taken in turn.

    Args:
        ledger: What ``dvbench profile`` left behind. Corrupt records are skipped and named in ``ledger.problems``.
        is_ours: Tells by a model's name whether it is judged; the others of its group are what it is judged against.

    Returns:
        "ours@side : theirs@side" -> rounds, of the newest group that has the pair; and the newest record used.

    Raises:
        RoundsError: There is no record or no pair, they are of several machines, or a pair has too few samples.
        LedgerError: The folder cannot be read.
    """
    mend = "run dvbench profile --repeat 9 with --out there"
    records = [r for r in ledger.records() if r.status is Status.OK and "latency_ms" in r.measures]
    if not records:
        raise RoundsError(f"{ledger.folder} holds no record of a latency: {mend}")
    machines = sorted({str(record.environment.get("hardware")) for record in records})
    if len(machines) > 1:
        raise RoundsError(f"{ledger.folder} holds records of {' and '.join(machines)}: give those of one machine")
    found: dict[str, Values] = {}
    for _, members in groupby(sorted(records, key=lambda r: (r.created, r.group)), key=lambda r: r.group):
        group = list(members)
        for ours in (record for record in group if is_ours(str(record.cell["model"]))):
            for theirs in (record for record in group if not is_ours(str(record.cell["model"]))):
                name = f"{_label(ours)} : {_label(theirs)}"
                found[name] = _rounds_of(ours, theirs, f"{ledger.folder}: {name}")
    if not found:
        wait = "if its run is still going, let it end"
        raise RoundsError(f"{ledger.folder} holds no pair that was measured in turn: {wait}; else {mend}")
    return found, records[-1]


def _rounds_of(ours: Record, theirs: Record, where: str) -> Values:
    try:
        return rounds(ours.measures["latency_ms"].samples, theirs.measures["latency_ms"].samples)
    except StatsError as error:
        raise RoundsError(f"{where} has {error}: if the run was interrupted, run it again") from error


def _label(record: Record) -> str:
    attention = record.cell.get("attention", "none")
    return f"{record.cell['model']}@{record.cell['resolution']}" + ("" if attention == "none" else f" {attention}")
