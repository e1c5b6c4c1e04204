"""What the tables of costs share: the rows to compare with, the words of notes, and how numbers are written."""

from collections.abc import Mapping

from dvbench.paper.cost_rows import Row
from reports.compare import Verdict
from reports.record import Record, Status

REFERENCES: tuple[Row, ...] = (("ViT-B", ""), ("ResNet101", ""))
NOT_PRINTED = "not in the paper"
OWN_ROWS = (
    "* not in the paper's table: ViT-B as a user runs it today, and the other Mamba backbones, of which the paper "
    "gives accuracy only (table 2)."
)
RATIOS = ["of ViT-B, paper | ours", "of ResNet101, paper | ours"]

Printed = Mapping[tuple[Row, int], Mapping[str, str]]


def quotient(theirs: Printed, row: Row, other: Row, side: int, other_side: int, column: str) -> float | None:
    """Divide what the paper prints for one row and size by that for another; None where one is missing."""
    above = theirs.get((row, side), {}).get(column, "")
    below = theirs.get((other, other_side), {}).get(column, "")
    return float(above) / float(below) if above and below else None


def verdict(record: Record | None) -> str:
    """Absolute speed of other hardware is never comparable; without a measurement the row was not run."""
    return Verdict.NOT_COMPARABLE if record and record.status == Status.OK else Verdict.NOT_RUN


def pair(theirs: float | None, ours: str) -> str:
    """Write the paper's ratio and ours in one cell; empty where there is neither."""
    return f"{digits(theirs) or '·'} | {ours or '·'}" if theirs is not None or ours else ""


def text(ratio: tuple[float, bool] | None) -> str:
    """Write a ratio of `Found.ratio`, with ~ where its samples were not taken in pairs."""
    return "" if ratio is None else f"{'' if ratio[1] else '~'}{digits(ratio[0])}"


def percent(relative: float | None) -> str:
    """Write a relative difference with its sign."""
    return "" if relative is None else f"{100 * relative:+.1f} %"


def digits(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
