"""`dvbench reproduce` and `dvbench report`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import GOOD, Subparsers, add_verb, out_option, print_tables, wrote
from dvbench.verbs.measure import condition_options, exit_code, measure, plan_of, template_cell

if TYPE_CHECKING:
    from dvbench.cell import Cell
    from reports.record import Record


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing for tables and figures, then draw them."""
    from dvbench.paper.cells import LAPTOP_RESOLUTIONS, RESOLUTIONS
    from dvbench.reproduce import target

    names = _targets(options.target)
    template = template_cell(options)
    sides = tuple(options.res or (LAPTOP_RESOLUTIONS if template.device == "cpu" else RESOLUTIONS))
    records: list[Record] = []
    asked: set[Cell] = set()
    # The search for the largest batch comes with a table's cells, so tables that want it are measured first.
    for name in sorted(names, key=lambda name: not target(name).max_batch):
        plan = plan_of(options, resume=not options.fresh, max_batch=target(name).max_batch)
        wanted = [cell for cell in target(name).cells(template, sides) if cell not in asked]
        asked.update(wanted)
        records += measure(wanted, plan, options.out)
    if options.dry_run:
        from dvbench.profile.summary import counts

        if records:
            print_tables(counts(records))
        return GOOD
    _draw_all(names, options.out)
    return exit_code(records)


def report(options: argparse.Namespace) -> int:
    """Draw tables and figures again from records, running nothing."""
    return _draw_all(_targets(options.target), options.out)


def _targets(names: Sequence[str]) -> list[str]:
    from dvbench.reproduce import TARGETS, target

    chosen = list(TARGETS) if "all" in names else list(names)
    for name in chosen:
        target(name)
    return chosen


def _draw_all(names: Sequence[str], out: Path) -> int:
    from dvbench.reproduce import draw
    from reports.ledger import Ledger

    ledger = Ledger(out / "records")
    records = ledger.records()
    for problem in ledger.problems:
        print(f"dvbench: {problem}", file=sys.stderr)
    for name in names:
        tables, written = draw(name, records, out)
        print_tables(*tables)
        wrote(*written)
    return GOOD


def add_to(verbs: Subparsers) -> None:
    """Add `reproduce` and `report` to the command line."""
    sub = add_verb(
        verbs,
        "reproduce",
        reproduce,
        "run what is missing for the paper's tables and figures, and draw them",
        "  dvbench reproduce table14\n  dvbench reproduce table13 figure21\n  dvbench reproduce all --dry-run\n",
    )
    sub.add_argument("target", nargs="+", metavar="TARGET", help="table1, table13, table14, figure20, figure21 or all")
    sub.add_argument(
        "--res", nargs="+", type=int, metavar="R", help="sides (default: 128-1024 on a CPU, 128-4096 on a GPU)"
    )
    sub.add_argument("--fresh", action="store_true", help="measure again what has been measured")
    condition_options(sub)

    sub = add_verb(
        verbs,
        "report",
        report,
        "draw tables and figures again from records, running nothing",
        "  dvbench report all\n  dvbench report table14 --out reports/out\n",
    )
    sub.add_argument("target", nargs="*", default=["all"], metavar="TARGET", help="as for reproduce (default: all)")
    out_option(sub)
