"""The selective scan in Triton, which comes with torch: the fast path of a GPU without a compiler.

The kernels are in `_triton_kernels`, which is imported at the first call: Triton is not there on every platform.
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
WARPS = 24  # on a multiprocessor, to hide that loads and exponentials take long: 6 for each of its 4 schedulers
SHORTEST_CHUNK = 32  # steps; with 16 states those of the chunks then take half as much memory as float32 input


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
    kernels = load_kernels()
    batch, length, channels = u.shape
    B, C = _aligned(B), _aligned(C)
    chunk = chunk_length(batch, length, channels, _multiprocessors(u))
    chunks = -(-length // chunk)
    sizes = _sizes(A, reverse)
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    with on_device_of(u):
        states = _chunk_states(kernels, u, delta, A, B, delta_bias, chunk, sizes) if chunks > 1 else out
        launch(
            kernels.outputs, _programs(batch * chunks, channels),
            u, delta, A, B, C, D, z, delta_bias, states, out, length, channels, chunks, chunk,
            *u.stride(), *delta.stride(), *A.stride(), *B.stride(), *C.stride(),
            *strides(D, 1), *strides(z, 3), *strides(delta_bias, 1), *out.stride()[:2], **sizes,
        )  # fmt: skip
    return out


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
) -> Tensor:
    """Return the state before each chunk, (batch, chunks + 1, N, channels); before the first it is not written."""
    batch, length, channels = u.shape
    chunks = -(-length // chunk)
    states = torch.empty(batch, chunks + 1, sizes["N"], channels, device=u.device)
    decays = torch.empty(batch, chunks, channels, device=u.device)
    launch(
        kernels.summaries, _programs(batch * chunks, channels),
        u, delta, A, B, delta_bias, states, decays, length, channels, chunks, chunk,
        *u.stride(), *delta.stride(), *A.stride(), *B.stride(), *strides(delta_bias, 1), **sizes,
    )  # fmt: skip
    carry(kernels, A, states, decays, backward=False)
    return states


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


def load_kernels() -> Any:
    """Import the kernels, and Triton with them."""
    return import_module("models.scan._triton_kernels")


def _sizes(A: Tensor, reverse: bool) -> dict[str, Any]:
    states = A.shape[1]
    return {"REVERSE": reverse, "states": states, "N": 1 << (states - 1).bit_length()}


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
        import_module("models.scan._triton_kernels")
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
