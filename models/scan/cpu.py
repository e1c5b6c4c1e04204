"""Selective scan on CPU tensors: 16 channels at once in a vector, batch items and groups of channels in threads."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Job = TypeVar("Job")

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_BLOCKS_PER_GROUP = 4  # of the backward pass: one sum over channels a group, so fewer would need more memory
_BLOCKS_PER_JOB = 64  # with 16 states, 128 KiB of states and decay rates: they stay in the second-level cache


def selective_scan_cpu(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> Tensor:
    """Scan with a compiled kernel that fuses softplus, scan, skip and gate; equations in `models.scan.selective_scan`.

    Computes in float32, not differentiable. Views of float32 are read in place if their channels lie one after the
    other, and nothing of size (batch, length, channels, N) is made. Runs `torch.get_num_threads()` threads; the result
    has the same bits for any number of them.

    Args:
        u: (batch, length, channels); float32, bfloat16 or float16, like all that follow.
        delta: like `u`.
        A: (channels, N); softplus(delta + delta_bias) A has to stay below 88, as it does for any negative A.
        B: (batch, length, N).
        C: (batch, length, N).
        D: (channels), or None for no skip.
        z: like `u`, or None for no gate.
        delta_bias: (channels), or None.
        reverse: run from the last step to the first.

    Returns:
        Like `u`, contiguous.

    Raises:
        TypeError: a tensor has another dtype.
    """
    from models.scan._cpu_kernel import LANES, scan  # noqa: PLC0415 (imports Numba and compiles: seconds)

    operands = _operands(u, delta, A, B, C, D, z, delta_bias)
    batch, length, channels = u.shape
    blocks = operands.decay.shape[0]
    state = torch.zeros(batch, *operands.decay.shape)
    out = torch.empty(batch, length, blocks * LANES)
    arguments = (*(x.numpy() for x in operands), reverse, state.numpy(), out.numpy())

    def run(job: tuple[int, int, int]) -> None:
        scan(*arguments, *job)

    _run_all(run, _jobs(batch, blocks, torch.get_num_threads()))
    return out[..., :channels].contiguous().to(u.dtype)


def selective_scan_cpu_backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> list[Tensor | None]:
    """Differentiate `selective_scan_cpu`.

    The states are computed again, a chunk of steps at a time, so nothing of size (batch, length, channels, N) is made:
    what is needed beside the gradients is about as large as `u`. The result has the same bits for any number of
    threads, because sums over channels are taken over fixed groups.

    Args:
        grad: of the output, like `u`.
        u: input of the scan; like all that follow an argument of `selective_scan_cpu`.
        delta: step sizes.
        A: (channels, N).
        B: (batch, length, N).
        C: (batch, length, N).
        D: (channels), or None.
        z: gate, or None.
        delta_bias: (channels), or None.
        reverse: whether time runs from the last step to the first.

    Returns:
        The gradients of u, delta, A, B, C, D, z and delta_bias, each like its input; None for inputs that are None.
    """
    from models.scan._cpu_kernel import LANES, differentiate  # noqa: PLC0415

    operands = _operands(u, delta, A, B, C, D, z, delta_bias)
    batch, length, channels = u.shape
    blocks, states, _ = operands.decay.shape
    width = blocks * LANES
    firsts = range(0, blocks, _BLOCKS_PER_GROUP)
    to_u, to_delta = torch.empty(batch, length, width), torch.empty(batch, length, width)
    to_z = torch.empty(batch, length, width) if z is not None else torch.empty(batch, 0, width)
    to_B, to_C = torch.empty(2, len(firsts), batch, length, states).unbind()
    to_A = torch.zeros(batch, blocks, states, LANES)
    to_D, to_bias = torch.zeros(2, batch, width).unbind()
    inputs = (*(x.numpy() for x in operands[:5]), _float_rows(grad, width).numpy(), *(x.numpy() for x in operands[5:]))
    rest = tuple(x.numpy() for x in (to_z, to_A, to_D, to_bias))

    def run(job: tuple[int, int]) -> None:
        item, group = job
        last = min(firsts[group] + _BLOCKS_PER_GROUP, blocks)
        parts = (to_u.numpy(), to_delta.numpy(), to_B[group].numpy(), to_C[group].numpy())
        differentiate(*inputs, reverse, *parts, *rest, item, firsts[group], last)

    jobs = [(item, group) for item in range(batch) for group in range(len(firsts))]
    _run_all(run, jobs)
    grad_A = to_A.sum(0).transpose(1, 2).reshape(width, states)[:channels]
    found = (
        (to_u[..., :channels], u),
        (to_delta[..., :channels], delta),
        (grad_A, A),
        (to_B.sum(0), B),
        (to_C.sum(0), C),
        (to_D.sum(0)[:channels], D),
        (to_z[..., :channels], z),
        (to_bias.sum(0)[:channels], delta_bias),
    )
    return [None if like is None else value.to(like.dtype) for value, like in found]


class _Operands(NamedTuple):
    """The inputs as the kernels take them: float32, channels padded to whole blocks."""

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor
    z: Tensor
    decay: Tensor
    skip: Tensor
    bias: Tensor


def _operands(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> _Operands:
    from models.scan._cpu_kernel import LANES  # noqa: PLC0415

    for tensor in (u, delta, A, B, C, D, z, delta_bias):
        if tensor is not None and tensor.dtype not in _DTYPES:
            raise TypeError(f"cpu scan: computes in float32 and got {tensor.dtype}; use the backend 'reference'")
    channels = u.shape[2]
    blocks = math.ceil(channels / LANES)
    width = blocks * LANES
    rates = _float_rows(A.T, width) * math.log2(math.e)
    no_gate, no_vector = u[:, :0], u.new_zeros(channels)
    return _Operands(
        _float_rows(u, width),
        _float_rows(delta, width),
        B.detach().float(),
        C.detach().float(),
        _float_rows(no_gate if z is None else z, width),
        rates.view(-1, blocks, LANES).transpose(0, 1).contiguous(),
        _float_rows(no_vector if D is None else D, width),
        _float_rows(no_vector if delta_bias is None else delta_bias, width),
    )


def _float_rows(x: Tensor, width: int) -> Tensor:
    """Return `x` in float32 with stride 1 in its last dimension, zeros appended to make that `width` long."""
    x = x.detach().float()
    if x.shape[-1] < width:
        return F.pad(x, (0, width - x.shape[-1]))
    return x if x.stride(-1) == 1 else x.contiguous()


def _jobs(batch: int, blocks: int, threads: int) -> Iterator[tuple[int, int, int]]:
    """Yield (item, first block, block after the last), as many a thread for each thread where the blocks allow it."""
    even = threads // math.gcd(batch, threads)
    pieces = even * math.ceil(blocks / _BLOCKS_PER_JOB / even)
    size = math.ceil(blocks / pieces)
    for item in range(batch):
        for first in range(0, blocks, size):
            yield item, first, min(first + size, blocks)


def _run_all(run: Callable[[Job], None], jobs: Iterable[Job]) -> None:
    """Run jobs in as many threads as torch has; each takes the next job when it is free."""
    threads = torch.get_num_threads()
    left = iter(list(jobs))  # of a list, as a generator must not be asked by two threads at once

    def run_what_is_left(_: int) -> None:
        for job in left:
            run(job)

    # One submission a thread: one a job takes longer than the jobs of a small scan.
    list(_pool(threads, os.getpid()).map(run_what_is_left, range(threads)))


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001 (a forked process needs threads of its own)
    """Return the threads that run jobs; the kernel releases Python's lock.

    Not Numba's own threads: its portable layer aborts when two threads of a program call it, its OpenMP layer adds a
    second pool that spins beside torch's, and compiling for either takes longer. Ours also flush denormals: a state
    that fades out after the input went to 0 would else be 30 times slower.
    """
    return ThreadPoolExecutor(threads, "scan", initializer=torch.set_flush_denormal, initargs=(True,))
