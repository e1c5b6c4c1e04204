"""`dvbench reproduce` and `dvbench report`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dvbench.verbs.common import (
    FAILED,
    GOOD,
    Subparsers,
    UsageError,
    add_verb,
    out_option,
    positive,
    print_tables,
    tell,
)
from dvbench.verbs.costs import costs
from dvbench.verbs.drawing import draw_all, targets
from dvbench.verbs.measure import condition_options, measure, plan_of, template_cell
from dvbench.verbs.run import jobs_options
from dvbench.verbs.work import Work, now, summary

TRACE = "trace"

if TYPE_CHECKING:
    from dvbench.profile.cell import Cell
    from dvbench.training.run_cell import RunCell
    from reports.record import Record


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing for tables and figures, then draw them."""
    from dvbench.tables.targets import target

    names = targets(options.target)
    work = {name: Work() for name in names}
    _train([name for name in names if target(name).trained], options, work)
    _measure([name for name in names if not target(name).trained], options, work)
    if options.dry_run:
        print_tables(*costs(work.values(), options))
        return GOOD
    if int(os.environ.get("LOCAL_RANK", "0")) != 0:  # one of several processes is enough
        return GOOD
    drawn = draw_all(names, options.out, whole="all" in options.target, again=False)
    if len(names) == 1:
        return max(drawn.code, *(FAILED if one.failed else GOOD for one in work.values()))
    print_tables(summary(work, drawn.standings))
    failed = [name for name in names if work[name].failed or drawn.standings[name].failed]
    if failed:
        print(
            f"dvbench: failed: {', '.join(failed)}; all else is done, the same command tries these again",
            file=sys.stderr,
        )
    return FAILED if failed else drawn.code


def _train(names: Sequence[str], options: argparse.Namespace, work: Mapping[str, Work]) -> None:
    """Run what is missing of the training runs that tables and figures ask for; what several ask for runs once."""
    from dvbench.tables.targets import target
    from dvbench.training.plan import Wish
    from dvbench.training.pretraining_study import NOT_YET
    from dvbench.training.wanted_runs import wanted

    wish = Wish(
        options.scale,
        options.variant,
        options.seeds,
        _weights(options.weights),
        tuple(options.rows),
        options.rates,
        {"epochs": options.epochs} if options.epochs else {},
    )
    for name in names:
        number = target(name).trained
        assert number is not None
        work[name].runs, told = wanted(number, wish, target(name).protocol)
        print(f"{name}: {'; '.join(told)}", file=sys.stderr)
    started = now()
    trained = None if options.dry_run else _trained(names, options, work)
    for name in names:  # runs that start from the checkpoints of those
        later = list(target(name).then(work[name].runs, wish, options.out))
        lost = [] if options.dry_run else [run for run in later if run.weights_hash == NOT_YET]
        work[name].runs += [run for run in later if run not in lost]
        if lost:
            work[
                name
            ].failed = f"{len(lost)} runs wait for pretraining that left no checkpoint: --fresh trains it again"
            tell(f"{name}: {work[name].failed}")
    if trained is None:
        return
    if any(run not in trained.asked for name in names for run in work[name].runs):
        trained = _trained(names, options, work, trained)
    for name in names:
        work[name].count_runs(trained.records, trained.errors, started)


class _Trained(NamedTuple):
    """Runs that were asked for, what they left by identity, and in a line what ended those that left nothing."""

    asked: "frozenset[RunCell]"
    records: "dict[str, Record]"
    errors: "dict[RunCell, str]"


def _trained(
    names: Sequence[str], options: argparse.Namespace, work: Mapping[str, Work], before: _Trained | None = None
) -> _Trained:
    """Run what is missing of the runs asked for, beyond those of `before`."""
    from dvbench.verbs.run import compute_of, run_cells
    from reports.ledger import Ledger

    asked = before or _Trained(frozenset(), {}, {})
    cells = dict.fromkeys(run for name in names for run in work[name].runs if run not in asked.asked)
    ledger = Ledger(options.out / "records")
    known = {} if options.fresh else {cell: done for cell in cells if (done := ledger.find(cell.identity()))}
    missing = [cell for cell in cells if cell not in known]
    # Errors are raised where one target was asked for, and kept where the others go on.
    errors: dict[RunCell, str] | None = {} if len(work) > 1 else None
    records = []
    if missing:
        # A copy, because the batch of measurements is another thing.
        compute = compute_of(argparse.Namespace(**{**vars(options), "batch_size": options.per_device}))
        where = {"jobs": options.jobs, "ray_address": options.ray_address}
        records = run_cells(missing, compute, options.out, fresh=options.fresh, errors=errors, **where)
    by_identity = {record.identity: record for record in (*known.values(), *records)}
    return _Trained(asked.asked | set(cells), asked.records | by_identity, asked.errors | (errors or {}))


