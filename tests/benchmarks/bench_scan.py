"""The CPU scan against the loop over time that it replaces."""

from collections.abc import Callable

import pytest
import torch

from dvbench.profile.memory import ResidentPeak
from models.scan import selective_scan

SHAPE = (2, 8320, 768, 16)  # batch, length, channels, states: stage 3 of dynamicvis_b at 2048 px, both directions


def _inputs() -> tuple[torch.Tensor, ...]:
    batch, length, channels, states = SHAPE
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    u, delta, z = (random(batch, length, channels) for _ in range(3))
    B, C = (random(batch, length, states) for _ in range(2))
    return u, delta, -random(channels, states).exp(), B, C, random(channels), z, random(channels)


@pytest.mark.benchmark(group="scan")
def bench_cpu_scan_against_torch_loop(side_by_side: Callable[..., float]) -> None:
    inputs = _inputs()
    with torch.inference_mode():
        side_by_side(
            lambda: selective_scan(*inputs, backend="cpu"),
            lambda: selective_scan(*inputs, backend="reference"),
            rounds=3,
            goal="at least 12 times as fast",
        )


@pytest.mark.benchmark(group="scan")
def bench_cpu_scan_memory(benchmark: Callable[..., object], note: Callable[[str, str], None]) -> None:
    inputs = _inputs()
    with torch.inference_mode():
        benchmark(lambda: selective_scan(*inputs, backend="cpu"))
        with ResidentPeak() as peak:
            output = selective_scan(*inputs, backend="cpu")
    states = output.nbytes * SHAPE[-1]
    grown = f"{peak.bytes / 2**20:.0f} MiB" if peak.bytes is not None else "unknown"
    note(
        f"grows by {grown}; its output is {output.nbytes / 2**20:.0f} MiB, all states are {states / 2**20:.0f} MiB",
        "no temporary of (batch, length, channels, states)",
    )
