"""The Mamba mixer, run along several paths with one projection in and one out."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.scan import selective_scan, triton_conv

PATHS = ("forward", "reverse", "shuffle")
MERGES = ("mean", "gate")


def causal_conv(
    sequence: Tensor, weight: Tensor, bias: Tensor, *, reverse: bool = False, out: Tensor | None = None
) -> Tensor:
    """Convolve each channel along time, seeing only past steps (future steps for `reverse`).

    Written as one multiply-add for each tap: in this layout several times faster than a grouped `conv1d`.

    Args:
        sequence: (batch, length, channels).
        weight: (channels, 1, taps), the last tap meets the current step, as in a causal `nn.Conv1d`.
        bias: (channels).
        reverse: run from the last step to the first. Outputs stay at their steps.
        out: where the result goes, of `sequence`'s shape; may be `sequence` itself. Only without gradients.

    Returns:
        Like `sequence`.
    """
    length, taps = sequence.shape[1], weight.shape[2]
    past = taps - 1
    padded = F.pad(sequence, (0, 0, 0, past) if reverse else (0, 0, past, 0))
    kernel = weight[:, 0].T.contiguous()
    output = torch.addcmul(bias, padded[:, past : past + length], kernel[0 if reverse else past], out=out)
    for tap in range(past):
        output.addcmul_(padded[:, tap : tap + length], kernel[past - tap if reverse else tap])
    return output


def causal_conv_silu(
    sequence: Tensor, weight: Tensor, bias: Tensor, *, reverse: bool = False, out: Tensor | None = None
) -> Tensor:
    """Return the SiLU of `causal_conv`: in one kernel on a GPU on which Triton works, step by step elsewhere.

    The kernel leaves `out` alone: its programs run at once, and may not overwrite what their neighbours read.
    """
    if triton_conv.runs_on(sequence):
        fused: Tensor = triton_conv.causal_conv_silu(sequence, weight, bias, reverse)
        return fused
    return F.silu(causal_conv(sequence, weight, bias, reverse=reverse, out=out), inplace=True)


class Direction(nn.Module):
    """What of a Mamba has a direction: convolution, input-dependent parameters, scan and gate.

    Args:
        inner: channels.
        rank: of the step sizes' projection.
        states: numbers of state for each channel.
        taps: width of the causal convolution.
        scan: backend of the selective scan.
    """

    def __init__(self, inner: int, rank: int, *, states: int = 16, taps: int = 4, scan: str = "auto") -> None:
        super().__init__()
        self.rank = rank
        self.states = states
        self.scan = scan
        self.conv1d = nn.Conv1d(inner, inner, taps, groups=inner)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, states + 1, dtype=torch.float32).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))

    def run(self, x: Tensor, z: Tensor, *, reverse: bool = False, overwrite: bool = False) -> Tensor:
        """Run along a sequence.

        Args:
            x: (batch, length, inner).
            z: like `x`, the gate before its SiLU.
            reverse: run from the last step to the first. Outputs stay at their steps.
            overwrite: nobody needs `x` any more, so its memory may be used; only without gradients.

        Returns:
            Like `x`, still to go through an output projection.
        """
        assert self.conv1d.bias is not None
        out = x if overwrite else None
        u = causal_conv_silu(x, self.conv1d.weight, self.conv1d.bias, reverse=reverse, out=out)
        dt, B, C = self.x_proj(u).split([self.rank, self.states, self.states], dim=-1)
        delta = F.linear(dt, self.dt_proj.weight)  # its bias is added inside the scan, in float32
        A = decay(self.A_log)
        return selective_scan(u, delta, A, B, C, self.D, z, self.dt_proj.bias, reverse=reverse, backend=self.scan)


class Mamba(Direction):
    """Mamba-1 (arXiv 2312.00752, figure 3), taken apart so that several paths can share its projections.

    `in_proj` gives x and z of `run`, whose output goes through `out_proj`.

    Args:
        width: channels of the tokens.
        states: numbers of state for each inner channel.
        expand: inner channels for each channel of the tokens.
        taps: width of the causal convolution.
        scan: backend of the selective scan.
    """

    def __init__(self, width: int, *, states: int = 16, expand: int = 2, taps: int = 4, scan: str = "auto") -> None:
        inner = expand * width
        in_proj = nn.Linear(width, 2 * inner, bias=False)  # first, so that a seed draws the same weights as ever
        super().__init__(inner, math.ceil(width / 16), states=states, taps=taps, scan=scan)
        self.in_proj = in_proj
        self.out_proj = nn.Linear(inner, width, bias=False)


def decay(A_log: Tensor) -> Tensor:
    """Return A = -exp(A_log), in at least float32."""
    return -torch.exp(A_log if A_log.dtype == torch.float64 else A_log.float())


@torch.no_grad()
def draw_steps(weight: Tensor, bias: Tensor) -> None:
    """Fill a projection of step sizes so that they begin log-uniform in [0.001, 0.1] (arXiv 2312.00752, section 3.6).

    Args:
        weight: (inner, rank).
        bias: (inner), set to the inverse softplus of the steps.
    """
    nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
    steps = torch.empty_like(bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    bias.copy_(steps + torch.log(-torch.expm1(-steps)))


def total(outputs: Iterable[Tensor]) -> Tensor:
    """Add up tensors of one shape, into the first one where no gradient is asked for."""
    return reduce(lambda sum_, output: sum_ + output if sum_.requires_grad else sum_.add_(output), outputs)


class PathMixer(nn.Module):
    """A norm and one Mamba along one to three paths, merged (arXiv 2503.16426v1, section 3.3 and table 15).

    The published graph calls the whole Mamba on the sequence and on its flipped copy. Norm and projections act token by
    token, so they commute with any reordering and, being linear, `out_proj` commutes with the merge: each runs once.

    Args:
        width: channels of the tokens.
        paths: which of `PATHS` run, each at most once. `shuffle` draws one permutation a call, in eval mode too.
        merge: `mean`, or `gate`: softmax over paths of a linear layer on the paths' means, one weight a path and image.
        states: numbers of state for each inner channel.
        scan: backend of the selective scan.
        norm: of the tokens; RMSNorm when left out.

    Raises:
        ValueError: an unknown path or merge.
    """

    def __init__(
        self,
        width: int,
        *,
        paths: Sequence[str] = ("forward", "reverse"),
        merge: str = "mean",
        states: int = 16,
        scan: str = "auto",
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not paths or len(set(paths)) < len(paths) or not set(paths) <= set(PATHS):
            raise ValueError(f"paths {tuple(paths)}: choose one or more of {', '.join(PATHS)}, each once")
        if merge not in MERGES:
            raise ValueError(f"unknown merge '{merge}': choose from {', '.join(MERGES)}")
        self.paths = tuple(paths)
        self.norm = nn.RMSNorm(width, eps=1e-5) if norm is None else norm
        self.mamba = Mamba(width, states=states, scan=scan)
        gates = len(self.paths) if merge == "gate" and len(self.paths) > 1 else 0
        self.gate = nn.Linear(gates * width, gates, bias=False) if gates else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (batch, length, width) along their order; returns the same shape, without the residual."""
        return self.mix(self.project(tokens))

    def project(self, tokens: Tensor) -> Tensor:
        """Normalise and project tokens (batch, length, width) to (batch, length, 2 inner): what all paths share."""
        projected: Tensor = self.mamba.in_proj(self.norm(tokens))
        return projected

    def mix(self, projected: Tensor) -> Tensor:
        """Run the paths on what `project` returned, which is overwritten where autograd is off, and merge them."""
        x, z = projected.chunk(2, dim=-1)
        if self.gate is None:
            free = not torch.is_grad_enabled()
            outputs = (self._path(path, x, z, overwrite=free and path == self.paths[-1]) for path in self.paths)
            mean: Tensor = self.mamba.out_proj(total(outputs))
            return mean.div_(len(self.paths))
        out: Tensor = self.mamba.out_proj(self._gated([self._path(path, x, z) for path in self.paths], self.gate))
        return out

    def _path(self, path: str, x: Tensor, z: Tensor, *, overwrite: bool = False) -> Tensor:
        if path != "shuffle":
            return self.mamba.run(x, z, reverse=path == "reverse", overwrite=overwrite)
        order = torch.randperm(x.shape[1], device=x.device)
        return self.mamba.run(x[:, order], z[:, order])[:, order.argsort()]

    def _gated(self, outputs: list[Tensor], gate: nn.Linear) -> Tensor:
        # The gate sees each path's mean after out_proj; the mean and out_proj commute.
        means = torch.cat([self.mamba.out_proj(output.mean(dim=1)) for output in outputs], dim=-1)
        weights = gate(means).softmax(dim=-1)
        return torch.einsum("pbld,bp->bld", torch.stack(outputs), weights)
