"""From a dataset's sample to the network's input: units checked, augmented, normalised."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from dvbench.data.card import BYTE, RGB, Card, Task

Sample = dict[str, Any]
Statistics = tuple[Sequence[float], Sequence[float]]
BYTE_STATISTICS: Statistics = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of red, green and blue in 8-bit values, which every released configuration uses."""

SCORED = ("area", "crowd")  # what only scores ask for; steps that move boxes would leave it behind


class UnitsError(ValueError):
    """An image and what was said of its bands or values disagree; the message names both."""


def pipeline(
    card: Card,
    *steps: nn.Module,
    bands: Sequence[str] = RGB,
    statistics: Statistics | None = None,
    keep_targets: bool = False,
) -> v2.Compose:
    """Compose what a dataset takes as `transforms`.

    The steps get a sample whose image, boxes and masks are tv_tensors, so that torchvision's v2 transforms move them
    together. 8-bit images are uint8 there, since torchvision takes float images for 0-1; masks are uint8 as well.

    Args:
        card: The dataset's card, against which every image is checked.
        steps: What `dvbench.data.augment.augmentation` makes, or transforms of torchvision's v2, in order.
        bands: Names of the bands that the network wants, in its order.
        statistics: Mean and standard deviation per band in the card's units; those of 8-bit RGB where the card says so.
        keep_targets: Move the image only. Scores are taken in the coordinates of the original image, so this is what
            testing wants, save for regions, whose boxes are an input.

    Returns:
        A function from sample to sample that can be sent to another process. It normalises the image (float32), leaves
        all other keys as the task defines them, and adds "size", int64 (2,): height and width of the original image.

    Raises:
        UnitsError: The card lacks one of the bands, or `statistics` is missing where values are not 8-bit RGB. The
            function itself raises it as `check_units` does.
    """
    missing = [band for band in bands if band not in card.bands]
    if missing:
        raise UnitsError(f"{card.name} has no band '{missing[0]}'; choose among {', '.join(card.bands)}")
    if statistics is None:
        if card.value_range != BYTE or tuple(bands) != RGB:
            raise UnitsError(f"{card.name} has {', '.join(bands)} in {card.units}: give their mean and deviation")
        statistics = BYTE_STATISTICS
    mean, deviation = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in statistics)
    return v2.Compose(
        [
            check_units(card),
            partial(_wrapped, card, [card.bands.index(band) for band in bands], keep_targets),
            *steps,
            partial(_normalised, mean, deviation),
        ]
    )


def check_units(card: Card) -> Callable[[Sample], Sample]:
    """Make a transform that passes on the samples that agree with a card.

    Args:
        card: Tells bands, value range and units.

    Returns:
        A function that returns its sample unchanged. It raises UnitsError where "image" is not float32 with the card's
        number of bands (and two dates for change detection), holds values outside the card's range or NaN, or is 8-bit
        and holds fractions, as images do that were divided by 255.
    """
    return partial(_checked, card)


def _checked(card: Card, sample: Sample) -> Sample:
    image: Tensor = sample["image"]
    where = f"{card.name}, {sample.get('filename', 'image')}"
    leading = (2, len(card.bands)) if card.task is Task.CHANGE else (len(card.bands),)
    if image.dtype != torch.float32 or image.shape[:-2] != leading:
        expected = f"torch.float32 ({', '.join(map(str, leading))}, H, W) of {', '.join(card.bands)}"
        raise UnitsError(f"{where}: {image.dtype} {tuple(image.shape)}, expected {expected}")
    in_memory_order = image if image.is_contiguous() else image.movedim(-3, -1)  # several times as fast
    low, high = (float(value) for value in in_memory_order.aminmax())
    least, most = card.value_range
    if not (least <= low and high <= most):  # this way round, NaN is caught too
        raise UnitsError(f"{where}: values from {low:g} to {high:g}, expected {least:g} to {most:g} ({card.units})")
    sparse = image[..., ::8, ::8]  # enough to tell, and looking at all would take as long as half the augmentation
    if card.value_range == BYTE and not torch.equal(sparse, sparse.round()):
        raise UnitsError(f"{where}: fractions up to {high:g}, as if divided or resampled; expected whole 8-bit values")
    return sample


def _wrapped(card: Card, bands: list[int], keep_targets: bool, sample: Sample) -> Sample:
    """Tell torchvision what is what; tensors left as they are do not move."""
    image: Tensor = sample["image"]
    height, width = image.shape[-2:]
    if bands != list(range(len(card.bands))):
        image = image[..., bands, :, :]
    if card.value_range == BYTE:
        image = image.to(torch.uint8)
    if not keep_targets:
        sample = {key: value for key, value in sample.items() if key not in SCORED}
    wrapped = sample | {"image": tv_tensors.Image(image), "size": torch.tensor((height, width))}
    if "bbox_xyxy" in sample and not keep_targets:
        wrapped["bbox_xyxy"] = tv_tensors.BoundingBoxes(
            sample["bbox_xyxy"], format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=(height, width)
        )
    if "mask" in sample and not keep_targets:
        wrapped["mask"] = tv_tensors.Mask(sample["mask"].to(torch.uint8))
    return wrapped


def _normalised(mean: Tensor, deviation: Tensor, sample: Sample) -> Sample:
    """Normalise, and undo `_wrapped`, since other libraries trip over subclasses of Tensor."""
    plain = {
        key: value.as_subclass(Tensor) if isinstance(value, tv_tensors.TVTensor) else value
        for key, value in sample.items()
    }
    plain["image"] = (plain["image"] - mean).div_(deviation)  # from bytes to float32 in one go
    if "mask" in plain and "bbox_xyxy" not in plain:
        plain["mask"] = plain["mask"].long()
    return plain
