"""`dvbench reproduce` and `dvbench report`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import GOOD, Subparsers, UsageError, add_verb, out_option, positive, print_tables, wrote
from dvbench.verbs.measure import condition_options, exit_code, measure, plan_of, template_cell
from dvbench.verbs.run import jobs_options

if TYPE_CHECKING:
    from dvbench.cell import Cell
    from dvbench.run.cell import RunCell
    from reports.record import Record


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing for tables and figures, then draw them."""
    from dvbench.reproduce import target

    names = _targets(options.target)
    trained = [name for name in names if target(name).trained]
    profiled = [name for name in names if name not in trained]
    code = _train(trained, options) if trained else GOOD
    if profiled:
        code = max(code, _measure(profiled, options))
    if not options.dry_run and int(os.environ.get("LOCAL_RANK", "0")) == 0:  # one of several processes is enough
        _draw_all(names, options.out)
    return code


def _train(names: Sequence[str], options: argparse.Namespace) -> int:
    """Run what is missing of the training runs that tables and figures ask for."""
    from dvbench.accuracy.cells import Wish, wanted
    from dvbench.reproduce import target
    from dvbench.verbs.run import compute_of, dry_run, exit_code, ray_of, run_cells

    wish = Wish(
        options.scale,
        options.variant,
        options.seeds,
        _weights(options.weights),
        tuple(options.rows),
        {"epochs": options.epochs} if options.epochs else {},
    )
    cells: dict[RunCell, None] = {}
    for name in names:
        number = target(name).trained
        assert number is not None
        found, told = wanted(number, wish, target(name).protocol)
        cells |= dict.fromkeys(found)
        print(f"{name}: {'; '.join(told)}", file=sys.stderr)
    if options.dry_run:
        print_tables(dry_run(list(cells)))
        return GOOD
    options.batch_size = options.per_device
    return exit_code(run_cells(list(cells), compute_of(options), options.out, fresh=options.fresh, ray=ray_of(options)))


def _weights(pairs: Sequence[str]) -> dict[str, str]:
    weights = {}
    for pair in pairs:
        model, sign, place = pair.partition("=")
        if not sign:
            raise UsageError(f"'{pair}' is not MODEL=FILE, such as dynamicvis_b=epoch_200.pth")
        weights[model] = place
    return weights


def _measure(names: Sequence[str], options: argparse.Namespace) -> int:
    """Run what is missing of the measurements that tables and figures ask for."""
    from dvbench.paper.cells import LAPTOP_RESOLUTIONS, RESOLUTIONS
    from dvbench.reproduce import target

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
    return exit_code(records)


def report(options: argparse.Namespace) -> int:
    """Draw tables and figures again from records, running nothing."""
    return _draw_all(_targets(options.target), options.out, options.records)


def _targets(names: Sequence[str]) -> list[str]:
    from dvbench.reproduce import TARGETS, target

    chosen = list(TARGETS) if "all" in names else list(names)
    for name in chosen:
        target(name)
    return chosen


def _draw_all(names: Sequence[str], out: Path, folder: Path | None = None) -> int:
    from dvbench.reproduce import draw
    from reports.ledger import Ledger

    ledger = Ledger(folder or out / "records")
    records = ledger.records()
    for problem in ledger.problems:
        print(f"dvbench: {problem}", file=sys.stderr)
    if folder and not records:
        raise UsageError(f"{folder} holds no records: measure on that machine and copy them there, see docs/gpu.md")
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
        "  dvbench reproduce table14\n"
        "  dvbench reproduce table3                                  reduced, where its dataset or a GPU is missing\n"
        "  dvbench reproduce table2 --scale full --rows DynamicVis --weights dynamicvis_b=epoch_200.pth\n"
        "  dvbench reproduce table2 table3 --seeds 3 --jobs ray       runs side by side on a Ray cluster\n"
        "  dvbench reproduce all --dry-run\n",
    )
    sub.add_argument(
        "target",
        nargs="+",
        metavar="TARGET",
        help="such as table3 or figure21, or all",
    )
    sub.add_argument(
        "--res", nargs="+", type=int, metavar="R", help="sides (default: 128-1024 on a CPU, 128-4096 on a GPU)"
    )
    sub.add_argument("--fresh", action="store_true", help="measure again what has been measured")
    training = sub.add_argument_group("tables and figures of trained models")
    training.add_argument("--scale", default="auto", choices=["auto", "full", "smoke"], help="the paper's, or reduced")
    training.add_argument("--variant", default="released", choices=["released", "paper", "clean"], help="of protocols")
    training.add_argument(
        "--seeds", type=positive, metavar="N", help="runs of each row (default: 1; 3 in reduced runs of tables 15-19)"
    )
    training.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="only rows whose names hold these")
    training.add_argument("--weights", nargs="+", default=[], metavar="MODEL=FILE", help="pretrained weights")
    training.add_argument("--epochs", type=positive, metavar="N", help="in place of the protocols'")
    training.add_argument("--devices", type=positive, default=1, metavar="N", help="processes, one a device")
    training.add_argument("--nodes", type=positive, default=1, metavar="N", help="machines")
    training.add_argument("--per-device", type=positive, metavar="N", help="images in a forward pass of one device")
    training.add_argument("--workers", type=int, metavar="N", help="loading processes a device")
    jobs_options(training)
    condition_options(sub)

    sub = add_verb(
        verbs,
        "report",
        report,
        "draw tables and figures again from records, running nothing",
        "  dvbench report all\n"
        "  dvbench report table14 --out reports/out\n"
        "  dvbench report table14 figure20 --records reports/records/nvidia-h200    another machine's, if committed\n",
    )
    sub.add_argument("target", nargs="*", default=["all"], metavar="TARGET", help="as for reproduce (default: all)")
    sub.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        help="records to draw from, such as another machine's (default: OUT/records)",
    )
    out_option(sub)
