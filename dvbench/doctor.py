"""What works on this machine: versions, scan backends and whether they agree, memory, GPU, sample."""

from dataclasses import dataclass

import psutil
import torch

from dvbench.data.scene import default_scene, load_scene
from dvbench.environment import environment
from models.scan import BACKENDS, Backend, choose, selective_scan
from reports.table import Table

AGREES = 1e-4  # relative error of a float32 backend against the float64 reference


@dataclass(frozen=True)
class Check:
    """One line of the report; `failed` is set only where something that should work does not."""

    what: str
    result: str
    failed: bool = False


def examine() -> list[Check]:
    """Examine this machine. Missing optional parts are reported, not failed."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    here = environment(device)
    memory = psutil.virtual_memory()
    packages = ("python", "torch", "timm", "numba", "numpy", "torchgeo", "triton", "mamba_ssm", "causal_conv1d")
    gpu = f"{here['gpu']}, driver {here['driver']}" if here["gpu"] else "none; latency and memory are those of the CPU"
    return [
        Check("dvbench", f"{here['dvbench']}, code {here['code']}"),
        *(Check(name.replace("_", "-"), str(here[name] or "not installed")) for name in packages),
        Check("CPU", f"{here['cpu']}, {here['cores']} cores, torch uses {here['threads']} threads"),
        Check("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        Check("GPU", gpu),
        *(_backend(backend, device) for backend in BACKENDS.values()),
        *(Check(f"scan auto on {kind}", choose("auto", kind, torch.float32).name) for kind in sorted({"cpu", device})),
        _sample(),
    ]  # fmt: skip


def report(checks: list[Check]) -> Table:
    """Return the checks as a table."""
    return Table(
        "dvbench doctor", ["What", "Result"], [[c.what, c.result + (" · FAILED" if c.failed else "")] for c in checks]
    )


def scan_error(backend: str, device: str) -> float:
    """Return the largest relative error of a backend against the float64 reference, over both directions."""
    generator = torch.Generator().manual_seed(0)
    batch, length, channels, states = 2, 131, 40, 16

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    sequences = [random(batch, length, size) for size in (channels, channels, states, states, channels)]
    u, delta, B, C, z = sequences
    A, D, bias = -random(channels, states).exp(), random(channels), random(channels)
    worst = 0.0
    for reverse in (False, True):
        inputs = (u, delta, A, B, C, D, z, bias)
        exact = selective_scan(*(t.double() for t in inputs), reverse=reverse, backend="reference")
        ours = selective_scan(*(t.to(device) for t in inputs), reverse=reverse, backend=backend)
        worst = max(worst, float((ours.cpu().double() - exact).norm() / exact.norm()))
    return worst


def _backend(backend: Backend, device: str) -> Check:
    what = f"scan {backend.name}"
    kind = device if device in backend.devices else backend.devices[0]
    if reason := backend.refuses(kind, torch.float32):
        return Check(what, f"not used: {reason}")
    try:
        error = scan_error(backend.name, kind)
    except Exception as failure:  # noqa: BLE001, RUF100 (a broken kernel may raise anything, and the report must go on)
        return Check(what, f"fails on {kind}: {type(failure).__name__}: {failure}", failed=True)
    verdict = "agrees with" if error < AGREES else "DISAGREES with"
    about = f"{backend.about}, {verdict} the float64 reference on {kind} (relative error {error:.0e})"
    return Check(what, about, failed=error >= AGREES)


def _sample() -> Check:
    try:
        scene = load_scene(default_scene(), 64)
    except ValueError as error:
        return Check("sample scene", str(error), failed=True)
    return Check("sample scene", f"{scene.source}, readable")
