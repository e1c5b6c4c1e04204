"""Latency: how a call is warmed up, how often it is timed, and one timing.

The three numbers of a model are its load, its first call and its steady state; this module times whatever it is handed,
so the caller says which of them it is.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns

import torch

BLOCK_S = 0.25  # a block of warm-up calls: short enough to be cheap, long enough for a GPU to raise its clock
BLOCK_CALLS = 100
MOST_BLOCKS = 20
STEADY = 0.95  # a block that takes this share of the last one's time, or more, is no faster

SAMPLES = 30
FEWEST_SAMPLES = 3
LONG_CALL_S = 60.0  # on a CPU, a call as long as this is timed once
CPU_TIME_S = 4.0  # on a CPU, what the samples of one model may take together


def synchronizer(device: str) -> Callable[[], None]:
    """Return what waits until a device has done its work.

    Args:
        device: a torch device, such as "cpu" or "cuda:1".

    Returns:
        `torch.cuda.synchronize` for that GPU; nothing to do on a CPU.
    """
    return partial(torch.cuda.synchronize, device) if device.startswith("cuda") else _nothing


def time_once(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Time one call, from an idle device to an idle device, with the garbage collector off.

    Args:
        call: what is timed.
        synchronize: waits for the device, see `synchronizer`.

    Returns:
        Seconds.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        synchronize()
        start = perf_counter_ns()
        call()
        synchronize()
        return (perf_counter_ns() - start) / 1e9
    finally:
        if collecting:
            gc.enable()


def warm_up(call: Callable[[], object], synchronize: Callable[[], None], *, budget_s: float) -> int:
    """Call until a block of calls is no faster than the last block by more than 5 %.

    A block is as many calls as fill a quarter of a second, at least one and at most 100. There are at most 20 blocks.

    Args:
        call: what is warmed up.
        synchronize: waits for the device, see `synchronizer`.
        budget_s: seconds after which no further block is begun.

    Returns:
        The number of calls made, 0 if the budget is not positive.
    """
    calls, spent, last = 0, 0.0, math.inf
    for _ in range(MOST_BLOCKS):
        if spent >= budget_s:
            break
        count, seconds = _block(call, synchronize)
        calls += count
        spent += seconds
        if seconds / count >= STEADY * last:
            break
        last = seconds / count
    return calls


def rounds_wanted(first_s: float, *, device: str, repeat: int | None, floor_s: float) -> int:
    """Tell how many samples to take of a call.

    On a GPU: 30, or as many as fill `floor_s`, whichever is more. On a CPU: 30, or fewer when they would take more than
    4 s, but at least 3; one of a call that takes a minute or longer. A record states the number that was taken.

    Args:
        first_s: seconds that one warm call takes.
        device: a torch device, such as "cpu" or "cuda:1".
        repeat: the number the user asked for, at least 1, which overrides the rule; None for the rule.
        floor_s: seconds that the samples shall take together on a GPU.

    Returns:
        The number of samples, at least 1.
    """
    if repeat is not None:
        return repeat
    call_s = max(first_s, 1e-6)
    if device.startswith("cuda"):
        return max(SAMPLES, math.ceil(floor_s / call_s))
    if call_s >= LONG_CALL_S:
        return 1
    return min(SAMPLES, max(FEWEST_SAMPLES, int(CPU_TIME_S / call_s)))


def _block(call: Callable[[], object], synchronize: Callable[[], None]) -> tuple[int, float]:
    """Call until a block is full; return the number of calls and the seconds they took."""
    calls, spent = 0, 0.0
    while spent < BLOCK_S and calls < BLOCK_CALLS:
        spent += time_once(call, synchronize)
        calls += 1
    return calls, spent


def _nothing() -> None:
    """Return at once: work on a CPU is done when the call returns."""
