"""Triton kernels of the causal convolution before the scan, with bias and SiLU."""
# mypy: ignore-errors

import triton
import triton.language as tl

from models.scan._triton_kernels import LENGTHS, place, sigmoid, tuned


@triton.jit
def taps_at(t, back, length, REVERSE: tl.constexpr):
    """Which step the tap of `back` steps ago meets at each of `t`, and whether there is one."""
    at = t + back if REVERSE else t - back
    return at.to(tl.int64), (at >= 0) & (at < length)


@triton.jit
def convolved(
    x, weight, bias, t, d, length, inside, x_l, x_d, weight_d, weight_t, bias_d,
    REVERSE: tl.constexpr, TAPS: tl.constexpr,
):  # fmt: skip
    """The causal convolution of a tile, (steps, block), before the SiLU, in float32."""
    y = tl.zeros((t.shape[0], d.shape[0]), tl.float32)
    for tap in tl.static_range(TAPS):
        at, there = taps_at(t, TAPS - 1 - tap, length, REVERSE)
        met = tl.load(x + at[:, None] * x_l + d[None, :] * x_d, there[:, None] & inside[None, :], 0.0)
        y += met.to(tl.float32) * tl.load(weight + d * weight_d + tap * weight_t, inside, 0.0).to(tl.float32)[None, :]
    if bias is not None:
        y += tl.load(bias + d * bias_d, inside, 0.0).to(tl.float32)[None, :]
    return y


@tuned(({"BLOCK": 64}, 4), ({"BLOCK": 128}, 4), ({"BLOCK": 32}, 2), key=("channels",))
@triton.jit(do_not_specialize=LENGTHS)
def convolve(
    x, weight, bias, out, length, channels,
    x_b, x_l, x_d, weight_d, weight_t, bias_d, out_b, out_l,
    REVERSE: tl.constexpr, SILU: tl.constexpr, TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Causal depthwise convolution with bias and SiLU, (batch, L, D)."""
    item, _, first, _, d = place(length, tl.cdiv(length, STEPS), channels, STEPS, BLOCK, False)
    t, d = first + tl.arange(0, STEPS), d.to(tl.int64)
    inside = d < channels
    x += item.to(tl.int64) * x_b
    y = convolved(
        x, weight, bias, t, d, length, inside, x_l, x_d, weight_d, weight_t, bias_d, REVERSE, TAPS
    )  # fmt: skip
    if SILU:
        y *= sigmoid(y)
    out += item.to(tl.int64) * out_b + t.to(tl.int64)[:, None] * out_l + d[None, :]
    tl.store(out, y.to(out.dtype.element_ty), (t < length)[:, None] & inside[None, :])


@tuned(({"BLOCK": 64}, 4), ({"BLOCK": 32}, 4), ({"BLOCK": 32}, 2), key=("channels",))
@triton.jit(do_not_specialize=LENGTHS)
def convolve_backward(
    grad, x, weight, bias, before, sums, length, channels,
    grad_b, grad_l, grad_d, x_b, x_l, x_d, weight_d, weight_t, bias_d, before_b, before_l, sums_t,
    REVERSE: tl.constexpr, TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradient before the SiLU, float32, and what each tile adds to those of weight and bias.

    The latter go to `sums`, (tiles, TAPS + 1, D), the bias last.
    """
    item, tile, first, _, d = place(length, tl.cdiv(length, STEPS), channels, STEPS, BLOCK, False)
    t, d = first + tl.arange(0, STEPS), d.to(tl.int64)
    inside = d < channels
    mask = (t < length)[:, None] & inside[None, :]
    x += item.to(tl.int64) * x_b
    y = convolved(
        x, weight, bias, t, d, length, inside, x_l, x_d, weight_d, weight_t, bias_d, REVERSE, TAPS
    )  # fmt: skip
    open_ = sigmoid(y)
    grad += item.to(tl.int64) * grad_b + t.to(tl.int64)[:, None] * grad_l + d[None, :] * grad_d
    to_y = tl.load(grad, mask, 0.0).to(tl.float32) * open_ * (1.0 + y * (1.0 - open_))
    before += item.to(tl.int64) * before_b + t.to(tl.int64)[:, None] * before_l + d[None, :]
    tl.store(before, to_y, mask)
    sums += (item * tl.cdiv(length, STEPS) + tile).to(tl.int64) * (TAPS + 1) * sums_t + d
    for tap in tl.static_range(TAPS):
        at, there = taps_at(t, TAPS - 1 - tap, length, REVERSE)
        met = tl.load(x + at[:, None] * x_l + d[None, :] * x_d, there[:, None] & inside[None, :], 0.0)
        tl.store(sums + tap * sums_t, tl.sum(to_y * met.to(tl.float32), 0), inside)
    tl.store(sums + TAPS * sums_t, tl.sum(to_y, 0), inside)