def _weights(pairs: Sequence[str]) -> dict[str, str]:
    weights = {}
    for pair in pairs:
        model, sign, place = pair.partition("=")
        if not sign:
            raise UsageError(f"'{pair}' is not MODEL=FILE, such as dynamicvis_b=epoch_200.pth")
        weights[model] = place
    return weights


def _measure(names: Sequence[str], options: argparse.Namespace, work: Mapping[str, Work]) -> None:
    """Run what is missing of the measurements that tables and figures ask for; what several ask for runs once."""
    from dvbench.paper.cost_rows import RESOLUTIONS
    from dvbench.profile.wanted_cells import LAPTOP_RESOLUTIONS
    from dvbench.tables.targets import target

    if not names:
        return
    template = template_cell(options)
    sides = tuple(options.res or (LAPTOP_RESOLUTIONS if template.device == "cpu" else RESOLUTIONS))
    asked: set[Cell] = set()
    # The search for the largest batch comes with a table's cells, so tables that want it are measured first.
    for name in sorted(names, key=lambda name: not target(name).max_batch):
        plan = plan_of(options, resume=not options.fresh, max_batch=target(name).max_batch)
        wanted = [cell for cell in target(name).cells(template, sides) if cell not in asked]
        asked.update(wanted)
        work[name].cells = wanted
        started = now()
        with work[name].timed():
            work[name].measured = measure(wanted, plan, options.out) if wanted else []
        if not options.dry_run:
            work[name].check_measured(started)


def report(options: argparse.Namespace) -> int:
    """Draw tables and figures again from records, running nothing, or trace one number."""
    if options.target[0] == TRACE:
        return _trace(options)
    whole = "all" in options.target
    names = targets(options.target)
    return draw_all(
        names, options.out, whole=whole, again=True, folder=options.records, variant=options.variant or ""
    ).code


def _trace(options: argparse.Namespace) -> int:
    """Print the evidence of one number."""
    from dvbench.tables.trace import trace
    from reports.ledger import Ledger
    from reports.table import Table

    if len(options.target) != 4:
        raise UsageError(f'give table, row and column: dvbench report {TRACE} table2 "ResNet-18" uc_merced_f1')
    _, name, row, column = options.target
    records = Ledger(options.records or options.out / "records").records()
    facts = trace(name, row, column, records, options.out)
    print_tables(Table(f"{name}, {row}, {column}", ["", "Evidence"], [list(fact) for fact in facts[1:]]))
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
        help="such as table3 or figure21, audit, or all, which also writes the report page",
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
    training.add_argument(
        "--rates",
        default="paper",
        choices=["paper", "equal"],
        help="of rivals at full scale: their authors' learning rate, where AdamW can have it, or that of DynamicVis",
    )
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
        "draw tables and figures again from records, running nothing; all of them also as one page, index.html",
        "  dvbench report all                  reports/out/index.html, to be opened in any browser, online or not\n"
        "  dvbench report table14 --out reports/out\n"
        "  dvbench report table14 figure20 --records reports/records/nvidia-h200    another machine's, if committed\n"
        "  dvbench report audit                what in the paper's own tables does not fit together\n"
        '  dvbench report trace table2 "ResNet-18" uc_merced_f1    one number: its rule, records, data and weights\n',
    )
    sub.add_argument(
        "target",
        nargs="*",
        default=["all"],
        metavar="TARGET",
        help="as for reproduce (default: all); or trace TABLE ROW COLUMN",
    )
    sub.add_argument(
        "--variant", choices=["released", "paper", "clean"], help="show only runs by this variant of their protocol"
    )
    sub.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        help="records to draw from, such as another machine's (default: OUT/records)",
    )
    out_option(sub)
