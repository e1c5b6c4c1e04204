import pytest

from reports.stats import StatsError, median, paired_ratio, summarise


def test_quantiles_interpolate_between_neighbours() -> None:
    summary = summarise([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (summary.minimum, summary.p50, summary.n) == (1.0, 3.0, 5)
    assert summary.p90 == pytest.approx(4.6)
    assert summary.spread == pytest.approx((4.0 - 2.0) / 3.0)


@pytest.mark.parametrize(("n", "known"), [(99, False), (100, True)])
def test_p99_needs_a_hundred_samples(n: int, known: bool) -> None:
    summary = summarise([float(i) for i in range(1, n + 1)])
    assert (summary.p99 is not None) is known
    if known:
        assert summary.p99 == pytest.approx(99.01)


def test_one_sample_is_its_own_summary() -> None:
    summary = summarise([7.0])
    assert (summary.minimum, summary.p50, summary.p90, summary.spread) == (7.0, 7.0, 7.0, 0.0)


@pytest.mark.parametrize(("samples", "noisy"), [([8.75, 10, 10, 10, 11.25], False), ([8, 8, 10, 11, 11], True)])
def test_noisy_above_a_quarter_of_the_median(samples: list[float], noisy: bool) -> None:
    assert summarise(samples).noisy is noisy


def test_exactly_a_quarter_is_not_noisy() -> None:
    summary = summarise([1.0, 7.0, 8.0, 9.0, 20.0])
    assert summary.spread == 0.25
    assert not summary.noisy


def test_pairs_cancel_what_slows_a_round_down() -> None:
    quiet, loud = [2.0, 2.0, 2.0], [4.0, 40.0, 4.0]
    assert paired_ratio([2 * q * s for q, s in zip(quiet, loud, strict=True)], loud) == 4.0
    assert median([4.0, 40.0]) == 22.0


def test_rounds_that_only_one_side_has_are_left_out() -> None:
    assert paired_ratio([2.0, 2.0, 900.0], [1.0, 1.0]) == 2.0


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [1.0, -1.0], [float("nan")]])
def test_samples_must_be_positive(samples: list[float]) -> None:
    with pytest.raises(StatsError, match="pass at least one, each above zero"):
        summarise(samples)
    with pytest.raises(StatsError):
        paired_ratio([1.0], samples)
