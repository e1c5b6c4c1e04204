"""Keys of files that people have under our names: whose they are, what each is with us, and which model they make."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from models import baseline_names
from models.checkpoint import State
from models.sources import WeightsError

POSITION = "backbone.position.weight"
VIT_POSITION = "backbone.body.pos_embed"
GATE = ".spatial.gate.weight"

_BLOCK = r"backbone\.layers\.(\d)\.1\.(\d+)\."
_SPATIAL = r"backbone.stages.\1.blocks.\2.spatial."
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
    (_BLOCK + r"spatial_gate\.weight", _SPATIAL + "gate.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.pre_norm\.weight", _SPATIAL + "mixer.norm.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.gate_layer\.0\.weight", _SPATIAL + "mixer.gate.weight"),
    (_BLOCK + r"spatial_mamba_mixer\.mamba_layer\.(.+)", _SPATIAL + r"mixer.mamba.\3"),
    (r"backbone\.post_meanpool_norm\.(\w+)", r"norm.\1"),
    (r"pre_neck\.lateral_convs\.(\d)\.conv\.(\w+)", r"neck.lateral.\1.\2"),
    (r"pre_neck\.fpn_convs\.(\d)\.conv\.(\w+)", r"neck.output.\1.\2"),
    (r"neck\.lateral_convs\.(\d)\.conv\.(\w+)", r"neck.lateral.\1.\2"),  # bare in detectors
    (r"neck\.fpn_convs\.(\d)\.conv\.(\w+)", r"neck.output.\1.\2"),
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
    (r"backbone\.pos_embed", POSITION),
    (r"backbone\.patch_embed\.projection\.weight", "backbone.patch.weight"),
    (r"backbone\.pre_norm\.(\w+)", r"backbone.pre_norm.\1"),
    (r"backbone\.layers\.(\d+)\.((?:\w+_proj|conv1d)\.\w+|A_log|D)", r"backbone.blocks.\1.mamba.\2"),
    (r"backbone\.gate_layers\.(\d+)\.0\.weight", r"backbone.blocks.\1.gate.weight"),
    (r"backbone\.ln1\.(\w+)", r"backbone.norm.\1"),
    (r"backbone\.ln2\.(\w+)", r"norm.\1"),
    (r"head\.fc\.(\w+)", r"linear.\1"),
)


@dataclass(frozen=True)
class Family:
    """Files whose keys follow the same rules.

    Attributes:
        name: whose files they are.
        mark: pattern of a key that each of them has, and no other family.
        names: pattern of a key -> our name. A key that fits none has no place with us.
    """

    name: str
    mark: str
    names: baseline_names.Names


#: Marks of ours: DynamicVis, VMamba, Vim, RSMamba, ResNet, and ViT or Swin.
_OURS = (
    r"backbone\.(?:stages\.0\.(?:merge|0\.norm)|blocks\.0\.(?:norm|mamba\.in_proj)|body\.(?:conv1|patch_embed\.proj))"
)
OURS = Family("dvbench", _OURS + r"\.weight", ((r"(.+)", r"\1"),))
DYNAMICVIS = Family("DynamicVis", r"backbone\.layers\.0\.0\.projection\.weight", _DYNAMICVIS)
VIM = Family("Vim", r"layers\.0\.mixer\.A_log", _VIM)
FAMILIES = (
    OURS,
    DYNAMICVIS,
    VIM,
    Family("VMamba", r"layers\.0\.blocks\.0\.op\.A_logs", _VMAMBA),
    Family("RSMamba", r"backbone\.layers\.0\.A_log", _RSMAMBA),
    Family("ResNet of timm or torchvision", r"layer1\.0\.conv1\.weight", baseline_names.RESNET),
    Family("ViT of timm or DeiT", r"blocks\.0\.attn\.qkv\.weight", baseline_names.VIT),
    Family("ViT of torchvision", r"encoder\.layers\.encoder_layer_0\.ln_1\.weight", baseline_names.TORCHVISION_VIT),
    Family("Swin of timm", r"layers\.3\.downsample\.reduction\.weight", baseline_names.TIMM_SWIN),
    Family("Swin of its authors", r"layers\.0\.downsample\.reduction\.weight", baseline_names.SWIN),
    Family("Swin of torchvision", r"features\.1\.0\.attn\.qkv\.weight", baseline_names.TORCHVISION_SWIN),
)
_GROUP = re.compile(r"\([^()]+\)")  # in a pattern of theirs
_PLACE = re.compile(r"\\\\\d")  # where it goes in an escaped name of ours
#: What wrappers such as DataParallel and Lightning put before a key. `body` is ours, with names like timm's behind it.
_PREFIX = r"(?P<prefix>(?:(?!body\.)[A-Za-z_]\w*\.)*)"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Attributes:
        key: its name in the file.
        name: ours; empty where it has no place with us.
        value: the tensor.
    """

    key: str
    name: str
    value: Tensor


def family_of(keys: Iterable[str]) -> tuple[Family, str]:
    """Return the family that keys belong to, and the prefix that a wrapper put before them.

    Raises:
        WeightsError: they are of none that is known, or of two models at once.
    """
    keys = list(keys)
    marks = [(family, re.compile(_PREFIX + family.mark)) for family in FAMILIES]
    found = {
        (family.name, hit["prefix"]): family for key in keys for family, mark in marks if (hit := mark.fullmatch(key))
    }
    if len(found) > 1:
        told = " and ".join(f"{name} (under '{prefix}')" if prefix else name for name, prefix in found)
        raise WeightsError(f"holds keys of {len(found)} models, {told}; save the one that you mean")
    if not found:
        raise WeightsError(f"none of its {len(keys)} keys is known, such as '{keys[0] if keys else ''}'")
    ((_, prefix), family) = next(iter(found.items()))
    return family, prefix


def in_our_names(state: State, family: Family, prefix: str = "") -> list[Entry]:
    """Return the tensors of a file with their names here."""
    entries = []
    for key, value in state.items():
        bare = key.removeprefix(prefix) if key.startswith(prefix) else ""
        for name, part in _parts(family, bare, value):
            entries.append(Entry(key, name, part))
    return entries


def official_name(name: str) -> str:
    """Return the name that DynamicVis's authors have for one of our tensors, the first in the table; empty for none."""
    for theirs, ours in _DYNAMICVIS:  # which have their groups in the same order
        pattern = _in_turn(_PLACE, _GROUP.findall(theirs), re.escape(ours))
        if found := re.fullmatch(pattern, name):
            return _in_turn(_GROUP, found.groups(), theirs).replace("\\.", ".")
    return ""


def _in_turn(place: re.Pattern[str], values: Iterable[str], text: str) -> str:
    """Put values in the places of a text, one after the other."""
    following = iter(values)
    return place.sub(lambda _: next(following), text)


def _parts(family: Family, key: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """Return a tensor under our name, or its parts under theirs.

    Vim keeps the position of its class token among those of the patches, in the middle, where the token stands.
    """
    if family is VIM and key == "pos_embed" and value.ndim == 3:
        middle = value.shape[1] // 2
        patches = [i for i in range(value.shape[1]) if i != middle]
        return [(POSITION, value[:, patches]), ("backbone.class_position", value[:, middle : middle + 1])]
    for pattern, ours in family.names:
        if found := re.fullmatch(pattern, key):
            return [(found.expand(ours), value)]
    return [("", value)]
