"""Weights of ViT as its authors publish them, arrays of Flax in an .npz, under timm's names and in its layouts."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_BLOCK = r"Transformer/encoderblock_(\d+)/"
_ATTENTION = _BLOCK + r"MultiHeadDotProductAttention_1/"
_NAMES = (
    (r"cls", "cls_token"),
    (r"Transformer/posembed_input/pos_embedding", "pos_embed"),
    (r"embedding/(\w+)", r"patch_embed.proj.\1"),
    (r"Transformer/encoder_norm/(\w+)", r"norm.\1"),
    (_BLOCK + r"LayerNorm_0/(\w+)", r"blocks.\1.norm1.\2"),
    (_BLOCK + r"LayerNorm_2/(\w+)", r"blocks.\1.norm2.\2"),
    (_BLOCK + r"MlpBlock_3/Dense_0/(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_BLOCK + r"MlpBlock_3/Dense_1/(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (_ATTENTION + r"query/(\w+)", r"blocks.\1.attn.qkv.\2"),
    (_ATTENTION + r"out/(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"head/(\w+)", r"head.\1"),
)
_KINDS = {"kernel": "weight", "scale": "weight"}


def as_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors, and give them timm's axes; those that no ViT has stay as they are.

    Query, key and value become one. Flax puts inputs before outputs and gives heads an axis of their own.
    """
    renamed = {}
    joined: set[str] = set()
    for key, value in state.items():
        three = [key.replace("/query/", f"/{part}/") for part in ("query", "key", "value")]
        if "/query/" in key and all(part in state for part in three):
            joined |= set(three)
            renamed[_name(key)] = torch.cat([_layout(part, state[part]) for part in three])
        elif _name(key) != key and "/query/" not in key:
            joined.add(key)
            renamed[_name(key)] = _layout(key, value)
    return renamed | {key: value for key, value in state.items() if key not in joined}


def _name(key: str) -> str:
    for pattern, theirs in _NAMES:
        if found := re.fullmatch(pattern, key):
            stem, _, kind = found.expand(theirs).rpartition(".")
            return f"{stem}.{_KINDS.get(kind, kind)}".removeprefix(".")
    return key


def _layout(key: str, value: Tensor) -> Tensor:
    if value.ndim == 4:  # a convolution: height, width, inputs, outputs
        return value.permute(3, 2, 0, 1)
    if key.endswith("/out/kernel"):
        return value.flatten(0, 1).T
    if key.endswith("/kernel"):
        return value.flatten(1).T
    return value.flatten() if key.endswith("/bias") else value
