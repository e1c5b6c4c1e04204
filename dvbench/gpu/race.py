"""Contenders timed in turn, so that what slows the machine for a moment meets all of them."""

import math
from collections.abc import Callable, Mapping

import torch

from dvbench.profile.clock import synchronizer, time_once

Call = Callable[[], object]
WARM_CALLS = 3  # compile, tune, fill caches
MOST_CALLS = 1000


def race(
    contenders: Mapping[str, Call], device: str, *, rounds: int, least_s: float
) -> tuple[dict[str, tuple[float, ...]], dict[str, str]]:
    """Time calls that do the same, one sample each a round.

    Args:
        contenders: by name.
        device: a torch device.
        rounds: samples of each.
        least_s: seconds of a sample; faster calls are repeated, and queued on a GPU, until they fill it.

    Returns:
        Milliseconds a call by name, and for each that failed to warm up the reason in one line.
    """
    calls: dict[str, int] = {}
    failed: dict[str, str] = {}
    for name, call in contenders.items():
        try:
            for _ in range(WARM_CALLS):
                call()
            once = time_once(call, synchronizer(device))
        except Exception as error:  # noqa: BLE001, RUF100 (a contender that cannot run is a result; the others race on)
            failed[name] = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        else:
            calls[name] = min(MOST_CALLS, max(1, math.ceil(least_s / max(once, 1e-6))))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, number in calls.items():
            samples[name].append(_sample(contenders[name], device, number))
    return {name: tuple(found) for name, found in samples.items()}, failed


def _sample(call: Call, device: str, number: int) -> float:
    """Milliseconds a call, by the GPU's own clock where there is one."""

    def repeat() -> None:
        for _ in range(number):
            call()

    if not device.startswith("cuda"):
        return 1e3 * time_once(repeat, synchronizer(device)) / number
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    repeat()
    end.record()
    torch.cuda.synchronize(device)
    return float(start.elapsed_time(end)) / number
