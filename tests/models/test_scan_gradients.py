"""Gradients of the selective scan: every input's, against float64, with memory that grows with the input only."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.scan import mamba_ssm, selective_scan
from models.scan.cpu import selective_scan_cpu_backward
from models.scan.reference import selective_scan_reference, selective_scan_reference_backward

Inputs = list[Tensor | None]


def inputs(
    batch: int, length: int, channels: int, states: int = 4, *, seed: int = 0, scale: float = 1.0, full: bool = True
) -> Inputs:
    """Random inputs laid out as a Mamba block has them; without D, z and bias unless `full`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    u, z = normal(batch, length, 2 * channels).chunk(2, dim=-1)
    projection = normal(batch, length, 2 * states + 1)
    delta = scale * (normal(batch, length, channels) - 1)
    B, C = projection[..., 1 : 1 + states], projection[..., 1 + states :]
    rest = [normal(channels), z, normal(channels)] if full else [None, None, None]
    return [u, delta, -torch.exp(normal(channels, states)), B, C, *rest]


def to(given: Inputs, dtype: torch.dtype) -> list[Any]:
    return [None if t is None else t.to(dtype) for t in given]


def exact_and_sizes(grad: Tensor, given_: Inputs, reverse: bool) -> tuple[Inputs, list[float]]:
    """Gradients in float64, and how large the terms are that they are sums of."""
    exact = selective_scan_reference_backward(grad, *to(given_, torch.float64), reverse)
    u, delta, A, B, C, D, z, bias = given_
    assert u is not None
    assert B is not None
    assert C is not None
    passed = grad.abs() if z is None else grad.abs() * (1 + z.abs())
    plain: list[Any] = [u.abs(), delta, A, B.abs(), C.abs(), None if D is None else D.abs(), None, bias]
    terms = selective_scan_reference_backward(passed, *plain, reverse)
    largest = [0.0 if t is None else float(t.abs().max()) for t in terms]
    largest[6] = float((passed * selective_scan_reference(*plain, reverse)).max())
    return exact, largest


