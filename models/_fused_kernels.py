"""Triton kernels around DynamicVis's mixer; importing this module imports Triton.

A program holds some whole rows: tokens with all their channels.
"""
# mypy: ignore-errors
# (The body of a kernel is Triton's language, not Python's; it has no types.)

import triton
import triton.language as tl


@triton.jit
def gather_norm(
    tokens, kept, pooled, weight, out, length, k, head, rows, width, eps, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """Write the normalised sequence: `head` rows of `pooled`, the k kept rows of `tokens`, and `pooled` again if left.

    tokens (batch, length, width), kept (batch, k), pooled (batch, head, width), out (batch, rows, width).
    """
    item = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, WIDTH)[None, :]
    local = (row >= head) & (row < head + k)
    among = (row < rows) & ~local
    place = tl.load(kept + item * k + row - head, mask=local, other=0)
    place_among = tl.where(row < head, row, row - head - k)
    inside = lane < width
    x = tl.load(tokens + (item * length + place)[:, None] * width + lane, mask=local[:, None] & inside, other=0.0).to(
        tl.float32
    )
    x += tl.load(
        pooled + (item * head + place_among)[:, None] * width + lane, mask=among[:, None] & inside, other=0.0
    ).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=1) / width + eps)
    y = x * scale[:, None] * tl.load(weight + lane, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + (item * rows + row)[:, None] * width + lane, y, mask=(row < rows)[:, None] & inside)


@triton.jit
def add_kept(
    tokens, kept, importance, update, length, k, width, item_stride, step_stride,
    WITH_TOKEN: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    """Add pi u to the kept rows x of `tokens` in place, or pi (x + u) with `WITH_TOKEN`; no row is kept twice.

    tokens (batch, length, width), kept (batch, k), importance (batch, length), update (batch, k, width) with strides.
    """
    item = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, WIDTH)[None, :]
    place = item * length + tl.load(kept + item * k + row, mask=row < k, other=0)
    pi = tl.load(importance + place, mask=row < k, other=0.0).to(tl.float32)[:, None]
    mask = (row < k)[:, None] & (lane < width)
    at = tokens + place[:, None] * width + lane
    x = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    u = tl.load(update + item * item_stride + row[:, None].to(tl.int64) * step_stride + lane, mask=mask, other=0.0)
    u = u.to(tl.float32)
    if WITH_TOKEN:
        u += x
    tl.store(at, x + pi * u, mask=mask)
