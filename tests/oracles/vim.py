"""Vision Mamba (arXiv 2401.09417, section 3.2 and algorithm 1) as a plain function of its weights, in float64."""

import torch
from torch import Tensor

from tests.oracles.plain import below, bicubic, patches, rms_norm, selective, silu, weights_of


def vim(model: torch.nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """The feature map (batch, width, rows, columns) and the class token (batch, width)."""
    w = weights_of(model)
    cut, grid = patches(image.double(), 16, 16)
    x = cut @ w["patch.weight"].flatten(1).T + w["patch.bias"] + bicubic(w["position.weight"], grid)
    half = x.shape[1] // 2
    sequence = [x[:, i] for i in range(x.shape[1])]
    sequence.insert(half, (w["class_token"] + w["class_position"])[0].expand(len(image), -1))
    t = torch.stack(sequence, dim=1)
    for block in range(len({name.split(".")[1] for name in w if name.startswith("blocks.")})):
        b = below(w, f"blocks.{block}.")
        m = below(b, "mixer.")
        x, z = (rms_norm(t, b["norm.weight"], 1e-5) @ m["in_proj.weight"].T).chunk(2, dim=-1)
        forward = selective(m, x) * silu(z)
        backward = (selective(below(m, "back."), x.flip(1)) * silu(z.flip(1))).flip(1)
        t = t + (forward + backward) / 2 @ m["out_proj.weight"].T
    t = rms_norm(t, w["norm.weight"], 1e-5)
    rest = [t[:, i] for i in range(t.shape[1]) if i != half]
    return torch.stack(rest, dim=2).unflatten(2, grid), t[:, half]
