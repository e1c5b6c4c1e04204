"""A score as an interval: how far other seeds and other test images might have moved its mean."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.chance import reach

HALF = reach([(1.0, math.inf)])
"""Half of a 95 % interval over images, in standard errors."""
MOST_SEEDS = 1000
"""Nobody trains more; the search for enough seeds ends here."""


class EstimateError(ValueError):
    """Scores and intervals that do not belong together; the message is one line."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of a score over seeds, in percent, and its 95 % interval over seeds and test images.

    Attributes:
        mean: Over seeds; NaN where a seed has no score.
        low: Lower end of the interval, cut at 0; None where the error from the test images is unknown.
        high: Its upper end, cut at 100.
        seeds: Number of seeds.
        seed_error: Standard error of the mean from the spread over seeds; None with one seed, which has no spread.
        image_error: Standard error from the choice of test images; None where it is unknown. All seeds share the
            images, so it does not shrink with more seeds.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    seed_error: float | None
    image_error: float | None

    def __str__(self) -> str:
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        if self.low is None or self.high is None:
            return f"{self.mean:.2f} (no interval, {seeds})"
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f}, {seeds})"

    @property
    def image_reach(self) -> float:
        """Half of the interval that would be left with any number of seeds; 0 where that is unknown."""
        return HALF * (self.image_error or 0)

    def reach_with(self, seeds: int) -> float:
        """Return half of the interval that so many seeds, two or more, would have if their spread stays."""
        error = (self.seed_error or 0) * math.sqrt(self.seeds / seeds)
        return _reach(error, seeds, self.image_error or 0)

    def seeds_for(self, half: float) -> int | None:
        """Return the fewest seeds whose interval would reach no further than ``half`` from the mean.

        None where even ``MOST_SEEDS`` are too few.
        """
        found = bisect_left(range(2, MOST_SEEDS + 1), True, key=lambda seeds: self.reach_with(seeds) <= half) + 2
        return found if found <= MOST_SEEDS else None


def estimate(values: Sequence[float | None], intervals: Sequence[tuple[float, float] | None]) -> Estimate | None:
    """Estimate a score from its runs.

    Args:
        values: The score of each seed, in percent; None or NaN where a seed has none.
        intervals: The 95 % bootstrap interval of each over the same test images; None where it was not kept. One
            without width says nothing (one image, or all scored alike) and counts as not kept.

    Returns:
        The estimate, or None where there is no run.

    Raises:
        EstimateError: There are not as many intervals as values.
    """
    if len(values) != len(intervals):
        raise EstimateError(f"{len(values)} scores and {len(intervals)} intervals; pass one or None for each score")
    if not values:
        return None
    scores = np.array(values, dtype=float)  # None becomes NaN
    mean, seeds = float(scores.mean()), len(scores)
    if not math.isfinite(mean):
        return Estimate(math.nan, None, None, seeds, None, None)
    # The longer side: near 100 % the interval is lopsided, and half of it would be too short for what lies below.
    sides = [
        max(value - interval[0], interval[1] - value)
        for value, interval in zip(scores.tolist(), intervals, strict=True)
        if interval and interval[1] > interval[0]
    ]
    image_error = math.sqrt(np.square(sides).mean()) / HALF if sides else None
    seed_error = float(scores.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else None
    if image_error is None:
        return Estimate(mean, None, None, seeds, seed_error, None)
    half = _reach(seed_error or 0, seeds, image_error)
    return Estimate(mean, max(0.0, mean - half), min(100.0, mean + half), seeds, seed_error, image_error)


def _reach(seed_error: float, seeds: int, image_error: float) -> float:
    return reach([(seed_error**2, seeds - 1), (image_error**2, math.inf)])
