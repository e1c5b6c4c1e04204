"""What a training step takes: its backward pass beside its forward pass, and its memory beside autograd's."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dvbench.profile.isolate import Worker
from models import mamba
from models.scan.reference import selective_scan_reference
from models.zoo import build

SIDE = 512


class Step:
    """A training step of `dynamicvis_b`; `vectorised` puts the reference under autograd, which keeps every state."""

    def __init__(self, vectorised: bool) -> None:
        torch.manual_seed(0)
        if vectorised:
            mamba.selective_scan = _under_autograd
        self.model = build("dynamicvis_b")
        self.image = torch.randn(1, 3, SIDE, SIDE)

    def forward(self) -> Tensor:
        return torch.stack([current.mean() for current in self.model(self.image)]).sum()

    def growth(self) -> int:
        """Bytes that the resident set grows by in one step."""
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        self.forward().backward()
        return _status("VmHWM") - before


def _under_autograd(*inputs: Any, reverse: bool, backend: str) -> Tensor:  # noqa: ARG001 (signature of the scan)
    return selective_scan_reference(*inputs, reverse)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


@pytest.mark.benchmark(group="training")
def bench_backward_against_forward(side_by_side: Callable[..., float]) -> None:
    step, losses = Step(vectorised=False), []

    def forward() -> None:
        losses.append(step.forward())

    side_by_side(
        lambda: losses.pop().backward() if losses else None, forward, rounds=7, goal="at most 3 times its time"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the resident set from /proc")
@pytest.mark.benchmark(group="training")
def bench_memory_of_a_training_step(benchmark: Callable[..., object], note: Callable[[str, str], None]) -> None:
    grown = {}
    for vectorised in (False, True):
        with Worker(Step, vectorised, name="training step") as worker:
            grown[vectorised] = worker.call("growth")
    mine, theirs = (grown[key] / 2**20 for key in (False, True))
    note(f"{mine:.0f} MiB against {theirs:.0f} MiB, {mine / theirs:.2f} of it", "at most a third")
    benchmark(lambda: None)
