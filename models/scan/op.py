"""The selective scan as one torch op, so that it is traced, counted and differentiated like any other."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from models.scan.backends import choose
from models.scan.reference import selective_scan_reference_backward


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Run the selective state space model (arXiv 2312.00752, algorithm 2) along a sequence.

    With dt = softplus(delta + delta_bias), state h of N numbers a channel and h = 0 before the first step:

        h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = C_t h_t + D u_t,    output_t = y_t silu(z_t)

    The state is kept in float32, or in float64 for float64 input.

    Args:
        u: input, (batch, length, channels); float32, bfloat16, float16 or float64. Length >= 1.
        delta: step sizes before the softplus, like `u`.
        A: (channels, N), negative for a stable system.
        B: (batch, length, N).
        C: (batch, length, N).
        D: skip, (channels); none when left out.
        z: gate before the SiLU, like `u`; no gate when left out.
        delta_bias: (channels).
        reverse: run from the last step to the first. Outputs stay at their steps.
        backend: a name in `models.scan.BACKENDS`, or `auto`.

    Returns:
        Like `u`, contiguous.

    Raises:
        ScanBackendError: the backend is unknown or cannot run here.
        ValueError: shapes do not fit together.
    """
    batch, length, channels = _shape3("u", u)
    states = A.shape[-1]
    wanted = {
        "delta": (delta, (batch, length, channels)),
        "A": (A, (channels, states)),
        "B": (B, (batch, length, states)),
        "C": (C, (batch, length, states)),
        "D": (D, (channels,)),
        "z": (z, (batch, length, channels)),
        "delta_bias": (delta_bias, (channels,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"selective scan: {name} has shape {tuple(tensor.shape)}, u and A ask for {shape}")
    if u.device.type != "meta":
        backend = choose(backend, u.device.type, u.dtype).name
    out: Tensor = _op(u, delta, A, B, C, D, z, delta_bias, reverse, backend)
    return out


def _shape3(name: str, tensor: Tensor) -> tuple[int, int, int]:
    if tensor.dim() != 3 or 0 in tensor.shape:
        raise ValueError(
            f"selective scan: {name} has shape {tuple(tensor.shape)}, expected a non-empty (batch, length, channels)"
        )
    return tensor.shape[0], tensor.shape[1], tensor.shape[2]


@torch.library.custom_op("dvbench::selective_scan", mutates_args=())
def _op(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
    backend: str,
) -> Tensor:
    return choose(backend, u.device.type, u.dtype).scan(u, delta, A, B, C, D, z, delta_bias, reverse)


@_op.register_fake
def _fake(u: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 (signature given by torch)
    *tensors, ctx.reverse, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    if ctx.backend == "reference":  # leaves its gradients to autograd, which does not run inside of an op
        arguments: list[Any] = [grad, *saved, ctx.reverse]
        return *selective_scan_reference_backward(*arguments), None, None
    found = iter(_gradients(grad, *saved, ctx.reverse, ctx.backend))
    return *(None if tensor is None else next(found) for tensor in saved), None, None


@torch.library.custom_op("dvbench::selective_scan_backward", mutates_args=())
def _gradients(
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
    backend: str,
) -> list[Tensor]:
    differentiate = choose(backend, u.device.type, u.dtype).differentiate
    found = differentiate(grad, u, delta, A, B, C, D, z, delta_bias, reverse)
    return [gradient.contiguous() for gradient in found if gradient is not None]


@_gradients.register_fake
def _fake_gradients(grad: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ARG001 (signature given by torch)
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs if isinstance(t, Tensor)]


_op.register_autograd(_backward, setup_context=_save)


def scan_flops(batch: int, length: int, channels: int, states: int) -> int:
    """Return the additions and multiplications of one scan.

    Six for each update of a state: dt A, the product with the old state, (dt u) B, their sum, and the product and sum
    with C. Softplus, exponential, skip and gate are elementwise and not counted, as for any other op.
    """
    return 6 * batch * length * channels * states


@register_flop_formula(torch.ops.dvbench.selective_scan)
def _flops(u: tuple[int, ...], delta: tuple[int, ...], A: tuple[int, ...], *_: Any, **__: Any) -> int:  # noqa: ARG001
    return scan_flops(u[0], u[1], u[2], A[1])


@register_flop_formula(torch.ops.dvbench.selective_scan_backward)
def _backward_flops(grad: Any, u: tuple[int, ...], delta: Any, A: tuple[int, ...], *_: Any, **__: Any) -> int:  # noqa: ARG001
    # The states again, and for each of their updates fourteen more: the gradients of C, B, the state, A and delta.
    return scan_flops(u[0], u[1], u[2], A[1]) * 20 // 6
