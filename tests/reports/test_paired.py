import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap
from scipy.stats import t as student

from reports.paired import Difference, PairedError, Score, Verdict, adjust, difference
from tests import simulate_verdicts as simulated

RIGHT = np.random.default_rng(0).random((2, 6, 400)) < np.array([0.9, 0.6])[:, None, None]
"""Whether each of two models, at each of six seeds, is right on each of 400 images."""


def accuracy(right: NDArray[np.bool_]) -> Score:
    return lambda draws: 100 * right[draws].mean(-1)


def runs(model: int, *seeds: int) -> dict[int, Score]:
    return {seed: accuracy(RIGHT[model, seed]) for seed in seeds}


def flat(*values: float) -> dict[int, Score]:
    """Runs whose score moves with the images by a hundredth of a point, which all have in common, seed by seed."""
    return {seed: lambda draws, value=value: value + 0.01 * draws.mean(-1) for seed, value in enumerate(values)}


def level(*values: float) -> dict[int, Score]:
    return {seed: lambda draws, value=value: np.full(len(draws), value) for seed, value in enumerate(values)}


def made(p: float = 0.01, p_beyond: float = 0.9) -> Difference:
    found = difference(runs(0, 1, 2, 3), runs(1, 1, 2, 3), 400, margin=1.0, resamples=50)
    return replace(found, p=p, p_beyond=p_beyond, adjusted_p=p, adjusted_p_beyond=p_beyond)


# What is found


