"""The promises of `test_triton_kernels.py`, run where TRITON_INTERPRET=1 is set before Triton is imported.

Run by that file in a process of its own: Triton reads the variable when a kernel is defined. Chunks are cut to a few
steps, because the interpreter is slow and what matters is how they meet.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.mamba import causal_conv
from models.scan import triton, triton_conv
from models.scan.reference import selective_scan_reference, selective_scan_reference_backward
from models.scan.triton import selective_scan_triton, selective_scan_triton_backward
from models.scan.triton_conv import causal_conv_silu_triton, causal_conv_silu_triton_backward

Inputs = list[Any]
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 5e-3, torch.float16: 1e-3}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "chunk_length", lambda _batch, length, _channels, _processors: min(5, length))
    monkeypatch.setattr(triton, "BACKWARD_CHUNK", 8)


def make_inputs(
    batch: int, length: int, channels: int, states: int = 4, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Inputs:
    """Random inputs as a Mamba block has them: gate, B and C are parts of projections."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    u, z = normal(batch, length, 2 * channels).to(dtype).chunk(2, dim=-1)
    delta = (scale * (normal(batch, length, channels) - 1)).to(dtype)
    _, B, C = normal(batch, length, 3 + 2 * states).to(dtype).split([3, states, states], dim=-1)
    return [u, delta, -normal(channels, states).exp(), B, C, normal(channels), z, normal(channels)]


def exact(inputs: Inputs) -> Inputs:
    return [None if x is None else x.double() for x in inputs]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / (expected.norm() + 1e-30))


def assert_scan(inputs: Inputs, reverse: bool) -> None:
    found = selective_scan_triton(*inputs, reverse)
    assert found.is_contiguous()
    assert found.dtype == inputs[0].dtype
    assert error(found, selective_scan_reference(*exact(inputs), reverse)) < ROUNDING[found.dtype]


def assert_gradients(inputs: Inputs, reverse: bool, tolerance: float = 2e-6) -> None:
    grad = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1)).to(inputs[0].dtype)
    found = selective_scan_triton_backward(grad, *inputs, reverse)
    expected = selective_scan_reference_backward(grad.double(), *exact(inputs), reverse)
    for i, (a, b, given) in enumerate(zip(found, expected, inputs, strict=True)):
        assert (a is None) == (b is None) == (given is None)
        if a is not None and b is not None:
            assert a.dtype == given.dtype
            assert a.shape == given.shape
            if b.norm() > 0:
                assert error(a, b) < max(tolerance, ROUNDING[a.dtype]), f"gradient {i}"
            else:
                assert a.abs().max() == 0


# Lengths: one step, a prime, a multiple of the chunk, one more; most of them three chunks, so that states are carried.
# Channels: fewer than a block, a block, one more.
SHAPES = [(1, 1, 3, 4), (1, 13, 5, 16), (2, 10, 32, 4), (1, 11, 33, 3), (1, 6, 2, 1)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_scan_equals_the_float64_reference(shape: tuple[int, int, int, int], reverse: bool) -> None:
    assert_scan(make_inputs(*shape), reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 3, 4), (2, 19, 5, 16), (1, 24, 17, 4), (1, 17, 16, 3), (1, 6, 2, 1)])
def test_the_gradients_equal_the_float64_reference(shape: tuple[int, int, int, int], reverse: bool) -> None:
    assert_gradients(make_inputs(*shape), reverse)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_only_at_the_end(dtype: torch.dtype) -> None:
    inputs = make_inputs(1, 6, 5, dtype=dtype)
    assert_scan(inputs, False)
    assert_gradients(inputs, True)


@pytest.mark.parametrize("absent", [(5,), (6,), (7,), (5, 6, 7)])
def test_skip_gate_and_bias_can_be_left_out(absent: tuple[int, ...]) -> None:
    inputs = [None if i in absent else x for i, x in enumerate(make_inputs(1, 4, 3))]
    assert_scan(inputs, False)
    assert_gradients(inputs, False)


def test_any_strides_are_read_in_place() -> None:
    u, delta, A, B, C, D, z, bias = make_inputs(2, 6, 3)
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (u, delta, B, C, z)]
    every_second = torch.stack([D, bias], dim=1)
    inputs = [turned[0], turned[1], A.T.contiguous().T, *turned[2:4], every_second[:, 0], turned[4], every_second[:, 1]]
    assert not any(x.is_contiguous() for x in inputs)
    assert_scan(inputs, True)
    assert_gradients(inputs, False)


