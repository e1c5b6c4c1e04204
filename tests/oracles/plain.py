"""Building blocks of the Mamba papers, written from their equations, one step after the other, in float64.

Slow and readable on purpose. They share nothing with `models` and take weights as plain tensors, named as the modules
name them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """All weights in float64."""
    return {name: value.detach().double() for name, value in model.state_dict().items()}


def below(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Those weights whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def softplus(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(x))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt() * weight + bias


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt() * weight


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, y_t = C_t h_t + D u_t (arXiv 2312.00752, equation 2).

    u and delta (batch, length, channels), delta after its softplus; A (channels, states); B and C (batch, length,
    states); D (channels).
    """
    state = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    outputs = []
    for t in range(u.shape[1]):
        step = delta[:, t, :, None]
        state = torch.exp(step * A) * state + step * u[:, t, :, None] * B[:, t, None, :]
        outputs.append((state * C[:, t, None, :]).sum(dim=-1) + D * u[:, t])
    return torch.stack(outputs, dim=1)


def selective(w: Weights, x: Tensor) -> Tensor:
    """Causal convolution, SiLU, input-dependent parameters and scan of one direction (figure 3), before the gate."""
    kernel = w["conv1d.weight"][:, 0]
    taps = kernel.shape[1]
    steps = []
    for t in range(x.shape[1]):
        past = [x[:, t - age] * kernel[:, taps - 1 - age] for age in range(taps) if t - age >= 0]
        steps.append(torch.stack(past).sum(dim=0) + w["conv1d.bias"])
    u = silu(torch.stack(steps, dim=1))
    rank, states = w["dt_proj.weight"].shape[1], w["A_log"].shape[1]
    dt, B, C = (u @ w["x_proj.weight"].T).split([rank, states, states], dim=-1)
    delta = softplus(dt @ w["dt_proj.weight"].T + w["dt_proj.bias"])
    return scan(u, delta, -torch.exp(w["A_log"]), B, C, w["D"])


def patches(image: Tensor, size: int, stride: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut (batch, 3, height, width) into (batch, rows x columns, 3 x size x size), row by row."""
    rows = range(0, image.shape[2] - size + 1, stride)
    columns = range(0, image.shape[3] - size + 1, stride)
    cut = [image[:, :, r : r + size, c : c + size].flatten(1) for r in rows for c in columns]
    return torch.stack(cut, dim=1), (len(rows), len(columns))


def bicubic(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize positions (1, side x side, width) by cubic convolution with a = -0.75, edges repeated, centres aligned."""
    side = round(table.shape[1] ** 0.5)
    square = table.reshape(side, side, -1)
    if grid != (side, side):
        square = torch.einsum("yr,xc,rcd->yxd", _cubic(side, grid[0]), _cubic(side, grid[1]), square)
    return square.reshape(1, grid[0] * grid[1], -1)


def _cubic(old: int, new: int) -> Tensor:
    """The (new, old) matrix that resizes one axis."""
    a = -0.75
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        centre = (i + 0.5) * old / new - 0.5
        first = int(centre // 1) - 1
        for j in range(first, first + 4):
            d = abs(centre - j)
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            matrix[i, min(max(j, 0), old - 1)] += near if d <= 1 else far
    return matrix


def shaken(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every weight away from where training starts: gates, norms, skips, decay rates and positions included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
            few = value.dim() < 2 or "A_log" in name or "position" in name or "token" in name
            value.add_(noise * (0.3 if few else 0.5 * value.shape[-1] ** -0.5 if "gate" not in name else 1.0))
    return model.eval()
