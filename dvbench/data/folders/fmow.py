"""Functional Map of the World, RGB version."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.archives import safe_name
from dvbench.data.card import Card
from dvbench.data.cards.region import FMOW
from dvbench.data.folders.base import FolderDataset, IncompleteDatasetError, Sample, Transforms
from dvbench.data.pixels import decode_rgb, read_rgb
from dvbench.data.shards import META, ShardError, Shards
from dvbench.data.splits import SEED
from dvbench.data.watch import Watch

PACKED = {"train": "pretrain_list", "test": "test_2w_list"}
"""Split -> folder of its tar shards below the dataset's, named as the authors do."""
_HELD_OUT = 20_000 / 106_946  # part of the published test images on which the paper tests
LeftOut = Literal["context", "raw_location"]
"""Which entries of an annotation are no objects: those with the ID -1, as in other readers of the dataset, or those
with a key "raw_location", as in the tool with which DynamicVis packs images. Neither has been seen in real files."""


class FMoWError(ValueError):
    """An annotation or a mapping cannot be used; the message is one line that says which file and why."""


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        key: Path of the image below the dataset's folder, with forward slashes.
        image: JPEG file.
        annotation: JSON file with its regions.
    """

    key: str
    image: Path
    annotation: Path


@dataclass(frozen=True)
class Regions:
    """Regions of one image.

    Attributes:
        boxes: Left, top, right, bottom in px, as stored.
        names: Class of each box.
    """

    boxes: tuple[tuple[float, float, float, float], ...]
    names: tuple[str, ...]


class FMoW(FolderDataset):
    """Functional Map of the World, fMoW-rgb.

    The `fMoW <https://github.com/fMoW/dataset>`_ dataset is a dataset of functional purposes of buildings and land use,
    in satellite images of more than 200 countries, with several dates of the same place.

    Dataset features:

    * 1,047,691 images of varying size and ground sampling distance from QuickBird-2, GeoEye-1, WorldView-2 and -3
    * one or several boxes an image, each with a class
    * three spectral bands - RGB, pan-sharpened (``_rgb``) or multispectral (``_msrgb``); both are read

    Dataset format:

    * images are three-channel JPEGs
    * annotations are JSON files with boxes x, y, w, h
    * images of ``test`` and ``seq`` are anonymous; ``test_gt_mapping.json`` and ``seq_gt_mapping.json`` join them to
      the annotations in ``test_gt`` and ``seq_gt``

    * or the same as tar shards, see `dvbench.data.shards`, which are read where they are found

    Some entries mark no object and are left out; `LeftOut` tells the two rules that there are.

    Dataset classes: 62 and false_detection, in reverse alphabetical order with false_detection last, as in the code of
    DynamicVis; see `classes`.

    Dataset splits, of DynamicVis. Its list of held-out images is not public, so the draw is ours and seeded:

    * train: 1,027,691 images, all of train, val and seq, and what is left of test
    * test: 20,000 images, drawn from test. They show places that are also in train

    If you use this dataset in your research, please cite the following paper:

    * https://arxiv.org/abs/1711.07846
    """

    card: ClassVar[Card] = FMOW

    def __init__(
        self,
        root: str | Path = "data",
        split: str = "train",
        transforms: Transforms | None = None,
        left_out: LeftOut | None = None,
        packed: bool = True,
    ) -> None:
        """Open one split.

        Args:
            root: The dataset's folder.
            split: "train" or "test".
            transforms: Takes a sample and returns a changed one.
            left_out: Which entries of an annotation are no objects; by default as shards were packed, else "context".
            packed: Read shards where there are some; else the images as they were published.

        Raises:
            UnknownSplitError: There is no such split.
            DatasetNotFoundError: `root` does not hold the dataset, or files of the split are missing.
            ShardError: Its shards cannot be read, or were packed by the other rule.
        """
        self.left_out = left_out
        self._may_be_packed = packed
        self.shards: Shards | None = None
        super().__init__(root, split, transforms)

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.entries if self.shards is None else self.shards)

    def image_path(self, index: int) -> Path:
        """Return where an image lies, or lay before it was packed into a shard."""
        return self.entries[index].image if self.shards is None else self.root / self.shards.key(index)

    def order(self, generator: torch.Generator) -> Tensor:
        """Draw an order of all images; of shards, one that reads them one after the other, see `Shards.order`."""
        return torch.randperm(len(self), generator=generator) if self.shards is None else self.shards.order(generator)

    def flaws(self, watch: Watch) -> Iterator[str]:
        """Say of each shard whose content is not what was written."""
        yield from () if self.shards is None else self.shards.flaws(watch)

    def _verify(self) -> None:
        """List the images. Looks at folders only, since opening a million annotations would take hours."""
        packed = self.root / PACKED[self.split]
        if self._may_be_packed and (packed / META).is_file():
            self.shards = Shards(packed)
            rule = self.shards.meta.get("left_out", "raw_location")  # as the authors' tool, which does not say
            if self.left_out not in (None, rule):
                mend = f"dvbench data shards fmow --left-out {self.left_out} packs it so"
                raise ShardError(f"{packed} leaves out by the rule {rule}, not {self.left_out}; {mend}")
            return
        if not (self.root / "train").is_dir():
            raise DatasetNotFoundError(self)
        test = sorted(self._mapped("test"), key=lambda entry: entry.key)
        self._tables = tuple(sorted(self.root.glob("*_gt_mapping.json")))
        order = np.argsort(np.random.PCG64(SEED).random_raw(len(test)), kind="stable")
        count = math.ceil(_HELD_OUT * len(test) - 1e-9)
        held_out = {test[index].key for index in order[:count]}
        if self.split == "test":
            entries = [entry for entry in test if entry.key in held_out]
        else:
            rest = [entry for entry in test if entry.key not in held_out]
            entries = [*self._labelled("train"), *self._labelled("val"), *rest, *self._mapped("seq")]
        if not entries:
            raise DatasetNotFoundError(self)
        self.entries = sorted(entries, key=lambda entry: entry.key)

    def _labelled(self, part: str) -> Iterator[Entry]:
        for folder in (self.root / part).glob("*/*"):
            if folder.name.startswith(f"{folder.parent.name}_"):
                yield from self._joined(folder, folder)

    def _mapped(self, part: str) -> Iterator[Entry]:
        table = self.root / f"{part}_gt_mapping.json"
        if not table.is_file():
            if (self.root / part).is_dir():
                raise IncompleteDatasetError(self, [table])
            return
        try:
            rows = json.loads(table.read_text(encoding="utf-8"))
            pairs = [(safe_name(row["output"], table), safe_name(row["input"], table)) for row in rows]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise FMoWError(f"{table} is no list of input and output folders ({error}); download it again") from error
        for images, annotations in pairs:
            yield from self._joined(self.root / images, self.root / annotations)

    def _joined(self, images: Path, annotations: Path) -> Iterator[Entry]:
        """Match the files of two folders by what follows the folder's name: the date's number and the kind."""
        pictures = {path.stem.removeprefix(images.name): path for path in images.glob(f"{images.name}_*rgb.jpg")}
        labels = {
            path.stem.removeprefix(annotations.name): path for path in annotations.glob(f"{annotations.name}_*rgb.json")
        }
        missing = [images / f"{images.name}{end}.jpg" for end in labels.keys() - pictures.keys()]
        missing += [annotations / f"{annotations.name}{end}.json" for end in pictures.keys() - labels.keys()]
        if missing or not pictures:
            raise IncompleteDatasetError(self, missing or [images / "*rgb.jpg"])
        for end, picture in pictures.items():
            yield Entry(picture.relative_to(self.root).as_posix(), picture, labels[end])

    def sources(self, index: int) -> tuple[Path, ...]:
        """The image, the tables that join anonymous images to their annotations, and the annotation."""
        if self.shards is not None:
            return (self.shards.path(index),)
        entry = self.entries[index]
        return entry.image, *self._tables, entry.annotation

    def _load(self, index: int) -> Sample:
        if self.shards is not None:
            image, annotation = self.shards[index]
            where = f"{self.shards.path(index)}: {self.shards.key(index)}"
            return {"image": decode_rgb(image, where), **regions_as_tensors(_unpacked(annotation, where), where)}
        entry = self.entries[index]
        regions = read_regions(entry.annotation, self.left_out or "context")
        return {"image": read_rgb(entry.image), **regions_as_tensors(regions, entry.annotation)}


def read_regions(annotation: Path, left_out: LeftOut = "context") -> Regions:
    """Read the regions of one image.

    Args:
        annotation: JSON file of fMoW.
        left_out: Which entries are no objects.

    Raises:
        FMoWError: The file is missing or not laid out as published.
    """
    try:
        stored = json.loads(annotation.read_text(encoding="utf-8"))["bounding_boxes"]
        found = [one for one in (stored if isinstance(stored, list) else [stored]) if not _is_left_out(one, left_out)]
        boxes = [tuple(map(float, one["box"])) for one in found]
        return Regions(
            boxes=tuple((x, y, x + w, y + h) for x, y, w, h in boxes),
            names=tuple(str(one["category"]) for one in found),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FMoWError(f"{annotation} is no annotation of fMoW ({error}); download it again") from error


def _unpacked(annotation: bytes, where: str) -> Regions:
    """Read the regions of one image in a shard."""
    try:
        stored = json.loads(annotation)
        boxes = [tuple(map(float, box)) for box in stored["gt_bboxes"]]
        names = tuple(map(str, stored["gt_bboxes_labels"]))
        return Regions(tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes), names)
    except (ValueError, KeyError, TypeError) as error:
        raise FMoWError(
            f"{where} has no readable regions ({error}); dvbench data verify names damaged shards"
        ) from error


def _is_left_out(entry: dict[str, Any], rule: LeftOut) -> bool:
    return entry.get("ID") == -1 if rule == "context" else rule in entry


def regions_as_tensors(regions: Regions, where: object) -> dict[str, Tensor]:
    """Regions as a sample holds them.

    Args:
        regions: Of one image.
        where: The file they come from, for the message.

    Returns:
        "bbox_xyxy" float32 (N, 4) in px and "label" int64 (N,) from 0. N may be 0.

    Raises:
        FMoWError: A class is unknown.
    """
    unknown = set(regions.names) - set(FMOW.classes)
    if unknown:
        raise FMoWError(f"{where} has the class {min(unknown)!r}, which fMoW does not have; download it again")
    boxes = torch.tensor(regions.boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([FMOW.classes.index(name) for name in regions.names], dtype=torch.int64)
    return {"bbox_xyxy": boxes, "label": labels}
