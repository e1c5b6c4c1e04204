"""Two groups of runs, scored on the same images: how far apart they are, and whether that is more than chance.

See "Comparing two runs" in docs/measuring.md.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test
from statsmodels.stats.multitest import multipletests

from reports.chance import LEVEL, Part, reach, tail

ERROR = 1 - LEVEL
"""Share of verdicts that may be wrong."""
POWER = 0.8
"""Chance with which the smallest difference that could be seen is seen."""
PERMUTATIONS = 9999  # more sign flips than that are drawn instead of counted
SAME = 1e-9  # points, rounding of a computer
BATCH = 100  # resamples drawn at a time, which bounds the memory

Floats = NDArray[np.float64]
Score = Callable[[NDArray[np.int64]], Floats]
"""From positions of images, (resamples, n), repeats allowed, to scores in percent, (resamples,), NaN for none."""


class PairedError(ValueError):
    """Runs that cannot be compared; the message is one line."""


class Verdict(StrEnum):
    """What setting A beside B says; more is better."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B, in points, both scored on the same images.

    Attributes:
        mean: Over the seeds that both have.
        low: Lower end of its 95 % interval over seeds and images, from which the verdict follows.
        high: Its upper end.
        image_interval: 95 % BCa bootstrap interval over images alone: these runs on other images.
        seeds: Numbers of those seeds, ascending.
        by_seed: The difference of each.
        images: Number of images.
        margin: A true difference below it does not matter, in points.
        p: Two-sided p-value of no difference.
        p_beyond: p-value of a difference of the margin or more, by two one-sided tests (TOST).
        adjusted_p: ``p``, adjusted where several comparisons are read together.
        adjusted_p_beyond: ``p_beyond``, likewise.
        p_sign_flip: Two-sided p-value of no difference from flipping the signs of ``by_seed``, images left aside.
        adjusted_p_sign_flip: ``p_sign_flip``, adjusted likewise.
        least_p: The least ``p_sign_flip`` that so many seeds can give.
        detectable: The smallest true difference that would have been seen with a chance of ``POWER``.
    """

    mean: float
    low: float
    high: float
    image_interval: tuple[float, float]
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    images: int
    margin: float
    p: float
    p_beyond: float
    adjusted_p: float
    adjusted_p_beyond: float
    p_sign_flip: float
    adjusted_p_sign_flip: float
    least_p: float
    detectable: float

    @property
    def verdict(self) -> Verdict:
        """What follows: a difference within the margin is equivalent, also where it is more than chance."""
        if self.adjusted_p_beyond < ERROR:
            return Verdict.EQUIVALENT
        if self.adjusted_p < ERROR:
            return Verdict.BETTER if self.mean > 0 else Verdict.WORSE
        return Verdict.CANNOT_TELL

    @property
    def scope(self) -> str:
        """Of what the verdict speaks: with one seed nothing is known of another training of the same model."""
        if len(self.seeds) == 1:
            return "these two runs, not the models: one seed each"
        return f"the models, over {len(self.seeds)} seeds"


def difference(
    a: Mapping[int, Score],
    b: Mapping[int, Score],
    images: int,
    *,
    margin: float,
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare two groups of runs. Each scores ``resamples`` + ``images`` + 2 draws of the images.

    Args:
        a: Seed -> score of one group's run.
        b: The same of the other. Seeds that only one has are left out.
        images: Number of images that all were scored on, in the same order.
        margin: A true difference below it does not matter, in points; above zero.
        resamples: Of the images.
        seed: Of the resampling.

    Raises:
        PairedError: No seed in common, fewer than two images, no margin, a run without a score, or images
            too few for an interval.
    """
    seeds = tuple(sorted(a.keys() & b.keys()))
    _check(a, b, seeds, images, margin)

    def statistic(draws: NDArray[np.int64], axis: int = -1) -> Floats:  # noqa: ARG001 (SciPy passes it, always the last)
        """Differences seed by seed, and last their mean, (seeds + 1, ...), of draws (..., n)."""
        flat = draws.reshape(-1, draws.shape[-1])
        apart = np.array([a[one](flat) - b[one](flat) for one in seeds])
        return np.vstack([apart, apart.mean(0)]).reshape(-1, *draws.shape[:-1])

    observed = statistic(np.arange(images))
    if not np.isfinite(observed).all():
        raise PairedError(f"a run has no score on all {images} images (NaN); compare another score")
    generator = np.random.default_rng(seed)
    draws, image_interval = _resampled(statistic, observed, images, resamples, generator)
    by_seed, mean = observed[:-1], float(observed[-1])
    parts = _parts(by_seed, draws, images)
    half = reach(parts)
    p, p_beyond = min(1.0, 2 * tail(abs(mean), parts)), tail(margin - abs(mean), parts)
    p_sign_flip, least_p = _sign_flip(by_seed, generator)
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        image_interval=image_interval,
        seeds=seeds,
        by_seed=tuple(by_seed.tolist()),
        images=images,
        margin=margin,
        p=p,
        p_beyond=p_beyond,
        adjusted_p=p,
        adjusted_p_beyond=p_beyond,
        p_sign_flip=p_sign_flip,
        adjusted_p_sign_flip=p_sign_flip,
        least_p=least_p,
        detectable=half + reach(parts, POWER),
    )


