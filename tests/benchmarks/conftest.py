"""Speeds are compared, not timed: the two sides take turns in one run, and the median of paired ratios is reported."""

import os
from collections.abc import Callable
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from reports.stats import paired_ratio

Call = Callable[[], object]
REPORT: list[tuple[str, str, str]] = []


@pytest.fixture(autouse=True, scope="session")
def all_threads() -> None:
    """Compute with all cores, as users do; the tests use one."""
    torch.set_num_threads(os.cpu_count() or 1)


@pytest.fixture
def side_by_side(benchmark: BenchmarkFixture) -> Callable[..., float]:
    """Time `ours` right after `theirs` in each round; return the median of ours / theirs, kept for the summary."""

    def run(ours: Call, theirs: Call, *, rounds: int, goal: str) -> float:
        opponent: list[float] = []

        def setup() -> None:
            start = perf_counter()
            theirs()
            opponent.append(perf_counter() - start)

        ours()
        theirs()
        benchmark.pedantic(ours, setup=setup, rounds=rounds)
        ratio = paired_ratio(benchmark.stats.stats.data, opponent)
        benchmark.extra_info.update(ratio=ratio, goal=goal, opponent_seconds=opponent)
        REPORT.append((benchmark.name, f"{ratio:.3f} of the other's time, {1 / ratio:.1f} times as fast", goal))
        return ratio

    return run


@pytest.fixture
def note(benchmark: BenchmarkFixture) -> Callable[[str, str], None]:
    """Keep a figure for the summary and the JSON."""

    def keep(figure: str, goal: str) -> None:
        benchmark.extra_info.update(figure=figure, goal=goal)
        REPORT.append((benchmark.name, figure, goal))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was compared; the goals stand beside, nothing fails on them."""
    if REPORT:
        terminalreporter.section("side by side")
    for name, figure, goal in REPORT:
        terminalreporter.write_line(f"{name}: {figure} (goal: {goal})")
