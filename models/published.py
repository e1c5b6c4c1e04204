"""Which published model weights are of, and how it was trained, as far as shapes and files tell."""

import re
from collections.abc import Mapping

from torch import Tensor

from models.weight_names import GATE

#: Model -> a weight of its own and its shape, and a weight that only a larger relative has.
_KNOWN: dict[str, tuple[str, tuple[int, ...], str]] = {
    "dynamicvis_b": ("stages.3.norm.weight", (768,), ""),
    "dynamicvis_l": ("stages.3.norm.weight", (1024,), ""),
    "vim_ti": ("class_token", (1, 1, 192), ""),
    "vmamba_t": ("stages.2.4.op.x_proj_weight", (4, 26, 768), "stages.2.5.op.x_proj_weight"),
    "rsmamba_b": ("blocks.23.gate.weight", (3, 3 * 192), ""),
    "rsmamba_l": ("blocks.35.gate.weight", (3, 3 * 256), ""),
    "rsmamba_h": ("blocks.47.gate.weight", (3, 3 * 320), ""),
    "resnet18": ("body.layer4.1.conv2.weight", (512, 512, 3, 3), "body.layer1.2.conv1.weight"),
    "resnet50": ("body.layer3.5.conv3.weight", (1024, 256, 1, 1), "body.layer3.6.conv3.weight"),
    "resnet101": ("body.layer3.22.conv3.weight", (1024, 256, 1, 1), "body.layer3.23.conv3.weight"),
    "deit_t16": ("body.patch_embed.proj.weight", (192, 3, 16, 16), ""),
    "deit_s16": ("body.patch_embed.proj.weight", (384, 3, 16, 16), ""),
    "vit_b16": ("body.patch_embed.proj.weight", (768, 3, 16, 16), ""),  # DeiT-B is the same
    "vit_l16": ("body.patch_embed.proj.weight", (1024, 3, 16, 16), ""),
    "swin_t": ("body.layers_2.blocks.5.norm1.weight", (384,), "body.layers_2.blocks.6.norm1.weight"),
    "swin_s": ("body.layers_2.blocks.17.norm1.weight", (384,), ""),
    "swin_b": ("body.layers_2.blocks.17.norm1.weight", (512,), ""),
}

_RATIOS = re.compile(r"spatial_token_keep_ratios\s*=\s*[\[(]([\d,\s]+)[\])]")
_NO_SELECTION = re.compile(r"wo[-_]token[-_](selection|reduction)")  # names that the authors give such files


def trained_keep(config: str, file_name: str = "") -> tuple[int, ...] | None:
    """Return how many tokens there were for each one kept, by stage, where a DynamicVis was trained.

    The keys do not tell: the authors' files with and without selection have the same.

    Args:
        config: of the training, as text; what is not told there may be told by the name of the file.
        file_name: of the checkpoint.
    """
    if found := _RATIOS.search(config):
        return tuple(int(ratio) for ratio in found[1].replace(",", " ").split())
    return (1, 1, 1, 1) if _NO_SELECTION.search(file_name) else None


def guess_model(weights: Mapping[str, Tensor], keep: tuple[int, ...] | None = None) -> str:
    """Return the model of the zoo that weights have the shapes of; empty for none.

    Args:
        weights: under our names.
        keep: see `trained_keep`.
    """
    for model, (name, shape, larger) in _KNOWN.items():
        held = weights.get(f"backbone.{name}")
        if held is None or tuple(held.shape) != shape or f"backbone.{larger}" in weights:
            continue
        if not model.startswith("dynamicvis"):
            return model
        if not any(key.endswith(GATE) for key in weights):
            return f"{model}_dense"
        return f"{model}_released_dense" if keep == (1, 1, 1, 1) else model
    return ""
