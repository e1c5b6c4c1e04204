"""The doctor says what works, why the rest does not, and fails only for what should work."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dvbench import cli, doctor
from dvbench.data.scene import SceneError
from dvbench.doctor import AGREES, Check, examine, report, scan_error
from models.scan import BACKENDS, mamba_ssm
from models.scan.backends import Backend
from models.scan.reference import selective_scan_reference


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    return {check.what: check for check in examine()}


def test_all_is_well_here(checks: dict[str, Check]) -> None:
    assert [check.what for check in checks.values() if check.failed] == []
    assert checks["torch"].result == torch.__version__.split("+")[0]
    assert "scene_2048.jpg, readable" in checks["sample scene"].result
    assert "GiB free" in checks["memory"].result


def test_every_scan_backend_has_a_line(checks: dict[str, Check]) -> None:
    assert {f"scan {name}" for name in BACKENDS} <= checks.keys()
    assert "agrees with the float64 reference on cpu" in checks["scan reference"].result
    assert checks["scan auto on cpu"].result in BACKENDS


@pytest.mark.skipif(mamba_ssm.why_unusable() == "", reason="the optional CUDA kernel works here")
def test_a_missing_optional_part_is_told_with_its_reason_and_not_failed(checks: dict[str, Check]) -> None:
    check = checks["scan mamba_ssm"]
    assert check.result.startswith("not used: ")
    assert len(check.result) > len("not used: ")
    assert not check.failed


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_backends_agree_with_float64(backend: str) -> None:
    if reason := BACKENDS[backend].refuses("cpu", torch.float32):
        pytest.skip(reason)
    assert 0 < scan_error(backend, "cpu") < AGREES


def with_scan(monkeypatch: pytest.MonkeyPatch, scan: object) -> Backend:
    """Put a backend called `cpu` in place that computes in its own way."""
    broken = replace(BACKENDS["cpu"], scan=scan, why_unusable=lambda: "")  # type: ignore[arg-type]
    monkeypatch.setitem(BACKENDS, "cpu", broken)
    return broken


def test_a_backend_that_computes_something_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_off(*inputs: Tensor) -> Tensor:
        return 1.001 * selective_scan_reference(*inputs)  # type: ignore[arg-type]

    check = doctor._backend(with_scan(monkeypatch, slightly_off), "cpu")
    assert check.failed
    assert "DISAGREES with the float64 reference on cpu (relative error 1e-03)" in check.result


def test_a_backend_that_breaks_fails_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: Tensor) -> Tensor:
        raise RuntimeError("no kernel image is available")

    check = doctor._backend(with_scan(monkeypatch, break_down), "cpu")
    assert check.failed
    assert "fails on cpu: RuntimeError: no kernel image is available" in check.result


def test_an_unreadable_sample_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object) -> None:
        raise SceneError("scene_2048.jpg is missing; give an image file")

    monkeypatch.setattr(doctor, "load_scene", unreadable)
    check = doctor._sample()
    assert (check.failed, check.result) == (True, "scene_2048.jpg is missing; give an image file")


def test_failures_are_marked_in_the_table() -> None:
    table = report([Check("a", "fine"), Check("b", "broken", failed=True)])
    assert table.rows == [["a", "fine"], ["b", "broken · FAILED"]]


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 1)])
def test_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failed: bool, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Check("scan cpu", "some result", failed)])
    assert cli.main(["doctor"]) == code
    assert "some result" in capsys.readouterr().out
