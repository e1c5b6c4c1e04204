"""The Triton kernels: right in Triton's interpreter, compiled ahead of time for three GPUs, and right on a GPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.mamba import causal_conv, causal_conv_silu
from models.scan import BACKENDS, selective_scan
from models.scan.reference import selective_scan_reference, selective_scan_reference_backward
from models.scan.triton import selective_scan_triton_backward

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed; it comes with torch on Linux x86-64"
)


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python on this checkout: Triton's interpreter and its compiler do not share a process."""
    return subprocess.run(  # noqa: S603 (our own Python)
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_triton
def test_the_cases_hold_in_the_interpreter() -> None:
    cases = "tests/models/triton_cases.py"
    done = run_python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", cases, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def compiled(*options: str) -> list[dict[str, Any]]:
    done = run_python("-m", "tests.triton_aot", "--json", *options, TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr[-5000:]
    reports: list[dict[str, Any]] = json.loads(done.stdout)
    return reports


def assert_lean(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        assert report["spills"] == report["stack"] == 0, report
        if report["kernel"].startswith(("summaries", "outputs")):
            assert report["shuffles"] == 0, report  # time goes on without an exchange between threads
            assert 1 < report["exponentials"] < 1.2, report  # one for each update, besides softplus and gate


@needs_triton
def test_every_kernel_compiles_for_three_gpus_without_a_spill() -> None:
    reports = compiled("--product", "--dtypes", "fp32")
    assert {report["architecture"] for report in reports} == {"sm_80", "sm_90", "sm_100"}
    assert {"summaries", "outputs", "carry", "gradients", "convolve"} <= {report["kernel"] for report in reports}
    assert_lean(reports)


@needs_triton
@pytest.mark.slow
def test_every_kernel_compiles_in_half_precision() -> None:
    assert_lean(compiled("--product", "--dtypes", "bf16", "fp16"))


@needs_triton
@pytest.mark.slow
def test_the_associative_design_exchanges_more_and_computes_more() -> None:
    reports = compiled("--dtypes", "fp32", "--architectures", "90")
    ours = [r for r in reports if r["kernel"] in ("summaries", "outputs")]
    others = [r for r in reports if r["kernel"].startswith("associative")]
    assert len(ours) == 2
    assert all(other["shuffles"] > 5 for other in others)
    assert all(other["instructions"] > sum(our["instructions"] for our in ours) for other in others)


def test_importing_the_models_does_not_import_triton() -> None:
    code = "import sys, models.zoo; sys.exit('models.scan._triton_kernels' in sys.modules)"
    assert run_python("-c", code).returncode == 0


# -- on a GPU


@pytest.fixture
def gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if reason := BACKENDS["triton"].refuses("cuda", torch.float32):
        pytest.skip(reason)


def make_inputs(length: int, channels: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device="cuda")

    u, z = normal(1, length, 2 * channels).to(dtype).chunk(2, dim=-1)
    _, B, C = normal(1, length, 35).to(dtype).split([3, 16, 16], dim=-1)
    delta = normal(1, length, channels).to(dtype)
    return [u, delta, -normal(channels, 16).exp(), B, C, normal(channels), z, normal(channels)]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 257, 33_280, 70_000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_the_scan_on_a_gpu(length: int, dtype: torch.dtype, tolerance: float, reverse: bool) -> None:
    inputs = make_inputs(length, 200, dtype)
    found = selective_scan(*inputs, reverse=reverse, backend="triton")
    assert error(found, selective_scan_reference(*(x.double() for x in inputs), reverse)) < tolerance


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 257, 33_280, 70_000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
def test_the_gradients_on_a_gpu(length: int, dtype: torch.dtype, tolerance: float, reverse: bool) -> None:
    inputs = make_inputs(length, 40, dtype)
    grad = torch.randn_like(inputs[0].float()).to(dtype)
    found = selective_scan_triton_backward(grad, *inputs, reverse)
    expected = selective_scan_reference_backward(grad.double(), *(x.double() for x in inputs), reverse)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a is not None
        assert b is not None
        assert error(a, b) < tolerance or b.norm() == 0, f"gradient {i}"


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_offsets_pass_two_to_the_31st() -> None:
    length, channels = 70_000, 31_000
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of free GPU memory")
    inputs = make_inputs(length, channels, torch.bfloat16)
    inputs[6] = None  # type: ignore[call-overload]
    found = selective_scan(*inputs, backend="triton")[..., -8:]
    last: list[Any] = [x if x is None or x.shape[-1] == 16 else x[..., -8:] for x in inputs]
    last[2] = inputs[2][-8:]
    expected = selective_scan_reference(*(None if x is None else x.double() for x in last), False)
    assert error(found, expected) < 1e-2


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 33_280, 70_000])
def test_the_convolution_on_a_gpu(length: int, reverse: bool) -> None:
    x = torch.randn(2, length, 100, device="cuda", requires_grad=True)
    weight = torch.randn(100, 1, 4, device="cuda", requires_grad=True)
    bias = torch.randn(100, device="cuda", requires_grad=True)
    output = causal_conv_silu(x, weight, bias, reverse=reverse)
    doubles = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected = torch.nn.functional.silu(causal_conv(*doubles, reverse=reverse))
    assert error(output.detach(), expected.detach()) < 1e-6
    found = torch.autograd.grad(output.sum(), (x, weight, bias))
    assert all(error(a, b) < 1e-5 for a, b in zip(found, torch.autograd.grad(expected.sum(), doubles), strict=True))
