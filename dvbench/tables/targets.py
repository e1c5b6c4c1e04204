"""The paper's tables and figures by name: which cells each asks for, and how it is drawn from records."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from dvbench.costs import numbers
from dvbench.costs.figures import figure20, figure21
from dvbench.costs.found import Found
from dvbench.costs.latency import table14
from dvbench.costs.layout import table1
from dvbench.costs.throughput import table13
from dvbench.paper import ablation_rows
from dvbench.paper.audit import audit, audit_tables
from dvbench.paper.score_rows import TABLES, benchmarks
from dvbench.profile.cell import Cell
from dvbench.profile.wanted_cells import cells
from dvbench.tables import ablations, pretraining, recall
from dvbench.tables.score_figures import FIGURES, Drawn, draw_figure
from dvbench.tables.scores import compared, tables
from dvbench.training.plan import Wish
from dvbench.training.pretraining_study import PRETRAINING, TASKS, second
from dvbench.training.run_cell import RunCell
from dvbench.training.unfinished import Unfinished
from dvbench.training.wanted_runs import stand_in
from reports.compare import Comparison
from reports.plot import save
from reports.record import Record
from reports.table import Named, Table
from tasks import protocol


class UnknownTargetError(ValueError):
    """A table or figure that cannot be reproduced; the message gives the nearest that can."""


@dataclass(frozen=True)
class Target:
    """A table or figure of the paper.

    Attributes:
        about: what it shows.
        table: number of the table whose cells it asks for; None when it needs no measurement.
        max_batch: whether its cells also search the largest batch.
        trained: number of the table whose training runs it asks for.
        protocol: the only protocol of that table whose runs it needs; all if empty.
        tables: draws the tables.
        figure: draws the figure.
        from_runs: draws tables and figure from all records, training runs among them, the folder of results, and that
            of the records.
        then: gives the runs that start from checkpoints of those that `trained` asks for, from these, how they are run,
            and the folder of results.
        compared: sets each number of the paper beside ours, from all records; None where a target has no such numbers.
    """

    about: str
    table: int | None = None
    max_batch: bool = False
    trained: int | None = None
    protocol: str = ""
    tables: Callable[[Found], list[Named]] | None = None
    figure: Callable[[Found], Figure] | None = None
    from_runs: Callable[[Sequence[Record], Path, Path], tuple[list[Named], Figure | None]] | None = None
    then: Callable[[Sequence[RunCell], Wish, Path], Iterable[RunCell]] = lambda *_: ()
    compared: Callable[[Sequence[Record]], list[Comparison]] | None = None

    def cells(self, template: Cell, resolutions: tuple[int, ...]) -> list[Cell]:
        """Return what must have been measured; the rest of each cell is taken from `template`."""
        return [] if self.table is None else cells(self.table, template, resolutions)

    def waits_for(self, run: Unfinished) -> bool:
        """Whether a run that has no record yet belongs to this table or figure."""
        if self.trained is None:
            return self.table is not None and not run.protocol
        if self.trained in ablation_rows.TABLES:
            return run.protocol in (
                (self.protocol,) if self.protocol else (ablation_rows.PROTOCOL, ablation_rows.REDUCED)
            )
        own = [one for one in benchmarks(self.trained) if self.protocol in ("", one.protocol)]
        names = {name for one in own for name in (one.protocol, stand_in(one))}
        return run.protocol in names or (PRETRAINING in names and run.protocol in TASKS)


def _trained_table(number: int, about: str) -> Target:
    return Target(
        about,
        trained=number,
        from_runs=lambda records, *_: (tables(number, records), None),
        compared=lambda records: compared(number, records),
    )


def _cost(number: int, records: Sequence[Record]) -> list[Comparison]:
    return numbers.compared(number, Found.newest(records))


def _ablation(number: int, about: str) -> Target:
    return Target(
        about,
        trained=number,
        from_runs=lambda records, _, kept: (ablations.tables(number, records, kept), None),
        compared=partial(ablations.compared, number),
    )


def _trained_figure(name: str, shown: Drawn) -> Target:
    number = protocol.load(shown.protocol).table
    return Target(
        shown.about,
        trained=number,
        protocol=shown.protocol,
        from_runs=lambda records, out, _: ([], draw_figure(name, records, out)),
    )


TARGETS: dict[str, Target] = {
    "table1": Target("layout of the backbones", tables=lambda _: table1()),
    "table13": Target(
        "cost, largest batch and throughput at 512 px", 13, max_batch=True, tables=table13, compared=partial(_cost, 13)
    ),
    "table14": Target("latency and memory by input size", 14, tables=table14, compared=partial(_cost, 14)),
    "figure20": Target("latency by input size", 14, figure=figure20),
    "figure21": Target("memory by input size (counted, runs nothing)", figure=lambda _: figure21()),
    **{f"table{number}": _trained_table(number, about) for number, about in TABLES.items()},
    "table11": Target(
        f"{TABLES[pretraining.TABLE]}; reduced: what pretraining by either loss is worth",
        trained=pretraining.TABLE,
        from_runs=lambda records, _, kept: pretraining.draw_pretraining(records, kept),
        then=second,
        compared=partial(compared, pretraining.TABLE),
    ),
    **{f"table{number}": _ablation(number, f"ablation: {about}") for number, about in ablation_rows.TABLES.items()},
    **{name: _trained_figure(name, shown) for name, shown in FIGURES.items()},
    "selection": Target(
        "ours, not the paper's: accuracy over cost, and recall of targets by the selection (reduced)",
        trained=recall.TABLE,
        protocol=ablation_rows.REDUCED,
        from_runs=lambda records, _, kept: recall.draw_selection(records, kept),
    ),
    "audit": Target(
        "the paper's numbers held against each other",
        tables=lambda _: audit_tables(),
        compared=lambda _: audit(),
    ),
}


def target(name: str) -> Target:
    """Return the table or figure of that name.

    Raises:
        UnknownTargetError: it is not among those that can be reproduced.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name, (*TARGETS, "all"), n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(TARGETS)}, all"
    raise UnknownTargetError(f"cannot reproduce '{name}': {hint}")


def draw(
    name: str, records: Sequence[Record], folder: Path, runs: Sequence[Unfinished] = (), kept: Path | None = None
) -> tuple[list[Table], list[Path]]:
    """Draw a table or figure from records and write it.

    Args:
        name: a key of `TARGETS`.
        records: oldest first; the newest machine's are used.
        folder: where the files go.
        runs: that have no record yet; the tables that wait for them say so.
        kept: where the records lie, with what came of each test image; None for `records` in `folder`.

    Returns:
        The tables, to be printed, and the files written.

    Raises:
        UnknownTargetError: no such target.
        LedgerError: the folder cannot be written.
        PlotError: there is nothing to draw yet.
    """
    chosen = target(name)
    found = Found.newest(records)
    named = chosen.tables(found) if chosen.tables else []
    figure = chosen.figure(found) if chosen.figure else None
    if chosen.from_runs:
        named, figure = chosen.from_runs(records, folder, kept or folder / "records")
    notes = [run.told() for run in runs if chosen.waits_for(run)]
    written: list[Path] = []
    for stem, table in named:
        table.notes += notes
        written += table.write(folder, stem)
    if figure:
        written += save(figure, folder, name)
    return [table for _, table in named], written
