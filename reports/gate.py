"""New figures against a baseline: what got worse, by how much, against which tolerance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import mean, stdev

from reports.gate_baseline import BaselineError, Part, Values
from reports.table import Table

HARD = ("counts", "outputs", "accuracy")
SOFT = ("ratios", "bench", "records")

CLOSE = 1e-4
"""Share of the logits' root mean square by which one may move; other instruction sets move it by some 1e-6."""
SPREADS = 4
"""Standard errors by which a mean over seeds may fall."""
FEWEST_POINTS = 2.0
"""Percentage points by which it may fall in any case: a few seeds may agree by chance."""
SLOWER = 0.2
"""Share by which the best new round of a ratio may exceed the worst round of the baseline on the same hardware."""
SLOWER_ELSEWHERE = 1.0
"""The same on other hardware, where a ratio is another one; a lost fusion or a higher order of growth is more."""


class Verdict(StrEnum):
    """What setting a new figure against the baseline's says."""

    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    CHANGED = "changed"
    MISSING = "missing"
    NEW = "new"

    @property
    def failed(self) -> bool:
        """Whether the gate stays shut."""
        return self in (Verdict.WORSE, Verdict.CHANGED, Verdict.MISSING)


@dataclass(frozen=True)
class Finding:
    """One figure, then and now.

    Attributes:
        part: Of the baseline.
        figure: Its name.
        verdict: What follows.
        before: The baseline's numbers; empty for a new figure.
        now: The new numbers; empty for a missing one.
        by: How far they are apart, with its unit.
        tolerance: How far they may be.
    """

    part: str
    figure: str
    verdict: Verdict
    before: Values
    now: Values
    by: str
    tolerance: str


Decision = tuple[Verdict, str, str]
"""Verdict, difference and tolerance."""


def judge(baseline: Mapping[str, Part], measured: Mapping[str, Part], path: Path) -> list[Finding]:
    """Set each measured part against the baseline's part of that name.

    A part that was not measured is not judged. A figure that the baseline lacks is new and passes.

    Raises:
        BaselineError: The baseline, read from ``path``, lacks a part that was measured.
    """
    findings: list[Finding] = []
    for name, now in measured.items():
        if name not in baseline:
            raise BaselineError(f"{path} has no part '{name}': add it with dvbench gate --update --reason '...'")
        findings += _judge_part(name, baseline[name], now)
    return findings


def exact(before: Values, now: Values) -> Decision:
    """Counts must be equal. More of any count costs more, so it is worse; fewer is a change that wants a reason too."""
    if before == now:
        return Verdict.SAME, "", "exact"
    verdict = Verdict.WORSE if sum(now) > sum(before) else Verdict.CHANGED
    share = sum(now) / sum(before) - 1 if sum(before) else math.inf
    return verdict, f"{share:+.2%}" if share else "rearranged", "exact"


def close(before: Values, now: Values) -> Decision:
    """Logits must agree to ``CLOSE`` of their root mean square; the largest deviation counts."""
    size = math.sqrt(mean(value * value for value in before)) or 1.0
    apart = math.inf if len(before) != len(now) else max(abs(a - b) for a, b in zip(before, now, strict=True)) / size
    verdict = Verdict.SAME if apart <= CLOSE else Verdict.CHANGED  # NaN is not within any bound
    return verdict, f"{apart:.2g} of the RMS", f"{CLOSE:g}"


def no_less(before: Values, now: Values) -> Decision:
    """The mean over seeds must not fall by more than a margin drawn from the baseline's own spread over seeds.

    The margin is ``SPREADS`` standard errors of the difference of two means, whose seeds scatter as the baseline's do,
    and at least ``FEWEST_POINTS``. The scores are percentages.
    """
    scatter = stdev(before) if len(before) > 1 else 0.0
    margin = max(FEWEST_POINTS, SPREADS * scatter * math.sqrt(1 / len(before) + 1 / len(now)))
    gain = mean(now) - mean(before)
    by, tolerance = f"{gain:+.1f} points", f"-{margin:.1f} points"
    if not gain >= -margin:
        return Verdict.WORSE, by, tolerance
    return Verdict.BETTER if gain > margin else Verdict.SAME, by, tolerance


