"""The selective scan in Triton, which comes with torch: the fast path of a GPU without a compiler.

The kernels are in modules of their own, which are imported at the first call: Triton is not there on every platform.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

LEAST_CAPABILITY = (8, 0)  # compute capability, as Triton's documentation asks for
NOT_USED = "slow path on the GPU, Triton kernels are not used"  # how a warning begins that goes on with the reason
WARPS = 24  # on a multiprocessor, to hide that loads and exponentials take long: 6 for each of its 4 schedulers
SHORTEST_CHUNK = 32  # steps; with 16 states those of the chunks then take half as much memory as float32 input

BACKWARD_CHUNK = 32  # steps
BACKWARD_STEPS = 4  # whose states a thread keeps at once
BACKWARD_BLOCK = 16  # channels of a warp, whose two halves take half of the states each


def selective_scan_triton(
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
    """Scan in parallel over batch, channels and chunks of time; see `models.scan.selective_scan` for shapes.

    States are kept in float32. CUDA tensors only, or CPU tensors in Triton's interpreter (TRITON_INTERPRET=1).
    """
    kernels = load("kernels")
    batch, length, channels = u.shape
    B, C = _aligned(B), _aligned(C)
    chunk = chunk_length(batch, length, channels, _multiprocessors(u))
    chunks = -(-length // chunk)
    sizes = _sizes(A, reverse)
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    with on_device_of(u):
        states = out if chunks == 1 else _chunk_states(kernels, u, delta, A, B, delta_bias, chunk, sizes)[0]
        launch(
            kernels.outputs, _programs(batch * chunks, channels),
            u, delta, A, B, C, D, z, delta_bias, states, out, length, channels, chunks, chunk,
            *u.stride(), *delta.stride(), *A.stride(), *B.stride(), *C.stride(),
            *strides(D, 1), *strides(z, 3), *strides(delta_bias, 1), *out.stride()[:2], **sizes,
        )  # fmt: skip
    return out


def selective_scan_triton_backward(
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
    """Differentiate in parallel over batch, channels and chunks of time. States are computed again, chunk by chunk.

    Sums are taken in a fixed order, so the result is the same at every call.

    Args:
        grad: of the output, like `u`.
        u: input of the scan; like all that follow an argument of `selective_scan_triton`.
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
    kernels = load("kernels")
    batch, length, channels = u.shape
    B, C = _aligned(B), _aligned(C)
    sizes = _sizes(A, reverse)
    chunks, blocks = -(-length // BACKWARD_CHUNK), -(-channels // BACKWARD_BLOCK)
    to_u, to_delta = (torch.empty(u.shape, dtype=t.dtype, device=u.device) for t in (u, delta))
    to_z = None if z is None else torch.empty(u.shape, dtype=z.dtype, device=u.device)
    to_B, to_C = (torch.empty(blocks, batch, length, A.shape[1], device=u.device) for _ in range(2))
    to_D = None if D is None else torch.empty(batch, chunks, channels, device=u.device)
    with on_device_of(u):
        states, decays, adjoints = _chunk_states(kernels, u, delta, A, B, delta_bias, BACKWARD_CHUNK, sizes, C, z, grad)
        load("gradients").gradients[(batch * chunks * blocks,)](
            grad, u, delta, A, B, C, D, z, delta_bias, states, adjoints, decays, to_u, to_delta, to_B, to_C, to_z, to_D,
            batch, length, channels, chunks, BACKWARD_CHUNK,
            *grad.stride(), *u.stride(), *delta.stride(), *A.stride(), *B.stride(), *C.stride(), *strides(D, 1),
            *strides(z, 3), *strides(delta_bias, 1), *to_u.stride()[:2],
            **sizes, STEPS=BACKWARD_STEPS, BLOCK=BACKWARD_BLOCK, SPLIT=32 // BACKWARD_BLOCK, num_warps=1,
        )  # fmt: skip
    to_A = states[:, :chunks, : A.shape[1]].sum((0, 1)).T
    return [
        to_u,
        to_delta,
        to_A.to(A.dtype),
        to_B.sum(0).to(B.dtype),
        to_C.sum(0).to(C.dtype),
        None if D is None or to_D is None else to_D.sum((0, 1)).to(D.dtype),
        to_z,
        None if delta_bias is None else decays.sum((0, 1)).to(delta_bias.dtype),
    ]


def chunk_length(batch: int, length: int, channels: int, multiprocessors: int) -> int:
    """Return how many steps one program runs.

    Cutting time makes work for idle parts of the GPU, but every exponential is then computed twice. So time is left in
    one piece when batch and channels alone fill a third of the GPU, and else cut to fill it.
    """
    wanted, there = WARPS * multiprocessors, batch * -(-channels // 32)
    if 3 * there >= wanted:
        return length
    chunk = max(length * there // wanted, SHORTEST_CHUNK)
    return min(-(-chunk // 16) * 16, length)


def _chunk_states(
    kernels: Any,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    delta_bias: Tensor | None,
    chunk: int,
    sizes: dict[str, Any],
    C: Tensor | None = None,
    z: Tensor | None = None,
    grad: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return states, the sums of steps and, with `grad`, adjoints at the borders of chunks.

    States before each chunk are rows 0 to chunks - 1 of (batch, chunks + 1, N, channels), adjoints behind each chunk
    rows 1 to chunks. The outermost of these are zero and not written. Sums are (batch, chunks, channels).
    """
    batch, length, channels = u.shape
    chunks = -(-length // chunk)
    states = torch.empty(batch, chunks + 1, sizes["N"], channels, device=u.device)
    decays = torch.empty(batch, chunks, channels, device=u.device)
    adjoints = None if grad is None else torch.empty_like(states)
    launch(
        kernels.summaries, _programs(batch * chunks, channels),
        u, delta, A, B, delta_bias, states, decays, C, z, grad, adjoints, length, channels, chunks, chunk,
        *u.stride(), *delta.stride(), *A.stride(), *B.stride(), *strides(delta_bias, 1),
        *strides(C, 3), *strides(z, 3), *strides(grad, 3), **sizes,
    )  # fmt: skip
    carry(kernels, A, states, decays, backward=False)
    if adjoints is not None:
        carry(kernels, A, adjoints, decays, backward=True)
    return states, decays, adjoints


def carry(kernels: Any, A: Tensor, states: Tensor, decays: Tensor, *, backward: bool) -> None:
    """Turn what each chunk adds by itself into the state that it begins with, in place."""
    batch, chunks, channels = decays.shape
    padded, warps = states.shape[2], 4
    block = 32 * warps
    kernels.carry[(-(-padded * channels // block) * batch,)](
        A, states, decays, channels, chunks, *A.stride(),
        BACKWARD=backward, states=A.shape[1], N=padded, GROUP=min(16, 1 << (chunks - 1).bit_length()), BLOCK=block,
        num_warps=warps,
    )  # fmt: skip


def launch(kernel: Any, grid: Callable[[dict[str, int]], tuple[int]], *args: Any, **sizes: Any) -> None:
    """Run a tuned kernel on a grid that depends on its configuration.

    Timing the configurations takes memory of its own. Where that is lacking, the first one runs untimed.
    """
    try:
        kernel[grid](*args, **sizes)
    except torch.OutOfMemoryError:
        warn_once("Triton kernels are not tuned: out of memory while timing them; their first configuration runs")
        kernel.fn[grid](*args, **sizes, **kernel.configs[0].all_kwargs())


def _programs(rows: int, channels: int) -> Callable[[dict[str, int]], tuple[int]]:
    return lambda meta: (rows * -(-channels // meta["BLOCK"]),)


def load(module: str) -> Any:
    """Import a module of kernels, `models.scan._triton_...`, and Triton with it."""
    return import_module(f"models.scan._triton_{module}")


def _sizes(A: Tensor, reverse: bool) -> dict[str, Any]:
    states = A.shape[1]
    return {"REVERSE": reverse, "states": states, "N": max(2, 1 << (states - 1).bit_length())}


def _aligned(sequence: Tensor) -> Tensor:
    """Return B or C so that the kernels can read all states of a step at once."""
    fits = sequence.stride(2) == 1 and sequence.stride(1) % 16 == 0 and sequence.data_ptr() % 16 == 0
    return sequence if fits else sequence.contiguous()


def strides(tensor: Tensor | None, dimensions: int) -> tuple[int, ...]:
    """Return the strides of a tensor, zeros for one that is not there."""
    return (0,) * dimensions if tensor is None else tensor.stride()


def on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Make the device of a tensor the current one, on which Triton launches."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@cache
def _count(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _multiprocessors(tensor: Tensor) -> int:
    return _count(tensor.device) if tensor.is_cuda else 1


@cache
def warn_once(message: str) -> None:
    """Warn about a fallback, once a process."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def why_unusable() -> str:
    """Say in one line why the kernels cannot run here; empty when they can."""
    try:
        release: str = import_module("triton").__version__
        load("kernels")
    except ModuleNotFoundError:
        return "Triton is not installed (it comes with torch on Linux x86-64)"
    except Exception as error:  # noqa: BLE001, RUF100 (a broken or too old Triton may raise anything)
        cause = str(error).strip().splitlines() or [""]
        return f"Triton does not load: {type(error).__name__}: {cause[0]}"
    if not torch.cuda.is_available():
        return f"Triton {release} loads, but torch sees no CUDA device"
    if torch.version.cuda is None:
        return "the kernels are made for NVIDIA GPUs, this is another"
    if (capability := torch.cuda.get_device_capability()) < LEAST_CAPABILITY:
        wanted, found = (".".join(map(str, version)) for version in (LEAST_CAPABILITY, capability))
        return f"Triton needs compute capability {wanted}, {torch.cuda.get_device_name()} has {found}"
    return ""
