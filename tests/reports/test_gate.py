"""What raises an alarm and what does not, rule by rule."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.gate import (
    CLOSE,
    SLOWER,
    SLOWER_ELSEWHERE,
    Finding,
    Verdict,
    close,
    exact,
    findings_table,
    judge,
    no_less,
    no_slower,
    verdicts,
)
from reports.gate_baseline import MADE, BaselineError, Part, Values
from reports.gate_files import append_job_summary, as_json, as_junit, write_findings
from reports.ledger import LedgerError

MADE_HERE = {**dict.fromkeys(MADE, "x"), "hardware": "a CPU", "threads": 1, "dirty": False, "reason": "first"}


def part(failures: dict[str, str] | None = None, hardware: str = "a CPU", **figures: Values) -> Part:
    return Part(MADE_HERE | {"hardware": hardware}, figures, failures or {})


def judged(name: str, before: Part, now: Part) -> dict[str, Finding]:
    return {finding.figure: finding for finding in judge({name: before}, {name: now}, Path("baseline.json"))}


# Counts


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=4), st.integers(1, 10**6), st.data())
def test_a_count_that_moves_by_one_is_seen(before: list[int], more: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(before) - 1))
    now = [*before[:place], before[place] + more, *before[place + 1 :]]
    assert exact(tuple(before), tuple(before))[0] is Verdict.SAME
    assert exact(tuple(before), tuple(now))[0] is Verdict.WORSE
    assert exact(tuple(now), tuple(before))[0] is Verdict.CHANGED


def test_a_count_tells_by_how_much_it_moved() -> None:
    assert exact((200,), (250,))[1:] == ("+25.00%", "exact")
    assert exact((3, 5), (5, 3)) == (Verdict.CHANGED, "rearranged", "exact")


# Outputs


@pytest.mark.parametrize(("moved", "verdict"), [(0.9 * CLOSE, Verdict.SAME), (1.1 * CLOSE, Verdict.CHANGED)])
def test_one_logit_may_move_by_a_share_of_their_root_mean_square(moved: float, verdict: Verdict) -> None:
    before = (3.0, -3.0, 3.0)
    assert close(before, (3.0, -3.0 + 3.0 * moved, 3.0))[0] is verdict


@pytest.mark.parametrize("now", [(math.nan, 1.0), (math.inf, 1.0), (1.0,)])
def test_logits_that_are_no_numbers_or_lack_one_are_not_the_same(now: Values) -> None:
    assert close((1.0, 1.0), now)[0] is Verdict.CHANGED


# Accuracy


def test_a_mean_may_fall_by_four_standard_errors_of_its_own_spread() -> None:
    before = (58.0, 60.0, 62.0, 64.0)  # standard deviation sqrt(20 / 3), so the margin is 4 sqrt(20/3 (1/4 + 1/1))
    margin = 4 * math.sqrt(20 / 3 * 1.25)
    assert no_less(before, (61 - margin + 0.01,))[0] is Verdict.SAME
    assert no_less(before, (61 - margin - 0.01,))[0] is Verdict.WORSE
    assert no_less(before, (61 + margin + 0.01,))[0] is Verdict.BETTER


def test_seeds_that_happen_to_agree_still_leave_two_points() -> None:
    assert no_less((60.0, 60.0), (58.1, 58.1))[0] is Verdict.SAME
    assert no_less((60.0, 60.0), (57.9, 57.9))[0] is Verdict.WORSE


def test_a_score_that_is_no_number_is_worse() -> None:
    assert no_less((60.0, 61.0), (math.nan,))[0] is Verdict.WORSE


# Ratios

ratio = st.floats(0.01, 100)
noise = st.floats(0.25, 4)


@given(ratio, st.lists(noise, min_size=3, max_size=9), st.lists(noise, min_size=2, max_size=6), st.data())
def test_noise_in_all_rounds_but_one_raises_no_alarm(
    true: float, before: list[float], now: list[float], data: st.DataObject
) -> None:
    quiet = data.draw(st.floats(0.25, max(before)))  # one round as the baseline has seen it, among disturbed ones
    rounds = [true * disturbed for disturbed in [*now, quiet]]
    assert no_slower(tuple(true * n for n in before), tuple(rounds), SLOWER)[0] is not Verdict.WORSE


@given(ratio, st.lists(st.floats(0.95, 1.05), min_size=3, max_size=9), st.lists(st.floats(0.95, 1.05), min_size=3))
def test_a_slowdown_beyond_tolerance_and_noise_is_caught(true: float, before: list[float], now: list[float]) -> None:
    slower = (1 + SLOWER) * 1.05 / 0.95 * 1.01
    unchanged, planted = (tuple(true * factor * n for n in now) for factor in (1, slower))
    baseline = tuple(true * n for n in before)
    assert no_slower(baseline, unchanged, SLOWER)[0] is Verdict.SAME
    assert no_slower(baseline, planted, SLOWER)[0] is Verdict.WORSE


def test_a_ratio_in_which_the_worst_round_beats_the_best_is_better() -> None:
    assert no_slower((1.0, 1.1), (0.5, 0.8), 0.2) == (Verdict.BETTER, "-20.0% worst round to best", "+20%")


def test_on_other_hardware_or_threads_a_ratio_has_to_double() -> None:
    before, now = part(x=(1.0, 1.1)), part(x=(1.5, 1.6), hardware="another CPU")
    assert judged("ratios", before, part(x=(1.5, 1.6)))["x"].verdict is Verdict.WORSE
    assert judged("ratios", before, now)["x"].verdict is Verdict.SAME
    assert judged("ratios", before, now)["x"].tolerance == f"{SLOWER_ELSEWHERE:+.0%}"
    doubled = part(x=(2.21, 2.3), hardware="another CPU")
    assert judged("ratios", before, doubled)["x"].verdict is Verdict.WORSE


# All together


def test_a_figure_that_is_gone_fails_with_the_reason_and_a_new_one_passes() -> None:
    before = part(**{"a/macs": (1,), "b/macs": (2,)})
    now = part(failures={"b": "ValueError: no", "d": "KeyError: 'x'"}, **{"c/macs": (3,)})
    found = judged("counts", before, now)
    assert {name: (f.verdict, f.by) for name, f in found.items()} == {
        "a/macs": (Verdict.MISSING, "no longer measured"),
        "b/macs": (Verdict.MISSING, "ValueError: no"),
        "c/macs": (Verdict.NEW, ""),
        "d": (Verdict.MISSING, "KeyError: 'x'"),
    }
    assert [f.verdict.failed for f in found.values()] == [True, True, False, True]


def test_a_part_that_was_not_measured_is_not_judged() -> None:
    assert judge({"counts": part(x=(1,)), "ratios": part(x=(1.0,))}, {"counts": part(x=(1,))}, Path()) == judge(
        {"counts": part(x=(1,))}, {"counts": part(x=(1,))}, Path()
    )


def test_a_part_that_the_baseline_lacks_is_refused() -> None:
    with pytest.raises(BaselineError, match=r"^b\.json has no part 'bench': add it with dvbench gate --update"):
        judge({"counts": part(x=(1,))}, {"bench": part(x=(1.0,))}, Path("b.json"))


BASELINE = {"counts": part(**{"a/macs": (100,), "a/parameters": (7,)}), "outputs": part(**{"a/logits": (1.0, 2.0)})}
WORSE = {
    "counts": part(**{"a/macs": (200,), "a/parameters": (7,)}),
    "outputs": part(**{"a/logits": (math.nan, 2.0)}),
}


def worse() -> list[Finding]:
    return judge(BASELINE, WORSE, Path("b.json"))


def test_the_table_shows_what_moved_and_where_the_baseline_is_from() -> None:
    table = findings_table(worse(), BASELINE)
    assert table.title == "Regression gate: FAILED, 3 figures: 1 same, 1 worse, 1 changed"
    assert table.rows == [
        ["worse", "counts", "a/macs", "100", "200", "+100.00%", "exact"],
        ["changed", "outputs", "a/logits", "1 2", "nan 2", "nan of the RMS", f"{CLOSE:g}"],
    ]
    assert table.notes[0] == "Baseline of counts: x, x, a CPU, 1 threads: first"
    assert table.notes[-1].startswith("If this is meant, write it down: dvbench gate --update")


def test_the_table_of_unchanged_figures_is_empty() -> None:
    findings = judge(BASELINE, BASELINE, Path())
    assert (findings_table(findings, BASELINE).rows, verdicts(findings)) == ([], "3 figures: 3 same")


def test_json_and_junit_hold_every_figure(tmp_path: Path) -> None:
    paths = write_findings(tmp_path, worse(), BASELINE)
    assert [path.name for path in paths] == ["gate.json", "gate.xml", "gate.md"]
    data = json.loads(paths[0].read_text())
    assert data["passed"] is False
    assert [finding["verdict"] for finding in data["findings"]] == ["worse", "same", "changed"]
    assert data["findings"][2]["now"] == ["nan", 2.0]
    suites = ElementTree.fromstring(as_junit(worse()).encode())  # noqa: S314 (written here)
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in suites] == [
        ("counts", "2", "1"),
        ("outputs", "1", "1"),
    ]
    (failure,) = suites[0][0]
    assert failure.get("message") == "worse: +100.00% (tolerance: exact)"
    assert failure.text == "baseline: 100\nnow: 200"
    assert [case.get("name") for case in suites.iter("testcase") if not len(case)] == ["a/parameters"]


def test_json_of_unchanged_figures_says_passed() -> None:
    assert json.loads(as_json(judge(BASELINE, BASELINE, Path())))["passed"] is True


def test_the_job_summary_is_appended_where_github_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    append_job_summary(worse(), BASELINE)
    assert summary.read_text().startswith("before\n## Regression gate: FAILED")
    assert "| worse   | counts " in summary.read_text()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "summary.md"))
    with pytest.raises(LedgerError, match="cannot write to"):
        append_job_summary(worse(), BASELINE)
