"""The paper's tables and figures by name: which cells each asks for, and how it is drawn from records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from dvbench.accuracy import ablation_tables, ablations, selection
from dvbench.accuracy.figures import FIGURES, Drawn, draw_figure
from dvbench.accuracy.rows import TABLES
from dvbench.accuracy.tables import tables
from dvbench.cell import Cell
from dvbench.efficiency.figures import figure20, figure21
from dvbench.efficiency.found import Found
from dvbench.efficiency.tables import Named, table1, table13, table14
from dvbench.paper.cells import cells
from reports.plot import save
from reports.record import Record
from reports.table import Table
from tasks import protocol


class UnknownTargetError(ValueError):
    """A table or figure that cannot be reproduced (yet); the message names those that can."""


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
        from_runs: draws tables and figure from all records, training runs among them, and the folder of results.
    """

    about: str
    table: int | None = None
    max_batch: bool = False
    trained: int | None = None
    protocol: str = ""
    tables: Callable[[Found], list[Named]] | None = None
    figure: Callable[[Found], Figure] | None = None
    from_runs: Callable[[Sequence[Record], Path], tuple[list[Named], Figure | None]] | None = None

    def cells(self, template: Cell, resolutions: tuple[int, ...]) -> list[Cell]:
        """Return what must have been measured; the rest of each cell is taken from `template`."""
        return [] if self.table is None else cells(self.table, template, resolutions)


def _trained_table(number: int, about: str) -> Target:
    return Target(about, trained=number, from_runs=lambda records, _: (tables(number, records), None))


def _ablation(number: int, about: str) -> Target:
    drawn = ablation_tables.tables
    return Target(about, trained=number, from_runs=lambda records, _: (drawn(number, records), None))


def _trained_figure(name: str, shown: Drawn) -> Target:
    number = protocol.load(shown.protocol).table
    return Target(
        shown.about,
        trained=number,
        protocol=shown.protocol,
        from_runs=lambda records, out: ([], draw_figure(name, records, out)),
    )


TARGETS: dict[str, Target] = {
    "table1": Target("layout of the backbones", tables=lambda _: table1()),
    "table13": Target("cost, largest batch and throughput at 512 px", 13, max_batch=True, tables=table13),
    "table14": Target("latency and memory by input size", 14, tables=table14),
    "figure20": Target("latency by input size", 14, figure=figure20),
    "figure21": Target("memory by input size (counted, runs nothing)", figure=lambda _: figure21()),
    **{f"table{number}": _trained_table(number, about) for number, about in TABLES.items()},
    **{f"table{number}": _ablation(number, f"ablation: {about}") for number, about in ablations.TABLES.items()},
    **{name: _trained_figure(name, shown) for name, shown in FIGURES.items()},
    "selection": Target(
        "ours, not the paper's: accuracy over cost, and recall of targets by the selection (reduced)",
        trained=selection.TABLE,
        protocol=ablations.REDUCED,
        from_runs=lambda records, _: selection.draw_selection(records),
    ),
}


def target(name: str) -> Target:
    """Return the table or figure of that name.

    Raises:
        UnknownTargetError: it is not among those that can be reproduced.
    """
    if name not in TARGETS:
        raise UnknownTargetError(f"cannot reproduce '{name}' yet: choose from {', '.join(TARGETS)}, all")
    return TARGETS[name]


def draw(name: str, records: Sequence[Record], folder: Path) -> tuple[list[Table], list[Path]]:
    """Draw a table or figure from records and write it.

    Args:
        name: a key of `TARGETS`.
        records: oldest first; the newest machine's are used.
        folder: where the files go.

    Returns:
        The tables, to be printed, and the files written.

    Raises:
        UnknownTargetError: no such target.
        LedgerError: the folder cannot be written.
        PlotError: there is nothing to draw yet.
    """
    chosen = target(name)
    found = Found.newest(records)
    written: list[Path] = []
    tables_ = []
    for stem, table in chosen.tables(found) if chosen.tables else []:
        tables_.append(table)
        written += table.write(folder, stem)
    if chosen.figure:
        written += save(chosen.figure(found), folder, name)
    if chosen.from_runs:
        named, figure = chosen.from_runs(records, folder)
        for stem, table in named:
            tables_.append(table)
            written += table.write(folder, stem)
        if figure:
            written += save(figure, folder, name)
    return tables_, written
