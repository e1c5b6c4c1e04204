"""DynamicVis against the published two-pass graph, and the share of the scan in it."""

from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from dvbench.profile.cell import Cell
from dvbench.profile.sweep import counts_of
from models.dynamicvis import DynamicVis
from models.zoo import build
from tests.oracles.two_pass import two_pass_forward


def _model(side: int) -> tuple[DynamicVis, torch.Tensor]:
    torch.manual_seed(0)
    model = build("dynamicvis_b").eval()
    assert isinstance(model, DynamicVis)
    return model, torch.randn(1, 3, side, side)


@pytest.mark.benchmark(group="forward")
def bench_forward_against_two_pass(side_by_side: Callable[..., float]) -> None:
    model, image = _model(1024)
    with torch.inference_mode():
        side_by_side(
            lambda: model(image),
            lambda: two_pass_forward(model, image),
            rounds=7,
            goal="at most 0.65 of its time, both with the same scan",
        )


@pytest.mark.benchmark(group="forward")
def bench_scan_share_at_2048(benchmark: Callable[..., object], note: Callable[[str, str], None]) -> None:
    model, image = _model(2048)
    with torch.inference_mode():
        benchmark.pedantic(lambda: model(image), rounds=3, warmup_rounds=1)  # type: ignore[attr-defined]
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            model(image)
    events = profiler.key_averages()
    scan = sum(event.self_cpu_time_total for event in events if event.key == "dvbench::selective_scan")
    total = sum(event.self_cpu_time_total for event in events)
    updates = counts_of(Cell("dynamicvis_b", 2048).settled()).flops["dvbench.selective_scan"] / 6
    products = sum(event.self_cpu_time_total for event in events if event.key in ("aten::mm", "aten::addmm"))
    note(
        f"scan {scan / total:.1%} of the forward pass ({updates / scan / 1e3:.1f} G state updates/s), matrix products "
        f"{products / total:.1%}",
        "under 15 %",
    )
