import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.compare import CompareError, Comparison, Verdict, compare, matches_print
from reports.estimate import Estimate, estimate
from tests import simulate_verdicts as simulated

CERTAINTY = (Verdict.DIFFERS, Verdict.INCONCLUSIVE, Verdict.REPRODUCED)


def against(
    paper: str | float | None, ours: float | Estimate | None, tolerance: float = 0.05, reason: str = ""
) -> Comparison:
    return compare(
        "ViT-B", "FLOPs (G)", paper, ours, tolerance=tolerance, comparable=not reason, reason=reason, source="counted"
    )


@pytest.mark.parametrize(
    ("printed", "ours", "same"),
    [
        ("30.07", 30.0749, True),
        ("30.07", 30.0751, False),
        ("30.07", 30.075, True),
        ("30.070", 30.0749, False),
        ("1200", 1200.4, True),
        ("1200", 1201, False),
        ("87.40", 87.4, True),
        ("-0.5", -0.54, True),
    ],
)
def test_ours_matches_when_it_rounds_to_what_is_printed(printed: str, ours: float, same: bool) -> None:
    assert matches_print(printed, ours) is same


def test_differences_are_ours_minus_the_papers() -> None:
    comparison = against("200", 190)
    assert (comparison.paper, comparison.ours) == (200.0, 190)
    assert comparison.difference == -10
    assert comparison.relative == pytest.approx(-0.05)


@pytest.mark.parametrize(
    ("paper", "ours", "tolerance", "verdict"),
    [
        (100.0, 105.0, 0.05, Verdict.REPRODUCED),
        (100.0, 94.9, 0.05, Verdict.DIFFERS),
        ("36.77", 36.770142, 0.0, Verdict.REPRODUCED),
        (36.77, 36.770142, 0.0, Verdict.DIFFERS),
        (0.0, 0.0, 0.05, Verdict.REPRODUCED),
        (0.0, 0.1, 0.05, Verdict.DIFFERS),
    ],
)
def test_reproduced_within_tolerance_or_print_rounding(
    paper: str | float, ours: float, tolerance: float, verdict: Verdict
) -> None:
    comparison = against(paper, ours, tolerance)
    assert comparison.verdict is verdict
    assert comparison.reason == ""
    assert comparison.estimate is None
    assert (
        comparison.rule
        == f"exact: within the tolerance of {tolerance:.0%}, or equal once rounded as printed".replace("%", " %")
    )


def test_other_conditions_are_not_judged_but_still_shown() -> None:
    comparison = against("97.18", 97.18, reason="CPU, not GPU")
    assert (comparison.verdict, comparison.reason) == (Verdict.NOT_COMPARABLE, "CPU, not GPU")
    assert comparison.difference == 0


@pytest.mark.parametrize("paper", ["", None])
def test_the_papers_gaps_stay_gaps(paper: str | None) -> None:
    comparison = against(paper, 3.0)
    assert comparison.verdict is Verdict.NOT_COMPARABLE
    assert comparison.reason == "the paper gives no number"
    assert comparison.paper is comparison.difference is comparison.relative is None


@pytest.mark.parametrize(("reason", "shown"), [("", "no record"), ("over the budget", "over the budget")])
def test_our_gaps_are_not_run_with_a_reason(reason: str, shown: str) -> None:
    comparison = against("97.18", None, reason=reason)
    assert (comparison.verdict, comparison.reason) == (Verdict.NOT_RUN, shown)
    assert comparison.difference is None


@pytest.mark.parametrize("printed", ["OOM", "nan", "36.77 M"])
def test_text_that_is_no_number(printed: str) -> None:
    with pytest.raises(CompareError, match="is not a number"):
        against(printed, 1.0)


# Scores: the paper prints 80.00 and the tolerance of 5 % makes that 76 to 84


def scored(*values: float | None, half: float | None = 0.5) -> Estimate | None:
    return estimate(values, [None if half is None else ((one or 0) - half, (one or 0) + half) for one in values])


def interval(low: float, high: float, seeds: int = 3) -> Estimate:
    return Estimate((low + high) / 2, low, high, seeds, None if seeds == 1 else 0.1, 0.1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (76.0, 84.0, Verdict.REPRODUCED),
        (75.9, 84.0, Verdict.INCONCLUSIVE),
        (76.0, 84.1, Verdict.INCONCLUSIVE),
        (60.0, 99.0, Verdict.INCONCLUSIVE),
        (60.0, 76.0, Verdict.INCONCLUSIVE),
        (84.0, 90.0, Verdict.INCONCLUSIVE),
        (60.0, 75.9, Verdict.DIFFERS),
        (84.1, 90.0, Verdict.DIFFERS),
    ],
)
def test_the_whole_interval_decides_on_a_score(low: float, high: float, verdict: Verdict) -> None:
    assert against("80.00", interval(low, high)).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (79.9, 80.1, Verdict.INCONCLUSIVE),
        (90.0, 90.1, Verdict.INCONCLUSIVE),
        (59.0, 60.0, Verdict.INCONCLUSIVE),
        (59.0, 59.9, Verdict.DIFFERS),
        (100.1, 100.2, Verdict.DIFFERS),
    ],
)
def test_one_seed_is_inconclusive_within_five_tolerances_and_never_reproduced(
    low: float, high: float, verdict: Verdict
) -> None:
    assert against("80.00", interval(low, high, seeds=1)).verdict is verdict


def test_one_seed_says_nothing_where_the_tolerance_is_nothing() -> None:
    assert against("0.00", interval(40.0, 41.0, seeds=1)).verdict is Verdict.INCONCLUSIVE