@pytest.mark.parametrize("scale", [0.0, 20.0, 100.0])
def test_extreme_steps(scale: float) -> None:
    inputs = make_inputs(1, 6, 4, scale=scale)
    assert_scan(inputs, False)
    assert_gradients(inputs, False, tolerance=1e-5)


def test_a_step_too_small_for_a_plain_logarithm_keeps_its_accuracy() -> None:
    inputs = make_inputs(1, 4, 3)
    inputs[1].fill_(-18.0)
    inputs[5] = inputs[7] = None  # nothing but the state's small share is left
    assert_scan(inputs, False)


def test_nan_is_not_hidden() -> None:
    inputs = make_inputs(1, 7, 3)
    inputs[1][0, 3, 1] = float("nan")
    found = selective_scan_triton(*inputs, False)
    assert found[0, 3:, 1].isnan().all()
    assert found[0, :3].isfinite().all()
    assert found[0, :, [0, 2]].isfinite().all()


def test_gradients_are_the_same_at_every_call() -> None:
    inputs = make_inputs(1, 5, 17)
    first, second = (selective_scan_triton_backward(inputs[0], *inputs, False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("shape", "taps", "biased"),
    [
        ((1, 1, 3), 4, True),
        ((2, 37, 70), 4, True),
        ((1, 32, 64), 3, True),
        ((1, 33, 5), 2, True),
        ((1, 5, 2), 4, False),
    ],
)
def test_the_convolution_and_its_gradients_equal_float64(
    shape: tuple[int, int, int], taps: int, biased: bool, reverse: bool
) -> None:
    batch, length, channels = shape
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, 2 * channels, generator=generator)[..., channels:]
    weight, bias, grad = (
        torch.randn(*size, generator=generator) for size in ((channels, 1, taps), (channels,), x.shape)
    )
    doubles = [t.double().requires_grad_() for t in (x, weight, bias if biased else torch.zeros(channels))]
    expected = torch.nn.functional.silu(causal_conv(*doubles, reverse=reverse))
    gradients = torch.autograd.grad(expected, doubles, grad.double())
    given = bias if biased else None
    assert error(causal_conv_silu_triton(x, weight, given, reverse), expected.detach()) < 1e-6
    found = causal_conv_silu_triton_backward(grad, x, weight, given, reverse)
    assert (found[2] is None) == (not biased)
    assert all(error(a, b) < 1e-6 for a, b in zip(found, gradients, strict=True) if a is not None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_convolution_in_half_precision(dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(1, 9, 6).to(dtype), torch.randn(6, 1, 4).to(dtype), torch.randn(6).to(dtype)
    found = causal_conv_silu_triton(x.transpose(1, 2).contiguous().transpose(1, 2), weight, bias, False)
    expected = torch.nn.functional.silu(causal_conv(x.double(), weight.double(), bias.double()))
    assert found.dtype == dtype
    assert error(found, expected) < ROUNDING[dtype]
    assert all(
        g is not None and g.dtype == dtype for g in causal_conv_silu_triton_backward(found, x, weight, bias, True)
    )


def test_the_op_of_the_convolution_has_a_gradient() -> None:
    x, weight, bias = (t.requires_grad_() for t in (torch.randn(1, 6, 3), torch.randn(3, 1, 4), torch.randn(3)))
    output = triton_conv.causal_conv_silu(x, weight, bias, False)
    found = torch.autograd.grad(output.square().sum(), (x, weight, bias))
    plain = torch.nn.functional.silu(causal_conv(x, weight, bias))
    expected = torch.autograd.grad(plain.square().sum(), (x, weight, bias))
    assert all(error(a, b) < 1e-5 for a, b in zip(found, expected, strict=True))
    torch.library.opcheck(
        triton_conv.causal_conv_silu, (x.detach(), weight.detach(), bias.detach(), True), test_utils="test_faketensor"
    )


def test_the_compared_design_is_right_too() -> None:
    from tests.triton_aot import associative

    u, delta, A, B, C, D, z, bias = (x.contiguous() for x in make_inputs(1, 11, 2, 2))
    out = torch.empty_like(u)
    strides = [s for x in (u, delta) for s in x.stride()[:2]] + [A.stride(0)]
    strides += [s for x in (B, C, z, out) for s in x.stride()[:2]]
    associative[(2,)](u, delta, A, B, C, D, z, bias, out, 11, 2, *strides, states=2, N=2, STEPS=8)
    expected = selective_scan_reference(*exact([u, delta, A, B, C, D, z, bias]), False)
    assert error(out, expected) < 1e-6
