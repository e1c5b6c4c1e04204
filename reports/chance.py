"""How far chance moves a mean that has several sources of it, such as seeds and test images."""

import math
from collections.abc import Sequence

from scipy.optimize import brentq
from scipy.special import stdtrit

LEVEL = 0.95
"""Share of intervals that are to hold what they estimate."""
UPPER = (1 + LEVEL) / 2
LEAST_P = 1e-9
"""Smaller p-values are not told apart."""

Part = tuple[float, float]
"""The variance that one source gives the mean, and the degrees of freedom with which that is known."""


def reach(parts: Sequence[Part], quantile: float = UPPER) -> float:
    """Return how far above its true value the mean may lie by chance.

    It is the standard error times the mean of the parts' t quantiles, weighted by their variances (Cochran, 1964), and
    never less than one part reaches alone, so that a further source of chance makes nothing more certain. Degrees of
    freedom by Welch and Satterthwaite would be too many just where a few seeds agree by chance, and the interval then
    too narrow.

    Args:
        parts: Independent sources of chance.
        quantile: One-sided, from 0.5; the default gives half of a 95 % interval.
    """
    known = [(variance, stdtrit(freedom, quantile)) for variance, freedom in parts if variance]
    if not known:
        return 0.0
    weighted = sum(variance * t for variance, t in known) / math.sqrt(sum(variance for variance, _ in known))
    return float(max(weighted, *(math.sqrt(variance) * t for variance, t in known)))


def tail(distance: float, parts: Sequence[Part]) -> float:
    """Return the chance that the mean lies further above its true value than ``distance``, which may be negative."""
    if distance < 0:
        return 1 - tail(-distance, parts)
    if not any(variance for variance, _ in parts):
        return 0.0 if distance else 0.5
    if reach(parts, 1 - LEAST_P) <= distance:
        return LEAST_P
    return float(brentq(lambda p: reach(parts, 1 - p) - distance, LEAST_P, 0.5))