def test_a_score_shows_its_interval_and_the_rule() -> None:
    ours = scored(79.9, 80.0, 80.1)
    comparison = against("80.00", ours)
    assert comparison.estimate == ours
    assert comparison.ours == pytest.approx(80.0)
    assert comparison.reason == ""
    assert comparison.rule == "the whole interval over seeds and test images lies within the tolerance (tolerance 5 %)"


def test_rounding_as_printed_makes_no_score_reproduced() -> None:
    assert against("80.00", scored(70.0, 80.0, 90.0), tolerance=0.0).verdict is Verdict.INCONCLUSIVE


def test_an_inconclusive_score_says_how_many_seeds_would_be_enough() -> None:
    comparison = against("80.00", scored(78.0, 80.0, 82.0))
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert comparison.reason == "95 % interval 75.03 to 84.97 against 76.00 to 84.00: about 4 seeds would be enough"
    assert against("80.00", scored(78.0, 79.0, 81.0, 82.0)).verdict is Verdict.REPRODUCED  # same mean, similar spread


def test_an_inconclusive_score_says_where_more_seeds_are_in_vain() -> None:
    comparison = against("80.00", scored(78.0, 80.0, 82.0, half=4.5))
    assert comparison.reason.endswith("with this mean no number of seeds is enough, the test images alone leave ±4.50")
    assert against("80.00", scored(70.0, 82.001, half=0.0001)).reason.endswith("more than 1000 seeds would be enough")


def test_one_seed_asks_for_three() -> None:
    comparison = against("80.00", scored(80.0))
    assert comparison.reason.endswith("one seed shows no spread over seeds; run 3 or more")
    assert (
        comparison.rule == "one seed: nothing follows from an interval that reaches within 5 tolerances (tolerance 5 %)"
    )


@pytest.mark.parametrize("values", [(80.0, 80.1, 80.2), (10.0, 10.1, 10.2), (10.0,)])
def test_without_an_interval_over_the_images_nothing_follows(values: tuple[float, ...]) -> None:
    comparison = against("80.00", scored(*values, half=None))
    assert comparison.verdict is Verdict.INCONCLUSIVE
    assert comparison.reason.startswith("no interval over the test images: an old record")


@pytest.mark.parametrize("ours", [scored(80.0, None), scored(80.0, math.nan), scored(None), math.nan, math.inf])
@pytest.mark.parametrize("paper", ["80.00", "", None])
def test_a_score_that_is_not_a_number_is_no_number(ours: float | Estimate, paper: str | None) -> None:
    comparison = against(paper, ours)
    assert (comparison.verdict, comparison.ours) == (Verdict.NOT_RUN, None)
    assert comparison.difference is comparison.relative is comparison.estimate is None
    assert comparison.reason == "a score is missing or not a number"


def test_a_score_under_other_conditions_keeps_its_interval_and_gets_no_rule() -> None:
    comparison = against("80.00", interval(79.0, 81.0), reason="reduced scale")
    assert (comparison.verdict, comparison.reason, comparison.rule) == (Verdict.NOT_COMPARABLE, "reduced scale", "")
    assert comparison.estimate == interval(79.0, 81.0)


@given(
    st.lists(st.floats(1, 99), min_size=1, max_size=6),
    st.floats(0.01, 5),
    st.lists(st.floats(1e-6, 0.5), min_size=2, max_size=5),
)
def test_a_wider_tolerance_moves_a_verdict_towards_reproduced_only(
    values: list[float], half: float, tolerances: list[float]
) -> None:
    ours = scored(*values, half=half)
    ranks = [CERTAINTY.index(against(50.0, ours, tolerance).verdict) for tolerance in sorted(tolerances)]
    assert all(before <= after for before, after in pairwise(ranks))


@given(st.lists(st.floats(1, 99), min_size=2, max_size=6), st.floats(0.01, 5), st.floats(0.1, 5))
def test_less_certain_images_never_give_a_verdict(values: list[float], half: float, more: float) -> None:
    sure, unsure = (against(50.0, scored(*values, half=one)).verdict for one in (half, half + more))
    assert unsure in (sure, Verdict.INCONCLUSIVE)


def test_at_most_one_verdict_in_twenty_is_wrong_where_the_truth_lies_at_the_edge() -> None:
    for seeds, *wrong in simulated.errors()[1:]:
        assert all(float(share) <= 5 for share in wrong), seeds


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("offset", [0.0, 0.5, 0.9, 1.0, 1.1, 2.0, 4.0])
def test_at_most_one_verdict_in_twenty_is_wrong_anywhere(seeds: int, offset: float) -> None:
    for spread in simulated.SPREADS:
        for image_error in simulated.IMAGE_ERRORS:
            share = simulated.shares(seeds, spread, image_error, offset)
            assert offset < 1 or share[Verdict.REPRODUCED] <= 5
            assert offset > 1 or share[Verdict.DIFFERS] <= 5


def test_few_seeds_of_little_spread_are_enough_for_a_verdict() -> None:
    assert simulated.shares(5, 0.2, 0.1, 0.0, draws=500)[Verdict.REPRODUCED] > 90
    assert simulated.shares(5, 0.2, 0.1, 2.0, draws=500)[Verdict.DIFFERS] > 90
    assert simulated.shares(1, 0.2, 0.1, 7.0, draws=500)[Verdict.DIFFERS] > 90


@pytest.mark.parametrize("name", ["errors", "power"])
def test_the_documentation_quotes_what_the_simulation_gives(name: str) -> None:
    quoted, fresh = simulated.quoted(name), simulated.TABLES[name]()
    assert [len(row) for row in quoted] == [len(row) for row in fresh]
    assert quoted[0] == fresh[0]
    for told, found in zip(quoted[1:], fresh[1:], strict=True):
        assert [float(cell) for cell in told] == pytest.approx([float(cell) for cell in found], abs=2)
