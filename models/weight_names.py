"""Keys of official checkpoints under our names: DynamicVis, Vim, VMamba and RSMamba."""

import re
from collections.abc import Mapping

from torch import Tensor

State = Mapping[str, Tensor]
POSITION = "backbone.position.weight"
BODY = ("backbone.", "neck.", "roi.")  # heads are made for one dataset and may have another size

_BLOCK = r"backbone\.layers\.(\d)\.1\.(\d+)\."
_OURS = r"backbone.stages.\1.blocks.\2.spatial."
_ATTENTION = {
    "query_conv": "query",
    "value_conv": "value",
    "appr_geom_fc_x": "geometry_x",
    "appr_geom_fc_y": "geometry_y",
    "proj_conv": "project",
}
_DYNAMICVIS = (
    (r"backbone\.pos_embed", POSITION),
    (r"backbone\.layers\.(\d)\.0\.projection\.(\w+)", r"backbone.stages.\1.merge.\2"),
    (r"backbone\.layers\.(\d)\.0\.norm\.(\w+)", r"backbone.stages.\1.merge_norm.\2"),
    (r"backbone\.layers\.(\d)\.2\.(\w+)", r"backbone.stages.\1.norm.\2"),
    (_BLOCK + r"spatial_gate\.weight", _OURS + "gate.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.pre_norm\.weight", _OURS + "mixer.norm.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.gate_layer\.0\.weight", _OURS + "mixer.gate.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.mamba_layer\.(.+)", _OURS + r"mixer.mamba.\3"),
    (r"backbone\.post_meanpool_norm\.(\w+)", r"norm.\1"),
    (r"pre_neck\.lateral_convs\.(\d)\.conv\.(\w+)", r"neck.lateral.\1.\2"),
    (r"pre_neck\.fpn_convs\.(\d)\.conv\.(\w+)", r"neck.output.\1.\2"),
    (r"neck\.pre_module\.conv\.(\w+)", r"roi.pre.\1"),
    (r"neck\.post_module\.gamma", "roi.gamma"),
    *((rf"neck\.post_module\.{name}\.(\w+)", rf"roi.{ours}.\1") for name, ours in _ATTENTION.items()),
    (r"head\.fc\.(\w+)", r"linear.\1"),
    (r"head\.category_embedding\.weight", "embeddings.weight"),
    (r"head\.logit_scale", "logit_scale"),
)

_MIXER = r"layers\.(\d+)\.mixer\."
_VIM = (
    (r"patch_embed\.proj\.(\w+)", r"backbone.patch.\1"),
    (r"cls_token", "backbone.class_token"),
    (r"pos_embed", POSITION),
    (r"layers\.(\d+)\.norm\.weight", r"backbone.blocks.\1.norm.weight"),
    (_MIXER + r"(conv1d|x_proj|dt_proj)_b\.(\w+)", r"backbone.blocks.\1.mixer.back.\2.\3"),
    (_MIXER + r"A_b_log", r"backbone.blocks.\1.mixer.back.A_log"),
    (_MIXER + r"D_b", r"backbone.blocks.\1.mixer.back.D"),
    (_MIXER + r"(.+)", r"backbone.blocks.\1.mixer.\2"),
    (r"norm_f\.weight", "backbone.norm.weight"),
    (r"head\.(weight|bias)", r"linear.\1"),
)

_VSS = r"layers\.(\d)\.blocks\.(\d+)\."
_VMAMBA = (
    *(
        (rf"patch_embed\.{index}\.(\w+)", rf"backbone.stem.{name}.\1")
        for index, name in ((0, "0.conv"), (2, "0.norm"), (5, "1.conv"), (7, "1.norm"))
    ),
    (_VSS + r"mlp\.fc1\.(\w+)", r"backbone.stages.\1.\2.mlp.0.\3"),
    (_VSS + r"mlp\.fc2\.(\w+)", r"backbone.stages.\1.\2.mlp.2.\3"),
    (_VSS + r"((?:norm|norm2|op)\..+)", r"backbone.stages.\1.\2.\3"),
    (r"layers\.(\d)\.downsample\.1\.(\w+)", r"backbone.downsample.\1.conv.\2"),
    (r"layers\.(\d)\.downsample\.3\.(\w+)", r"backbone.downsample.\1.norm.\2"),
    (r"classifier\.norm\.(\w+)", r"backbone.norm.\1"),
    (r"classifier\.head\.(\w+)", r"linear.\1"),
)

_RSMAMBA = (
    (r"backbone\.patch_embed\.projection\.weight", "backbone.patch.weight"),
    (r"backbone\.pre_norm\.(\w+)", r"backbone.pre_norm.\1"),
    (r"backbone\.layers\.(\d+)\.((?:\w+_proj|conv1d)\.\w+|A_log|D)", r"backbone.blocks.\1.mamba.\2"),
    (r"backbone\.gate_layers\.(\d+)\.0\.weight", r"backbone.blocks.\1.gate.weight"),
    (r"backbone\.ln1\.(\w+)", r"backbone.norm.\1"),
    (r"backbone\.ln2\.(\w+)", r"norm.\1"),
)

#: Names in the official files -> ours. The four families share no key but two: `backbone.pos_embed` and `head.fc` mean
#: the same in both that have them.
NAMES: tuple[tuple[str, str], ...] = (*_DYNAMICVIS, *_VIM, *_VMAMBA, *_RSMAMBA)

#: Model -> a weight of its own and its shape, and a weight that only a larger relative has.
_KNOWN: dict[str, tuple[str, tuple[int, ...], str]] = {
    "dynamicvis_b": ("backbone.stages.3.norm.weight", (768,), ""),
    "dynamicvis_l": ("backbone.stages.3.norm.weight", (1024,), ""),
    "vim_ti": ("backbone.class_token", (1, 1, 192), ""),
    "vmamba_t": ("backbone.stages.2.4.op.x_proj_weight", (4, 26, 768), "backbone.stages.2.5.op.x_proj_weight"),
    "rsmamba_b": ("backbone.blocks.23.gate.weight", (3, 3 * 192), ""),
    "rsmamba_l": ("backbone.blocks.35.gate.weight", (3, 3 * 256), ""),
    "rsmamba_h": ("backbone.blocks.47.gate.weight", (3, 3 * 320), ""),
}


def our_name(key: str) -> str:
    """Return our name for a key of an official file; a key of ours stays."""
    for pattern, ours in NAMES:
        if found := re.fullmatch(pattern, key):
            return found.expand(ours)
    return key


def renamed(key: str, value: Tensor) -> dict[str, Tensor]:
    """Return a tensor of an official file under our name, or its parts under theirs.

    Vim keeps the position of its class token among those of the patches, in the middle, where the token stands.
    """
    if key != "pos_embed":
        return {our_name(key): value}
    middle = value.shape[1] // 2
    return {
        POSITION: value[:, [i for i in range(value.shape[1]) if i != middle]],
        "backbone.class_position": value[:, middle : middle + 1],
    }


def in_our_names(state: State) -> dict[str, Tensor]:
    """Return a whole official file under our names."""
    return {name: part for key, value in state.items() for name, part in renamed(key, value).items()}


def guess_model(state: State) -> str:
    """Return which published model an official file, or one of ours, has the shapes of; empty for none."""
    ours = in_our_names(state)
    for model, (name, shape, larger) in _KNOWN.items():
        if name in ours and tuple(ours[name].shape) == shape and larger not in ours:
            dense = model.startswith("dynamicvis") and not any(key.endswith("spatial.gate.weight") for key in ours)
            return f"{model}_dense" if dense else model
    return ""
