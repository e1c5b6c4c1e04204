"""Where a run happened: the code, the versions and the hardware, in plain values that go into every record."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from dvbench.version import __version__
from reports.record import Scalar

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("models", "dvbench/profile")  # a change of this code may change a number
CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("torch", "triton", "mamba-ssm", "causal-conv1d", "timm", "numba", "torchgeo", "numpy")


def environment(device: str) -> dict[str, Scalar]:
    """Describe the code, the packages and the hardware of this process.

    Names of users and hosts and file paths are left out, so that a record can be published as it is.

    Args:
        device: the torch device that does the work, such as "cpu" or "cuda:1".

    Returns:
        A flat dictionary.

        - Code: `git_commit` (40 hex digits) and `git_dirty` (a tracked file is changed), both None outside a checkout;
            `code`, see `code_fingerprint`.
        - Versions, None if not installed: `dvbench`, `python`, `torch`, `triton`, `mamba_ssm`, `causal_conv1d`, `timm`,
            `numba`, `torchgeo`, `numpy`, and `cuda`, which torch was built with.
        - Machine: `os`, `cpu` (model), `cores` (physical), `threads` (that torch uses), `ram_bytes`, `device`,
            `hardware`, see `hardware_name`.
        - None unless the device is a GPU: `gpu` (name), `gpu_memory_bytes`, `gpu_capability` (such as "9.0"), `driver`
            (version), `tf32_matmul` and `tf32_conv` (whether float32 products are rounded to TF32).
    """
    import torch  # noqa: PLC0415 - takes seconds, and this module is imported for its names as well

    commit, dirty = checkout(ROOT)
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "code": code_fingerprint(),
        "dvbench": __version__,
        "python": platform.python_version(),
        **{package.replace("-", "_"): _installed(package) for package in PACKAGES},
        "cuda": torch.version.cuda,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "ram_bytes": psutil.virtual_memory().total,
        "device": device,
        "hardware": hardware_name(device),
        **_gpu(device),
    }


def hardware_name(device: str) -> str:
    """Name what computes in a few words, such as "Intel Xeon Processor (2 cores)" or "NVIDIA H200".

    Args:
        device: a torch device, such as "cpu" or "cuda:1".

    Returns:
        The GPU's name, or the CPU's model with the number of its physical cores.
    """
    if device.startswith("cuda"):
        import torch  # noqa: PLC0415

        return torch.cuda.get_device_name(device)
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return f"{_cpu_model()} ({cores} {'core' if cores == 1 else 'cores'})"


def code_fingerprint(
    root: Path = ROOT, folders: tuple[str, ...] = MEASURED, endings: tuple[str, ...] = (".py",)
) -> str:
    """Hash the source that decides what is measured, by default models and the profiler.

    Args:
        root: the folder that holds the packages.
        folders: below it, whose files are hashed.
        endings: of those files.

    Returns:
        The first 12 hex digits of a SHA-256 over names and contents of the files.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(file for file in (root / folder).rglob("*") if file.suffix in endings):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def checkout(root: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirty flag of the checkout whose top folder is `root`."""
    found = (_output("git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD") or "").splitlines()
    # An installed copy may lie in a virtual environment inside a checkout of another project.
    if len(found) != 2 or Path(found[0]).resolve() != root:
        return None, None
    changes = _output("git", "--no-optional-locks", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return found[1], None if changes is None else changes != ""


def _gpu(device: str) -> dict[str, Scalar]:
    """Return the entries that only a GPU has, all None for another device."""
    names = ("gpu", "gpu_memory_bytes", "gpu_capability", "driver", "tf32_matmul", "tf32_conv")
    if not device.startswith("cuda"):
        return dict.fromkeys(names)
    import torch  # noqa: PLC0415

    card = torch.cuda.get_device_properties(device)
    driver = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    values = (
        card.name,
        card.total_memory,
        f"{card.major}.{card.minor}",
        driver.splitlines()[0] if driver else None,
        # The older `allow_tf32` raises once somebody has set the newer `fp32_precision`.
        torch.backends.cuda.matmul.fp32_precision == "tf32",
        torch.backends.cudnn.conv.fp32_precision == "tf32",  # type: ignore[attr-defined]
    )
    return dict(zip(names, values, strict=True))


def _installed(package: str) -> str | None:
    """Return a package's version, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """Return the CPU's model without trade marks and clock rate, or the architecture where it is not told."""
    try:
        told = re.search(r"^model name\s*:(.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        told = None
    name = told[1] if told else platform.processor() or platform.machine()
    return " ".join(re.sub(r"\((R|TM)\)|\bCPU\b|@.*", " ", name, flags=re.IGNORECASE).split())


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, or None if it is missing, fails or hangs."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
