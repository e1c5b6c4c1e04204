"""`dvbench profile`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import WEIGHTS_FROM, Subparsers, UsageError, add_verb, print_tables, tell, wrote
from dvbench.verbs.measure import condition_options, exit_code, measure, plan_of, template_cell

if TYPE_CHECKING:
    from dvbench.profile.cell import Cell
    from reports.record import Record

MODELS = ("resnet101", "vit_b16", "dynamicvis_b_dense", "dynamicvis_b")


def profile(options: argparse.Namespace) -> int:
    """Measure models over resolutions."""
    from dataclasses import replace

    from dvbench.profile.summary import counts, summary

    if options.roofline and options.dry_run:
        raise UsageError("--roofline times what it counts: leave out --dry-run")
    template, plan = template_cell(options), plan_of(options)
    if options.weights:
        template = _weighted(template, options)
    attentions = options.attention or ["sdpa", "eager"]
    cells = [
        replace(template, model=model, resolution=side, attention=attention).settled()
        for side in options.res or [512]
        for model in options.model or MODELS
        for attention in attentions
    ]
    records = measure(list(dict.fromkeys(cells)), plan, options.out)
    table = counts(records) if plan.dry_run else summary(records)
    if not plan.dry_run:
        wrote(*table.write(options.out, "profile"))
    print_tables(table)
    if plan.roofline:
        _roofline(records, options.out)
    return exit_code(records)


def _roofline(records: "list[Record]", out: Path) -> None:
    """Draw the roofline as a table and a plot."""
    from dvbench.profile.roofline import CAPTION, points, roofline_table, roofs
    from reports.plot import save
    from reports.roofline import roofline_plot

    table = roofline_table(records)
    print_tables(table)
    figure = roofline_plot(points(records), roofs(records), title="Roofline", caption=CAPTION)
    wrote(*table.write(out, "roofline"), *save(figure, out, "roofline"))


def _weighted(template: "Cell", options: argparse.Namespace) -> "Cell":
    """Return the cell with weights, once they have proved to fit."""
    from dataclasses import replace

    from models.weights import load_weights
    from models.zoo import build_classifier

    if not options.model or len(options.model) > 1:
        raise UsageError("weights belong to one model: name it with --model")
    report = load_weights(build_classifier(options.model[0]), options.weights)
    tell(report.line)
    return replace(template, weights=options.weights, weights_hash=report.sha256[:12])


def add_to(verbs: Subparsers) -> None:
    """Add `profile` to the command line."""
    sub = add_verb(
        verbs,
        "profile",
        profile,
        "measure latency, memory and cost of models over resolutions",
        "  dvbench profile                                   the default models at 512 px\n"
        "  dvbench profile --res 2048                        on the real 2048 x 2048 scene\n"
        "  dvbench profile --model dynamicvis_b swin_t --res 128 256 512 --repeat 10\n"
        "  dvbench profile --res 16384 --dry-run             exact counts, in seconds\n"
        "  dvbench profile --model dynamicvis_b --roofline   what it reaches of the device, by kind of op\n"
        "  dvbench profile --image scene.tif --bands 4,3,2   your own image\n",
    )
    sub.add_argument("--model", nargs="+", metavar="M", help=f"models (default: {' '.join(MODELS)}); see dvbench list")
    sub.add_argument(
        "--res", nargs="+", type=int, metavar="R", help="image sides in px, divisible by 32 (default: 512)"
    )
    sub.add_argument("--attention", nargs="+", choices=["sdpa", "eager"], help="how attention runs (default: both)")
    sub.add_argument("--weights", metavar="FILE", help=f"weights of the one model: {WEIGHTS_FROM}")
    sub.add_argument("--max-batch", action="store_true", help="also find the largest batch (predicted on a CPU)")
    sub.add_argument(
        "--roofline", action="store_true", help="also the share of the device's measured speed and bandwidth reached"
    )
    sub.add_argument("--resume", action="store_true", help="take over what an earlier run has measured here")
    condition_options(sub)
