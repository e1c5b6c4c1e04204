"""The selective scan as an op: its equation, its shapes, its gradient, and what torch must know about it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.scan import ScanBackendError, scan_flops, selective_scan

OPTIONAL = ("D", "z", "delta_bias")


def make_inputs(
    batch: int = 2, length: int = 7, channels: int = 5, states: int = 3, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "u": normal(batch, length, channels),
        "delta": 3 * normal(batch, length, channels),
        "A": -normal(channels, states).exp(),
        "B": normal(batch, length, states),
        "C": normal(batch, length, states),
        "D": normal(channels),
        "z": normal(batch, length, channels),
        "delta_bias": normal(channels),
    }


def by_the_equation(inputs: dict[str, Tensor], *, reverse: bool) -> np.ndarray[Any, Any]:
    """One number at a time, in float64 and numpy."""
    x = {name: tensor.double().numpy() for name, tensor in inputs.items()}
    batch, length, channels = x["u"].shape
    out = np.zeros((batch, length, channels))
    for b, d in np.ndindex(batch, channels):
        h = np.zeros(x["A"].shape[1])
        for t in reversed(range(length)) if reverse else range(length):
            dt = np.logaddexp(0, x["delta"][b, t, d] + (x["delta_bias"][d] if "delta_bias" in x else 0))
            h = np.exp(dt * x["A"][d]) * h + dt * x["B"][b, t] * x["u"][b, t, d]
            y = x["C"][b, t] @ h + (x["D"][d] * x["u"][b, t, d] if "D" in x else 0)
            gate = x["z"][b, t, d] / (1 + np.exp(-x["z"][b, t, d])) if "z" in x else 1
            out[b, t, d] = y * gate
    return out


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 12),
    channels=st.integers(1, 5),
    states=st.sampled_from([1, 2, 16]),
    absent=st.sets(st.sampled_from(OPTIONAL)),
    reverse=st.booleans(),
)
def test_the_reference_follows_the_equation(
    batch: int, length: int, channels: int, states: int, absent: set[str], reverse: bool
) -> None:
    inputs = {k: v for k, v in make_inputs(batch, length, channels, states).items() if k not in absent}
    result = selective_scan(**inputs, reverse=reverse, backend="reference")
    np.testing.assert_allclose(result.numpy(), by_the_equation(inputs, reverse=reverse), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_reverse_equals_flipping_the_sequence(backend: str) -> None:
    inputs = make_inputs(dtype=torch.float32)
    flipped = {name: x.flip(1) if x.dim() == 3 else x for name, x in inputs.items()}
    expected = selective_scan(**flipped, backend=backend).flip(1)
    torch.testing.assert_close(selective_scan(**inputs, reverse=True, backend=backend), expected)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_one_step_has_no_past(backend: str) -> None:
    inputs = make_inputs(length=1, dtype=torch.float32)
    forward = selective_scan(**inputs, backend=backend)
    torch.testing.assert_close(selective_scan(**inputs, reverse=True, backend=backend), forward)
    assert not torch.equal(forward, torch.zeros_like(forward))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("reverse", [False, True])
def test_any_strides_give_a_contiguous_output(backend: str, reverse: bool) -> None:
    inputs = make_inputs(dtype=torch.float32)
    strided = {name: x.mT.contiguous().mT if x.dim() > 1 else x for name, x in inputs.items()}
    strided["B"], strided["C"] = torch.cat([inputs["B"], inputs["C"]], dim=-1).chunk(2, dim=-1)
    result = selective_scan(**strided, reverse=reverse, backend=backend)
    torch.testing.assert_close(result, selective_scan(**inputs, reverse=reverse, backend=backend))
    assert result.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_only_at_the_end(dtype: torch.dtype) -> None:
    inputs = make_inputs(length=60, dtype=dtype)
    single = {name: x.float() for name, x in inputs.items()}
    result = selective_scan(**inputs, backend="reference")
    assert result.dtype == dtype
    assert torch.equal(result, selective_scan(**single, backend="reference").to(dtype))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("delta", (2, 6, 5)),
        ("A", (4, 3)),
        ("B", (2, 7, 4)),
        ("C", (2, 7, 4)),
        ("C", (7, 3)),
        ("D", (4,)),
        ("z", (1, 7, 5)),
        ("delta_bias", (5, 1)),
    ],
)
def test_a_shape_that_does_not_fit_is_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"selective scan: {name} has shape") as raised:
        selective_scan(**{**make_inputs(), name: torch.zeros(shape)})
    assert str(shape) in str(raised.value)


@pytest.mark.parametrize("shape", [(7, 5), (2, 0, 5), (0, 7, 5), (2, 7, 0), (1, 2, 7, 5)])
def test_a_sequence_must_be_three_dimensional_and_not_empty(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected a non-empty \(batch, length, channels\)"):
        selective_scan(**{**make_inputs(), "u": torch.zeros(shape)})


def test_an_unknown_backend_is_refused_before_anything_runs() -> None:
    with pytest.raises(ScanBackendError, match="unknown scan backend 'fast'"):
        selective_scan(**make_inputs(), backend="fast")


def op_arguments(inputs: dict[str, Tensor], *, reverse: bool) -> tuple[Any, ...]:
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    return (*(inputs.get(name) for name in names), reverse, "reference")


@pytest.mark.parametrize("absent", [(), OPTIONAL])
@pytest.mark.parametrize("gradients", [False, True])
def test_torch_finds_the_op_in_order(absent: tuple[str, ...], gradients: bool) -> None:
    """Schema, fake tensors (shape, dtype, strides) and autograd registration, also under export."""
    inputs = {k: v.requires_grad_(gradients) for k, v in make_inputs(length=3).items() if k not in absent}
    torch.library.opcheck(torch.ops.dvbench.selective_scan.default, op_arguments(inputs, reverse=True))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("absent", [(), OPTIONAL])
def test_gradients_are_those_of_finite_differences(absent: tuple[str, ...], reverse: bool) -> None:
    inputs = {k: v.requires_grad_() for k, v in make_inputs(1, 3, 2, 2).items() if k not in absent}

    def scan(*tensors: Tensor) -> Tensor:
        return selective_scan(**dict(zip(inputs, tensors, strict=True)), reverse=reverse, backend="reference")

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_only_what_asks_for_a_gradient_gets_one(backend: str) -> None:
    inputs = make_inputs(dtype=torch.float32)
    inputs["B"].requires_grad_()
    selective_scan(**inputs, backend=backend).sum().backward()
    assert inputs["B"].grad is not None
    assert inputs["B"].grad.any()
    assert all(x.grad is None for name, x in inputs.items() if name != "B")


def test_the_meta_device_counts_six_operations_for_each_state_update() -> None:
    batch, length, channels, states = 2, 70_000, 768, 16
    shapes = {"u": (batch, length, channels), "A": (channels, states), "B": (batch, length, states), "D": (channels,)}
    like = {"delta": "u", "C": "B", "z": "u", "delta_bias": "D"}
    inputs: dict[str, Any] = {name: torch.empty(shapes[like.get(name, name)], device="meta") for name in make_inputs()}
    with FlopCounterMode(display=False) as counter:
        result = selective_scan(**inputs)
    assert result.shape == (batch, length, channels)
    assert counter.get_total_flops() == 6 * batch * length * channels * states
    assert counter.get_total_flops() == scan_flops(batch, length, channels, states)


def test_counted_the_same_where_it_really_runs() -> None:
    with FlopCounterMode(display=False) as counter:
        selective_scan(**make_inputs(2, 7, 5, 3))
    assert counter.get_total_flops() == 6 * 2 * 7 * 5 * 3
