"""BIT read from its paper, pixel by pixel and head by head, in float64."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def bit_forward(model: Any, pair: Tensor) -> Tensor:
    """Return the logits of one pair (2, 3, height, width), by the weights of a `BIT` in evaluation."""
    dates = [_features(model, image) for image in pair]
    tokens = torch.stack([token for date in dates for token in _tokens(model, date)])
    tokens = tokens + model.position[0]
    for layer in model.encoder:
        tokens = torch.stack([_layer(layer, token, tokens) for token in tokens])
    half = len(tokens) // 2
    seen = [_decoded(model, dates[0], tokens[:half]), _decoded(model, dates[1], tokens[half:])]
    apart = F.interpolate((seen[0] - seen[1]).abs()[None], scale_factor=4, mode="bilinear", align_corners=False)
    return model.classify(apart)[0]


def _features(model: Any, image: Tensor) -> Tensor:
    body = model.backbone
    found = body.maxpool(body.act1(body.bn1(body.conv1(image[None]))))
    for number, stage in enumerate((body.layer1, body.layer2, body.layer3), start=1):
        for place, block in enumerate(stage):
            stride = 2 if number == 2 and place == 0 else 1
            kept = found
            if block.downsample is not None:
                kept = block.downsample[1](F.conv2d(found, block.downsample[0].weight, stride=stride))
            found = F.relu(block.bn1(F.conv2d(found, block.conv1.weight, stride=stride, padding=1)))
            found = F.relu(block.bn2(F.conv2d(found, block.conv2.weight, padding=1)) + kept)
    doubled = found.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(doubled, model.project.weight, model.project.bias, padding=1)[0]


def _tokens(model: Any, features: Tensor) -> list[Tensor]:
    pixels = features.flatten(1)
    made = []
    for weights in model.tokenizer.weight[:, :, 0, 0]:
        shares = (weights @ pixels).exp()
        made.append(pixels @ (shares / shares.sum()))
    return made


def _decoded(model: Any, features: Tensor, tokens: Tensor) -> Tensor:
    pixels = features.flatten(1).T
    for layer in model.decoder:
        pixels = torch.stack([_layer(layer, pixel, tokens) for pixel in pixels])
    return pixels.T.reshape(features.shape)


def _layer(layer: Any, token: Tensor, others: Tensor) -> Tensor:
    heads = 8
    attention, normed, around = layer.attention, _norm(layer.norm, token), [_norm(layer.norm, one) for one in others]
    query = (attention.query.weight @ normed).reshape(heads, -1)
    keys = [(attention.key.weight @ one).reshape(heads, -1) for one in around]
    values = [(attention.value.weight @ one).reshape(heads, -1) for one in around]
    found = []
    for head in range(heads):
        scores = torch.stack([query[head] @ key[head] for key in keys]) / token.numel() ** 0.5
        shares = scores.exp() / scores.exp().sum()
        found.append(sum(share * value[head] for share, value in zip(shares, values, strict=True)))
    token = token + attention.out.weight @ torch.cat(found) + attention.out.bias  # type: ignore[arg-type]
    norm, inner, _, outer = layer.mlp
    hidden = inner.weight @ _norm(norm, token) + inner.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return token + outer.weight @ hidden + outer.bias


def _norm(norm: Any, token: Tensor) -> Tensor:
    apart = token - token.mean()
    return norm.weight * apart / (apart.square().mean() + norm.eps).sqrt() + norm.bias
