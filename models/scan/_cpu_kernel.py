"""The compiled loop of the CPU scan, and the vector type that it is written in.

Numba's own vectoriser leaves half of the speed of this loop behind, so the kernel spells its vectors out: a value of
the type "lanes" is 16 float32 channels. LLVM maps it to one AVX-512 register, two of AVX2 or four of NEON.

All that is compiled stands in this one file, because Numba's cache on disk watches only the file of the cached
function. Importing this module imports Numba (half a second) and compiles the kernel (two seconds, the first time).
"""
# mypy: ignore-errors
# (Numba and llvmlite carry no types, and most of this file is not run by Python.)

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16

_INTEGER = ir.IntType(32)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(_INTEGER, LANES)
_FLAGS = ("contract", "nsz")  # a * b + c in one instruction; nothing that reorders a sum or drops a NaN


class _LanesType(types.Type):
    """Numba's name for 16 float32 values in vector registers."""

    def __init__(self):
        super().__init__("lanes")


_LANES = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    """How lanes are passed and kept: as the vector itself."""

    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, _FLOATS)


def _pointer(context, builder, array_type, array, index_type, index, target):
    """Address of `array[index]`, to be used as `target`; what follows it in the last dimension has stride 1."""
    indices = cgutils.unpack_tuple(builder, index, len(index_type))
    array = context.make_array(array_type)(context, builder, array)
    return builder.bitcast(cgutils.get_item_pointer(context, builder, array_type, array, indices), target.as_pointer())


@intrinsic
def _load(_typing, array, index):
    def emit(context, builder, _signature, args):
        lanes = builder.load(_pointer(context, builder, array, args[0], index, args[1], _FLOATS))
        lanes.align = 4
        return lanes

    return _LANES(array, index), emit