def assert_close(found: Inputs, exact: Inputs, sizes: list[float], tolerance: float) -> None:
    for i, (a, b, size) in enumerate(zip(found, exact, sizes, strict=True)):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.shape == b.shape
            assert (a.double() - b).abs().max() <= tolerance * size + 1e-12, f"gradient {i}"


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 100),
    st.integers(1, 80),
    st.sampled_from([1, 4, 16]),
    st.booleans(),
    st.booleans(),
)
def test_the_compiled_gradients_equal_float64(
    batch: int, length: int, channels: int, states: int, reverse: bool, full: bool
) -> None:
    given_ = inputs(batch, length, channels, states, seed=length, full=full)
    grad = torch.randn(batch, length, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = selective_scan_cpu_backward(grad.float(), *to(given_, torch.float32), reverse)
    assert_close(found, *exact_and_sizes(grad, given_, reverse), 1e-5)


@pytest.mark.parametrize("scale", [0.0, 20.0, 100.0])
def test_extreme_steps_keep_their_gradients(scale: float) -> None:
    given_ = inputs(2, 70, 33, 16, scale=scale)
    grad = torch.ones(2, 70, 33, dtype=torch.float64)
    found = selective_scan_cpu_backward(grad.float(), *to(given_, torch.float32), False)
    assert_close(found, *exact_and_sizes(grad, given_, False), 1e-5)


def test_half_precision_is_computed_in_float32() -> None:
    given_ = to(inputs(1, 40, 32, 16), torch.bfloat16)
    grad = torch.ones(1, 40, 32)
    found = selective_scan_cpu_backward(grad.bfloat16(), *given_, False)
    exact = selective_scan_cpu_backward(grad, *to(given_, torch.float32), False)
    assert all(a is not None and a.dtype == torch.bfloat16 for a in found)
    assert all(
        torch.equal(a, b.bfloat16()) for a, b in zip(found, exact, strict=True) if a is not None and b is not None
    )


def test_the_number_of_threads_changes_no_bit() -> None:
    given_ = to(inputs(2, 90, 200, 16), torch.float32)
    grad, before, results = torch.ones(2, 90, 200), torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(selective_scan_cpu_backward(grad, *given_, True))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_the_op_passes_gradcheck_in_float64(reverse: bool, full: bool) -> None:
    given_ = [None if t is None else t.detach().requires_grad_() for t in inputs(2, 5, 3, 2, full=full)]
    assert torch.autograd.gradcheck(lambda *a: selective_scan(*a, reverse=reverse, backend="reference"), given_)


def test_gradients_flow_through_the_op_to_views() -> None:
    projection = torch.randn(1, 9, 64, requires_grad=True)
    u, z = projection.chunk(2, dim=-1)
    delta, A = torch.randn(1, 9, 32), -torch.rand(32, 16)
    B, C = torch.randn(1, 9, 32).split(16, dim=-1)
    selective_scan(u, delta, A, B, C, None, z, backend="cpu").sum().backward()
    assert projection.grad is not None
    (expected,) = torch.autograd.grad(selective_scan(u, delta, A, B, C, None, z, backend="reference").sum(), projection)
    torch.testing.assert_close(projection.grad, expected, rtol=1e-4, atol=1e-5)


def test_no_tensor_of_batch_length_channels_and_states_is_made() -> None:
    """One input is 1 MiB; the states of all steps would be 16 MiB."""
    given_ = to(inputs(1, 1024, 256, 16), torch.float32)
    grad = torch.ones(1, 1024, 256)
    selective_scan_cpu_backward(grad, *given_, False)
    with torch.profiler.profile(profile_memory=True) as profile:
        selective_scan_cpu_backward(grad, *given_, False)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    level, peak = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    assert peak < 6 * 2**20


class _Stand(ModuleType):
    """The signature of the CUDA extension, computed by the reference."""

    def fwd(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> list[Tensor]:
        D, z, bias, softplus = rest
        assert softplus
        assert all(t.is_contiguous() for t in (u, delta, B, C))
        given_ = self._ours(u, delta, A, B, C, D, z, bias)
        plain = selective_scan_reference(*given_[:6], None, given_[7], False).transpose(1, 2)
        states = torch.zeros(1)
        return [plain, states] + ([] if z is None else [selective_scan_reference(*given_, False).transpose(1, 2)])

    def bwd(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> list[Tensor]:
        D, z, bias, grad, states, out, to_z, softplus, again = rest
        assert softplus
        assert not again
        assert to_z is None
        assert out.shape == u.shape
        assert states.shape == (1,)
        given_ = self._ours(u, delta, A, B, C, D, z, bias)
        found = selective_scan_reference_backward(grad.transpose(1, 2), *given_, False)
        du, ddelta, dA, dB, dC, dD, dz, dbias = found
        last = [None if t is None else t.transpose(1, 2) for t in (du, ddelta, dB, dC, dz)]
        groups = [t.unsqueeze(1) for t in last[2:4] if t is not None]
        return [last[0], last[1], dA, *groups, dD, dbias] + ([] if dz is None else [last[4]])  # type: ignore[list-item]

    def _ours(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> list[Any]:
        D, z, bias = rest
        time_first = [t.transpose(1, 2) for t in (u, delta, B.squeeze(1), C.squeeze(1))]
        gate = None if z is None else z.transpose(1, 2)
        return [time_first[0], time_first[1], A, time_first[2], time_first[3], D, gate, bias]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_the_adapter_to_the_cuda_kernel_turns_time_around_and_back(
    reverse: bool, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", _Stand("selective_scan_cuda"))
    given_ = to(inputs(2, 11, 6, full=full), torch.float32)
    grad = torch.randn(2, 11, 6)
    out = mamba_ssm.selective_scan_mamba_ssm(*given_, reverse)
    torch.testing.assert_close(out, selective_scan_reference(*given_, reverse))
    found = mamba_ssm.selective_scan_mamba_ssm_backward(grad, *given_, reverse)
    for a, b in zip(found, selective_scan_reference_backward(grad, *given_, reverse), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_long_sequences_keep_their_gradients() -> None:
    given_ = inputs(1, 33_280, 16, 16)
    grad = torch.ones(1, 33_280, 16, dtype=torch.float64)
    found = selective_scan_cpu_backward(grad.float(), *to(given_, torch.float32), False)
    assert_close(found, *exact_and_sizes(grad, given_, False), 1e-5)
