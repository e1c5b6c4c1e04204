"""The authors' DynamicVis without selection (ratios 1, no global tokens, `is_softmax_on_x` off), read from their code.

A function of a checkpoint under their names. Every block ranks all tokens by its gate, scans them in that order, and
adds what comes back, times the softmax of the gate.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.oracles.plain import below, layer_norm, rms_norm, selective, silu


def released_maps(state: Mapping[str, Tensor], image: Tensor) -> list[Tensor]:
    """Compute the four maps of an image (1, 3, height, width) at the size of the positions, in float64."""
    weights = {name: value.double() for name, value in state.items()}
    x, maps = image.double(), []
    for s in range(4):
        layer = below(weights, f"backbone.layers.{s}.")
        kernel = layer["0.projection.weight"]
        padding, stride = kernel.shape[-1] // 2, 4 if s == 0 else 2
        x = F.conv2d(x, kernel, layer["0.projection.bias"], stride=stride, padding=padding)
        sides = x.shape[2:]
        tokens = layer_norm(x.flatten(2).transpose(1, 2), layer["0.norm.weight"], layer["0.norm.bias"], 1e-6)
        if s == 0:
            tokens = tokens + weights["backbone.pos_embed"]
        for b in range(len({name.split(".")[1] for name in layer if name.startswith("1.")})):
            tokens = block(below(layer, f"1.{b}."), tokens)
        tokens = layer_norm(tokens, layer["2.weight"], layer["2.bias"], 1e-6)
        x = tokens.transpose(1, 2).unflatten(2, sides)
        maps.append(x)
    return maps


def block(w: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """`SpatialSparseMixer.forward` with `reduction_ratio` 1, for one image."""
    weight = (tokens @ w["spatial_gate.weight"].T).squeeze(-1).softmax(dim=1)
    _, order = torch.topk(weight, tokens.shape[1], dim=-1)
    mixed = mixer(below(w, "spatial_mamba_mixer."), tokens[:, order[0]]) * weight[:, order[0], None]
    out = tokens.clone()
    out[:, order[0]] = tokens[:, order[0]] + mixed
    return out


def mixer(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """`MambaBlock.forward` with `forward_reverse_mean`."""
    outputs = [mamba(w, x), mamba(w, x.flip(1)).flip(1)]
    return x + (outputs[0] + outputs[1]) / 2


def mamba(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The norm, and Mamba as transformers has it."""
    inner = below(w, "mamba_layer.")
    u, z = (rms_norm(x, w["pre_norm.weight"], 1e-5) @ inner["in_proj.weight"].T).chunk(2, dim=-1)
    return (selective(inner, u) * silu(z)) @ inner["out_proj.weight"].T