def test_a_planted_difference_is_found_and_has_a_direction() -> None:
    found = difference(runs(0, 1, 2, 3), runs(1, 1, 2, 3), 400, margin=1.0, resamples=200)
    assert found.verdict is Verdict.BETTER
    assert found.low < 30 < found.high
    back = difference(runs(1, 1, 2, 3), runs(0, 1, 2, 3), 400, margin=1.0, resamples=200)
    assert back.verdict is Verdict.WORSE
    assert (back.mean, back.low, back.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert back.p == pytest.approx(found.p)


def test_two_groups_of_one_model_cannot_be_told_apart() -> None:
    again = {seed: accuracy(RIGHT[0, 3 + seed]) for seed in range(3)}
    found = difference(runs(0, 0, 1, 2), again, 400, margin=0.1, resamples=200)
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.low < 0 < found.high


def test_the_same_runs_are_equivalent_whatever_the_margin() -> None:
    found = difference(runs(0, 0, 1, 2), runs(0, 0, 1, 2), 400, margin=1e-6, resamples=200)
    assert found.verdict is Verdict.EQUIVALENT
    assert (found.mean, found.low, found.high, found.image_interval) == (0, 0, 0, (0, 0))
    assert (found.p, found.p_sign_flip) == (1, 1)


def test_seeds_are_paired_by_number_and_those_that_one_side_has_are_left_out() -> None:
    a, b = {0: level(70)[0], 1: level(80)[0], 7: level(0)[0]}, {8: level(0)[0], 1: flat(0, 79)[1], 0: flat(68)[0]}
    found = difference(a, b, 11, margin=1.0)  # the images add 0.05 to B
    assert found.seeds == (0, 1)
    assert found.by_seed == pytest.approx((1.95, 0.95))
    assert found.mean == pytest.approx(1.45)


# Its intervals


def test_where_images_hardly_matter_the_interval_is_that_of_a_t_test_over_seeds() -> None:
    apart = [1.0, 2.0, 4.0]
    found = difference(flat(*apart), level(0, 0, 0), 50, margin=0.5)
    half = student.ppf(0.975, 2) * np.std(apart, ddof=1) / math.sqrt(3)
    assert found.high - found.mean == pytest.approx(half, rel=1e-2)
    assert found.mean - found.low == pytest.approx(half, rel=1e-2)


def test_the_interval_over_images_is_bca_of_the_paired_differences() -> None:
    apart = 100 * (RIGHT[0, 0].astype(float) - RIGHT[1, 0])
    oracle = bootstrap((apart,), np.mean, n_resamples=5000, method="BCa", rng=1).confidence_interval
    found = difference(runs(0, 0), runs(1, 0), 400, margin=1.0, resamples=5000)
    assert found.image_interval == pytest.approx((oracle.low, oracle.high), abs=0.3)


def test_images_that_all_seeds_share_do_not_average_out_over_seeds() -> None:
    """The seeds of A agree with each other on every image but for a constant, so that only the images matter."""
    generator = np.random.default_rng(1)
    of_images = 5 * generator.normal(size=10)
    a: dict[int, Score] = {seed: lambda draws, seed=seed: 0.01 * seed + of_images[draws].mean(-1) for seed in range(5)}
    found = difference(a, level(*[0.0] * 5), 10, margin=1.0, resamples=10_000)
    half = student.ppf(0.975, 9) * np.std(of_images, ddof=1) / math.sqrt(10)
    assert found.high - found.mean == pytest.approx(half, rel=0.03)


def test_what_is_peculiar_to_each_run_averages_out_over_seeds() -> None:
    one = difference(runs(0, 0), runs(1, 0), 400, margin=1.0)
    six = difference(runs(0, *range(6)), runs(1, *range(6)), 400, margin=1.0)
    images_alone = math.sqrt(0.9 * 0.1 + 0.6 * 0.4) * 100 / math.sqrt(400)
    assert one.high - one.mean == pytest.approx(1.96 * images_alone, rel=0.15)
    assert six.high - six.mean < 0.75 * (one.high - one.mean)


def test_seeds_that_agree_by_chance_leave_the_images_interval() -> None:
    """Coarse scores of few seeds may agree exactly; then their spread of zero says nothing."""
    right = np.zeros((3, 20), dtype=bool)
    right[0, :2], right[1, 2:4], right[2, 4:6] = True, True, True  # 10 points each, on other images
    found = difference({seed: accuracy(right[seed]) for seed in range(3)}, level(0, 0, 0), 20, margin=1.0)
    assert found.by_seed == (10, 10, 10)
    assert found.high - found.low > 2


# Its tests


@pytest.mark.parametrize(("seeds", "least"), [(1, 1.0), (2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_sign_flips_give_no_less_than_so_many_seeds_allow(seeds: int, least: float) -> None:
    found = difference(flat(*range(50, 50 + seeds)), level(*[0.0] * seeds), 20, margin=1.0, resamples=200)
    assert (found.p_sign_flip, found.least_p) == (least, least)


def test_sign_flips_count_means_that_are_as_far_from_zero() -> None:
    """Of the 8 sums ±1 ±2 ±4 these reach 5 or more: 5 and 7, and as many at or below -5."""
    found = difference(flat(-1, 2, 4), level(0, 0, 0), 20, margin=1.0, resamples=200)
    assert found.p_sign_flip == pytest.approx(4 / 8)


def test_three_seeds_are_judged_by_the_interval_as_sign_flips_cannot() -> None:
    found = difference(flat(3.0, 3.1, 3.2), level(0, 0, 0), 20, margin=1.0, resamples=200)
    assert found.verdict is Verdict.BETTER
    assert found.least_p == 0.25


def test_p_is_that_of_a_t_test_where_images_hardly_matter() -> None:
    found = difference(flat(1, 2, 4), level(0, 0, 0), 50, margin=0.5)
    of_seeds = np.array([1, 2, 4]) + 0.01 * 24.5
    assert found.p == pytest.approx(
        2 * student.sf(of_seeds.mean() / (of_seeds.std(ddof=1) / math.sqrt(3)), 2), rel=0.02
    )


def test_what_could_be_seen_is_the_interval_and_the_80th_percentile_more() -> None:
    found = difference(flat(1, 2, 4), level(0, 0, 0), 50, margin=0.5)
    error = np.std([1, 2, 4], ddof=1) / math.sqrt(3)
    assert found.detectable == pytest.approx((4.303 + 1.061) * error, rel=1e-2)  # table of t, two degrees of freedom


@pytest.mark.parametrize(
    ("margin", "verdict"), [(0.5, Verdict.EQUIVALENT), (0.25, Verdict.BETTER), (0.3, Verdict.BETTER)]
)
def test_equivalent_where_the_90_percent_interval_lies_within_the_margin(margin: float, verdict: Verdict) -> None:
    """Differences of 0.1, 0.2, 0.3 and 0.095 from the images: 0.295 and a reach of 2.920 x 0.0577 = 0.169."""
    found = difference(flat(0.1, 0.2, 0.3), level(0, 0, 0), 20, margin=margin, resamples=200)
    assert found.verdict is verdict


def test_a_difference_that_is_more_than_chance_but_within_the_margin_is_equivalent() -> None:
    found = difference(flat(0.1, 0.11, 0.12), level(0, 0, 0), 20, margin=1.0, resamples=200)
    assert found.low > 0
    assert found.p < 0.05
    assert found.verdict is Verdict.EQUIVALENT


def test_one_seed_speaks_of_two_runs_and_more_of_the_models() -> None:
    assert difference(runs(0, 0), runs(1, 0), 400, margin=1.0, resamples=200).scope.startswith("these two runs, not")
    assert made().scope == "the models, over 3 seeds"


def test_holm_multiplies_the_least_p_by_their_number_and_keeps_the_order() -> None:
    family = [made(p=0.03), made(p=0.01), made(p=0.04)]
    found = adjust(family)
    assert [one.adjusted_p for one in found] == pytest.approx([0.06, 0.03, 0.06])
    assert [one.p for one in found] == [0.03, 0.01, 0.04]
    assert [one.verdict for one in family] == [Verdict.BETTER] * 3
    assert [one.verdict for one in found] == [Verdict.CANNOT_TELL, Verdict.BETTER, Verdict.CANNOT_TELL]


def test_equivalences_are_adjusted_too() -> None:
    family = [made(p=0.9, p_beyond=0.03)] * 2
    assert {one.verdict for one in family} == {Verdict.EQUIVALENT}
    assert {one.verdict for one in adjust(family)} == {Verdict.CANNOT_TELL}


def test_sign_flips_are_adjusted_too() -> None:
    """Three seeds of one sign give 0.25, the least there is; of two such comparisons Holm makes twice that."""
    assert [one.adjusted_p_sign_flip for one in adjust([made()] * 2)] == [0.5, 0.5]


def test_one_comparison_needs_no_adjustment() -> None:
    assert adjust([]) == []
    assert adjust([made()]) == [made()]


# What cannot be compared


@pytest.mark.parametrize(
    ("a", "b", "images", "margin", "told"),
    [
        ({1: level(1)[0]}, {2: level(1)[0]}, 9, 1.0, r"A has seeds \[1\], B has \[2\]: none in common"),
        (level(1), level(2), 1, 1.0, "^1 image: no interval over images can be taken"),
        (flat(1), level(2), 9, 0.0, "^margin 0; pass the smallest difference that would matter"),
        (flat(1), level(2), 9, math.nan, "^margin nan"),
        (level(math.nan), level(2), 9, 1.0, "no score on all 9 images"),
        (level(75), level(50), 9, 1.0, "every resampling of the 9 images gives the same difference, 25.00 points"),
    ],
    ids=["seeds", "one image", "no margin", "NaN margin", "NaN", "constant"],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    a: dict[int, Score], b: dict[int, Score], images: int, margin: float, told: str
) -> None:
    with pytest.raises(PairedError, match=told) as error:
        difference(a, b, images, margin=margin, resamples=50)
    assert "\n" not in str(error.value)


def test_resamplings_without_a_score_are_left_out() -> None:
    """The score needs image 0, as recall needs an object; about a third of the resamplings lack it."""
    a: dict[int, Score] = {0: lambda draws: np.where((draws == 0).any(-1), 10 + draws.mean(-1), math.nan)}
    found = difference(a, level(0), 30, margin=1.0, resamples=500)
    assert found.mean == 24.5
    assert found.image_interval[0] < 24.5 < found.image_interval[1]
    assert math.isfinite(found.p)


def test_a_score_that_most_resamplings_lack_is_refused() -> None:
    a: dict[int, Score] = {0: lambda draws: np.where(np.diff(np.sort(draws)).all(-1), draws.mean(-1), math.nan)}
    with pytest.raises(PairedError, match="most resamplings of the 30 images have no score"):
        difference(a, level(0), 30, margin=1.0, resamples=50)


# How often it is right


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_holds_the_truth_nearly_always(seeds: int) -> None:
    found = simulated.comparisons(seeds, simulated.CHANCES["seeds and images"], 0.7, draws=150)
    assert simulated.covered(found) > 90  # of 150 draws at 95 %, fewer than 90 % hold once in 500 times


def test_models_that_do_not_differ_are_rarely_told_apart() -> None:
    found = simulated.comparisons(3, simulated.CHANCES["runs on single images"], 0.0, draws=150)
    assert simulated.called(Verdict.BETTER, found) + simulated.called(Verdict.WORSE, found) < 10


@pytest.mark.slow
def test_the_interval_holds_the_truth_in_93_to_97_percent_and_is_quoted_so() -> None:
    quoted, fresh = simulated.quoted("coverage"), simulated.coverage()
    assert quoted[0] == fresh[0]
    for told, found in zip(quoted[1:], fresh[1:], strict=True):
        assert all(93 <= float(cell) <= 97 for cell in found[1:])
        assert [float(cell) for cell in told] == pytest.approx([float(cell) for cell in found], abs=1)


@pytest.mark.slow
def test_the_documentation_quotes_the_chance_to_tell_models_apart() -> None:
    quoted, fresh = simulated.quoted("paired_power"), simulated.paired_power()
    assert quoted[0] == fresh[0]
    for told, found in zip(quoted[1:], fresh[1:], strict=True):
        assert [float(cell) for cell in told] == pytest.approx([float(cell) for cell in found], abs=2)
        assert float(found[1]) <= 7  # 5, and what 1000 draws may add


@pytest.mark.slow
def test_the_smallest_difference_that_could_be_seen_is_seen_four_times_in_five() -> None:
    chance = simulated.CHANCES["seeds"]
    detectable = np.mean([one.detectable for one, _ in simulated.comparisons(10, chance, 0.0, draws=200)])
    found = simulated.comparisons(10, chance, float(detectable), draws=500)
    assert simulated.called(Verdict.BETTER, found) == pytest.approx(80, abs=6)
