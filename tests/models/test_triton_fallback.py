"""Where the Triton kernels cannot run, something slower does, with one warning that names the reason."""

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models import mamba
from models.scan import BACKENDS, ScanBackendError, choose, triton, triton_conv


@pytest.fixture(autouse=True)
def unwarned() -> Iterator[None]:
    triton.warn_once.cache_clear()
    warnings.simplefilter("always")  # pytest restores the filters behind each test
    yield
    triton.warn_once.cache_clear()


def fake_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    monkeypatch.setattr(triton, "import_module", lambda _name: SimpleNamespace(__version__="3.9.0"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def only_triton(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    absent = replace(BACKENDS["mamba_ssm"], why_unusable=lambda: "not installed")
    monkeypatch.setitem(BACKENDS, "mamba_ssm", absent)
    monkeypatch.setitem(BACKENDS, "triton", replace(BACKENDS["triton"], why_unusable=lambda: reason))


def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert triton.why_unusable() == "Triton is not installed (it comes with torch on Linux x86-64)"


def test_a_triton_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> None:
        raise ImportError("libtriton.so: undefined symbol\nand more")

    monkeypatch.setattr(triton, "import_module", broken)
    assert triton.why_unusable() == "Triton does not load: ImportError: libtriton.so: undefined symbol"


@pytest.mark.parametrize(
    ("capability", "reason"),
    [
        (None, "Triton 3.9.0 loads, but torch sees no CUDA device"),
        ((7, 0), "Triton needs compute capability 8.0, Tesla V100 has 7.0"),
        ((8, 0), ""),
        ((12, 0), ""),
    ],
)
def test_cards(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None, reason: str) -> None:
    fake_gpu(monkeypatch, capability)
    assert triton.why_unusable() == reason


def test_another_makers_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(monkeypatch, (9, 4))
    monkeypatch.setattr(torch.version, "cuda", None)
    assert triton.why_unusable() == "the kernels are made for NVIDIA GPUs, this is another"


def test_auto_takes_triton_without_mamba_ssm_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    only_triton(monkeypatch, "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose("auto", "cuda", torch.float32).name == "triton"
        assert choose("auto", "cuda", torch.bfloat16).name == "triton"


@pytest.mark.parametrize(
    ("dtype", "unusable", "reason"),
    [
        (torch.float32, "Triton needs compute capability 8.0", "Triton needs compute capability 8.0"),
        (torch.float64, "", "it does not compute in float64"),
    ],
)
def test_auto_falls_back_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, unusable: str, reason: str
) -> None:
    only_triton(monkeypatch, unusable)
    with warnings.catch_warnings(record=True) as caught:
        assert [choose("auto", "cuda", dtype).name for _ in range(3)] == ["reference"] * 3
    expected = f"slow path on the GPU, Triton kernels are not used: {reason}"
    assert [(warning.category, str(warning.message)) for warning in caught] == [(RuntimeWarning, expected)]


def test_the_cpu_is_not_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    only_triton(monkeypatch, "no CUDA device")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose("auto", "cpu", torch.float64)
        assert not triton_conv.runs_on(torch.zeros(1, 2, 3))


def test_asked_for_by_name_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    only_triton(monkeypatch, "Triton is not installed")
    with pytest.raises(ScanBackendError, match="scan backend 'triton' cannot run: Triton is not installed"):
        choose("triton", "cuda", torch.float32)


def test_the_convolution_falls_back_with_the_scans_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    only_triton(monkeypatch, "Triton is not installed")
    on_gpu: Any = SimpleNamespace(is_cuda=True, dtype=torch.float32)
    with warnings.catch_warnings(record=True) as caught:
        choose("auto", "cuda", torch.float32)
        assert [triton_conv.runs_on(on_gpu) for _ in range(2)] == [False, False]
    expected = "slow path on the GPU, Triton kernels are not used: Triton is not installed"
    assert [str(warning.message) for warning in caught] == [expected]


def test_without_the_kernels_the_convolution_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = torch.randn(1, 9, 4), torch.randn(4, 1, 4), torch.randn(4)
    expected = F.silu(mamba.causal_conv(x, weight, bias, reverse=True))
    monkeypatch.setattr(triton_conv, "runs_on", lambda _x: False)
    assert torch.equal(mamba.causal_conv_silu(x, weight, bias, reverse=True), expected)


def test_out_of_memory_while_tuning_takes_the_first_configuration() -> None:
    class Kernel:
        """A tuned kernel as Triton makes it, whose timing finds no memory."""

        def __init__(self) -> None:
            self.configs = [SimpleNamespace(all_kwargs=lambda: {"BLOCK": 32, "num_warps": 1})]
            self.ran: list[Any] = []
            self.fn = {}

        def __getitem__(self, grid: Any) -> Any:
            def tune(*_args: Any, **_sizes: Any) -> None:
                raise torch.OutOfMemoryError("CUDA out of memory")

            def run(*args: Any, **sizes: Any) -> None:
                self.ran.append((grid(sizes), args, sizes))

            self.fn = {grid: run}
            return tune

    kernel = Kernel()
    with warnings.catch_warnings(record=True) as caught:
        for _ in range(2):
            triton.launch(kernel, triton._programs(3, 100), "u", REVERSE=True)
    assert ["out of memory while timing" in str(warning.message) for warning in caught] == [True]
    assert kernel.ran == 2 * [((12,), ("u",), {"REVERSE": True, "BLOCK": 32, "num_warps": 1})]


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        ((32, 33_280, 1536), 33_280),  # batch and channels fill the GPU
        ((1, 33_280, 1536), 512),
        ((1, 33_280, 192), 64),
        ((1, 1, 192), 1),
        ((1, 100, 32), 32),
    ],
)
def test_time_is_cut_where_batch_and_channels_do_not_fill_the_gpu(shape: tuple[int, int, int], steps: int) -> None:
    assert triton.chunk_length(*shape, multiprocessors=132) == steps
