"""Every model by name: the one list."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from models.backbone import Backbone
from models.classifier import Classifier
from models.dynamicvis import DynamicVis, DynamicVisConfig
from models.rsmamba import RSMamba
from models.timm_backbones import TimmPlain, TimmPyramid
from models.vim import Vim
from models.vmamba import VMamba


class UnknownModelError(ValueError):
    """A model name that is not in the zoo; the message gives the nearest ones."""


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        build: makes the backbone with random weights; keyword arguments override its defaults.
        about: what it is, in a few words.
        attention: whether its attention can be switched between `sdpa` and `eager`.
        scan: whether it runs a selective scan, whose backend can be chosen.
        position: whether it has a positional embedding, made for `image_size`.
        classes: outputs of the classifier with which the paper counts its parameters (tables 2 and 13): 1000 where a
            published ImageNet model is counted, 30 (the classes of AID) for DynamicVis and the other Mamba models.
    """

    build: Callable[..., Backbone]
    about: str
    attention: bool = False
    scan: bool = False
    position: bool = False
    classes: int = 1000


_DENSE = (0, 0, 0, 0)
_RELEASED_DENSE: dict[str, Any] = {"keep": (1, 1, 1, 1), "global_tokens": "none", "weigh_dropped": False}
_LARGE: dict[str, Any] = {"widths": (128, 256, 512, 1024), "depths": (2, 4, 32, 4)}
_TINY = {"widths": (24, 48, 96, 192), "depths": (1, 1, 2, 1)}


def _dynamicvis(**switches: Any) -> Backbone:
    return DynamicVis(DynamicVisConfig(**switches))


def _ours(about: str, **switches: Any) -> Entry:
    return Entry(partial(_dynamicvis, **switches), about, scan=True, position=True, classes=30)


def _vit(name: str, about: str) -> Entry:
    return Entry(partial(TimmPlain, name), about, attention=True, position=True)


def _swin(name: str, about: str) -> Entry:
    build = partial(TimmPyramid, name, img_size=512, dynamic_img_size=True)
    return Entry(build, about, attention=True)


def _rsmamba(about: str, width: int, depth: int) -> Entry:
    return Entry(partial(RSMamba, width, depth), about, scan=True, position=True, classes=30)


ZOO: dict[str, Entry] = {
    "dynamicvis_b": _ours("DynamicVis base, with token selection"),
    "dynamicvis_b_dense": _ours("DynamicVis base, no selection (the paper's dagger)", keep=_DENSE),
    "dynamicvis_b_released_dense": _ours(
        "DynamicVis base, no selection as released: all kept, ranked and weighed", **_RELEASED_DENSE
    ),
    "dynamicvis_l": _ours("DynamicVis large, with token selection", **_LARGE),
    "dynamicvis_l_dense": _ours("DynamicVis large, no selection (the paper's dagger)", **_LARGE, keep=_DENSE),
    "dynamicvis_l_released_dense": _ours(
        "DynamicVis large, no selection as released: all kept, ranked and weighed", **_LARGE, **_RELEASED_DENSE
    ),
    "dynamicvis_t": _ours("DynamicVis tiny, ours for tests and CPU runs; not in the paper", **_TINY),
    "resnet18": Entry(partial(TimmPyramid, "resnet18"), "ResNet-18"),
    "resnet50": Entry(partial(TimmPyramid, "resnet50"), "ResNet-50"),
    "resnet101": Entry(partial(TimmPyramid, "resnet101"), "ResNet-101"),
    "vit_b16": _vit("vit_base_patch16_224", "ViT base, patches of 16"),
    "vit_l16": _vit("vit_large_patch16_224", "ViT large, patches of 16"),
    "deit_t16": _vit("deit_tiny_patch16_224", "DeiT tiny, patches of 16"),
    "deit_s16": _vit("deit_small_patch16_224", "DeiT small, patches of 16"),
    "deit_b16": _vit("deit_base_patch16_224", "DeiT base, patches of 16"),
    "swin_t": _swin("swin_tiny_patch4_window7_224", "Swin tiny, windows of 7"),
    "swin_s": _swin("swin_small_patch4_window7_224", "Swin small, windows of 7"),
    "swin_b": _swin("swin_base_patch4_window7_224", "Swin base, windows of 7"),
    "vim_ti": Entry(Vim, "Vision Mamba tiny, class token in the middle", scan=True, position=True, classes=30),
    "vmamba_t": Entry(VMamba, "VMamba tiny (release s2l5), four-way cross scan", scan=True, classes=30),
    "rsmamba_b": _rsmamba("RSMamba base: forward, reverse and shuffled paths", 192, 24),
    "rsmamba_l": _rsmamba("RSMamba large: forward, reverse and shuffled paths", 256, 36),
    "rsmamba_h": _rsmamba("RSMamba huge: forward, reverse and shuffled paths", 320, 48),
}


def entry(name: str, others: Collection[str] = ()) -> Entry:
    """Return the zoo's entry of that name.

    Args:
        name: a key of `ZOO`.
        others: further names that could have been meant.

    Raises:
        UnknownModelError: no such model; names the nearest.
    """
    if name in ZOO:
        return ZOO[name]
    near = get_close_matches(name, (*ZOO, *others), n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(ZOO)}"
    raise UnknownModelError(f"unknown model '{name}': {hint}")


def family(name: str) -> str:
    """Return the name of a model without what says that it does not select tokens."""
    return name.removesuffix("_dense").removesuffix("_released")


def build(name: str, **options: Any) -> Backbone:
    """Build a backbone with random weights from torch's global seed.

    Args:
        name: a key of `ZOO`.
        options: `attention` (`sdpa` or `eager`) for models with attention; `image_size` for models with a positional
            embedding; any field of `DynamicVisConfig` for DynamicVis, any argument of the class for the other Mamba
            models.

    Raises:
        UnknownModelError: no such model.
        TypeError: an option that the model does not have.
    """
    chosen = entry(name)
    if "attention" in options and not chosen.attention:
        raise TypeError(f"model '{name}' has no attention to switch: leave out attention='{options['attention']}'")
    return chosen.build(**options)


def build_classifier(name: str, classes: int | None = None, **options: Any) -> Classifier:
    """Build a backbone with the classifier with which the paper counts it; `options` as for `build`."""
    return Classifier(build(name, **options), classes or entry(name).classes)
