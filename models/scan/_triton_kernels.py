"""Triton kernels of the selective scan, and what they share; importing this module imports Triton.

One thread holds all states of one channel, so nothing is exchanged between threads while time goes on. Blocks of
channels are 32 a warp; the states are the first axis of every tile, which Triton then keeps inside a thread.

Time is cut into chunks, which run in parallel: `summaries` runs each from a state of zero, `carry` runs over the
chunks, and `outputs` runs each again from the state that it really begins with. For the gradients, `summaries` and
`carry` do the same with the adjoint, which comes from the end, and `_triton_gradients` takes the place of `outputs`.
"""
# mypy: ignore-errors
# (The body of a kernel is Triton's language, not Python's; it has no types.)

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LENGTHS = ("length", "chunks", "CHUNK")  # these differ from image to image: no kernel is compiled anew for them


def tuned(*configs, key=("channels", "states")):
    """Let Triton time the configurations once for each of `key` and the dtypes, and keep the choice on disk.

    A configuration is (meta-parameters, warps). The interpreter takes the first.
    """
    configs = [triton.Config(meta, num_warps=warps) for meta, warps in configs]
    if triton.knobs.runtime.interpret:
        configs = configs[:1]
    return triton.autotune(configs, key=list(key), cache_results=True)


lanes = tuned(({"BLOCK": 32}, 1), ({"BLOCK": 64}, 2), ({"BLOCK": 128}, 4))


@triton.jit
def log1p_of_unit(v):
    """log(1 + v) for v in [0, 1] to a relative error of 3e-8; the hardware's logarithm is not exact near 1."""
    p = 0.0053648228 * v - 0.030065779
    p = p * v + 0.079204526
    p = p * v - 0.13753802
    p = p * v + 0.19153655
    p = p * v - 0.24857164
    p = p * v + 0.33321323
    p = p * v - 0.49999648
    return v * (p * v + 1.0)


@triton.jit
def softplus(x):
    """log(1 + exp(x)), without overflow; a NaN stays one."""
    v = tl.exp2(-tl.abs(x) * LOG2_E)
    return tl.where(x > 0, x, 0.0) + log1p_of_unit(v)


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow."""
    return 1.0 / (1.0 + tl.exp2(-x * LOG2_E))


@triton.jit
def row(pointer, item, step, lane, item_stride, step_stride, lane_stride):
    """Addresses of the row of `step` of a batch item; the products may pass 2**31."""
    start = pointer + item.to(tl.int64) * item_stride + step.to(tl.int64) * step_stride
    return start + lane.to(tl.int64) * lane_stride


@triton.jit
def place(length, chunks, channels, CHUNK, BLOCK: tl.constexpr, REVERSE: tl.constexpr):
    """Which part is this program's: batch item, chunk, first step of it, number of steps, channels.

    Steps are counted in the order of the scan; `first` is the position in memory.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(channels, BLOCK)
    chunk = program // blocks % chunks
    item = program // blocks // chunks
    begin = chunk * CHUNK
    count = tl.minimum(length - begin, CHUNK)
    first = length - 1 - begin if REVERSE else begin
    d = program % blocks * BLOCK + tl.arange(0, BLOCK)
    return item, chunk, first, count, d


@triton.jit
def load_parameters(A, bias, d, channels, states, A_d, A_n, bias_d, N: tl.constexpr):
    """A times log2(e), (N, block), zero where it is padded; and the bias of delta, (block)."""
    n = tl.arange(0, N)
    inside = d < channels
    offsets = tl.max_contiguous(d[None, :].to(tl.int64) * A_d + n[:, None] * A_n, (1, 1))  # see `state_offsets`
    rate = tl.load(A + offsets, (n < states)[:, None] & inside[None, :], 0.0)
    shift = tl.zeros_like(d).to(tl.float32) if bias is None else tl.load(bias + d * bias_d, inside, 0.0).to(tl.float32)
    return rate.to(tl.float32) * LOG2_E, shift


@triton.jit
def state_offsets(at, d, channels, N: tl.constexpr):
    """Offsets of the states of row `at`, (N, block).

    Their contiguity is hidden: a vectorised access would lay the whole tile out for itself, and the loop over time
    would pay for it with exchanges between threads.
    """
    n = tl.arange(0, N)
    return tl.max_contiguous((at * N + n[:, None]) * channels + d[None, :], (1, 1))


