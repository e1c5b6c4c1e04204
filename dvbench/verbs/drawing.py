"""Drawing for `dvbench reproduce` and `dvbench report`: the targets that were asked for, and the page of all."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import FAILED, GOOD, UsageError, print_tables, tell, wrote

if TYPE_CHECKING:
    from dvbench.tables.standing import Standing, Standings
    from dvbench.training.unfinished import Unfinished
    from reports.record import Record
    from reports.table import Table

PAGE = "page"


@dataclass
class Drawing:
    """What was drawn: how each target stands, and the exit code."""

    standings: "dict[str, Standing]" = field(default_factory=dict)
    tables: "dict[str, list[Table]]" = field(default_factory=dict)

    @property
    def code(self) -> int:
        """Failed if a target could not be drawn; one that nothing was run for is no failure."""
        return FAILED if any(one.failed for one in self.standings.values()) else GOOD


def targets(names: Sequence[str]) -> list[str]:
    """Return the targets that names stand for.

    Raises:
        UnknownTargetError: there is no such target.
    """
    from dvbench.tables.targets import TARGETS, target

    chosen = list(TARGETS) if "all" in names else list(dict.fromkeys(names))
    for name in chosen:
        target(name)
    return chosen


def draw_all(
    names: Sequence[str], out: Path, *, whole: bool, again: bool, folder: Path | None = None, variant: str = ""
) -> Drawing:
    """Draw targets from the records in a folder.

    Args:
        names: targets.
        out: the folder.
        whole: they are all there are, so the page is written too.
        again: draw what has not changed as well.
        folder: of the records; None for `out/records`.
        variant: of the protocol; runs by others are left out. All if empty.

    Raises:
        PlotError: the only target has nothing to show yet.
        LedgerError: the folder cannot be read or written.
        UsageError: `folder` holds no records.
    """
    from dvbench.tables.standing import Standings
    from dvbench.training.unfinished import unfinished
    from reports.ledger import Ledger

    ledger = Ledger(folder or out / "records")
    records = ledger.records()
    for problem in ledger.problems:
        tell(f"set aside: {problem}")
    if folder and not records:
        raise UsageError(f"{folder} holds no records: measure on that machine and copy them there, see docs/gpu.md")
    if variant:
        records = [record for record in records if record.cell.get("variant", variant) == variant]
    runs = unfinished(out, {record.identity for record in records})
    known = Standings(out, records, runs, ledger.problems)
    parts = [*names, *([PAGE] if whole else [])]
    if not again and (drawing := _unchanged(parts, known)):
        print(f"nothing has changed since {out} was drawn: dvbench report draws it again", file=sys.stderr)
        return drawing
    drawing = _draw(names, records, out, runs, ledger.folder, quiet=whole)
    if whole:
        drawing.standings[PAGE] = _write_page(drawing, records, out, ledger.problems, runs)
    known.note(list(drawing.standings.values()))
    return drawing


def _unchanged(parts: Sequence[str], known: "Standings") -> Drawing | None:
    found = [known.current(name) for name in parts]
    return Drawing({one.name: one for one in found if one}) if all(found) else None


def _draw(
    names: Sequence[str],
    records: "Sequence[Record]",
    out: Path,
    runs: "Sequence[Unfinished]",
    kept: Path,
    *,
    quiet: bool,
) -> Drawing:
    from dvbench.tables.standing import stand

    drawing = Drawing()
    for name in names:
        standing, tables = stand(name, records, out, runs, kept, alone=len(names) == 1)
        drawing.standings[name], drawing.tables[name] = standing, tables
        if standing.failed or not standing.files:
            tell(f"{name}: {standing.why}")
        if not quiet:
            print_tables(*tables)
            wrote(*(out / file for file in standing.files))
    return drawing


def _write_page(
    drawing: Drawing, records: "Sequence[Record]", out: Path, problems: Sequence[str], runs: "Sequence[Unfinished]"
) -> "Standing":
    from dvbench.tables.page_content import page
    from dvbench.tables.standing import Standing

    drawn = {name: (one, drawing.tables[name]) for name, one in drawing.standings.items()}
    made = page(drawn, records, out, problems, runs)
    path = made.write(out)
    wrote(path)
    return Standing(PAGE, files=(path.name,))