def adjust(differences: Sequence[Difference]) -> list[Difference]:
    """Adjust the p-values of comparisons that are read together, by Holm's method; verdicts follow the adjusted ones.

    At most 5 % of such groups hold a false better or worse, and at most 5 % a false equivalent. Intervals stay as they
    are.
    """
    if not differences:
        return []

    def holm(name: str) -> list[float]:
        found: list[float] = multipletests([getattr(one, name) for one in differences], method="holm")[1].tolist()
        return found

    adjusted = zip(differences, holm("p"), holm("p_beyond"), holm("p_sign_flip"), strict=True)
    return [
        replace(one, adjusted_p=p, adjusted_p_beyond=beyond, adjusted_p_sign_flip=flip)
        for one, p, beyond, flip in adjusted
    ]


def _check(a: Mapping[int, Score], b: Mapping[int, Score], seeds: Sequence[int], images: int, margin: float) -> None:
    if not seeds:
        raise PairedError(
            f"A has seeds {sorted(a)}, B has {sorted(b)}: none in common; run one with a seed of the other"
        )
    if images < 2:
        raise PairedError(f"{images} image: no interval over images can be taken; score the runs on two or more")
    if not margin > 0:
        raise PairedError(f"margin {margin:g}; pass the smallest difference that would matter, above zero")


def _resampled(
    statistic: Callable[..., Floats],
    observed: Floats,
    images: int,
    resamples: int,
    generator: np.random.Generator,
) -> tuple[Floats, tuple[float, float]]:
    """Return the statistic of resampled images, (seeds + 1, draws), and the BCa interval of its last row, the mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate draws, which are handled here
        found = bootstrap(
            (np.arange(images),),
            statistic,
            vectorized=True,
            n_resamples=resamples,
            batch=BATCH,
            confidence_level=LEVEL,
            method="BCa",
            rng=generator,
        )
    draws = found.bootstrap_distribution
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    if 2 * draws.shape[1] < max(resamples, 4):
        raise PairedError(f"most resamplings of the {images} images have no score; compare another, or on more images")
    if np.ptp(draws[-1]) < SAME and observed.any():  # else the runs are the same on every image
        told = f"every resampling of the {images} images gives the same difference, {observed[-1]:.2f} points"
        raise PairedError(f"{told}; compare on more images")
    low, high = found.confidence_interval.low[-1], found.confidence_interval.high[-1]
    if not math.isfinite(low + high):  # BCa has none where all draws are one, lie on one side, or one has no score
        low, high = np.quantile(draws[-1], [ERROR / 2, 1 - ERROR / 2])
    return draws, (float(low), float(high))


def _parts(by_seed: Floats, draws: Floats, images: int) -> list[Part]:
    """Return the variances of the mean difference that seeds and images give.

    The spread over seeds holds what is peculiar to each run on these images. So of the images only what all seeds share
    is added: the covariance of two seeds' differences under resampling. One seed, or seeds that agree exactly as coarse
    scores may, show no spread: then all that the images give counts.
    """
    unbiased = images / (images - 1)  # a bootstrap variance is that much too small
    seeds = len(by_seed)
    if np.ptp(by_seed) < SAME:
        return [(float(draws[-1].var(ddof=1)) * unbiased, images - 1)]
    covariance = np.cov(draws[:-1])
    shared = (covariance.sum() - covariance.trace()) / (seeds * (seeds - 1)) * unbiased
    return [(float(by_seed.var(ddof=1)) / seeds, seeds - 1), (max(0.0, float(shared)), images - 1)]


def _sign_flip(by_seed: Floats, generator: np.random.Generator) -> tuple[float, float]:
    """Return the p-value of the permutation test over seeds, and the least that it could give."""
    if len(by_seed) == 1:
        return 1.0, 1.0
    found = permutation_test(
        (by_seed,),
        lambda flipped, axis: flipped.mean(axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=generator,
    )
    return float(found.pvalue), 2 / min(2 ** len(by_seed), PERMUTATIONS + 1)
