"""`dvbench compare`: which of two models is better, and what could have been seen."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import GOOD, Subparsers, UsageError, add_verb, out_option, print_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    first, *others = groups
    columns = [
        "minus",
        f"its {metric}",
        f"{metric} of the first",
        "difference",
        "95 % over seeds and images",
        "95 % over images (BCa)",
        "p",
        "p of sign flips",
        "verdict",
        "could have been seen",
        "speaks of",
    ]
    body = [_row(first, other, apart, metric) for other, apart in zip(others, found, strict=True)]
    chosen = first.runs[0].cell
    where = f"{chosen['task']} on {chosen['dataset']} ({chosen['scale']}), {found[0].images} test images"
    return Table(f"{first.label}: {where}", columns, body, list(_notes(first, others, found)))


def _row(first: "Group", other: "Group", apart: "Difference", metric: str) -> list[str]:
    from dvbench.training.summary import spread

    low, high = apart.image_interval
    return [
        other.label,
        spread(other.compared(apart), metric),
        spread(first.compared(apart), metric),
        f"{apart.mean:+.2f}",
        f"{apart.low:+.2f} to {apart.high:+.2f}",
        f"{low:+.2f} to {high:+.2f}",
        f"{apart.adjusted_p:.2g}",
        f"{apart.adjusted_p_sign_flip:.3g}" if len(apart.seeds) > 1 else "",
        apart.verdict,
        f"{apart.detectable:.2f}",
        apart.scope,
    ]


def _notes(first: "Group", others: "Sequence[Group]", found: "Sequence[Difference]") -> "Iterator[str]":
    """Say how to read the table, and what it cannot tell."""
    from dvbench.training.summary import REDUCED

    yield (
        f"Better, worse: p below 0.05. Equivalent: closer than {found[0].margin:g} points (--margin). Cannot tell: "
        "neither, which is not the same as equal."
    )
    yield "Could have been seen: the smallest true difference, in points, that is seen with a chance of 80 %."
    if len(found) > 1:
        yield "Both p are adjusted for the number of comparisons by Holm's method; intervals are not."
    yield from dict.fromkeys(_on_sign_flips(one) for one in found if len(one.seeds) > 1)
    for other, apart in zip(others, found, strict=True):
        groups = (first, other)
        if left_out := sum(len(group.runs) - len(group.compared(apart)) for group in groups):
            yield f"{other.label}: left out, as the other side has no run of that seed: {left_out}."
        if circumstances := first.circumstances(other):
            yield f"{other.label}: run elsewhere than the first, which may move scores: {', '.join(circumstances)}."
    if first.runs[0].cell["scale"] == "smoke":
        yield REDUCED


def _on_sign_flips(apart: "Difference") -> str:
    """Say what so many seeds can show by themselves."""
    from reports.paired import ERROR

    told = f"Sign flips of {len(apart.seeds)} seeds give no p below {apart.least_p:.2g}"
    if apart.least_p >= ERROR:
        enough = math.ceil(1 - math.log2(ERROR))
        told += f", however far the models are apart: it takes {enough} seeds to come below {ERROR:.2g}"
    return f"{told}. The verdict does not rest on them but on the interval over seeds and images."


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
