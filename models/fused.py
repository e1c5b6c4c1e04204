"""What DynamicVis does around its mixer, in two Triton kernels: the fast path of a GPU without gradients.

`gather_norm` picks the kept tokens, puts the global tokens beside them and normalises, in one pass. `add_kept` adds
what the mixer returns to the kept tokens where they lie. Everything else is that of the plain path, which runs wherever
these kernels cannot, with the same results.
"""

import os
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

AGREES = 1e-5  # relative error in float32 below which the kernels are trusted


def usable(tokens: Tensor) -> bool:
    """Whether the kernels can take these tokens (batch, N, width); warns once for a GPU where they do not work."""
    there = tokens.is_cuda or (tokens.device.type == "cpu" and interpreting())
    suits = there and tokens.is_contiguous() and tokens.dtype != torch.float64
    if not suits or torch.compiler.is_compiling():  # a compiler fuses the plain path by itself
        return False
    return not why_unusable(tokens.device)


def interpreting() -> bool:
    """Whether Triton runs kernels in its interpreter, on CPU tensors: right, and very slow."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def why_unusable(device: torch.device) -> str:
    """Say in one line why the kernels do not work on a device, found by trying; empty when they do."""
    try:
        error = _try(device)
    except Exception as failure:  # noqa: BLE001, RUF100 (no Triton, no compiler for it, an unsupported card: any of these)
        reason = f"{type(failure).__name__}: {(str(failure).strip().splitlines() or [''])[0]}"
    else:
        reason = "" if error < AGREES else f"its results are off by {error:.0e}"
    if reason:
        warnings.warn(f"DynamicVis runs its plain path on {device}, Triton does not work: {reason}", stacklevel=3)
    return reason


@torch.library.custom_op("dvbench::gather_norm", mutates_args=())
def gather_norm(tokens: Tensor, kept: Tensor, pooled: Tensor | None, twice: bool, weight: Tensor, eps: float) -> Tensor:
    """Return RMSNorm of [pooled, kept tokens], with the pooled ones at the end as well if `twice`.

    Args:
        tokens: (batch, N, width), contiguous.
        kept: (batch, k), indices of tokens.
        pooled: (batch, g, width), or None for no global tokens.
        twice: whether they stand at both ends.
        weight: (width), of the norm.
        eps: of the norm.

    Returns:
        (batch, g + k, width), or g more.
    """
    batch, length, width = tokens.shape
    out = tokens.new_empty(_sequence(tokens, kept, pooled, twice))
    k, head = kept.shape[1], 0 if pooled is None else pooled.shape[1]
    rows, lanes = _tile(width)
    with torch.cuda.device_of(tokens):
        _kernels().gather_norm[(-(-out.shape[1] // rows), batch)](
            tokens, kept.contiguous(), tokens if pooled is None else pooled.contiguous(), weight, out,
            length, k, head, out.shape[1], width, eps, ROWS=rows, WIDTH=lanes,
        )  # fmt: skip
    return out


@gather_norm.register_fake
def _(tokens: Tensor, kept: Tensor, pooled: Tensor | None, twice: bool, *_: Any) -> Tensor:
    return tokens.new_empty(_sequence(tokens, kept, pooled, twice))


@torch.library.custom_op("dvbench::add_kept", mutates_args={"tokens"})
def add_kept(tokens: Tensor, kept: Tensor, importance: Tensor, update: Tensor, with_token: bool) -> None:
    """Add pi u, or pi (x + u) if `with_token`, to the kept tokens x in place: the incremental connection (equation 8).

    Args:
        tokens: (batch, N, width), contiguous.
        kept: (batch, k), indices of tokens, each once.
        importance: (batch, N), pi of all tokens.
        update: (batch, k, width), u of the kept ones; any strides but that of the width, which is 1.
        with_token: see above.
    """
    batch, length, width = tokens.shape
    rows, lanes = _tile(width)
    with torch.cuda.device_of(tokens):
        _kernels().add_kept[(-(-kept.shape[1] // rows), batch)](
            tokens, kept.contiguous(), importance.contiguous(), update, length, kept.shape[1], width,
            update.stride(0), update.stride(1), WITH_TOKEN=with_token, ROWS=rows, WIDTH=lanes,
        )  # fmt: skip


@add_kept.register_fake
def _(*_: Any) -> None:
    return None


def _sequence(tokens: Tensor, kept: Tensor, pooled: Tensor | None, twice: bool) -> tuple[int, int, int]:
    ends = 0 if pooled is None else pooled.shape[1] * (1 + twice)
    return tokens.shape[0], kept.shape[1] + ends, tokens.shape[2]


def _tile(width: int) -> tuple[int, int]:
    """Rows and lanes of a program: about 2,048 numbers."""
    lanes = 1 << (width - 1).bit_length()
    return max(1, 2048 // lanes), lanes


def _kernels() -> Any:
    from models import _fused_kernels  # noqa: PLC0415 (Triton is not there on every platform)

    return _fused_kernels


def _try(device: torch.device) -> float:
    """Return the larger relative error of the two kernels on a small example."""
    generator = torch.Generator().manual_seed(0)
    x, pooled, u = (torch.randn(2, n, 24, generator=generator).to(device) for n in (40, 5, 10))
    weight, pi = torch.randn(24, generator=generator).to(device), torch.rand(2, 40, generator=generator).to(device)
    kept = torch.rand(2, 40, generator=generator).argsort(dim=1)[:, :10].to(device)
    index = kept.unsqueeze(-1).expand(-1, -1, 24)
    sequence = torch.cat([pooled, x.gather(1, index)], dim=1)
    normed = F.rms_norm(sequence, (24,), weight, 1e-5)
    added = x.scatter_add(1, index, pi.gather(1, kept).unsqueeze(-1) * u)
    gathered = gather_norm(x, kept, pooled, False, weight, 1e-5)
    add_kept(x, kept, pi, u, False)
    return max(float((a - b).norm() / b.norm()) for a, b in ((gathered, normed), (x, added)))