@triton.jit
def gated(to_out, gate):
    """The gradient before the gate."""
    return to_out * gate * sigmoid(gate)


@lanes
@triton.jit(do_not_specialize=LENGTHS)
def summaries(
    u, delta, A, B, bias, ends, decays, C, z, grad, adjoints, length, channels, chunks, CHUNK,
    u_b, u_l, u_d, delta_b, delta_l, delta_d, A_d, A_n, B_b, B_l, B_n, bias_d,
    C_b, C_l, C_n, z_b, z_l, z_d, grad_b, grad_l, grad_d,
    REVERSE: tl.constexpr, states: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run each chunk from a state of zero; write its last state, and its steps' sum, which is its decay.

    The end of chunk c goes to row c + 1 of `ends`, (batch, chunks + 1, N, channels), the sum to row c of `decays`,
    (batch, chunks, channels). With `grad`, that of the output, the chunk's adjoint goes to row c of `adjoints`, like
    `ends`: what it hands to the chunk before it, if nothing comes from behind.
    """
    item, chunk, first, count, d = place(length, chunks, channels, CHUNK, BLOCK, REVERSE)
    n = tl.arange(0, N)
    inside, known = d < channels, n < states
    rate, shift = load_parameters(A, bias, d, channels, states, A_d, A_n, bias_d, N)
    step: tl.constexpr = -1 if REVERSE else 1
    u = row(u, item, first, d, u_b, u_l, u_d)
    delta = row(delta, item, first, d, delta_b, delta_l, delta_d)
    B = row(B, item, first, n, B_b, B_l, B_n)
    h = tl.zeros((N, BLOCK), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    x_next = tl.load(u, inside, 0.0)
    delta_next = tl.load(delta, inside, 0.0)
    B_next = tl.load(B, known, 0.0)
    if grad is not None:
        C = row(C, item, first, n, C_b, C_l, C_n)
        grad = row(grad, item, first, d, grad_b, grad_l, grad_d)
        kept = tl.full((N, BLOCK), 1.0, tl.float32)  # of the state before the chunk
        adjoint = tl.zeros((N, BLOCK), tl.float32)
        if z is not None:
            z = row(z, item, first, d, z_b, z_l, z_d)
    for i in range(count):
        x, dt, b = x_next.to(tl.float32), delta_next.to(tl.float32), B_next.to(tl.float32)
        ahead = step if i + 1 < count else 0
        u += ahead * u_l
        delta += ahead * delta_l
        B += ahead * B_l
        x_next = tl.load(u, inside, 0.0)
        delta_next = tl.load(delta, inside, 0.0)
        B_next = tl.load(B, known, 0.0)
        dt = softplus(dt + shift)
        total += dt
        keep = tl.exp2(dt[None, :] * rate)
        h = keep * h + (dt * x)[None, :] * b[:, None]
        if grad is not None:
            to_y = tl.load(grad, inside, 0.0).to(tl.float32)
            if z is not None:
                to_y = gated(to_y, tl.load(z, inside, 0.0).to(tl.float32))
                z += step * z_l
            kept *= keep
            adjoint += kept * (to_y[None, :] * tl.load(C, known, 0.0).to(tl.float32)[:, None])
            C += step * C_l
            grad += step * grad_l
    behind = item.to(tl.int64) * (chunks + 1) + chunk + 1
    tl.store(ends + state_offsets(behind, d, channels, N), h, inside[None, :])
    tl.store(decays + (item.to(tl.int64) * chunks + chunk) * channels + d, total, inside)
    if grad is not None:
        tl.store(adjoints + state_offsets(behind - 1, d, channels, N), adjoint, inside[None, :])


@triton.jit(do_not_specialize=LENGTHS)
def carry(
    A, states_of, decays, channels, chunks, A_d, A_n,
    BACKWARD: tl.constexpr, states: tl.constexpr, N: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run over the chunks: turn what each adds by itself into the state that each begins with, in place.

    Row c of `states_of`, (batch, chunks + 1, N, channels), is before chunk c and row c + 1 behind it. `BACKWARD` runs
    from the last chunk to the first, for the adjoint.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(N * channels, BLOCK)
    item = (program // blocks).to(tl.int64)
    at = program % blocks * BLOCK + tl.arange(0, BLOCK)  # in a row of states
    n, d = at // channels, at % channels
    rate = tl.load(A + d.to(tl.int64) * A_d + n * A_n, n < states, 0.0).to(tl.float32) * LOG2_E
    h = tl.zeros((BLOCK,), tl.float32)
    for begin in range(0, chunks, GROUP):
        adds, totals = (), ()
        for g in tl.static_range(GROUP):  # all loads of a group are under way before the first is waited for
            there = n < tl.where(begin + g < chunks, N, 0)
            chunk = chunks - 1 - begin - g if BACKWARD else begin + g
            behind = item * (chunks + 1) + (chunk if BACKWARD else chunk + 1)
            adds += (tl.load(states_of + behind * N * channels + at, there, 0.0),)
            totals += (tl.load(decays + (item * chunks + chunk) * channels + d, there, 0.0),)
        for g in tl.static_range(GROUP):
            there = n < tl.where(begin + g < chunks, N, 0)
            chunk = chunks - 1 - begin - g if BACKWARD else begin + g
            behind = item * (chunks + 1) + (chunk if BACKWARD else chunk + 1)
            h = tl.exp2(totals[g] * rate) * h + adds[g]
            tl.store(states_of + behind * N * channels + at, h, there)


@lanes
@triton.jit(do_not_specialize=LENGTHS)
def outputs(
    u, delta, A, B, C, skip, z, bias, begins, out, length, channels, chunks, CHUNK,
    u_b, u_l, u_d, delta_b, delta_l, delta_d, A_d, A_n, B_b, B_l, B_n, C_b, C_l, C_n, skip_d,
    z_b, z_l, z_d, bias_d, out_b, out_l,
    REVERSE: tl.constexpr, states: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run each chunk from the state that it begins with, and write the gated outputs, contiguous like (batch, L, D)."""
    item, chunk, first, count, d = place(length, chunks, channels, CHUNK, BLOCK, REVERSE)
    n = tl.arange(0, N)
    inside, known = d < channels, n < states
    rate, shift = load_parameters(A, bias, d, channels, states, A_d, A_n, bias_d, N)
    step: tl.constexpr = -1 if REVERSE else 1
    u = row(u, item, first, d, u_b, u_l, u_d)
    delta = row(delta, item, first, d, delta_b, delta_l, delta_d)
    B = row(B, item, first, n, B_b, B_l, B_n)
    C = row(C, item, first, n, C_b, C_l, C_n)
    out = row(out, item, first, d, out_b, out_l, 1)
    if skip is not None:
        straight = tl.load(skip + d * skip_d, inside, 0.0).to(tl.float32)
    if z is not None:
        z = row(z, item, first, d, z_b, z_l, z_d)
        z_next = tl.load(z, inside, 0.0)
    before = item.to(tl.int64) * (chunks + 1) + chunk
    begun = d < tl.where(chunk > 0, channels, 0)  # before the first chunk the state is zero
    h = tl.load(begins + state_offsets(before, d, channels, N), begun[None, :], 0.0)
    x_next = tl.load(u, inside, 0.0)
    delta_next = tl.load(delta, inside, 0.0)
    B_next = tl.load(B, known, 0.0)
    C_next = tl.load(C, known, 0.0)
    for i in range(count):
        x, dt = x_next.to(tl.float32), delta_next.to(tl.float32)
        b, c = B_next.to(tl.float32), C_next.to(tl.float32)
        ahead = step if i + 1 < count else 0
        u += ahead * u_l
        delta += ahead * delta_l
        B += ahead * B_l
        C += ahead * C_l
        x_next = tl.load(u, inside, 0.0)
        delta_next = tl.load(delta, inside, 0.0)
        B_next = tl.load(B, known, 0.0)
        C_next = tl.load(C, known, 0.0)
        dt = softplus(dt + shift)
        h = tl.exp2(dt[None, :] * rate) * h + (dt * x)[None, :] * b[:, None]
        y = tl.sum(h * c[:, None], 0)
        if skip is not None:
            y += straight * x
        if z is not None:
            gate = z_next.to(tl.float32)
            z += ahead * z_l
            z_next = tl.load(z, inside, 0.0)
            y *= gate * sigmoid(gate)
        tl.store(out, y.to(out.dtype.element_ty), inside)
        out += step * out_l
