"""The augmentations of the released configurations by name; each draws from torch's global random numbers."""

from collections.abc import Callable
from difflib import get_close_matches
from inspect import signature
from operator import itemgetter

import numpy as np
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from dvbench.data.card import IGNORE
from dvbench.data.colour import AutoAugment, PhotometricDistortion
from dvbench.data.geometry import BoxesFromMasks, ClassRatioCrop, Pad, RandomCrop


class AugmentationError(ValueError):
    """There is no augmentation of that name, or it does not take these options; the message lists what there is."""


def augmentation(name: str, **options: object) -> nn.Module:
    """Make an augmentation for `dvbench.data.transforms.pipeline`, or, if it mixes images, for `dvbench.data.loaders`.

    Args:
        name: A key of `AUGMENTATIONS`.
        options: What it takes; sizes in px, ranges as two numbers.

    Returns:
        A module from sample to sample, or from batch to batch where it mixes images.

    Raises:
        AugmentationError: The name is unknown, or the options do not fit.
    """
    if name not in AUGMENTATIONS:
        choice = get_close_matches(name, AUGMENTATIONS) or sorted(AUGMENTATIONS)
        raise AugmentationError(f"there is no augmentation '{name}'; choose among {', '.join(choice)}")
    make = AUGMENTATIONS[name]
    try:
        signature(make).bind(**options)
    except TypeError as error:
        raise AugmentationError(f"augmentation '{name}' takes {signature(make)}: {error}") from None
    return make(**options)


def _resize(size: int, interpolation: str = "bicubic") -> v2.Transform:
    """Squash to a square, smoothing as Pillow does."""
    return v2.Resize((size, size), v2.InterpolationMode(interpolation))


def _resize_to_fit(size: int, interpolation: str = "bilinear") -> v2.Transform:
    """Resize the longer side to `size`, without smoothing, as OpenCV does."""
    return v2.Resize(None, v2.InterpolationMode(interpolation), max_size=size, antialias=False)


def _resized_crop(size: int, area: tuple[float, float] = (0.3, 1.0)) -> v2.Transform:
    """Resize a random part of the image to a square, smoothing as Pillow does."""
    return v2.RandomResizedCrop(size, area, interpolation=v2.InterpolationMode.BICUBIC)


def _large_scale_jitter(size: int, scale: tuple[float, float], interpolation: str = "bilinear") -> v2.Transform:
    """Resize to fit `size` times a random factor, without smoothing, as OpenCV does."""
    return v2.ScaleJitter((size, size), scale, v2.InterpolationMode(interpolation), antialias=False)


def _random_crop(size: int) -> v2.Transform:
    """Crop at random, recompute the boxes and leave out what is no longer seen."""
    return v2.Compose([RandomCrop(size), BoxesFromMasks(), _drop_small_boxes()])


def _drop_small_boxes(side: float = 1) -> v2.Transform:
    """Keep boxes of which both sides are longer, in px, together with their labels and masks."""
    above = float(np.nextafter(np.float32(side), np.float32(np.inf)))  # torchvision keeps a box of exactly its limit
    sanitize = v2.SanitizeBoundingBoxes(min_size=above, labels_getter=itemgetter("label"))
    return v2.Compose([v2.ClampBoundingBoxes(), sanitize])


def _rotation(degrees: float = 180, p: float = 0.5) -> v2.Transform:
    """Rotate about the centre; what comes in from outside is black and ignored."""
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
    return v2.RandomApply([v2.RandomRotation(degrees, v2.InterpolationMode.BILINEAR, fill=fill)], p)


def _mixup_or_cutmix(classes: int, mixup: float = 0.8, cutmix: float = 1.0) -> v2.Transform:
    """Mix each image of a batch with its neighbour, one way or the other; "label" becomes float32 (B, classes)."""
    mixes = [
        v2.MixUp(alpha=mixup, num_classes=classes, labels_getter=itemgetter("label")),
        v2.CutMix(alpha=cutmix, num_classes=classes, labels_getter=itemgetter("label")),
    ]
    return v2.RandomChoice(mixes)


AUGMENTATIONS: dict[str, Callable[..., nn.Module]] = {
    "auto_augment": AutoAugment,
    "class_ratio_crop": ClassRatioCrop,
    "drop_small_boxes": _drop_small_boxes,
    "horizontal_flip": v2.RandomHorizontalFlip,
    "large_scale_jitter": _large_scale_jitter,
    "mixup_or_cutmix": _mixup_or_cutmix,
    "pad": Pad,
    "photometric_distortion": PhotometricDistortion,
    "random_crop": _random_crop,
    "resize": _resize,
    "resize_to_fit": _resize_to_fit,
    "resized_crop": _resized_crop,
    "rotation": _rotation,
    "vertical_flip": v2.RandomVerticalFlip,
}
