import pytest

from reports.compare import CompareError, Comparison, Verdict, compare, matches_print


def against(paper: str | float | None, ours: float | None, tolerance: float = 0.05, reason: str = "") -> Comparison:
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
