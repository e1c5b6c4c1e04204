"""Statistics of repeated measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["NOISY", "StatsError", "Summary", "median", "paired_ratio", "summarise"]

NOISY = 0.25
"""Spread (IQR / median) above which a measurement is marked noisy."""


class StatsError(ValueError):
    """Samples that have no summary; the message is one line."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Order statistics of one measurement, in the samples' unit.

    Attributes:
        minimum: The smallest sample.
        p50: The median.
        p90: The 90th percentile.
        p99: The 99th percentile; None below 100 samples, where it would be little more than the maximum.
        spread: Interquartile range over the median, dimensionless.
        n: Number of samples.
    """

    minimum: float
    p50: float
    p90: float
    p99: float | None
    spread: float
    n: int

    @property
    def noisy(self) -> bool:
        """Whether the spread is too wide for the median to be trusted."""
        return self.spread > NOISY


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise samples that are all positive, such as times.

    Raises:
        StatsError: There is no sample, or one is zero, negative or NaN.
    """
    _check(samples)
    ordered = sorted(samples)
    middle = median(ordered)
    return Summary(
        minimum=ordered[0],
        p50=middle,
        p90=_quantile(ordered, 0.90),
        p99=_quantile(ordered, 0.99) if len(ordered) >= 100 else None,
        spread=(_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / middle,
        n=len(ordered),
    )


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """Median over rounds of ``a[i] / b[i]``, for two things measured alternating in one run.

    Pairs cancel what slows both members down, so the result is steadier than a ratio of medians. Rounds that only one
    side has are left out.

    Raises:
        StatsError: There is no full round, or a sample is zero, negative or NaN.
    """
    _check(a)
    _check(b)
    return median(first / second for first, second in zip(a, b, strict=False))


def _check(samples: Sequence[float]) -> None:
    if not samples or not all(sample > 0 for sample in samples):
        raise StatsError(f"{len(samples)} samples, not all positive; pass at least one, each above zero")


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between neighbours, as numpy does; ``statistics.quantiles`` refuses a single sample."""
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
