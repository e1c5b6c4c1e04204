"""The compiled CPU scan, held against the float64 reference."""

import math
import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from models.scan import _cpu_kernel
from models.scan.cpu import selective_scan_cpu
from models.scan.reference import selective_scan_reference


class Inputs(NamedTuple):
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        changed: list[Any] = [x if x is None else change(x) for x in self]
        return Inputs(*changed)


def make_inputs(batch: int, length: int, channels: int, states: int = 16, delta_scale: float = 1.0) -> Inputs:
    """Random inputs laid out as a Mamba block has them: u and z, and B and C, are parts of one projection each."""
    generator = torch.Generator().manual_seed(batch + 10 * length + 1000 * channels + states)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    u, z = normal(batch, length, 2 * channels).chunk(2, dim=-1)
    projection = normal(batch, length, 3 + 2 * states)
    delta = (delta_scale * (normal(batch, length, channels) - 1)).clamp(-100, 100)
    return Inputs(
        u=u,
        delta=delta,
        A=-torch.exp(normal(channels, states)),
        B=projection[..., 3 : 3 + states],
        C=projection[..., 3 + states :],
        D=normal(channels),
        z=z,
        delta_bias=normal(channels),
    )


def assert_equals_reference(inputs: Inputs, reverse: bool = False, tolerance: float = 1e-5) -> None:
    """Each output is as near to float64 as `tolerance` times the sum of its terms' sizes."""
    result = selective_scan_cpu(*inputs, reverse)
    assert result.shape == inputs.u.shape
    assert result.dtype == inputs.u.dtype
    assert result.is_contiguous()
    exact = inputs.map(Tensor.double)
    expected = selective_scan_reference(*exact, reverse)
    sizes = exact._replace(
        u=exact.u.abs(), B=exact.B.abs(), C=exact.C.abs(), D=None if exact.D is None else exact.D.abs()
    )
    allowed = tolerance * selective_scan_reference(*sizes, reverse).abs() + 1e-30  # float32 ends near 1e-38
    assert ((result.double() - expected).abs() <= allowed).all()


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 40),
    channels=st.sampled_from([1, 3, 15, 16, 17, 48, 70]),
    states=st.sampled_from([1, 3, 16, 64]),
    delta_scale=st.sampled_from([0.01, 1.0, 10.0, 100.0]),
    absent=st.sets(st.sampled_from(["D", "z", "delta_bias"])),
    reverse=st.booleans(),
)
def test_equals_reference(
    batch: int, length: int, channels: int, states: int, delta_scale: float, absent: set[str], reverse: bool
) -> None:
    left_out: dict[str, Any] = dict.fromkeys(absent)
    assert_equals_reference(make_inputs(batch, length, channels, states, delta_scale)._replace(**left_out), reverse)


@pytest.mark.parametrize(("length", "channels", "states"), [(300, 32, 16), (5, 20, 256)])
def test_long_sequences_and_large_states(length: int, channels: int, states: int) -> None:
    assert_equals_reference(make_inputs(1, length, channels, states), reverse=True)


@pytest.mark.parametrize("delta", [-100.0, -88.0, -20.0, 20.0, 88.0, 100.0])
@pytest.mark.parametrize("rate", [-1e-4, -1.0, -100.0])  # delta * A down to -1e4
def test_extreme_steps(delta: float, rate: float) -> None:
    inputs = make_inputs(1, 20, 16)
    delta_, A = torch.full_like(inputs.delta, delta), torch.full_like(inputs.A, rate)
    assert_equals_reference(inputs._replace(delta=delta_, A=A, delta_bias=None))


@pytest.mark.parametrize("gate", [-1000.0, -100.0, -80.0, 80.0, 1000.0])
def test_extreme_gates(gate: float) -> None:
    inputs = make_inputs(1, 20, 16)
    assert_equals_reference(inputs._replace(z=torch.full_like(inputs.u, gate)))


def test_70000_steps() -> None:
    """With constant input the state is a geometric sum: h_t = dt (1 - a^(t+1)) / (1 - a), a = exp(dt A)."""
    length, rates = 70_000, -torch.tensor([0.1, 1.0, 16.0])
    ones = torch.ones(1, length, 3)
    result = selective_scan_cpu(ones, 0 * ones, rates[:, None], ones[..., :1], ones[..., :1], None, None, None, False)
    dt = math.log(2)  # softplus(0)
    exponents = dt * rates.double()
    expected = dt * (1 - torch.exp(exponents * torch.arange(1, length + 1)[:, None])) / (1 - torch.exp(exponents))
    torch.testing.assert_close(result[0].double(), expected, rtol=1e-5, atol=0)


