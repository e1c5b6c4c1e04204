"""The fused kernels compute what the plain path does, compile for real GPUs, and step aside where they cannot run."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from models import fused
from models.graphs import Graphed
from models.zoo import build_classifier

HERE = Path(__file__).parent
TOLERANCE = {"float32": 1e-6, "bfloat16": 5e-3, "float16": 6e-4}

pytest.importorskip("triton", reason="Triton is not there on this platform")


def run(script: str) -> dict[str, Any]:
    """Run a script of this folder in a fresh process, where Triton has not been imported yet."""
    path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(  # noqa: S603 (our own script)
        [sys.executable, str(HERE / script)],
        capture_output=True, text=True, check=False, timeout=600, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    return run("interpreted_fused.py")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_kernels_agree_with_float64_for_ragged_sizes(errors: dict[str, float], dtype: str) -> None:
    mine = {case: error for case, error in errors.items() if case.startswith(f"{dtype},")}
    assert len(mine) == 4 * 5
    assert {case: error for case, error in mine.items() if error > TOLERANCE[dtype]} == {}


def test_the_model_is_the_same_function_with_every_switch(errors: dict[str, float]) -> None:
    models = {case: error for case, error in errors.items() if case.startswith("model: ")}
    assert len(models) == 10
    assert {case: error for case, error in models.items() if error > 1e-5} == {}


def test_the_trial_that_decides_whether_they_run_passes_where_they_are_right(errors: dict[str, float]) -> None:
    assert errors["its own trial"] < fused.AGREES


@pytest.mark.slow
def test_kernels_compile_for_gpus_that_are_not_there_and_spill_nothing() -> None:
    for kernel, figures in run("compiled_fused.py").items():
        assert figures["spills"] == 0, kernel
        assert 0 < figures["registers"] <= 255, kernel


def test_on_a_cpu_the_plain_path_runs_and_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fused.usable(torch.zeros(1, 4, 8))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "No module named 'triton'"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to\nallocate"), "CUDA out of memory. Tried to$"),
        (RuntimeError("device kernel image is invalid"), "device kernel image is invalid"),
    ],
)
def test_what_keeps_the_kernels_from_running_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str
) -> None:
    def fail(_: torch.device) -> float:
        raise failure

    monkeypatch.setattr(fused, "_try", fail)
    fused.why_unusable.cache_clear()
    device = torch.device("cuda", 7)
    with pytest.warns(UserWarning, match=f"runs its plain path on cuda:7, Triton does not work: .*{reason}"):
        assert fused.why_unusable(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fused.why_unusable(device)
    fused.why_unusable.cache_clear()


def test_kernels_that_compute_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_try", lambda _: float("nan"))
    fused.why_unusable.cache_clear()
    with pytest.warns(UserWarning, match="off by nan"):
        assert fused.why_unusable(torch.device("cuda", 7))
    fused.why_unusable.cache_clear()


# -- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("side", [64, 256])
@torch.inference_mode()
def test_fused_plain_and_graphed_agree_on_a_gpu(side: int) -> None:
    torch.manual_seed(0)
    model = build_classifier("dynamicvis_t").eval().cuda()
    first, second = torch.randn(2, 2, 3, side, side, device="cuda")
    graphed = Graphed(model)
    graphed(first)
    replayed = graphed(second).clone()
    torch.testing.assert_close(replayed, model(second), rtol=1e-5, atol=1e-5)
    fast = model(second)
    model.backbone.set_fused(False)
    torch.testing.assert_close(fast, model(second), rtol=1e-4, atol=1e-5)
