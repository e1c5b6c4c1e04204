"""`dvbench compare`: which of two models is better, and what could have been seen."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import GOOD, Subparsers, UsageError, add_verb, out_option, print_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dvbench.verdicts.pairs import Group
    from reports.paired import Difference
    from reports.table import Table


def compare(options: argparse.Namespace) -> int:
    """Compare one group of runs with others, image by image."""
    from dvbench.verdicts import pairs
    from reports.ledger import Ledger

    if len(options.runs) < 2:
        raise UsageError("give two or more: dvbench compare resnet18 dynamicvis_t")
    folder = options.records or options.out / "records"
    groups = pairs.named(options.runs, Ledger(folder).records(), options.protocol or "")
    metric = options.metric or pairs.metric_of(groups[0])
    found = pairs.compare(groups, folder, metric, options.margin)
    print_tables(table(groups, found, metric))
    return GOOD


def table(groups: "Sequence[Group]", found: "Sequence[Difference]", metric: str) -> "Table":
    """Return the first group beside each other one."""
    from reports.table import Table

    first, one = groups[0], found[0]
    body = []
    for other, apart in zip(groups[1:], found, strict=True):
        low, high = apart.image_interval
        p_sign = f"{apart.adjusted_p_sign_flip:.3g} (least {apart.least_p:.3g})" if len(apart.seeds) > 1 else ""
        body.append(
            [
                other.label,
                f"{apart.mean:+.2f}",
                f"{apart.low:+.2f} to {apart.high:+.2f}",
                f"{low:+.2f} to {high:+.2f}",
                f"{apart.adjusted_p:.2g}",
                p_sign,
                apart.verdict,
                f"{apart.detectable:.2f}",
                apart.scope,
            ]
        )
    columns = [
        f"{first.label}, minus",
        f"{metric}, difference",
        "95 % over seeds and images",
        "95 % over images (BCa)",
        "p",
        "p of sign flips",
        "verdict",
        "could have been seen",
        "speaks of",
    ]
    chosen = first.runs[0].cell
    where = f"{chosen['task']} on {chosen['dataset']} ({chosen['scale']}), {one.images} test images"
    notes = [
        f"Better, worse: p below 0.05. Equivalent: closer than {one.margin:g} points (--margin). Cannot tell: neither.",
        "Could have been seen: the smallest true difference, in points, that is seen with a chance of 80 %.",
    ]
    if len(found) > 1:
        notes.append("Both p are adjusted for the number of comparisons by Holm's method; intervals are not.")
    if chosen["scale"] == "smoke":
        notes.append("Reduced scale: says nothing of the paper's models.")
    return Table(f"{first.label}: {where}", columns, body, notes)


def margin(text: str) -> float:
    """Read a margin in points."""
    try:
        points = float(text)
    except ValueError:
        points = 0.0
    if not 0 < points <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of points above 0, at most 100")
    return points


def add_to(verbs: Subparsers) -> None:
    """Add `compare` to the command line."""
    sub = add_verb(
        verbs,
        "compare",
        compare,
        "set runs side by side, image by image: which is better, and what could have been seen",
        "  dvbench compare dynamicvis_t resnet18                   all seeds that both have, on what both were run\n"
        "  dvbench compare 2ae2a5f2c14c 65a8ea78ab6b               two runs, by the identity of their records\n"
        "  dvbench compare resnet18 deit_t16 dynamicvis_t --protocol neon_trees --metric ap50\n"
        "  dvbench compare resnet18 deit_t16 --margin 0.5          equivalent within half a point\n",
    )
    sub.add_argument(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="two or more, of which the first is compared with the others: a model, an identity, or a run's folder",
    )
    sub.add_argument("--protocol", metavar="P", help="by which they were trained, where several have all of them")
    sub.add_argument(
        "--metric", metavar="M", help="score to compare (default: by which the protocol picks checkpoints)"
    )
    sub.add_argument("--margin", type=margin, default=1.0, metavar="POINTS", help="a difference that would matter (1)")
    sub.add_argument("--records", type=Path, metavar="DIR", help="of the records (default: OUT/records)")
    out_option(sub)
