"""A contact sheet: samples of a split with their labels drawn, to see whether boxes and masks sit on the objects."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from dvbench.data.card import IGNORE, RGB, Card
from dvbench.data.catalog import dataset, entry, folder
from dvbench.data.contact import FONT, INK, LINE, PAPER, SIDE, Colour, Panel, lay_out
from dvbench.data.make import MARK
from dvbench.data.watch import SILENT, Watch

Sample = dict[str, Any]

_FEW = 5  # objects up to which each is named in the picture
_PEN = 2  # px
_ON_OBJECTS, _ON_GREY = 0.45, 0.65  # opacity of masks
_STRETCH = (2, 98)  # percentiles that become black and white where an image is not 8-bit
_UNMARKED = ("background", "unchanged")  # classes whose pixels are left as they are
_IGNORED = (170, 0, 90)
_PALETTE: tuple[Colour, ...] = (
    (255, 212, 0),
    (0, 162, 255),
    (255, 59, 92),
    (61, 220, 132),
    (199, 125, 255),
    (255, 140, 26),
    (0, 229, 255),
    (160, 82, 45),
    (255, 102, 217),
    (184, 233, 134),
    (31, 79, 191),
    (245, 245, 245),
)


def sheet(
    name: str, split: str = "train", count: int = 8, root: Path | None = None, watch: Watch = SILENT
) -> Image.Image:
    """Draw samples spread evenly over a split.

    Masks are laid over a grey copy of their image, beside it; pixels to be ignored are purple. Two dates lie side by
    side. Images that are not 8-bit RGB are shown in true colour, stretched between their 2nd and 98th percentile.

    Args:
        name: Key in the catalog.
        split: Name of the split.
        count: How many samples at most, 1 or more.
        root: The dataset's folder, by default as the catalog says.
        watch: Sees the progress.

    Returns:
        The sheet, RGB.

    Raises:
        UnknownDatasetError, UnknownSplitError, MissingDatasetError, DatasetNotFoundError, SplitError: As `dataset`.
        PixelError, CocoError: A file is damaged, or does not fit its annotation.
    """
    card = entry(name).card
    opened: Any = dataset(name, split, root)
    indices = np.unique(np.linspace(0, len(opened) - 1, count).round().astype(int)).tolist()
    samples = {index: opened[index] for index in watch.items(indices, f"{name} {split}")}
    key = Key(card, samples.values())
    title = f"{card.title}, {split}: {len(samples)} of {len(opened):,} samples"
    if (folder(name, root) / MARK).exists():
        title += "; synthetic scenes in its layout"
    return lay_out(title, [panels(sample, key, f"#{index}") for index, sample in samples.items()], key.entries)


class Key:
    """The colour of each class.

    Attributes:
        card: Of the dataset.
        entries: Name and colour of each class that is drawn.
    """

    def __init__(self, card: Card, samples: Iterable[Sample]) -> None:
        """Give colours to classes: by their position, or by their rank among those seen where they are too many."""
        self.card = card
        seen = sorted(set().union(*map(_drawn_labels, samples)))
        marked = [label for label, name in enumerate(card.classes) if name not in _UNMARKED]
        in_turn = marked if len(marked) <= len(_PALETTE) else [label for label in seen if label in marked]
        self._colours = {label: _PALETTE[rank % len(_PALETTE)] for rank, label in enumerate(in_turn)}
        self._colours[IGNORE] = _IGNORED
        names = {**dict(enumerate(card.classes)), IGNORE: "ignored"}
        self.entries = [(names[label], self._colours[label]) for label in seen if label in self._colours]

    def __getitem__(self, label: int) -> Colour | None:
        """Colour of a class, or None where it is not marked."""
        return self._colours.get(label)


def panels(sample: Sample, key: Key, caption: str) -> list[Panel]:
    """Draw one sample.

    Args:
        sample: As the dataset returns it.
        key: Colours of its classes.
        caption: Name of the sample.

    Returns:
        The image, or the image of each date, with boxes and outlines; and one with the mask, where it has one.
    """
    image = sample["image"]
    dates = [_picture(date, key.card) for date in (image if image.ndim == 4 else image[None])]
    if "bbox_xyxy" in sample:
        return [Panel(_with_objects(dates[0], sample, key), f"{caption}: {len(sample['label'])} objects")]
    if "mask" not in sample:
        return [Panel(dates[0], f"{caption}: {_class_names(sample['label'], key.card)}")]
    names = ("before", "after") if len(dates) == 2 else ("image",)
    shown = [Panel(date, f"{caption}: {name}") for date, name in zip(dates, names, strict=True)]
    return [*shown, Panel(_with_mask(dates[-1], sample["mask"].numpy(), key), f"{caption}: labels")]


def _drawn_labels(sample: Sample) -> set[int]:
    drawn = sample.get("label" if "bbox_xyxy" in sample else "mask")
    return set() if drawn is None else set(drawn.unique().tolist())


def _picture(image: Tensor, card: Card) -> Image.Image:
    pixels = image.numpy()
    if card.bands != RGB:
        pixels = pixels[[card.bands.index(band) for band in card.colours]]
        low, high = np.percentile(pixels, _STRETCH)
        pixels = (pixels - low) * (255 / max(high - low, 1))
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    scale = SIDE / max(picture.size)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _with_mask(picture: Image.Image, mask: NDArray[np.int64], key: Key) -> Image.Image:
    picture = picture.convert("L").convert("RGB")
    for label in np.unique(mask).tolist():
        if (colour := key[label]) is not None:
            picture = _tinted(picture, mask == label, colour, _ON_GREY)
    return picture


def _with_objects(picture: Image.Image, sample: Sample, key: Key) -> Image.Image:
    labels = sample["label"].tolist()
    colours = [key[label] or INK for label in labels]
    if "mask" in sample:
        for mask, colour in zip(sample["mask"].numpy(), colours, strict=True):
            picture = _tinted(picture, mask == 1, colour, _ON_OBJECTS)
    pen = ImageDraw.Draw(picture)
    boxes = (sample["bbox_xyxy"] * (picture.width / sample["image"].shape[-1])).tolist()
    # Around the box, not on it: the line would hide a tiny ship.
    frames = [(left - _PEN, top - _PEN, right + _PEN - 1, bottom + _PEN - 1) for left, top, right, bottom in boxes]
    for frame, colour in zip(frames, colours, strict=True):
        pen.rectangle(frame, outline=colour, width=_PEN)
    if len(labels) <= _FEW:
        for frame, label, colour in zip(frames, labels, colours, strict=True):
            _write_tag(pen, frame[:2], key.card.classes[label], colour, picture.width)
    return picture


def _tinted(picture: Image.Image, inside: NDArray[np.bool_], colour: Colour, opacity: float) -> Image.Image:
    """Tint a picture where `inside` (H, W), scaled to the picture, is true."""
    alpha = Image.fromarray(inside.astype(np.uint8) * round(255 * opacity))
    alpha = alpha.resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", picture.size, colour), picture, alpha)


def _write_tag(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: Colour, space: int) -> None:
    """Write a name on its colour, above a corner where there is room, and never beside the picture."""
    width, height = pen.textlength(text, FONT) + 6, LINE - 4
    left = max(min(corner[0], space - width), 0)
    top = corner[1] - height if corner[1] >= height else max(corner[1], 0)
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    pen.text((left + 3, top), text, INK if sum(colour) > 300 else PAPER, FONT)


def _class_names(label: Tensor, card: Card) -> str:
    labels = label.nonzero().flatten().tolist() if label.ndim else [int(label)]
    return ", ".join(card.classes[index] for index in labels) or "no label"
