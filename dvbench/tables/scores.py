"""Scores beside the paper's: every row with the runs that stand for it, and below it those that do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dvbench.paper import ablation_rows
from dvbench.paper.score_rows import NO_SELECTION_TOLD, TABLES, Benchmark, Line, benchmarks, printed, score
from dvbench.training.summary import newest, summary
from dvbench.training.wanted_runs import stand_in
from dvbench.verdicts.experiments import Experiment, experiments, standing
from reports.compare import Comparison, Verdict, compare
from reports.record import Record
from reports.table import Named, Table
from tasks.protocol import VARIANTS

TOLERANCE = 0.01  # of the paper's number: about the spread that its authors' tasks show between seeds
SEVEREST = (Verdict.DIFFERS, Verdict.INCONCLUSIVE, Verdict.REPRODUCED, Verdict.NOT_COMPARABLE, Verdict.NOT_RUN)


@dataclass(frozen=True)
class Beside:
    """A row of a table: the paper's number and ours in each cell.

    Attributes:
        name: of the row.
        cells: what is printed, one a column.
        numbers: the comparisons behind them; of an experiment in a row of its own only those of its dataset.
        why: why something is missing, inconclusive or not comparable, and what is noted.
    """

    name: str
    cells: Sequence[str]
    numbers: Sequence[Comparison]
    why: str

    @property
    def verdict(self) -> Verdict:
        """The severest verdict among the numbers."""
        found = {one.verdict for one in self.numbers}
        return next(verdict for verdict in SEVEREST if verdict in found)


def tables(number: int, records: Sequence[Record]) -> list[Named]:
    """Return a table of the paper beside our runs at full scale, and the reduced runs in a table of their own.

    Args:
        number: 2 to 12.
        records: oldest first; the newest of each run counts.
    """
    runs = newest(records)
    drawn = [(f"table{number}", draw(number, TABLES[number], benchmarks(number), _rows(number, records), runs))]
    for protocol in dict.fromkeys(stand_in(benchmark) for benchmark in benchmarks(number)):
        reduced = [run for run in runs if run.cell["scale"] == "smoke" and run.cell["protocol"] == protocol]
        if reduced:
            table = summary(reduced)
            table.title = f"Table {number}, reduced: {table.title}"
            drawn.append((f"table{number}_{protocol}", table))
    return drawn


def compared(number: int, records: Sequence[Record]) -> list[Comparison]:
    """Return a table of the paper number by number, beside our runs at full scale.

    Args:
        number: 2 to 12.
        records: oldest first; the newest of each run counts.
    """
    return [one for row in _rows(number, records) for one in row.numbers]


def found(number: int, records: Sequence[Record]) -> list[Experiment]:
    """Return the experiments of table 2 to 12, from records, oldest first."""
    lines = list(printed(number))
    return experiments(benchmarks(number), lines, newest(records), lambda run: not ablation_rows.owns(run.cell))


def beside(datasets: Sequence[Benchmark], lines: Sequence[Line], found: Sequence[Experiment]) -> Iterator[Beside]:
    """Yield the rows of a table: the paper's, then those of experiments that do not stand in them."""
    placed = []
    for line in lines:
        chosen = [standing(found, benchmark, line.ours) if line.ours else None for benchmark in datasets]
        placed += [one for one in chosen if one]
        yield _of_the_paper(line, datasets, chosen)
    apart = [one for one in found if not any(one is other for other in placed)]
    by_name = {line.name: line for line in lines}
    for one in sorted(apart, key=lambda other: not other.qualifies):
        yield _apart(one, datasets, by_name.get(one.row))


def draw(
    number: int, about: str, datasets: Sequence[Benchmark], rows: Sequence[Beside], runs: Sequence[Record]
) -> Table:
    """Draw the rows of a table of the paper."""
    used = {word for row in rows for one in row.numbers for word in one.source.split()}
    taken = {f"{run.hardware}, {run.created[:10]}" for run in runs if run.identity[:12] in used}
    columns = [f"{column}, paper | ours" for benchmark in datasets for column in benchmark.columns]
    notes = [
        f"Paper: arXiv 2503.16426v1, table {number}. † no selection, ‡ no pretraining, 2x input of twice the side.",
        *([NO_SELECTION_TOLD] if any("†" in row.name and "DynamicVis" in row.name for row in rows) else []),
        f"Ours: {'; '.join(sorted(taken))}." if taken else "Ours: nothing was run at full scale.",
        "Ours: mean over seeds, with its 95 % interval over seeds and test images. Reproduced: the whole interval lies "
        f"within {100 * TOLERANCE:g} % of the paper's number. Differs: it lies wholly outside. See docs/measuring.md.",
        "Rows with a protocol in their name: other variants of it, and runs that are not what the row demands; "
        "those stand beside no number of the paper, and `why` says what they depart in.",
    ]
    body = [[row.name, *row.cells, row.verdict, row.why] for row in rows]
    return Table(f"Table {number}: {about}", ["Model", *columns, "verdict", "why"], body, notes)


def _rows(number: int, records: Sequence[Record]) -> list[Beside]:
    return list(beside(benchmarks(number), list(printed(number)), found(number, records)))


def _of_the_paper(line: Line, datasets: Sequence[Benchmark], chosen: Sequence[Experiment | None]) -> Beside:
    cells, numbers = [], []
    why: dict[str, None] = {}
    for benchmark, one in zip(datasets, chosen, strict=True):
        for column in benchmark.columns:
            name = score(benchmark, column, line.printed)
            estimate = one.estimate(name) if one else None
            found = compare(
                line.name,
                column,
                line.printed[column],
                estimate,
                tolerance=TOLERANCE,
                comparable=True,
                reason="" if one else _not_run(line),
                source=one.source if one else "",
            )
            numbers.append(found)
            cells.append(f"{line.printed[column]} | {estimate or ''}".rstrip(" |"))
            why |= {found.reason: None} if found.reason else {}
        why |= dict.fromkeys(_noted(one)) if one else {}
    return Beside(line.name, cells, numbers, "; ".join(why))


def _apart(one: Experiment, datasets: Sequence[Benchmark], line: Line | None) -> Beside:
    """Return the row of an experiment that does not stand in the paper's."""
    cells, numbers = [], []
    for benchmark in datasets:
        for column, usual in benchmark.columns.items():
            if benchmark != one.benchmark:
                cells.append("")
                continue
            estimate = one.estimate(score(benchmark, column, line.printed) if line else usual)
            paper = line.printed[column] if line and one.qualifies else ""
            found = compare(
                one.title,
                column,
                paper,
                estimate,
                tolerance=TOLERANCE,
                comparable=one.qualifies,
                reason=one.told(disqualifying=True),
                source=one.source,
            )
            numbers.append(found)
            cells.append(f"{paper} | {estimate or ''}".rstrip(" "))
    why = [one.told(disqualifying=True)] if not one.qualifies else []
    reasons = [found.reason for found in numbers if one.qualifies and found.reason]
    return Beside(one.title, cells, numbers, "; ".join(dict.fromkeys((*why, *reasons, *_noted(one)))))


def _noted(one: Experiment) -> Iterator[str]:
    if one.variant != VARIANTS[0] and one.qualifies:
        yield f"variant {one.variant}"
    if noted := one.told(disqualifying=False):
        yield f"noted: {noted}"


def _not_run(line: Line) -> str:
    if line.ours is None:
        return "no model of ours"
    return "needs the authors' weights: --weights MODEL=FILE" if line.ours.pretrained else "no run at full scale"
