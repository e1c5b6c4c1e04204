"""Which scan backend runs, and the one line that says why another does not."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.scan import BACKENDS, ScanBackendError, backends, choose, mamba_ssm, selective_scan
from models.scan.reference import selective_scan_reference

EXTENSION = "selective_scan_cuda"


def mark_usable(monkeypatch: pytest.MonkeyPatch, name: str, reason: str = "") -> None:
    monkeypatch.setitem(BACKENDS, name, replace(BACKENDS[name], why_unusable=lambda: reason))


# -- choosing


@pytest.mark.filterwarnings("ignore:slow path on the GPU")
@pytest.mark.parametrize(
    ("device", "dtype", "kernel_reason", "chosen"),
    [
        ("cpu", torch.float32, "", "cpu"),
        ("cpu", torch.bfloat16, "", "cpu"),
        ("cpu", torch.float64, "", "reference"),
        ("cuda", torch.float32, "", "mamba_ssm"),
        ("cuda", torch.bfloat16, "", "mamba_ssm"),
        ("cuda", torch.float64, "", "reference"),
        ("cuda", torch.float32, "mamba-ssm is not installed", "reference"),
        ("mps", torch.float32, "", "reference"),
    ],
)
def test_auto_takes_the_fastest_that_can(
    monkeypatch: pytest.MonkeyPatch, device: str, dtype: torch.dtype, kernel_reason: str, chosen: str
) -> None:
    mark_usable(monkeypatch, "mamba_ssm", kernel_reason)
    mark_usable(monkeypatch, "triton", "torch sees no CUDA device")
    assert choose("auto", device, dtype).name == chosen


def test_auto_falls_back_where_numba_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    mark_usable(monkeypatch, "cpu", "numba does not load")
    assert choose("auto", "cpu", torch.float32).name == "reference"


def test_the_reference_always_runs() -> None:
    for device in ("cpu", "cuda"):
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            assert choose("reference", device, dtype).name == "reference"


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "message"),
    [
        ("mamba", "cpu", torch.float32, "unknown scan backend 'mamba': choose from auto, mamba_ssm, triton, cpu, "),
        ("cpu", "cpu", torch.float64, "scan backend 'cpu' cannot run: it does not compute in float64"),
        ("cpu", "cuda", torch.float32, "scan backend 'cpu' cannot run: it runs on cpu tensors, not on cuda"),
        ("mamba_ssm", "cpu", torch.float32, "scan backend 'mamba_ssm' cannot run: it runs on cuda tensors, not on cpu"),
        ("mamba_ssm", "cuda", torch.float32, "scan backend 'mamba_ssm' cannot run: the reason"),
        ("reference", "mps", torch.float32, "scan backend 'reference' cannot run: it runs on cpu and cuda tensors"),
    ],
)
def test_an_explicit_backend_that_cannot_run_says_why(
    monkeypatch: pytest.MonkeyPatch, backend: str, device: str, dtype: torch.dtype, message: str
) -> None:
    mark_usable(monkeypatch, "mamba_ssm", "the reason")
    with pytest.raises(ScanBackendError) as raised:
        choose(backend, device, dtype)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_numba_that_does_not_load_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    reason = backends._numba_unusable.__wrapped__()
    assert reason.startswith("numba does not load: ModuleNotFoundError: ")


# -- mamba-ssm: absent, empty, built for another torch, without a GPU


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str | None], None]:
    """Install a mamba-ssm whose compiled part is the given Python source, or is missing."""

    def install_package(extension: str | None) -> None:
        metadata = tmp_path / "mamba_ssm-2.3.2.post1.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: mamba-ssm\nVersion: 2.3.2.post1\n")
        if extension is None:
            monkeypatch.setitem(sys.modules, EXTENSION, None)  # also where the real one is installed
        else:
            (tmp_path / f"{EXTENSION}.py").write_text(extension)
            monkeypatch.setitem(sys.modules, EXTENSION, ModuleType(EXTENSION))  # restores what was there
            del sys.modules[EXTENSION]
        monkeypatch.syspath_prepend(tmp_path)

    return install_package


def test_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert mamba_ssm.why_unusable() == "mamba-ssm is not installed (optional: the `cuda` extra)"


def test_installed_empty(install: Callable[[str | None], None]) -> None:
    install(None)
    expected = "mamba-ssm 2.3.2.post1 is installed without its compiled part (selective_scan_cuda)"
    assert mamba_ssm.why_unusable() == expected


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (
            r"ImportError('/x/ssc.so: undefined symbol: _ZN3c104cuda\nmore')",
            "ImportError: /x/ssc.so: undefined symbol: _ZN3c104cuda",
        ),
        ("ImportError('libcudart.so.12: cannot open shared object file')", "ImportError: libcudart.so.12: cannot"),
        ("AttributeError('no attribute _C')", "AttributeError: no attribute _C"),
        ("RuntimeError('CUDA driver too old')", "RuntimeError: CUDA driver too old"),
        ("OSError()", "OSError: "),
    ],
)
def test_built_for_another_torch(install: Callable[[str | None], None], raised: str, cause: str) -> None:
    install(f"raise {raised}")
    reason = mamba_ssm.why_unusable()
    assert reason.startswith(f"mamba-ssm 2.3.2.post1 does not load under torch {torch.__version__}: {cause}")
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("gpu", "reason"), [(False, "mamba-ssm 2.3.2.post1 loads, but torch sees no CUDA device"), (True, "")]
)
def test_loads(monkeypatch: pytest.MonkeyPatch, install: Callable[[str | None], None], gpu: bool, reason: str) -> None:
    install("")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert mamba_ssm.why_unusable() == reason


# -- mamba-ssm: how its kernel is called


def make_inputs(dtype: torch.dtype, device: str = "cpu") -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    u, z = normal(2, 33, 48).to(dtype).chunk(2, dim=-1)  # parts of one projection, as in a Mamba block
    B, C = normal(2, 33, 32).to(dtype).chunk(2, dim=-1)
    return {
        "u": u,
        "delta": normal(2, 33, 24).to(dtype),
        "A": -normal(24, 16).exp(),
        "B": B,
        "C": C,
        "D": normal(24).to(dtype),
        "z": z,
        "delta_bias": normal(24).to(dtype),
    }


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the signature and the demands of the compiled kernel: time last, unit stride, one group."""

    def fwd(
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
    ) -> list[Tensor]:
        assert delta_softplus
        batch, channels, length = u.shape
        for sequence in (u, delta, z):
            assert sequence is None or (sequence.shape == u.shape and sequence.dtype == u.dtype)
        for matrix in (B, C):
            assert matrix.shape == (batch, 1, A.shape[1], length)
            assert matrix.dtype == u.dtype
        assert all(x.stride(-1) == 1 for x in (u, delta, A, B, C, D, z, delta_bias) if x is not None)
        assert all(x.dtype == torch.float32 for x in (A, D, delta_bias) if x is not None)

        def scan(gate: Tensor | None) -> Tensor:
            turned = [x.squeeze(1).mT for x in (B, C)]
            gate = None if gate is None else gate.mT
            out = selective_scan_reference(u.mT, delta.mT, A, turned[0], turned[1], D, gate, delta_bias, False)
            return out.mT.contiguous()

        state = torch.empty(batch, channels, 1, 2 * A.shape[1])
        return [scan(None), state] if z is None else [scan(None), state, scan(z)]

    monkeypatch.setitem(sys.modules, EXTENSION, SimpleNamespace(fwd=fwd))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("absent", [(), ("z",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_gets_what_it_demands(absent: tuple[str, ...], reverse: bool, dtype: torch.dtype) -> None:
    inputs = make_inputs(dtype) | dict.fromkeys(absent)
    result = mamba_ssm.selective_scan_mamba_ssm(**inputs, reverse=reverse)
    expected = selective_scan_reference(**inputs, reverse=reverse)
    assert result.is_contiguous()
    torch.testing.assert_close(result, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("absent", [(), ("z",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_the_kernel_equals_the_float64_reference(
    absent: tuple[str, ...], reverse: bool, dtype: torch.dtype, tolerance: float
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if reason := mamba_ssm.why_unusable():
        pytest.skip(reason)
    inputs = make_inputs(dtype, "cuda") | dict.fromkeys(absent)
    result = selective_scan(**inputs, reverse=reverse, backend="mamba_ssm").double()
    exact: dict[str, Any] = {name: x if x is None else x.double() for name, x in inputs.items()}
    expected = selective_scan(**exact, reverse=reverse, backend="reference")
    assert float((result - expected).norm() / expected.norm()) < tolerance