def test_reverse_is_the_scan_of_the_flipped_sequence() -> None:
    inputs = make_inputs(2, 33, 40)
    flipped = inputs.map(lambda x: x.flip(1) if x.dim() == 3 else x)
    assert torch.equal(selective_scan_cpu(*inputs, True), selective_scan_cpu(*flipped, False).flip(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_only_at_the_end(dtype: torch.dtype) -> None:
    inputs = make_inputs(2, 50, 32).map(lambda x: x.to(dtype))
    assert_equals_reference(inputs, tolerance=torch.finfo(dtype).eps / 2 + 1e-5)


@pytest.mark.parametrize("channels", [16, 20])
def test_any_strides(channels: int) -> None:
    inputs = make_inputs(2, 30, channels).map(
        lambda x: x.mT.contiguous().mT if x.dim() == 3 else x[..., :1].expand_as(x)
    )
    assert_equals_reference(inputs._replace(delta=inputs.delta[:1].expand_as(inputs.delta)))


def test_parameters_that_require_gradients() -> None:
    inputs = make_inputs(1, 4, 20)
    expected = selective_scan_cpu(*inputs, False)
    result = selective_scan_cpu(*inputs.map(lambda x: x.clone().requires_grad_()), False)
    assert torch.equal(result, expected)
    assert not result.requires_grad


class NewBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of the tensors made inside, views of the `known` ones left out."""

    def __init__(self, *known: Tensor | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept = [x for x in known if x is not None]  # a freed address could be given out again
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        storage = result.untyped_storage()
        if all(storage.data_ptr() != x.untyped_storage().data_ptr() for x in self.kept):
            self.total += storage.nbytes()
        self.kept.append(result)
        return result


def test_views_are_read_in_place_and_no_states_of_all_steps_are_held() -> None:
    inputs = make_inputs(2, 500, 64)
    with NewBytes(*inputs) as memory:
        result = selective_scan_cpu(*inputs, False)
    assert result.nbytes <= memory.total < 1.2 * result.nbytes


def test_same_bits_again_and_with_any_number_of_threads() -> None:
    inputs = make_inputs(1, 200, 112)
    expected = selective_scan_cpu(*inputs, False)
    for threads in (2, 1, 3, 16):
        torch.set_num_threads(threads)
        assert torch.equal(selective_scan_cpu(*inputs, False), expected)


def test_callers_in_several_threads() -> None:
    inputs = make_inputs(2, 200, 48)
    expected = selective_scan_cpu(*inputs, False)
    with ThreadPoolExecutor(4) as callers:
        results = list(callers.map(lambda _: selective_scan_cpu(*inputs, False), range(8)))
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_works_in_a_forked_process() -> None:
    torch.set_num_threads(1)  # torch's own threads do not survive a fork, which is why its data loaders do the same
    inputs = make_inputs(1, 9, 32)
    expected = selective_scan_cpu(*inputs, False)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(torch.equal(selective_scan_cpu(*inputs, False), expected)))
    child.start()
    child.join(timeout=20)
    child.kill()
    assert child.exitcode == 0
    assert results.get()


@pytest.mark.parametrize("name", Inputs._fields)
def test_a_nan_is_not_hidden(name: str) -> None:
    inputs = make_inputs(1, 6, 16).map(Tensor.clone)
    getattr(inputs, name)[..., -1] = math.nan
    assert selective_scan_cpu(*inputs, False).isnan().any()


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")
def test_fading_states_reach_zero_and_the_caller_keeps_its_denormals() -> None:
    inputs = make_inputs(1, 2000, 16)
    u = torch.zeros_like(inputs.u)
    u[:, 0] = 1
    faded = inputs._replace(u=u, delta=0 * u, A=inputs.A.clamp(max=-0.3), D=None, z=None, delta_bias=None)
    assert not selective_scan_cpu(*faded, False)[:, -1].any()
    assert (torch.tensor([1e-40]) * 1).item() > 0


@pytest.mark.parametrize("name", Inputs._fields)
def test_float64_is_refused(name: str) -> None:
    inputs = make_inputs(1, 4, 16)
    mixed = inputs._replace(**{name: getattr(inputs, name).double()})
    with pytest.raises(TypeError, match=r"float64; use the backend 'reference'"):
        selective_scan_cpu(*mixed, False)


def test_compiles_without_a_cache_where_none_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(_signature: object, *, nogil: bool, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function '_scan': no locator available")
        return lambda function: (function, nogil)

    monkeypatch.setattr(_cpu_kernel, "njit", njit)
    compiled: Any = _cpu_kernel._compile(None, _cpu_kernel._scan)  # type: ignore[no-untyped-call]
    assert compiled == (_cpu_kernel._scan, True)


def test_numba_is_imported_only_by_the_first_scan() -> None:
    code = "import sys, models.scan.cpu; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 (a fixed command)
