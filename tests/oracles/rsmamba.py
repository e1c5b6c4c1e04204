"""RSMamba (arXiv 2403.19654, section II) as a plain function of its weights, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.oracles.plain import below, bicubic, layer_norm, patches, selective, silu, weights_of


def rsmamba(
    model: torch.nn.Module,
    image: Tensor,
    paths: Sequence[str] = ("forward", "reverse", "shuffle"),
) -> Tensor:
    """The feature map; the whole Mamba runs on a copy of the sequence for each path. Draws one permutation a block."""
    w = weights_of(model)
    batch, _, height, width = image.shape
    padded = torch.zeros(batch, 3, height + 8, width + 8, dtype=torch.float64)
    padded[:, :, :height, :width] = image
    cut, grid = patches(padded, 16, 8)
    t = cut @ w["patch.weight"].flatten(1).T + bicubic(w["position.weight"], grid)
    for block in range(len({name.split(".")[1] for name in w if name.startswith("blocks.")})):
        b = below(w, f"blocks.{block}.")
        length = t.shape[1]
        orders = {"forward": torch.arange(length), "reverse": torch.arange(length - 1, -1, -1)}
        if "shuffle" in paths:
            orders["shuffle"] = torch.randperm(length)
        normed = layer_norm(t, w["pre_norm.weight"], w["pre_norm.bias"], 1e-6)
        outputs = []
        for path in paths:
            y = torch.zeros_like(t)
            y[:, orders[path]] = _mamba(below(b, "mamba."), normed[:, orders[path]])
            outputs.append(y)
        if "gate.weight" in b:
            logits = torch.cat([y.mean(dim=1) for y in outputs], dim=-1) @ b["gate.weight"].T
            shares = torch.exp(logits) / torch.exp(logits).sum(dim=-1, keepdim=True)
        else:
            shares = torch.full((batch, len(paths)), 1 / len(paths), dtype=torch.float64)
        for i, y in enumerate(outputs):
            t = t + shares[:, i, None, None] * y
    t = layer_norm(t, w["norm.weight"], w["norm.bias"], 1e-6)
    return t.transpose(1, 2).unflatten(2, grid)


def _mamba(w: dict[str, Tensor], x: Tensor) -> Tensor:
    x, z = (x @ w["in_proj.weight"].T).chunk(2, dim=-1)
    return (selective(w, x) * silu(z)) @ w["out_proj.weight"].T
