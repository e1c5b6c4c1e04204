"""ForestNet dataset."""

import csv
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.archives import extract, safe_name
from dvbench.data.card import Card
from dvbench.data.cards.retrieval import FORESTNET
from dvbench.data.folders.base import FolderDataset, Sample, Transforms
from dvbench.data.pixels import read_rgb

ARCHIVE = "ForestNetDataset.zip"
MERGED = ("Plantation", "Grassland shrubland", "Smallholder agriculture", "Other")
_PLACES = ("deep/downloads/ForestNetDataset", "ForestNetDataset", ".")
_PICTURE = "images/visible/composite.png"


class ForestNetError(ValueError):
    """A split file cannot be used; the message is one line that says which, where and why."""


class ForestNet(FolderDataset):
    """ForestNet dataset.

    The `ForestNet <https://stanfordmlgroup.github.io/projects/forestnet/>`_ dataset is a dataset for the drivers of
    forest loss in Indonesia between 2001 and 2016.

    Dataset features:

    * 2,756 images of 332x332 pixels from Landsat 8, pan-sharpened, 15 m on the ground
    * three spectral bands - RGB; the infrared bands and the auxiliary data are not read
    * one driver an image, in 12 classes or merged into 4

    Dataset format:

    * images are three-channel PNGs, composites of the least cloudy scenes
    * a CSV file per split, with the folder of each image and its two labels

    Dataset classes:

    0. Oil palm plantation
    1. Timber plantation
    2. Other large-scale plantations
    3. Grassland shrubland
    4. Small-scale agriculture
    5. Small-scale mixed plantation
    6. Small-scale oil palm plantation
    7. Mining
    8. Fish pond
    9. Logging
    10. Secondary forest
    11. Other

    Dataset classes, merged:

    0. Plantation (0 to 2)
    1. Grassland shrubland (3)
    2. Smallholder agriculture (4 to 6)
    3. Other (7 to 11)

    Dataset splits, whose sizes are not verified:

    * train: 1,616 images
    * val: 473 images
    * test: 668 images

    If you use this dataset in your research, please cite the following paper:

    * https://arxiv.org/abs/2011.05479
    """

    card: ClassVar[Card] = FORESTNET

    def __init__(
        self,
        root: str | Path = "data",
        split: str = "train",
        transforms: Transforms | None = None,
        num_classes: Literal[4, 12] = 12,
    ) -> None:
        """Open one split; the archive is unpacked when it is there and nothing else is.

        Args:
            root: The dataset's folder.
            split: One of "train", "val" and "test".
            transforms: Takes a sample and returns a changed one.
            num_classes: 12, or 4 for the merged labels.

        Raises:
            UnknownSplitError: There is no such split.
            DatasetNotFoundError: `root` does not hold the dataset, or files of the split are missing.
            ForestNetError: The split file lacks a column or has an unknown label.
        """
        self.num_classes = num_classes
        super().__init__(root, split, transforms)

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each label."""
        return MERGED if self.num_classes == len(MERGED) else self.card.classes

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.files)

    def _verify(self) -> None:
        if self._folder() is None and (self.root / ARCHIVE).is_file():
            extract(self.root / ARCHIVE, self.root)
        folder = self._folder()
        if folder is None:
            raise DatasetNotFoundError(self)
        self._table = folder / f"{self.split}.csv"
        self._read(self._table)
        self._require(path for path, _ in self.files)

    def _folder(self) -> Path | None:
        found = (self.root / place for place in _PLACES if (self.root / place / f"{self.split}.csv").is_file())
        return next(found, None)

    def _read(self, table: Path) -> None:
        column = "merged_label" if self.num_classes == len(MERGED) else "label"
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        if not rows or not {"example_path", column} <= rows[0].keys():
            raise ForestNetError(f"{table} lacks rows, or the column example_path or {column}; unpack {ARCHIVE} again")
        for row in rows:
            if row[column] not in self.classes:
                raise ForestNetError(
                    f"{table} has the {column} {row[column]!r}; expected are {', '.join(self.classes)}"
                )
        self.files = [
            (table.parent / safe_name(row["example_path"], table) / _PICTURE, self.classes.index(row[column]))
            for row in rows
        ]

    def sources(self, index: int) -> tuple[Path, ...]:
        """The picture, and the table of the split."""
        return self.files[index][0], self._table

    def _load(self, index: int) -> Sample:
        path, label = self.files[index]
        return {"image": read_rgb(path), "label": torch.tensor(label)}
