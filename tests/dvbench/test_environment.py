"""The environment of a record: complete, plain, publishable, and tied to the code that was measured."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dvbench import environment
from dvbench.version import __version__

KEYS = """
    git_commit git_dirty code dvbench python torch triton mamba_ssm causal_conv1d timm numba torchgeo numpy cuda os cpu
    cores threads ram_bytes device hardware gpu gpu_memory_bytes gpu_capability driver tf32_matmul tf32_conv
"""

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with one commit, taken for the source tree of the package."""
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message=first")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.check_output(["git", "-C", str(folder), *arguments], text=True).strip()  # noqa: S603, S607


def git_state() -> tuple[object, object]:
    found = environment.environment("cpu")
    return found["git_commit"], found["git_dirty"]


def test_every_key_is_there_and_plain() -> None:
    found = environment.environment("cpu")
    assert set(found) == set(KEYS.split())
    assert json.loads(json.dumps(found)) == found
    assert found["dvbench"] == __version__
    assert found["python"] == platform.python_version()
    assert found["device"] == "cpu"
    assert found["hardware"] == environment.hardware_name("cpu")
    assert isinstance(found["threads"], int)
    assert isinstance(found["ram_bytes"], int)
    assert found["threads"] >= 1
    assert found["ram_bytes"] > 2**28


def test_nothing_tells_who_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: pytest.fail("the host's name was asked for"))
    text = json.dumps(environment.environment("cpu"))
    assert "/" not in text
    assert Path.home().name not in text.replace('"', " ").split()


def test_a_missing_package_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    found = environment.environment("cpu")
    assert found["no_such_package"] is None
    assert found["numpy"] is not None


@needs_git
def test_a_changed_tracked_file_makes_the_checkout_dirty(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "record.json").write_text("{}")
    assert git_state() == (commit, False)
    (checkout / "code.py").write_text("a = 2\n")
    assert git_state() == (commit, True)


@needs_git
def test_a_copy_inside_another_checkout_is_not_that_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    monkeypatch.setattr(environment, "ROOT", installed)
    assert git_state() == (None, None)


def test_no_git_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == (None, None)


def test_the_fingerprint_follows_the_measured_code(tmp_path: Path) -> None:
    for name in ("models/scan/cpu.py", "dvbench/profile/clock.py", "dvbench/cli.py", "models/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    before = environment.code_fingerprint(tmp_path)
    assert len(before) == 12
    int(before, 16)

    for name in ("dvbench/cli.py", "models/notes.md"):
        (tmp_path / name).write_text("second")
        assert environment.code_fingerprint(tmp_path) == before

    seen = {before}
    for name in ("models/scan/cpu.py", "dvbench/profile/clock.py", "models/added.py"):
        (tmp_path / name).write_text("second")
        seen.add(environment.code_fingerprint(tmp_path))
    (tmp_path / "models/added.py").rename(tmp_path / "models/renamed.py")
    seen.add(environment.code_fingerprint(tmp_path))
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("told", "cores", "wanted"),
    [
        ("Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz", 2, "Intel Xeon E5-2690 v4 (2 cores)"),
        ("AMD EPYC 7763 64-Core Processor", 64, "AMD EPYC 7763 64-Core Processor (64 cores)"),
        ("Intel(R) Core(TM) i5", 1, "Intel Core i5 (1 core)"),
    ],
)
def test_a_cpu_has_a_short_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str, cores: int, wanted: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: {told}\nflags\t\t: fpu\n")
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 2 * cores if logical else cores)
    assert environment.hardware_name("cpu") == wanted


def test_a_cpu_that_is_not_described_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert environment.hardware_name("cpu").startswith(f"{platform.machine()} (")


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    card = SimpleNamespace(name="NVIDIA H200", total_memory=150 * 10**9, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: {"cuda:1": card}[device])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:1": card.name}[device])
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 580.10\necho 580.10\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment.environment("cuda:1")
    assert found["hardware"] == found["gpu"] == "NVIDIA H200"
    assert found["gpu_memory_bytes"] == card.total_memory
    assert found["gpu_capability"] == "9.0"
    assert found["driver"] == "580.10"
    assert isinstance(found["tf32_matmul"], bool)
    assert isinstance(found["tf32_conv"], bool)


def test_importing_the_module_is_quick() -> None:
    script = "import sys, dvbench.environment; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603
