"""Adapter to the CUDA kernel of the mamba-ssm package.

The compiled extension is called directly: `import mamba_ssm` takes over ten seconds and pulls in parts that have
nothing to do with the scan. Its signature is private, which is why the `cuda` extra pins the version.
"""

import torch
from torch import Tensor


def selective_scan_mamba_ssm(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> Tensor:
    """Scan with mamba-ssm's kernel; see `models.scan.selective_scan` for shapes. CUDA tensors only.

    The kernel wants time innermost and knows one direction, so inputs are transposed, and flipped for `reverse`.
    """
    import selective_scan_cuda  # noqa: PLC0415 (optional, and slow to import)

    def time_last(sequence: Tensor) -> Tensor:
        sequence = sequence.to(u.dtype).transpose(1, 2)
        return (sequence.flip(-1) if reverse else sequence).contiguous()  # flip alone keeps the old order in memory

    def single(vector: Tensor | None) -> Tensor | None:
        return None if vector is None else vector.float().contiguous()

    out, _, *gated = selective_scan_cuda.fwd(
        time_last(u),
        time_last(delta),
        A.float().contiguous(),
        time_last(B).unsqueeze(1),  # one group
        time_last(C).unsqueeze(1),
        single(D),
        None if z is None else time_last(z),
        single(delta_bias),
        True,  # softplus on delta
    )
    y: Tensor = out if z is None else gated[0]
    return (y.flip(-1) if reverse else y).transpose(1, 2).contiguous()


def why_unusable() -> str:
    """Say in one line why the kernel cannot run here; empty when it can.

    A broken build fails in many ways (missing file, undefined symbol of another torch, wrong CUDA), all of which mean
    the same to the user, so every exception is caught and named.
    """
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        release = version("mamba-ssm")
    except PackageNotFoundError:
        return "mamba-ssm is not installed (optional: the `cuda` extra)"
    try:
        import selective_scan_cuda  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        return f"mamba-ssm {release} is installed without its compiled part (selective_scan_cuda)"
    except Exception as error:  # noqa: BLE001, RUF100
        cause = str(error).strip().splitlines() or [""]
        return f"mamba-ssm {release} does not load under torch {torch.__version__}: {type(error).__name__}: {cause[0]}"
    if not torch.cuda.is_available():
        return f"mamba-ssm {release} loads, but torch sees no CUDA device"
    return ""
