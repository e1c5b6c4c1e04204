"""Triton kernel of the gradients of the selective scan.

A warp holds 16 channels, and each of its halves half of their states: with all states of a channel in one thread, those
of a few steps would not fit its registers.
"""
# mypy: ignore-errors

import triton
import triton.language as tl

from models.scan._triton_kernels import LENGTHS, LOG2_E, place, row, sigmoid, softplus


@triton.jit
def advance(h, u, delta, B, steps, rate, shift, inside, known, u_by, delta_by, B_by):
    """The states `steps` steps later, (N / SPLIT, SPLIT, block)."""
    for i in range(steps):
        x = tl.load(u + i * u_by, inside, 0.0).to(tl.float32)
        dt = softplus(tl.load(delta + i * delta_by, inside, 0.0).to(tl.float32) + shift)
        b = tl.load(B + i * B_by, known, 0.0).to(tl.float32)
        h = tl.exp2(dt[None, None, :] * rate) * h + (dt * x)[None, None, :] * b[:, :, None]
    return h


@triton.jit
def over_states(terms):
    """Sum over the two axes that the states are split into."""
    return tl.sum(tl.sum(terms, 0), 0)


@triton.jit(do_not_specialize=LENGTHS)
def gradients(  # noqa: PLR0915 (one loop over time, whose parts share registers)
    grad, u, delta, A, B, C, skip, z, bias, begins, adjoints, decays, to_u, to_delta, to_B, to_C, to_z, to_skip,
    batch, length, channels, chunks, CHUNK,
    grad_b, grad_l, grad_d, u_b, u_l, u_d, delta_b, delta_l, delta_d, A_d, A_n, B_b, B_l, B_n, C_b, C_l, C_n, skip_d,
    z_b, z_l, z_d, bias_d, out_b, out_l,
    REVERSE: tl.constexpr, states: tl.constexpr, N: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """Differentiate each chunk, from the state that it begins with and the adjoint that comes from behind it.

    Time runs back in groups of STEPS steps, whose states are computed again and kept in registers. The gradients of u,
    delta and z are written to (batch, L, D), those of B and C, for this block of channels, to (blocks, batch, L, N).
    What the chunk adds to the gradient of A takes the place of the state in `begins`, to that of the bias the place of
    `decays`.
    """
    item, chunk, first, count, d = place(length, chunks, channels, CHUNK, BLOCK, REVERSE)
    n = tl.arange(0, N // SPLIT)[:, None] + tl.arange(0, SPLIT)[None, :] * (N // SPLIT)
    inside, known = d < channels, n < states
    offsets = tl.max_contiguous(d[None, None, :].to(tl.int64) * A_d + n[:, :, None] * A_n, (1, 1, 1))
    rate = tl.load(A + offsets, known[:, :, None] & inside[None, None, :], 0.0).to(tl.float32) * LOG2_E
    shift = tl.zeros((BLOCK,), tl.float32)
    if bias is not None:
        shift = tl.load(bias + d * bias_d, inside, 0.0).to(tl.float32)
    step: tl.constexpr = -1 if REVERSE else 1
    u = row(u, item, first, d, u_b, u_l, u_d)
    delta = row(delta, item, first, d, delta_b, delta_l, delta_d)
    grad = row(grad, item, first, d, grad_b, grad_l, grad_d)
    B = row(B, item, first, n, B_b, B_l, B_n)
    C = row(C, item, first, n, C_b, C_l, C_n)
    to_u = row(to_u, item, first, d, out_b, out_l, 1)
    to_delta = row(to_delta, item, first, d, out_b, out_l, 1)
    block = tl.program_id(0) % tl.cdiv(channels, BLOCK)
    part = (block.to(tl.int64) * batch + item) * length + first
    to_B += part * states + n
    to_C += part * states + n
    straight = tl.zeros((BLOCK,), tl.float32)
    if skip is not None:
        straight = tl.load(skip + d * skip_d, inside, 0.0).to(tl.float32)
    if z is not None:
        z = row(z, item, first, d, z_b, z_l, z_d)
        to_z = row(to_z, item, first, d, out_b, out_l, 1)
    before = item.to(tl.int64) * (chunks + 1) + chunk
    begun = d < tl.where(chunk > 0, channels, 0)
    followed = d < tl.where(chunk < chunks - 1, channels, 0)
    at = tl.max_contiguous((before * N + n[:, :, None]) * channels + d[None, None, :], (1, 1, 1))
    adjoint = tl.load(adjoints + at + N * channels, followed[None, None, :], 0.0)
    sum_A = tl.zeros((N // SPLIT, SPLIT, BLOCK), tl.float32)
    sum_skip = tl.zeros((BLOCK,), tl.float32)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    half = CHUNK // 2
    middle = tl.zeros((N // SPLIT, SPLIT, BLOCK), tl.float32)
    groups = tl.cdiv(count, STEPS)
    for group in range(groups):
        start = (groups - 1 - group) * STEPS
        origin = half if start >= half else 0
        if group == 0 or start + STEPS == half:  # the state in the middle of the chunk, then again that at its begin
            middle = tl.load(begins + at, begun[None, None, :], 0.0)
            middle = advance(
                middle, u, delta, B, origin, rate, shift, inside, known, step * u_l, step * delta_l, step * B_l
            )  # fmt: skip
        h = advance(
            middle, u + origin * step * u_l, delta + origin * step * delta_l, B + origin * step * B_l, start - origin,
            rate, shift, inside, known, step * u_l, step * delta_l, step * B_l,
        )  # fmt: skip
        dts, slopes, to_ys, kepts = (), (), (), ()
        for k in tl.static_range(STEPS):
            i = (start + k) * step
            real = d < tl.where(start + k < count, channels, 0)  # a step behind the end takes no time and has no output
            wanted = n < tl.where(start + k < count, states, 0)
            x = tl.load(u + i * u_l, real, 0.0).to(tl.float32)
            raw = tl.load(delta + i * delta_l, real, 0.0).to(tl.float32) + shift
            to_y = tl.load(grad + i * grad_l, real, 0.0).to(tl.float32)
            b = tl.load(B + i * B_l, wanted, 0.0).to(tl.float32)
            c = tl.load(C + i * C_l, wanted, 0.0).to(tl.float32)
            dt = tl.where(real, softplus(raw), 0.0)
            kept = tl.exp2(dt[None, None, :] * rate) * h
            h = kept + (dt * x)[None, None, :] * b[:, :, None]
            if z is not None:
                gate = tl.load(z + i * z_l, real, 0.0).to(tl.float32)
                open_ = sigmoid(gate)
                y = over_states(h * c[:, :, None]) + straight * x
                slope = open_ * (1.0 + gate * (1.0 - open_))
                tl.store(to_z + i * out_l, (to_y * y * slope).to(to_z.dtype.element_ty), real)
                to_y *= gate * open_
            tl.store(to_C + i * states, tl.sum(h * to_y[None, None, :], 2), wanted)
            dts += (dt,)
            slopes += (tl.where(real, sigmoid(raw), 0.0),)
            to_ys += (to_y,)
            kepts += (kept,)
        for k in tl.static_range(STEPS - 1, -1, -1):
            i = (start + k) * step
            real = d < tl.where(start + k < count, channels, 0)
            wanted = n < tl.where(start + k < count, states, 0)
            b = tl.load(B + i * B_l, wanted, 0.0).to(tl.float32)
            c = tl.load(C + i * C_l, wanted, 0.0).to(tl.float32)
            x = tl.load(u + i * u_l, real, 0.0).to(tl.float32)
            dt, to_y = dts[k], to_ys[k]
            to_h = adjoint + to_y[None, None, :] * c[:, :, None]
            to_dt_x = over_states(to_h * b[:, :, None])
            to_kept = to_h * kepts[k]
            to_dt = x * to_dt_x + over_states(rate * to_kept) * (1.0 / LOG2_E)
            to_raw = to_dt * slopes[k]
            tl.store(to_u + i * out_l, (straight * to_y + dt * to_dt_x).to(to_u.dtype.element_ty), real)
            tl.store(to_delta + i * out_l, to_raw.to(to_delta.dtype.element_ty), real)
            tl.store(to_B + i * states, tl.sum(to_h * (dt * x)[None, None, :], 2), wanted)
            sum_A += dt[None, None, :] * to_kept
            sum_skip += to_y * x
            sum_bias += to_raw
            adjoint = tl.exp2(dt[None, None, :] * rate) * to_h
    tl.store(begins + at, sum_A, inside[None, None, :])
    here = (item.to(tl.int64) * chunks + chunk) * channels + d
    tl.store(decays + here, sum_bias, inside)
    if skip is not None:
        tl.store(to_skip + here, sum_skip, inside)
