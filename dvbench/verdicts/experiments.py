"""Runs pooled into experiments, and the row of the paper that each stands in or comes closest to."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dvbench.paper.score_rows import Benchmark, Line, Ours
from dvbench.training.run_cell import RunCell
from dvbench.training.summary import groups, value
from dvbench.verdicts.basis import Demand, Departure, departures
from reports.estimate import Estimate, estimate
from reports.record import Record
from tasks.protocol import VARIANTS

ORDER = {variant: place for place, variant in enumerate(VARIANTS)}
Owns = Callable[[Record], bool]
"""Tells whether a run belongs to a table at all."""


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in the seed alone, beside the row of the paper that they come closest to.

    Attributes:
        benchmark: the dataset and columns that they were scored for.
        row: name of the row; of the model, where the table has no row of it.
        ours: our model of that row, which several rows may share; None where the table has no row of it.
        runs: one a seed, by seed.
        departures: from what the row demands, the disqualifying ones first.
    """

    benchmark: Benchmark
    row: str
    ours: Ours | None
    runs: Sequence[Record]
    departures: Sequence[Departure]

    @property
    def variant(self) -> str:
        """Variant of the protocol."""
        return str(self.runs[0].cell["variant"])

    @property
    def qualifies(self) -> bool:
        """Whether its numbers may stand beside the paper's."""
        return not any(one.disqualifies for one in self.departures)

    @property
    def source(self) -> str:
        """The first 12 digits of its records' identities."""
        return " ".join(run.identity[:12] for run in self.runs)

    @property
    def title(self) -> str:
        """Name of the row that it gets where it does not stand in the paper's."""
        seeds = "1 seed" if len(self.runs) == 1 else f"{len(self.runs)} seeds"
        return f"{self.row}: {self.benchmark.protocol}, {self.variant}, {seeds}"

    @property
    def created(self) -> str:
        """When its last run ended."""
        return max(run.created for run in self.runs)

    def estimate(self, name: str) -> Estimate | None:
        """Estimate a score over the seeds and the test images."""
        measures = [run.measures.get(name) for run in self.runs]
        if not any(measures):
            return None
        return estimate([value(run, name) for run in self.runs], [one.interval if one else None for one in measures])

    def told(self, *, disqualifying: bool) -> str:
        """Return departures of one kind in words."""
        return "; ".join(one.words for one in self.departures if one.disqualifies == disqualifying)


def experiments(
    datasets: Sequence[Benchmark], lines: Sequence[Line], runs: Sequence[Record], owns: Owns
) -> list[Experiment]:
    """Pool the full-scale runs of a table.

    Args:
        datasets: of the table.
        lines: its rows.
        runs: one record each, those of other tables and reduced ones among them.
        owns: which of them belong to it.
    """
    found = []
    for benchmark in datasets:
        mine = [run for run in runs if run.cell["protocol"] == benchmark.protocol and run.cell["scale"] == "full"]
        found += [_closest(benchmark, lines, group, runs) for group in groups([run for run in mine if owns(run)])]
    return found


def demand(benchmark: Benchmark, ours: Ours, variant: str) -> Demand:
    """Return what a row of ours demands of a run, in a variant of the protocol."""
    cell = RunCell(
        ours.model,
        benchmark.protocol,
        "full",
        variant,
        ours.input or "",
        changes=json.dumps(dict(ours.changes), sort_keys=True),
        switches=json.dumps(dict(ours.switches), sort_keys=True),
    )
    return Demand(cell, ours.pretrained)


def standing(found: Sequence[Experiment], benchmark: Benchmark, ours: Ours) -> Experiment | None:
    """Return what stands in a row: of what may, the released variant before others, then the newest."""
    fitting = [one for one in found if one.ours == ours and one.benchmark == benchmark and one.qualifies]
    newest_first = sorted(fitting, key=lambda one: one.created, reverse=True)
    return min(newest_first, key=lambda one: ORDER.get(one.variant, len(ORDER)), default=None)


def _closest(
    benchmark: Benchmark, lines: Sequence[Line], group: Sequence[Record], others: Sequence[Record]
) -> Experiment:
    """Set a group beside the row that it departs from least."""
    model, variant = str(group[0].cell["model"]), str(group[0].cell["variant"])
    alike = {model, model.replace("_released_dense", "_dense")}  # of both forms without selection, one has rows

    def at(line: Line, ours: Ours) -> Experiment:
        departed = _departed(demand(benchmark, ours, variant), group, others)
        return Experiment(benchmark, line.name, ours, group, departed)

    if tried := [at(line, line.ours) for line in lines if line.ours and line.ours.model in alike]:
        return min(tried, key=lambda one: sum(departure.disqualifies for departure in one.departures))
    own = Demand(RunCell(model, benchmark.protocol, "full", variant), bool(group[0].basis.get("weights")))
    nowhere = Departure("model", f"no row of this table is {model}", True)
    return Experiment(benchmark, model, None, group, [nowhere, *_departed(own, group, others)])


def _departed(wanted: Demand, group: Sequence[Record], others: Sequence[Record]) -> list[Departure]:
    """Return in what any run of a group departs, each departure once."""

    def each() -> Iterator[Departure]:
        for run in group:
            yield from departures(wanted, run, others)

    return sorted(dict.fromkeys(each()), key=lambda one: not one.disqualifies)
