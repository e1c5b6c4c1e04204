"""The published graph of DynamicVis, an opponent: the whole Mamba runs on the sequence and on its flipped copy."""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from models.dynamicvis import SelectiveMixer
from models.mamba import PathMixer

Inner = Callable[..., Tensor]
Model = TypeVar("Model", bound=nn.Module)


def published(model: nn.Module, scan: str) -> nn.Module:
    """Return a model of the same weights that computes the same by the published graph.

    Args:
        model: holds a DynamicVis whose paths are `forward` and `reverse`, merged by their mean.
        scan: backend of the scan; with `mamba_ssm`, mamba-ssm's own fused function runs the whole of Mamba if it loads.
    """
    copy = twin(model)
    inner = fused_mamba() if scan == "mamba_ssm" else None
    for module in copy.modules():
        if isinstance(module, SelectiveMixer):
            module.fuse = False
            module.mixer.mamba.scan = scan
            module.mixer.__class__ = TwoPassMixer
            module.mixer.inner = inner  # type: ignore[assignment]
    return copy


def twin(model: Model) -> Model:
    """Return a copy of a model that shares its weights."""
    return deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def fused_mamba() -> Inner | None:
    """Return mamba-ssm's `mamba_inner_fn`, which the official implementation calls, or None where it does not load."""
    try:
        import causal_conv1d  # noqa: F401, PLC0415
        from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn  # noqa: PLC0415
    except Exception:  # noqa: BLE001, RUF100 (a broken build fails in many ways)
        return None
    found: Inner = mamba_inner_fn
    return found


class TwoPassMixer(PathMixer):
    """A `PathMixer` of the same weights whose projections run once for each direction."""

    inner: Inner | None = None

    def project(self, tokens: Tensor) -> Tensor:
        """Normalise [tokens, flipped tokens] and project both: (2 batch, length, 2 inner)."""
        projected: Tensor = self.mamba.in_proj(self.norm(torch.cat([tokens, tokens.flip(1)])))
        return projected

    def mix(self, projected: Tensor) -> Tensor:
        """Run Mamba forward over both, and return the mean of the two with the second turned back."""
        one, other = self._mamba(projected).chunk(2)
        return (one + other.flip(1)) / 2

    def _mamba(self, projected: Tensor) -> Tensor:
        mamba = self.mamba
        if self.inner is None:
            x, z = projected.chunk(2, dim=-1)
            out: Tensor = mamba.out_proj(mamba.run(x, z))
            return out
        return self.inner(
            projected.transpose(1, 2),
            mamba.conv1d.weight,
            mamba.conv1d.bias,
            mamba.x_proj.weight,
            mamba.dt_proj.weight,
            mamba.out_proj.weight,
            None,
            -torch.exp(mamba.A_log.float()),
            None,
            None,
            mamba.D.float(),
            delta_bias=mamba.dt_proj.bias.float(),
            delta_softplus=True,
        )
