"""Keys of ResNet, ViT, DeiT and Swin as timm, torchvision and their authors save them, under our names."""

Names = tuple[tuple[str, str], ...]
"""(pattern of a key, our name)."""

_BODY = "backbone.body."
_BUFFERS = r"(?!.*(?:relative_position_index|attn_mask))"  # which follow from the size of a window

#: timm, torchvision and TorchGeo alike.
RESNET: Names = (
    (r"((?:conv1|bn1|layer[1-4])\..+)", _BODY + r"\1"),
    (r"fc\.(\w+)", r"linear.\1"),
)

#: timm, and DeiT's authors. `dist_token` is of distilled models, which we do not have: it must not be lost unseen.
VIT: Names = (
    (r"(cls_token|pos_embed|dist_token|(?:patch_embed|blocks|norm)\..+)", _BODY + r"\1"),
    (r"head\.(\w+)", r"linear.\1"),
)

_LAYER = r"encoder\.layers\.encoder_layer_(\d+)\."
_BLOCK = _BODY + r"blocks.\1."
TORCHVISION_VIT: Names = (
    (r"class_token", _BODY + "cls_token"),
    (r"encoder\.pos_embedding", _BODY + "pos_embed"),
    (r"conv_proj\.(\w+)", _BODY + r"patch_embed.proj.\1"),
    (_LAYER + r"ln_([12])\.(\w+)", _BLOCK + r"norm\2.\3"),
    (_LAYER + r"self_attention\.in_proj_(\w+)", _BLOCK + r"attn.qkv.\2"),
    (_LAYER + r"self_attention\.out_proj\.(\w+)", _BLOCK + r"attn.proj.\2"),
    (_LAYER + r"mlp\.(?:0|linear_1)\.(\w+)", _BLOCK + r"mlp.fc1.\2"),  # linear_1 in files from before torchvision 0.12
    (_LAYER + r"mlp\.(?:3|linear_2)\.(\w+)", _BLOCK + r"mlp.fc2.\2"),
    (_LAYER + r"(.+)", _BLOCK + r"\2"),
    (r"encoder\.ln\.(\w+)", _BODY + r"norm.\1"),
    (r"heads\.head\.(\w+)", r"linear.\1"),
)

# The last norm of Swin stands before its classifier; the maps are taken before it, so it has no place with us.
_PATCHES = (r"(patch_embed\..+)", _BODY + r"\1")
_STAGE = (r"layers\.(\d)\." + _BUFFERS + r"(.+)", _BODY + r"layers_\1.\2")
TIMM_SWIN: Names = (_PATCHES, _STAGE)

#: Its authors merge patches at the end of a stage, timm at the start of the next.
SWIN: Names = (
    _PATCHES,
    *((rf"layers\.{i}\.downsample\.(.+)", _BODY + rf"layers_{i + 1}.downsample.\1") for i in range(3)),
    _STAGE,
)

_FEATURES = tuple((2 * i + 1, _BODY + f"layers_{i}.blocks") for i in range(4))
TORCHVISION_SWIN: Names = (
    (r"features\.0\.0\.(\w+)", _BODY + r"patch_embed.proj.\1"),
    (r"features\.0\.2\.(\w+)", _BODY + r"patch_embed.norm.\1"),
    *((rf"features\.{n}\.(\d+)\.mlp\.0\.(\w+)", rf"{ours}.\1.mlp.fc1.\2") for n, ours in _FEATURES),
    *((rf"features\.{n}\.(\d+)\.mlp\.3\.(\w+)", rf"{ours}.\1.mlp.fc2.\2") for n, ours in _FEATURES),
    *((rf"features\.{n}\.(\d+)\.{_BUFFERS}(.+)", rf"{ours}.\1.\2") for n, ours in _FEATURES),
    *((rf"features\.{2 * i}\.((?:norm|reduction)\.\w+)", _BODY + rf"layers_{i}.downsample.\1") for i in (1, 2, 3)),
)
