"""A number of the paper beside ours: how far apart they are, and whether they may be compared at all.

A count is exact and is held against a tolerance. A score is an interval, and a verdict on it says what holds for the
whole interval: with too few seeds or test images there is none. See "Verdicts" in docs/measuring.md.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from reports.estimate import MOST_SEEDS, Estimate

FAR = 5
"""Tolerances from the paper's number beyond which one seed is enough for a difference.

The error stays below 2.5 % as long as the standard deviation over seeds, which one seed does not show, is at most
(FAR - 1) / 1.96, about two, tolerances.
"""
FEWEST_SEEDS = 3
"""Seeds that are asked for where there is only one."""


class CompareError(ValueError):
    """A printed number that cannot be read; the message is one line."""


class Verdict(StrEnum):
    """What setting the two numbers side by side says."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell of one of the paper's tables beside ours.

    Attributes:
        row: The table's row, usually a model.
        column: The table's column, with its unit.
        paper: The paper's number; None when it gives none.
        ours: Our number in the same unit, of a score the mean over seeds; None when there is none.
        difference: ``ours - paper``; None unless there are both.
        relative: ``difference / paper``; None unless there are both and the paper's is not zero.
        verdict: What follows.
        reason: Why the two are not comparable, nothing follows, or ours is missing; else empty.
        source: Where ours comes from: the first 12 digits of records' identities, separated by blanks, or a word.
        estimate: Of a score, with its interval and number of seeds; None for a count.
        rule: By what reproduced, differs or inconclusive was given, in words and numbers; else empty.
    """

    row: str
    column: str
    paper: float | None
    ours: float | None
    difference: float | None
    relative: float | None
    verdict: Verdict
    reason: str
    source: str
    estimate: Estimate | None = None
    rule: str = ""


def compare(
    row: str,
    column: str,
    paper: str | float | None,
    ours: float | Estimate | None,
    *,
    tolerance: float,
    comparable: bool,
    reason: str,
    source: str,
) -> Comparison:
    """Set our number beside the paper's.

    Args:
        row: The table's row.
        column: The table's column.
        paper: The paper's number. As printed text it also matches a count that rounds to it; empty text or None means
            that the paper gives none.
        ours: Our number in the same unit, or None when there is none: a score as an estimate, judged by its
            interval; anything exact, such as a count, as it is.
        tolerance: Largest relative difference that counts as reproduced; 0 asks a count for equality, up to print
            rounding.
        comparable: Whether both were taken under the same conditions. The difference is given either way.
        reason: Why they are not comparable, or why ours is missing; used with these two verdicts only.
        source: Where ours comes from.

    Raises:
        CompareError: ``paper`` is text but not a number.
    """
    number = _number(paper)
    score = ours if isinstance(ours, Estimate) else None
    value = ours.mean if isinstance(ours, Estimate) else ours
    if value is not None and not math.isfinite(value):
        score, value, reason = None, None, "a score is missing or not a number"
    if value is None:
        return Comparison(row, column, number, None, None, None, Verdict.NOT_RUN, reason or "no record", source)
    if number is None:
        why = reason or "the paper gives no number"
        return Comparison(row, column, None, value, None, None, Verdict.NOT_COMPARABLE, why, source, score)
    difference = value - number
    relative = difference / number if number else None
    if not comparable:
        verdict, why, rule = Verdict.NOT_COMPARABLE, reason, ""
    elif score:
        band = tolerance * abs(number)
        verdict, rule = _judged(score, number, band)
        rule += f" (tolerance {100 * tolerance:g} %)"
        why = _wanting(score, number, band) if verdict == Verdict.INCONCLUSIVE else ""
    else:
        same = abs(difference) <= tolerance * abs(number) or (isinstance(paper, str) and matches_print(paper, value))
        verdict, why = Verdict.REPRODUCED if same else Verdict.DIFFERS, ""
        rule = f"exact: within the tolerance of {100 * tolerance:g} %, or equal once rounded as printed"
    return Comparison(row, column, number, value, difference, relative, verdict, why, source, score, rule)


def matches_print(printed: str, ours: float) -> bool:
    """Whether ``ours`` rounds to ``printed``: 30.0749 matches "30.07", but not "30.070". A tie matches either way.

    Raises:
        CompareError: ``printed`` is not a number.
    """
    number = _decimal(printed)
    half_digit = Decimal(1).scaleb(int(number.as_tuple().exponent)) / 2
    return abs(Decimal(str(float(ours))) - number) <= half_digit


def _judged(score: Estimate, paper: float, band: float) -> tuple[Verdict, str]:
    """Return the verdict on a score, where ``paper`` ± ``band`` counts as reproduced, and the rule that gave it."""
    if score.low is None or score.high is None:
        return Verdict.INCONCLUSIVE, "without an interval over the test images nothing follows"
    if score.seeds == 1:
        if band and _outside(score.low, score.high, paper, FAR * band):
            return Verdict.DIFFERS, f"one seed: its interval over the test images lies outside {FAR} tolerances"
        return Verdict.INCONCLUSIVE, f"one seed: nothing follows from an interval that reaches within {FAR} tolerances"
    if paper - band <= score.low and score.high <= paper + band:
        return Verdict.REPRODUCED, "the whole interval over seeds and test images lies within the tolerance"
    if _outside(score.low, score.high, paper, band):
        return Verdict.DIFFERS, "the whole interval over seeds and test images lies outside the tolerance"
    return Verdict.INCONCLUSIVE, "the interval over seeds and test images crosses the edge of the tolerance"


def _outside(low: float, high: float, paper: float, band: float) -> bool:
    return low > paper + band or high < paper - band


def _wanting(score: Estimate, paper: float, band: float) -> str:
    """Say what a score lacks for a verdict, if mean and spread over seeds stay as they are."""
    if score.low is None:
        return "no interval over the test images: an old record, one image, or all scored alike; score the runs again"
    told = f"95 % interval {score.low:.2f} to {score.high:.2f} against {paper - band:.2f} to {paper + band:.2f}"
    gap = abs(abs(score.mean - paper) - band)
    if score.image_reach >= gap:
        images = f"the test images alone leave ±{score.image_reach:.2f}"
        return f"{told}: with this mean no number of seeds is enough, {images}"
    if score.seeds == 1:
        return f"{told}: one seed shows no spread over seeds; run {FEWEST_SEEDS} or more"
    enough = score.seeds_for(gap)
    return f"{told}: {f'about {enough}' if enough else f'more than {MOST_SEEDS}'} seeds would be enough"


def _number(paper: str | float | None) -> float | None:
    if isinstance(paper, str):
        return float(_decimal(paper)) if paper else None
    return paper


def _decimal(printed: str) -> Decimal:
    try:
        number = Decimal(printed)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise CompareError(f"the paper's {printed!r} is not a number; pass it as printed, without unit or mark")
    return number
