"""VMamba (arXiv 2401.10166, section 4) as a plain function of its weights, in float64."""

import torch
from torch import Tensor

from tests.oracles.plain import Weights, below, gelu, layer_norm, scan, silu, softplus, weights_of


def vmamba(model: torch.nn.Module, image: Tensor) -> list[Tensor]:
    """The four feature maps, (batch, channels, rows, columns)."""
    w = weights_of(model)
    x = image.double().permute(0, 2, 3, 1)
    x = _halve(below(w, "stem.1."), gelu(_halve(below(w, "stem.0."), x)))
    maps = []
    for stage in range(4):
        if stage:
            x = _halve(below(w, f"downsample.{stage - 1}."), x)
        s = below(w, f"stages.{stage}.")
        for block in range(len({name.split(".")[0] for name in s})):
            b = below(s, f"{block}.")
            x = x + _cross_scan(below(b, "op."), _norm(b, "norm", x))
            hidden = gelu(_norm(b, "norm2", x) @ b["mlp.0.weight"].T + b["mlp.0.bias"])
            x = x + hidden @ b["mlp.2.weight"].T + b["mlp.2.bias"]
        maps.append((_norm(w, "norm", x) if stage == 3 else x).permute(0, 3, 1, 2))
    return maps


def _cross_scan(w: Weights, x: Tensor) -> Tensor:
    """Figure 3: each route lists the pixels in the order in which it visits them."""
    x = x @ w["in_proj.weight"].T
    x = silu(_convolve(x, w["conv2d.weight"], 1, groups=True))
    rows, columns = x.shape[1:3]
    by_row = [(r, c) for r in range(rows) for c in range(columns)]
    by_column = [(r, c) for c in range(columns) for r in range(rows)]
    y = torch.zeros_like(x)
    inner = x.shape[3]
    for k, route in enumerate((by_row, by_column, by_row[::-1], by_column[::-1])):
        r, c = (torch.tensor(each) for each in zip(*route, strict=True))
        u = x[:, r, c]
        weight, rank = w["dt_projs_weight"][k], w["dt_projs_weight"].shape[2]
        states = w["A_logs"].shape[1]
        mine = slice(k * inner, (k + 1) * inner)
        dt, B, C = (u @ w["x_proj_weight"][k].T).split([rank, states, states], dim=-1)
        delta = softplus(dt @ weight.T + w["dt_projs_bias"][k])
        y[:, r, c] += scan(u, delta, -torch.exp(w["A_logs"][mine]), B, C, w["Ds"][mine])
    return _norm(w, "out_norm", y) @ w["out_proj.weight"].T


def _halve(w: Weights, x: Tensor) -> Tensor:
    return _norm(w, "norm", _convolve(x, w["conv.weight"], 2) + w["conv.bias"])


def _convolve(x: Tensor, kernel: Tensor, stride: int, *, groups: bool = False) -> Tensor:
    """3 x 3 with a border of zeros; `groups`: each channel for itself."""
    batch, rows, columns, width = x.shape
    padded = x.new_zeros(batch, rows + 2, columns + 2, width)
    padded[:, 1:-1, 1:-1] = x
    out: Tensor | float = 0.0
    for i in range(3):
        for j in range(3):
            seen = padded[:, i : i + rows : stride, j : j + columns : stride]
            out = out + (seen * kernel[:, 0, i, j] if groups else seen @ kernel[:, :, i, j].T)
    assert isinstance(out, Tensor)
    return out


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)
