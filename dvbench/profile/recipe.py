"""Table 13 as the authors' tools take it, beside our own protocol; see docs/measuring.md.

Read in their public code at 0bfe96f, `get_throughput.py` and `get_flops.py`, and in mmengine, which they call.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dvbench.profile.clock import synchronizer, time_once

WARM_UPS = 10
PASSES = 20
STEP = 4  # images by which their search goes down when a batch does not fit

_UNITS = ((10**14, 10**15, "P"), (10**11, 10**12, "T"), (10**8, 10**9, "G"), (10**5, 10**6, "M"), (10**2, 10**3, "K"))


class RecipeError(RuntimeError):
    """The recipe takes too long; the message is one line that says how long and what to do."""


def formatted(operations: int) -> str:
    """Write a count as mmengine does: three decimals of the unit, which changes at a tenth of it.

    So 99.9 G is known to a thousandth of a giga, and 362.4 G is written 0.362T.

    Args:
        operations: multiply-adds, or norms and the like that it counts besides.
    """
    for least, unit, letter in _UNITS:
        if operations > least:
            return f"{operations / unit:.3f}".rstrip("0").rstrip(".") + letter
    return str(operations)


@torch.no_grad()
def throughput(
    features: Callable[[Tensor], object],
    batch: int,
    side: int,
    *,
    device: str,
    dtype: torch.dtype,
    budget_s: float,
) -> float:
    """Return images a second: random images, 10 passes to warm up and the mean of 20, as in table 13.

    Args:
        features: takes images (batch, 3, side, side) to the feature that a classifier sees.
        batch: images in a pass, >= 1.
        side: of an image in pixels.
        device: a torch device.
        dtype: of the images.
        budget_s: seconds that all passes may take, judged by the second.

    Raises:
        RecipeError: they would take longer.
        torch.OutOfMemoryError: the batch does not fit.
    """
    images = torch.randn(batch, 3, side, side, device=device, dtype=dtype)
    synchronize = synchronizer(device)
    features(images)  # compiles what is to be compiled
    seconds = (WARM_UPS + PASSES) * time_once(lambda: features(images), synchronize)
    if seconds > budget_s:
        raise RecipeError(f"about {seconds:.0f} s estimated, the budget is {budget_s:.0f} s: raise --budget")
    for _ in range(WARM_UPS - 2):
        features(images)
    return batch * PASSES / sum(time_once(lambda: features(images), synchronize) for _ in range(PASSES))
