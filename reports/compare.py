"""A number of the paper beside ours: how far apart they are, and whether they may be compared at all."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum


class CompareError(ValueError):
    """A printed number that cannot be read; the message is one line."""


class Verdict(StrEnum):
    """What setting the two numbers side by side says."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell of one of the paper's tables beside ours.

    Attributes:
        row: The table's row, usually a model.
        column: The table's column, with its unit.
        paper: The paper's number; None when it gives none.
        ours: Our number in the same unit; None when there is none.
        difference: ``ours - paper``; None unless there are both.
        relative: ``difference / paper``; None unless there are both and the paper's is not zero.
        verdict: What follows.
        reason: Why the two are not comparable, or why ours is missing; else empty.
        source: Where ours comes from: the first 12 digits of records' identities, separated by blanks, or a word.
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


def compare(
    row: str,
    column: str,
    paper: str | float | None,
    ours: float | None,
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
        paper: The paper's number. As printed text it also matches when ours rounds to it; empty text or None means
            that the paper gives none.
        ours: Our number in the same unit, or None when there is none.
        tolerance: Largest relative difference that counts as reproduced; 0 asks for equality, up to print rounding.
        comparable: Whether both were taken under the same conditions. The difference is given either way.
        reason: Why they are not comparable, or why ours is missing; used with these two verdicts only.
        source: Where ours comes from.

    Raises:
        CompareError: ``paper`` is text but not a number.
    """
    number = _number(paper)
    if ours is None:
        return Comparison(row, column, number, None, None, None, Verdict.NOT_RUN, reason or "no record", source)
    if number is None:
        why = reason or "the paper gives no number"
        return Comparison(row, column, None, ours, None, None, Verdict.NOT_COMPARABLE, why, source)
    difference = ours - number
    relative = difference / number if number else None
    if not comparable:
        verdict = Verdict.NOT_COMPARABLE
    elif abs(difference) <= tolerance * abs(number) or (isinstance(paper, str) and matches_print(paper, ours)):
        verdict = Verdict.REPRODUCED
    else:
        verdict = Verdict.DIFFERS
    why = "" if comparable else reason
    return Comparison(row, column, number, ours, difference, relative, verdict, why, source)


def matches_print(printed: str, ours: float) -> bool:
    """Whether ``ours`` rounds to ``printed``: 30.0749 matches "30.07", but not "30.070". A tie matches either way.

    Raises:
        CompareError: ``printed`` is not a number.
    """
    number = _decimal(printed)
    half_digit = Decimal(1).scaleb(int(number.as_tuple().exponent)) / 2
    return abs(Decimal(str(float(ours))) - number) <= half_digit


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
