"""Adapter to the CUDA kernel of the mamba-ssm package.

The compiled extension is called directly: `import mamba_ssm` takes over ten seconds and pulls in parts that have
nothing to do with the scan. Its signature is private, which is why the `cuda` extra pins the version.
"""

from typing import Any

import torch
from torch import Tensor

SOFTPLUS = True  # of delta, in the kernel


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
    out, _, *gated = kernel().fwd(*operands(u, delta, A, B, C, D, z, delta_bias, reverse), SOFTPLUS)
    return _time_first(out if z is None else gated[0], reverse)


def selective_scan_mamba_ssm_backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> list[Tensor | None]:
    """Differentiate with mamba-ssm's kernel. What it wants from the forward pass is computed again.

    Args:
        grad: of the output, like `u`.
        u: input of the scan; like all that follow an argument of `selective_scan_mamba_ssm`.
        delta: step sizes.
        A: (channels, N).
        B: (batch, length, N).
        C: (batch, length, N).
        D: (channels), or None.
        z: gate, or None.
        delta_bias: (channels), or None.
        reverse: whether time runs from the last step to the first.

    Returns:
        The gradients of u, delta, A, B, C, D, z and delta_bias, each like its input; None for inputs that are None.
    """
    given = operands(u, delta, A, B, C, D, z, delta_bias, reverse)
    out, states, *_ = kernel().fwd(*given, SOFTPLUS)
    to_out = _time_last(grad.to(u.dtype), reverse)
    to_u, to_delta, to_A, to_B, to_C, to_D, to_bias, *to_z = kernel().bwd(
        *given, to_out, states, out, None, SOFTPLUS, False
    )
    found = (
        (_time_first(to_u, reverse), u),
        (_time_first(to_delta, reverse), delta),
        (to_A, A),
        (_time_first(to_B.squeeze(1), reverse), B),
        (_time_first(to_C.squeeze(1), reverse), C),
        (to_D, D),
        (None if z is None else _time_first(to_z[0], reverse), z),
        (to_bias, delta_bias),
    )
    return [None if like is None or value is None else value.to(like.dtype) for value, like in found]


def kernel() -> Any:
    """Return the compiled extension, with its `fwd` and `bwd`."""
    import selective_scan_cuda  # noqa: PLC0415 (optional, and slow to import)

    return selective_scan_cuda


def operands(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> tuple[Tensor | None, ...]:
    """Return the inputs as the kernel takes them: time innermost, B and C in one group, parameters in float32."""

    def sequence(tensor: Tensor) -> Tensor:
        return _time_last(tensor.to(u.dtype), reverse)

    def single(vector: Tensor | None) -> Tensor | None:
        return None if vector is None else vector.float().contiguous()

    return (
        sequence(u),
        sequence(delta),
        A.float().contiguous(),
        sequence(B).unsqueeze(1),
        sequence(C).unsqueeze(1),
        single(D),
        None if z is None else sequence(z),
        single(delta_bias),
    )


def _time_last(sequence: Tensor, reverse: bool) -> Tensor:
    sequence = sequence.transpose(1, 2)
    return (sequence.flip(-1) if reverse else sequence).contiguous()  # flip alone keeps the old order in memory


def _time_first(sequence: Tensor, reverse: bool) -> Tensor:
    return (sequence.flip(-1) if reverse else sequence).transpose(1, 2).contiguous()


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
