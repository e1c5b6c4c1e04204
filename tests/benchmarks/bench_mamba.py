"""All Mamba backbones beside ViT-B with fused attention, in turn in one run: from which size is each the faster one?"""

import math
from collections.abc import Callable
from time import perf_counter

import pytest
import torch

from models.zoo import build
from reports.stats import paired_ratio

VIT, MAMBAS, SIDES, ROUNDS = "vit_b16", ("dynamicvis_b", "vim_ti", "vmamba_t", "rsmamba_b"), (256, 512, 1024), 3


def crossing(ratios: dict[int, float]) -> str:
    """Say from which side on a model takes less time than its opponent, between two sides by a power law.

    Args:
        ratios: side in px, ascending -> its time divided by the opponent's.
    """
    sides = list(ratios)
    slower = [side for side in sides if ratios[side] >= 1]
    if not slower:
        return f"faster from {sides[0]} px or less"
    if slower[-1] == sides[-1]:
        return f"not faster up to {sides[-1]} px"
    below = slower[-1]
    above = sides[sides.index(below) + 1]
    share = math.log(ratios[below]) / (math.log(ratios[below]) - math.log(ratios[above]))
    return f"faster from about {below * (above / below) ** share:.0f} px"


@pytest.mark.benchmark(group="mamba")
def bench_mamba_backbones_against_vit(benchmark: Callable[..., object], note: Callable[[str, str], None]) -> None:
    torch.manual_seed(0)
    models = {name: build(name).eval() for name in (VIT, *MAMBAS)}
    seconds: dict[tuple[str, int], list[float]] = {(name, side): [] for side in SIDES for name in models}

    def interleaved(side: int, rounds: int) -> None:
        image = torch.randn(1, 3, side, side)
        for number in range(rounds + 1):  # the first one warms up
            for name, model in models.items():
                start = perf_counter()
                model(image)
                if number:
                    seconds[name, side].append(perf_counter() - start)

    with torch.inference_mode():
        for side in SIDES[1:]:
            interleaved(side, ROUNDS)
        benchmark.pedantic(lambda: interleaved(SIDES[0], ROUNDS), rounds=1)  # type: ignore[attr-defined]
    lines = []
    for name in MAMBAS:
        ratios = {side: paired_ratio(seconds[name, side], seconds[VIT, side]) for side in SIDES}
        shown = ", ".join(f"{ratio:.2f} at {side}" for side, ratio in ratios.items())
        lines.append(f"{name} {shown} px: {crossing(ratios)}")
    benchmark.extra_info["seconds"] = {f"{name} {side}": taken for (name, side), taken in seconds.items()}  # type: ignore[attr-defined]
    note(f"of {VIT}'s time (sdpa), " + "; ".join(lines), "the sizes from which each is faster are named")
