"""Tables 2 to 12 from records: every row of the paper, ours beside it where it was run, and reduced runs apart."""

import json
from collections.abc import Iterator, Mapping, Sequence

from dvbench.paper.score_rows import TABLES, Benchmark, Ours, benchmarks, printed, score
from dvbench.training.summary import spread, summary
from dvbench.training.wanted_runs import stand_in
from reports.compare import Comparison, Verdict, compare
from reports.record import Record
from reports.table import Table

TOLERANCE = 0.01  # of the paper's number: about the spread that its authors' tasks show between seeds
Named = tuple[str, Table]


def tables(number: int, records: Sequence[Record]) -> list[Named]:
    """Return a table of the paper beside our runs at full scale, and the reduced runs in a table of their own.

    Args:
        number: 2 to 12.
        records: oldest first; the newest of each run counts.
    """
    runs = newest(records)
    drawn = [(f"table{number}", _beside(number, runs))]
    for protocol in dict.fromkeys(stand_in(benchmark) for benchmark in benchmarks(number)):
        reduced = [run for run in runs if run.cell["scale"] == "smoke" and run.cell["protocol"] == protocol]
        if reduced:
            table = summary(reduced)
            table.title = f"Table {number}, reduced: {table.title}"
            drawn.append((f"table{number}_{protocol}", table))
    return drawn


def newest(records: Sequence[Record]) -> list[Record]:
    """Return the newest finished record of each training run."""
    found = {}
    for record in records:
        if "protocol" in record.cell and record.status.done and record.status == "ok":
            key = tuple(sorted((name, str(value)) for name, value in record.cell.items()))
            found[key] = record
    return list(found.values())


def compared(number: int, records: Sequence[Record]) -> list[Comparison]:
    """Return a table of the paper number by number, beside our runs at full scale.

    Args:
        number: 2 to 12.
        records: oldest first; the newest of each run counts.
    """
    return [one for _, _, found in _lines(number, newest(records)) for one in found]


def _beside(number: int, runs: Sequence[Record]) -> Table:
    datasets = benchmarks(number)
    body = []
    sources: set[str] = set()
    for name, cells, found in _lines(number, runs):
        reason = next((one.reason for one in found if one.reason), "")
        body.append([name, *cells, worst([one.verdict for one in found]), reason])
        sources |= {source for one in found for source in one.source.split()}
    taken = {f"{run.environment['hardware']}, {run.created[:10]}" for run in runs if run.identity[:12] in sources}
    columns = [f"{column}, paper | ours" for benchmark in datasets for column in benchmark.columns]
    notes = [
        f"Paper: arXiv 2503.16426v1, table {number}. † no selection, ‡ no pretraining, 2x input of twice the side.",
        f"Ours: {'; '.join(sorted(taken))}." if taken else "Ours: nothing was run at full scale.",
        "Reproduced: within 1 % of the paper's number. Ours with several seeds: mean ± standard deviation.",
    ]
    return Table(f"Table {number}: {TABLES[number]}", ["Model", *columns, "verdict", "why"], body, notes)


def _lines(number: int, runs: Sequence[Record]) -> Iterator[tuple[str, list[str], list[Comparison]]]:
    """Yield the rows of a table: name, what each cell prints, and the comparison behind it."""
    for name, line, ours in printed(number):
        cells, found, reason = [], [], ""
        for benchmark in benchmarks(number):
            group = _runs_of(benchmark, ours, runs)
            reason = reason or _reason(ours, group)
            for column in benchmark.columns:
                found.append(_compared(name, column, line, benchmark, group, reason))
                cells.append(f"{line[column]} | {spread(group, score(benchmark, column, line))}".rstrip(" |"))
        yield name, cells, found


def _runs_of(benchmark: Benchmark, ours: Ours | None, runs: Sequence[Record]) -> list[Record]:
    if ours is None:
        return []
    return [
        run
        for run in runs
        if run.cell["scale"] == "full"
        and run.cell["protocol"] == benchmark.protocol
        and run.cell["model"] == ours.model
        and run.cell["input"] == (ours.input or "")
        and bool(run.cell["weights_hash"]) == ours.pretrained
        and _holds(str(run.cell["changes"]), ours.changes)
    ]


def _holds(changes: str, wanted: Mapping[str, object]) -> bool:
    made = json.loads(changes)
    return all(made.get(key) == value for key, value in wanted.items())


def _reason(ours: Ours | None, group: Sequence[Record]) -> str:
    if group:
        return ""
    if ours is None:
        return "no model of ours"
    return "needs the authors' weights: --weights MODEL=FILE" if ours.pretrained else "no run at full scale"


def _compared(
    name: str, column: str, line: Mapping[str, str], benchmark: Benchmark, group: Sequence[Record], reason: str
) -> Comparison:
    text = spread(group, score(benchmark, column, line)).split(" ")[0]
    ours = float(text) if text else None
    source = " ".join(run.identity[:12] for run in group)
    return compare(name, column, line[column], ours, tolerance=TOLERANCE, comparable=True, reason=reason, source=source)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict of a row from those of its numbers: the first of these that occurs."""
    order = (Verdict.DIFFERS, Verdict.INCONCLUSIVE, Verdict.REPRODUCED, Verdict.NOT_COMPARABLE, Verdict.NOT_RUN)
    return next(verdict for verdict in order if verdict in verdicts)
