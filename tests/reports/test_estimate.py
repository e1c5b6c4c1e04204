import math
from statistics import mean, stdev

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import t as student

from reports.estimate import MOST_SEEDS, EstimateError, estimate

T2, Z = 4.302653, 1.959964  # 97.5th percentiles of t with two degrees of freedom, and of the normal distribution
SCORES = st.lists(st.floats(1, 99), min_size=2, max_size=8)


def around(values: list[float], half: float) -> list[tuple[float, float] | None]:
    return [(value - half, value + half) for value in values]


def test_the_interval_holds_the_spread_over_seeds_and_the_test_images() -> None:
    found = estimate([96.0, 97.0, 98.0], around([96.0, 97.0, 98.0], 1.0))
    assert found
    assert found.low is not None
    assert found.high is not None
    assert (found.mean, found.seeds) == (97.0, 3)
    assert found.seed_error == pytest.approx(1 / math.sqrt(3))
    assert found.image_error == pytest.approx(1 / Z)
    of_seeds, of_images = 1 / 3, 1 / Z**2
    half = (of_seeds * T2 + of_images * Z) / math.sqrt(of_seeds + of_images)
    assert found.high - found.mean == pytest.approx(half)
    assert found.mean - found.low == pytest.approx(half)


def test_more_seeds_do_not_make_the_test_images_more() -> None:
    many = [90.0, 91.0] * 200
    found = estimate(many, around(many, 2.0))
    assert found
    assert found.high is not None
    assert found.image_reach == pytest.approx(2.0)
    assert 2.0 < found.high - found.mean < 2.01


def test_one_seed_has_the_images_interval_and_no_spread() -> None:
    found = estimate([97.0], [(96.5, 97.5)])
    assert found
    assert found.seed_error is None
    assert (found.low, found.high) == (pytest.approx(96.5), pytest.approx(97.5))


def test_seeds_that_agree_leave_the_images_interval() -> None:
    found = estimate([97.0] * 3, around([97.0] * 3, 0.5))
    assert found
    assert found.seed_error == 0
    assert (found.low, found.high) == (pytest.approx(96.5), pytest.approx(97.5))


@pytest.mark.parametrize("interval", [None, (97.0, 97.0), (math.nan, math.nan)], ids=["old", "one image", "undefined"])
def test_without_a_usable_interval_over_the_images_there_is_none(interval: tuple[float, float] | None) -> None:
    found = estimate([97.0, 98.0], [interval, interval])
    assert found
    assert (found.mean, found.low, found.high, found.image_error) == (97.5, None, None, None)
    assert found.seed_error == pytest.approx(0.5)


def test_the_seeds_whose_interval_was_kept_speak_for_the_images() -> None:
    found = estimate([97.0, 98.0, 99.0], [None, (97.0, 99.0), (96.0, 102.0)])
    assert found
    assert found.image_error == pytest.approx(math.sqrt((1**2 + 3**2) / 2) / Z)


@pytest.mark.parametrize("interval", [(97.0, 98.5), (97.5, 99.0)])
def test_a_lopsided_interval_counts_by_its_longer_side(interval: tuple[float, float]) -> None:
    found = estimate([98.0], [interval])
    assert found
    assert (found.low, found.high) == (pytest.approx(97.0), pytest.approx(99.0))


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_seed_without_a_score_leaves_no_mean(missing: float | None) -> None:
    found = estimate([97.0, missing], [(96.0, 98.0), None])
    assert found
    assert math.isnan(found.mean)
    assert found.low is found.high is found.image_error is found.seed_error is None


def test_no_run_is_no_estimate() -> None:
    assert estimate([], []) is None


def test_scores_and_intervals_belong_together() -> None:
    with pytest.raises(EstimateError, match=r"^2 scores and 1 intervals; pass one or None for each score$"):
        estimate([1.0, 2.0], [None])


def test_it_is_told_in_one_line() -> None:
    assert str(estimate([97.0], [(96.5, 97.5)])) == "97.00 (96.50 to 97.50, 1 seed)"
    assert str(estimate([96.0, 98.0], [None, None])) == "97.00 (no interval, 2 seeds)"


@example([1.0, 1.5], 1.0, 2.0)
@given(SCORES, st.floats(0.05, 3), st.floats(0.01, 5))
def test_enough_seeds_are_the_fewest_whose_interval_is_narrow_enough(
    values: list[float], image_half: float, beyond: float
) -> None:
    found = estimate(values, around(values, image_half))
    assert found
    wanted = image_half + beyond
    enough = found.seeds_for(wanted)

    def half(seeds: int) -> float:
        """Cochran's, and never less than one source of chance alone."""
        parts = np.array([stdev(values) ** 2 / seeds, (image_half / Z) ** 2])
        quantiles = np.array([student.ppf(0.975, seeds - 1), Z])
        return float(max(parts @ quantiles / math.sqrt(parts.sum()), *(np.sqrt(parts) * quantiles)))

    if enough is None:
        assert half(MOST_SEEDS) > wanted * (1 - 1e-6)
    else:
        assert half(enough) <= wanted * (1 + 1e-6)
        assert enough == 2 or half(enough - 1) > wanted * (1 - 1e-6)


@given(SCORES, st.floats(0.05, 3))
def test_no_number_of_seeds_narrows_the_interval_below_the_images(values: list[float], image_half: float) -> None:
    found = estimate(values, around(values, image_half))
    assert found
    assert found.mean == pytest.approx(mean(values))
    assert found.seeds_for(0.99 * image_half) is None