@intrinsic
def _store(_typing, lanes, array, index):
    def emit(context, builder, _signature, args):
        builder.store(args[0], _pointer(context, builder, array, args[1], index, args[2], _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(lanes, array, index), emit


@intrinsic
def _prefetch(_typing, array, index):
    """Ask for the cache line of `array[index]`; an index outside of the array does no harm."""

    def emit(context, builder, _signature, args):
        address = _pointer(context, builder, array, args[0], index, args[1], ir.IntType(8))
        signature = ir.FunctionType(ir.VoidType(), [address.type, _INTEGER, _INTEGER, _INTEGER])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", (address.type,), signature)
        read, keep, data = _INTEGER(0), _INTEGER(3), _INTEGER(1)
        builder.call(prefetch, [address, read, keep, data])
        return context.get_dummy_value()

    return types.void(array, index), emit


def _broadcast(builder, value):
    """The value in every lane, if it is a scalar."""
    if value.type == _FLOATS:
        return value
    undefined = _FLOATS(ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, _INTEGER(0)), undefined, _INTEGERS([0] * LANES)
    )


def _lanewise(instruction):
    """A function of two values, at least one of them lanes, made of `instruction(builder, x, y)` on vectors."""

    @intrinsic
    def apply(_typing, x, y):
        def emit(_context, builder, _signature, args):
            return instruction(builder, *(_broadcast(builder, arg) for arg in args))

        return _LANES(x, y), emit

    return apply


def _overload(symbol, name):
    apply = _lanewise(lambda builder, x, y: getattr(builder, name)(x, y, flags=_FLAGS))

    @overload(symbol)
    def arithmetic(x, y):
        return (lambda x, y: apply(x, y)) if _LANES in (x, y) else None  # noqa: PLW0108 (Numba compiles the lambda)


_overload(operator.add, "fadd")
_overload(operator.sub, "fsub")
_overload(operator.mul, "fmul")
_overload(operator.truediv, "fdiv")
# Both pass a NaN in x on, so that the scan never hides one.
_larger = _lanewise(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", y, x), y, x))
_smaller = _lanewise(lambda builder, x, y: builder.select(builder.fcmp_ordered("<", y, x), y, x))


@intrinsic
def _lowest_bits_as_exponent(_typing, x):
    def emit(_context, builder, _signature, args):
        bits = builder.shl(builder.bitcast(args[0], _INTEGERS), _INTEGERS([23] * LANES))
        return builder.bitcast(bits, _FLOATS)

    return _LANES(x), emit


def _polynomial(*coefficients):
    """A function of lanes: the polynomial with these coefficients, lowest power first, by Horner's rule."""

    @intrinsic
    def evaluate(_typing, x):
        def emit(_context, builder, _signature, args):
            *lower, value = (_FLOATS([float(np.float32(c))] * LANES) for c in coefficients)
            for coefficient in reversed(lower):
                value = builder.fadd(builder.fmul(value, args[0], flags=_FLAGS), coefficient, flags=_FLAGS)
            return value

        return _LANES(x), emit

    return evaluate


@intrinsic
def _sum(_typing, x):
    """The sum of the lanes, always in the same order: halves onto halves."""

    def emit(_context, builder, _signature, args):
        value, half = args[0], LANES // 2
        while half:
            upper = _INTEGERS([(i + half) % LANES for i in range(LANES)])
            value = builder.fadd(value, builder.shuffle_vector(value, _FLOATS(ir.Undefined), upper))
            half //= 2
        return builder.extract_element(value, _INTEGER(0))

    return types.float32(x), emit


_ZERO, _ONE, _LOG2_E = np.float32(0), np.float32(1), np.float32(np.log2(np.e))
# Adding 1.5 * 2**23 leaves a rounded integer in the lowest bits of a float; 127 is the bias of a float's exponent.
_ROUND = np.float32(1.5 * 2**23 + 127)
_LEAST = np.float32(-127)  # here the bits of the exponent become 0, and so does the result
# Minimax fits of the relative error with the first coefficient held at 1, so that a slow decay stays exact: 2**x on
# [-0.5, 0.5] to 9e-8, and log(1 + x) / x on [0, 1] to 3e-8.
_exp2_of_fraction = _polynomial(1, 0.69314700, 0.24022242, 0.055507336, 0.0096715130, 0.0013264727)
_log1p_over_x = _polynomial(
    1, -0.49999648, 0.33321323, -0.24857164, 0.19153655, -0.13753802, 0.079204526, -0.030065779, 0.0053648228
)


# `forceinline` keeps lanes in registers: without it LLVM may pass them through memory.
@njit(forceinline=True)
def _exp2(x):
    """2**x for x <= 127, and 0 below -126.5."""
    x = _larger(x, _LEAST)
    shifted = x + _ROUND
    return _exp2_of_fraction(x - (shifted - _ROUND)) * _lowest_bits_as_exponent(shifted)


@njit(forceinline=True)
def _softplus(x):
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    v = _exp2(_smaller(x, _ZERO - x) * _LOG2_E)
    return _larger(x, _ZERO) + v * _log1p_over_x(v)


@njit(forceinline=True)
def _sigmoid(x):
    return _ONE / (_ONE + _exp2(_smaller(x * -_LOG2_E, np.float32(126))))


@njit(forceinline=True)
def _silu(x):
    return x / (_ONE + _exp2(_smaller(x * -_LOG2_E, np.float32(126))))


# Steps of a block that are taken before the next block. Rows lie a power of two apart, or nearly so, and then share a
# few sets of the first-level cache: the rows of eight steps fit in, those of sixteen push each other out.
TILE = 8


def _scan(u, delta, B, C, z, decay, skip, bias, reverse, state, out, item, first, stop):
    """Run some blocks of channels of one batch item through all steps. A block is 16 channels, D a multiple of 16.

    A few steps of one block are taken before those of the next, so that its states stay in the first-level cache while
    the rows that are read stay in the second.

    Args:
        u: input, (batch, L, D) with stride 1 in D, like delta, z and out.
        delta: step sizes before bias and softplus.
        B: (batch, L, N), any strides.
        C: (batch, L, N), any strides.
        z: gate before the SiLU; none if it has 0 steps.
        decay: A times log2(e), (blocks, N, 16).
        skip: the D of the equations, (D).
        bias: added to delta, (D).
        reverse: whether time runs from the last step to the first.
        state: the states before the first step, (batch, blocks, N, 16); overwritten by those after the last.
        out: what is written.
        item: index of the batch item.
        first: index of the first block.
        stop: index after the last block.
    """
    steps, states = B.shape[1:]
    gated = z.shape[1] > 0
    origin, forward = (steps - 1, -1) if reverse else (0, 1)
    for begin in range(0, steps, TILE):
        end = min(begin + TILE, steps)
        for block in range(first, stop):
            at = block * LANES
            # Three passes over the steps, of which only the second has to wait; `out` holds what is in between.
            for i in range(begin, end):
                t = origin + i * forward
                # Rows may lie a memory page apart, where the processor does not look ahead by itself.
                ahead = t + TILE * forward
                _prefetch(u, (item, ahead, at))
                _prefetch(delta, (item, ahead, at))
                if gated:
                    _prefetch(z, (item, ahead, at))
                _store(_softplus(_load(delta, (item, t, at)) + _load(bias, (at,))), out, (item, t, at))
            for i in range(begin, end):
                t = origin + i * forward
                dt = _load(out, (item, t, at))
                x = _load(u, (item, t, at))
                dt_x = dt * x
                y = x * _load(skip, (at,))
                for n in range(states):
                    keep = _exp2(dt * _load(decay, (block, n, 0)))
                    h = keep * _load(state, (item, block, n, 0)) + dt_x * B[item, t, n]
                    _store(h, state, (item, block, n, 0))
                    y = y + h * C[item, t, n]
                _store(y, out, (item, t, at))
            if gated:
                for i in range(begin, end):
                    t = origin + i * forward
                    _store(_load(out, (item, t, at)) * _silu(_load(z, (item, t, at))), out, (item, t, at))


CHUNK = 32  # steps whose states are kept at once: with 16 states, 64 KiB, which the second-level cache holds
_LN_2 = np.float32(np.log(2))


def _differentiate(  # noqa: PLR0912, PLR0915 (one loop nest, whose parts share registers)
    u, delta, B, C, z, grad, decay, skip, bias, reverse,
    to_u, to_delta, to_B, to_C, to_z, to_A, to_skip, to_bias, item, first, stop,
):  # fmt: skip
    """Run the adjoint of some blocks of channels of one batch item; see `_scan` for what is not explained here.

    The states are not kept from the forward pass. A first sweep keeps those at the beginning of each chunk of steps.
    Then, from the last chunk to the first, the states inside it are computed again and the adjoint runs back over them.

    The gradients of u, delta and z are written, each (batch, L, D); those of B and C, (batch, L, N), are of these
    blocks alone; to those of A, (batch, blocks, N, 16), and of skip and bias, (batch, D), is added.
    """
    steps, states = B.shape[1:]
    gated = z.shape[1] > 0
    chunks = (steps + CHUNK - 1) // CHUNK
    origin, forward = (steps - 1, -1) if reverse else (0, 1)
    begin = np.zeros((stop - first, chunks, states, LANES), np.float32)
    h = np.empty((CHUNK + 1, states, LANES), np.float32)
    kept = np.empty((CHUNK, states, LANES), np.float32)  # the share of a state that a step keeps
    dts, ys = np.empty((CHUNK, LANES), np.float32), np.empty((CHUNK, LANES), np.float32)
    sum_B, sum_C = np.empty((CHUNK, states, LANES), np.float32), np.empty((CHUNK, states, LANES), np.float32)
    carried = np.zeros((stop - first, states, LANES), np.float32)
    for block in range(first, stop):
        at = block * LANES
        for chunk in range(chunks - 1):
            for n in range(states):
                _store(_load(begin, (block - first, chunk, n, 0)), begin, (block - first, chunk + 1, n, 0))
            for i in range(chunk * CHUNK, (chunk + 1) * CHUNK):
                t = origin + i * forward
                dt = _softplus(_load(delta, (item, t, at)) + _load(bias, (at,)))
                dt_x = dt * _load(u, (item, t, at))
                for n in range(states):
                    state = _load(begin, (block - first, chunk + 1, n, 0))
                    state = _exp2(dt * _load(decay, (block, n, 0))) * state + dt_x * B[item, t, n]
                    _store(state, begin, (block - first, chunk + 1, n, 0))
    for back in range(chunks):
        chunk = chunks - 1 - back
        start = chunk * CHUNK
        count = min(CHUNK, steps - start)
        sum_B[:] = 0
        sum_C[:] = 0
        for block in range(first, stop):
            at = block * LANES
            for n in range(states):
                _store(_load(begin, (block - first, chunk, n, 0)), h, (0, n, 0))
            for i in range(count):
                t = origin + (start + i) * forward
                dt = _softplus(_load(delta, (item, t, at)) + _load(bias, (at,)))
                x = _load(u, (item, t, at))
                dt_x = dt * x
                y = x * _load(skip, (at,))
                for n in range(states):
                    keep = _exp2(dt * _load(decay, (block, n, 0)))
                    state = keep * _load(h, (i, n, 0)) + dt_x * B[item, t, n]
                    _store(keep, kept, (i, n, 0))
                    _store(state, h, (i + 1, n, 0))
                    y = y + state * C[item, t, n]
                out = _load(grad, (item, t, at))
                if gated:
                    gate = _load(z, (item, t, at))
                    open_ = _sigmoid(gate)
                    _store(out * y * (open_ * (gate * (_ONE - open_) + _ONE)), to_z, (item, t, at))
                    out = out * (gate * open_)
                _store(dt, dts, (i, 0))
                _store(out, ys, (i, 0))
            for later in range(count):
                i = count - 1 - later
                t = origin + (start + i) * forward
                dt, dy, x = _load(dts, (i, 0)), _load(ys, (i, 0)), _load(u, (item, t, at))
                dt_x = dt * x
                decays, inputs = dy * _ZERO, dy * _ZERO
                for n in range(states):
                    keep = _load(kept, (i, n, 0))
                    dh = dy * C[item, t, n] + _load(carried, (block - first, n, 0))
                    _store(dy * _load(h, (i + 1, n, 0)) + _load(sum_C, (i, n, 0)), sum_C, (i, n, 0))
                    _store(dh * dt_x + _load(sum_B, (i, n, 0)), sum_B, (i, n, 0))
                    through = dh * (keep * _load(h, (i, n, 0)))
                    _store(dt * through + _load(to_A, (item, block, n, 0)), to_A, (item, block, n, 0))
                    decays = through * _load(decay, (block, n, 0)) + decays
                    inputs = dh * B[item, t, n] + inputs
                    _store(dh * keep, carried, (block - first, n, 0))
                before = _load(delta, (item, t, at)) + _load(bias, (at,))
                change = (decays * _LN_2 + inputs * x) * _sigmoid(before)
                _store(change, to_delta, (item, t, at))
                _store(change + _load(to_bias, (item, at)), to_bias, (item, at))
                _store(dy * x + _load(to_skip, (item, at)), to_skip, (item, at))
                _store(dy * _load(skip, (at,)) + inputs * dt, to_u, (item, t, at))
        for i in range(count):
            t = origin + (start + i) * forward
            for n in range(states):
                to_B[item, t, n] = _sum(_load(sum_B, (i, n, 0)))
                to_C[item, t, n] = _sum(_load(sum_C, (i, n, 0)))


_ROWS = types.Array(types.float32, 3, "A")  # any strides: views are read in place, and one compilation serves all
_VECTOR, _TABLE, _BLOCKS, _STATES = (types.Array(types.float32, dimensions, "C") for dimensions in (1, 2, 3, 4))
_JOB = (types.intp, types.intp, types.intp)
_SCAN = types.void(*[_ROWS] * 5, _BLOCKS, _VECTOR, _VECTOR, types.boolean, _STATES, _ROWS, *_JOB)
_DIFFERENTIATE = types.void(
    *[_ROWS] * 6, _BLOCKS, _VECTOR, _VECTOR, types.boolean, *[_ROWS] * 5, _STATES, _TABLE, _TABLE, *_JOB
)


def _compile(signature, function):
    try:
        return njit(signature, nogil=True, cache=True)(function)
    except (OSError, RuntimeError):  # no folder that the cache can be written to, or a full disk
        return njit(signature, nogil=True)(function)


scan = _compile(_SCAN, _scan)
differentiate = _compile(_DIFFERENTIATE, _differentiate)
