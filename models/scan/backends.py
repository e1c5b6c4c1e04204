"""Which implementations of the selective scan exist, which work here, and which one `auto` takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from models.scan import mamba_ssm, triton
from models.scan.cpu import selective_scan_cpu, selective_scan_cpu_backward
from models.scan.reference import selective_scan_reference, selective_scan_reference_backward

Scan = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, bool],
    Tensor,
]
Differentiate = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None, bool],
    list[Tensor | None],
]


class ScanBackendError(RuntimeError):
    """A scan backend was asked for by name that does not exist or cannot run here."""


@dataclass(frozen=True)
class Backend:
    """One implementation of the selective scan.

    Attributes:
        name: how users ask for it.
        scan: the implementation.
        differentiate: its gradients, from that of the output and the same inputs.
        devices: the device types that it runs on.
        float64: whether it computes float64 input in float64.
        about: what it is, in a few words.
        why_unusable: returns the reason why it cannot run on this machine, or an empty string.
    """

    name: str
    scan: Scan
    differentiate: Differentiate
    devices: tuple[str, ...]
    float64: bool
    about: str
    why_unusable: Callable[[], str]

    def refuses(self, device: str, dtype: torch.dtype) -> str:
        """Return why this backend cannot take tensors of `device` and `dtype`, or an empty string."""
        if device not in self.devices:
            return f"it runs on {' and '.join(self.devices)} tensors, not on {device}"
        if dtype == torch.float64 and not self.float64:
            return "it does not compute in float64"
        return self.why_unusable()


@cache
def _numba_unusable() -> str:
    try:
        import numba  # noqa: F401, PLC0415 (slow to import)
    except Exception as error:  # noqa: BLE001, RUF100 (numba refuses a numpy newer than it knows with ImportError and others)
        return f"numba does not load: {type(error).__name__}: {error}"
    return ""


#: name -> backend, in the order in which `auto` tries them. On CUDA `mamba_ssm` comes before `triton` because its
#: kernel has run on GPUs for years, while ours has been interpreted and compiled, but not yet timed on one. A record in
#: which `triton` is faster turns the two round.
BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            "mamba_ssm",
            mamba_ssm.selective_scan_mamba_ssm,
            mamba_ssm.selective_scan_mamba_ssm_backward,
            ("cuda",),
            False,
            "the official CUDA kernel",
            cache(mamba_ssm.why_unusable),
        ),
        Backend(
            "triton",
            triton.selective_scan_triton,
            triton.selective_scan_triton_backward,
            ("cuda",),
            False,
            "our Triton kernels",
            cache(triton.why_unusable),
        ),
        Backend(
            "cpu",
            selective_scan_cpu,
            selective_scan_cpu_backward,
            ("cpu",),
            False,
            "fused Numba kernel",
            _numba_unusable,
        ),
        Backend(
            "reference",
            selective_scan_reference,
            selective_scan_reference_backward,
            ("cpu", "cuda"),
            True,
            "plain torch, one step at a time",
            lambda: "",
        ),
    )
}


def choose(backend: str, device: str, dtype: torch.dtype) -> Backend:
    """Return the backend that runs.

    Where a GPU has to make do with the reference, `auto` warns once and says why.

    Args:
        backend: a key of `BACKENDS`, or `auto` for the first that can.
        device: torch device type of the tensors.
        dtype: of the tensors.

    Raises:
        ScanBackendError: the name is unknown, or the backend cannot run here; says why.
    """
    if backend == "auto":
        found = next((b for b in BACKENDS.values() if not b.refuses(device, dtype)), BACKENDS["reference"])
        if device == "cuda" and found.name == "reference":
            triton.warn_once(f"{triton.NOT_USED}: {BACKENDS['triton'].refuses(device, dtype)}")
        return found
    if backend not in BACKENDS:
        raise ScanBackendError(f"unknown scan backend '{backend}': choose from auto, {', '.join(BACKENDS)}")
    if reason := BACKENDS[backend].refuses(device, dtype):
        raise ScanBackendError(f"scan backend '{backend}' cannot run: {reason}")
    return BACKENDS[backend]
