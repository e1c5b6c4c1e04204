"""The causal convolution before the scan, fused with bias and SiLU, in Triton."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.scan.backends import BACKENDS
from models.scan.triton import NOT_USED, launch, load, on_device_of, strides, warn_once

STEPS = 32  # that one program convolves


def runs_on(x: Tensor) -> bool:
    """Return whether the kernels can take a tensor; warn once, with the reason, if it is a GPU's and they cannot."""
    if not x.is_cuda:
        return False
    if reason := BACKENDS["triton"].refuses("cuda", x.dtype):
        warn_once(f"{NOT_USED}: {reason}")
    return not reason


def causal_conv_silu_triton(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """Convolve each channel along time and apply the SiLU; see `models.mamba.causal_conv` for shapes.

    Sums are taken in float32 and rounded once. CUDA tensors only, or CPU tensors in Triton's interpreter.
    """
    return _convolve(x, weight, bias, reverse, x.dtype, silu=True)


def causal_conv_silu_triton_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of x, weight and bias from that of the output; the convolution is computed again."""
    batch, length, channels = x.shape
    taps = weight.shape[2]
    before = torch.empty(x.shape, device=x.device)
    sums = torch.empty(batch * -(-length // STEPS), taps + 1, channels, device=x.device)
    with on_device_of(x):
        launch(
            load("conv").convolve_backward, _tiles(x),
            grad, x, weight, bias, before, sums, length, channels,
            *grad.stride(), *x.stride(), weight.stride(0), weight.stride(2), *strides(bias, 1), *before.stride()[:2],
            channels, REVERSE=reverse, TAPS=taps, STEPS=STEPS,
        )  # fmt: skip
    to_weight = sums[:, :taps].sum(0).T.reshape(weight.shape).contiguous().to(weight.dtype)
    # The transpose of a causal convolution is the same one in the other direction of time.
    to_x = _convolve(before, weight, None, not reverse, x.dtype, silu=False)
    return to_x, to_weight, None if bias is None else sums[:, taps].sum(0).to(bias.dtype)


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool, dtype: torch.dtype, *, silu: bool
) -> Tensor:
    _, length, channels = x.shape
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    with on_device_of(x):
        launch(
            load("conv").convolve, _tiles(x),
            x, weight, bias, out, length, channels,
            *x.stride(), weight.stride(0), weight.stride(2), *strides(bias, 1), *out.stride()[:2],
            REVERSE=reverse, SILU=silu, TAPS=weight.shape[2], STEPS=STEPS,
        )  # fmt: skip
    return out


def _tiles(x: Tensor) -> Callable[[dict[str, int]], tuple[int]]:
    batch, length, channels = x.shape
    return lambda meta: (batch * -(-length // STEPS) * -(-channels // meta["BLOCK"]),)


@torch.library.custom_op("dvbench::causal_conv_silu", mutates_args=())
def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """The kernels as an op of torch, with gradient; see `causal_conv_silu_triton`."""
    return causal_conv_silu_triton(x, weight, bias, reverse)


@causal_conv_silu.register_fake
def _fake(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:  # noqa: ARG001 (given by torch)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("dvbench::causal_conv_silu_backward", mutates_args=())
def _gradients(grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> list[Tensor]:
    return [t for t in causal_conv_silu_triton_backward(grad, x, weight, bias, reverse) if t is not None]


@_gradients.register_fake
def _fake_gradients(grad: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ARG001 (signature given by torch)
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs if isinstance(t, Tensor)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 (signature given by torch)
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    to_x, to_weight, *to_bias = _gradients(grad, *ctx.saved_tensors, ctx.reverse)
    return to_x, to_weight, to_bias[0] if to_bias else None, None


causal_conv_silu.register_autograd(_backward, setup_context=_save)