def no_slower(before: Values, now: Values, tolerance: float) -> Decision:
    """A ratio is worse only when its best new round is worse than the baseline's worst by more than the tolerance.

    Each number is one round's median of ``ours / theirs``, both timed in turn. So what slows the machine meets both
    sides of a round, and a disturbance that meets one side must last through all rounds to raise an alarm.
    """
    by = f"{min(now) / max(before) - 1:+.1%} best round to worst"
    allowed = f"{tolerance:+.0%}"
    if min(now) > max(before) * (1 + tolerance):
        return Verdict.WORSE, by, allowed
    if max(now) * (1 + tolerance) < min(before):
        return Verdict.BETTER, f"{max(now) / min(before) - 1:+.1%} worst round to best", allowed
    return Verdict.SAME, by, allowed


def verdicts(findings: Sequence[Finding]) -> str:
    """Count the verdicts in one line."""
    number = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    told = ", ".join(f"{count} {verdict}" for verdict, count in number.items() if count)
    return f"{len(findings)} figures: {told or 'none'}"


def findings_table(findings: Sequence[Finding], baseline: Mapping[str, Part]) -> Table:
    """Return everything that is not the same as a table; the baseline's origin stands below."""
    moved = [finding for finding in findings if finding.verdict is not Verdict.SAME]
    rows = [
        [str(f.verdict), f.part, f.figure, shown(f.before), shown(f.now), f.by, f.tolerance]
        for f in sorted(moved, key=lambda finding: not finding.verdict.failed)
    ]
    notes = [_origin(name, baseline[name].made) for name in dict.fromkeys(finding.part for finding in findings)]
    failed = any(finding.verdict.failed for finding in findings)
    if moved:
        notes.append("If this is meant, write it down: dvbench gate --update --reason '...'")
    title = f"Regression gate: {'FAILED' if failed else 'passed'}, {verdicts(findings)}"
    return Table(title, ["Verdict", "Part", "Figure", "Baseline", "Now", "By", "Tolerance"], rows, notes)


def shown(values: Values) -> str:
    """Return numbers as a table shows them: counts in full, others with four digits."""
    return " ".join(f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values)


def _judge_part(name: str, before: Part, now: Part) -> Iterator[Finding]:
    same_place = all(before.made[key] == now.made[key] for key in ("hardware", "threads"))
    tolerance = SLOWER if same_place else SLOWER_ELSEWHERE
    for figure, values in before.figures.items():
        if figure not in now.figures:
            why = now.failures.get(figure.partition("/")[0], "no longer measured")
            yield Finding(name, figure, Verdict.MISSING, values, (), why, "")
            continue
        new = now.figures[figure]
        match name:
            case "counts":
                decision = exact(values, new)
            case "outputs":
                decision = close(values, new)
            case "accuracy":
                decision = no_less(values, new)
            case _:
                decision = no_slower(values, new, tolerance)
        yield Finding(name, figure, decision[0], values, new, *decision[1:])
    for figure, values in now.figures.items():
        if figure not in before.figures:
            yield Finding(name, figure, Verdict.NEW, (), values, "", "")
    for subject, why in now.failures.items():
        if not any(figure.partition("/")[0] == subject for figure in before.figures):
            yield Finding(name, subject, Verdict.MISSING, (), (), why, "")


def _origin(name: str, made: Mapping[str, object]) -> str:
    commit = str(made["commit"] or "no commit")[:12] + (" with changes" if made["dirty"] else "")
    where = f"{made['hardware']}, {made['threads']} threads"
    return f"Baseline of {name}: {str(made['date'])[:10]}, {commit}, {where}: {made['reason']}"
