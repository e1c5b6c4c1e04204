"""The paper's datasets that TorchGeo has, with the paper's splits and one kind of sample per task.

Each class is TorchGeo's own with what differs put right. None downloads or unpacks anything.
"""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from rasterio.errors import RasterioError
from torch import Tensor
from torchgeo import datasets
from torchgeo.datasets import DatasetNotFoundError
from torchvision.transforms.functional import resize

from dvbench.data.card import Card
from dvbench.data.cards import change, classification, instance, retrieval
from dvbench.data.folders.base import CocoDataset, FolderDataset, Sample, Transforms
from dvbench.data.pixels import PixelError, check_same_size, read_mask, read_rgb
from dvbench.data.splits import SplitError, labelled, membership
from dvbench.data.tiles import GRIDS, LABEL, tile


class UCMerced(FolderDataset, datasets.UCMerced):  # type: ignore[misc]  # `classes` is a tuple here
    """UC Merced Land Use: 70 images of each class to train on and 30 to test, classes in the order of the card.

    TorchGeo's split is another paper's, and its classes are in alphabetical order.
    """

    card: ClassVar[Card] = classification.UC_MERCED

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.files)

    def _verify(self) -> None:
        if not self.card.is_in(self.root):
            raise DatasetNotFoundError(self)
        self.files = labelled(self.card, self.root, self.split)
        self._require(path for path, _ in self.files)

    def sources(self, index: int) -> tuple[Path, ...]:
        """The image, whose folder is its label."""
        return (self.files[index][0],)

    def _load(self, index: int) -> Sample:
        path, label = self.files[index]
        return {"image": resize(read_rgb(path), [256, 256], antialias=True).round(), "label": torch.tensor(label)}


class NWPUVHR10(CocoDataset, datasets.VHR10):  # type: ignore[misc]  # `plot` has fewer options here
    """The 650 annotated images of NWPU VHR-10: 520 to train on and 130 to test.

    TorchGeo has no such split, asks for the zip file and for pycocotools, and draws one part of an outline only.
    """

    card: ClassVar[Card] = instance.NWPU_VHR10

    def _verify(self) -> None:
        folder = self.root / "NWPU VHR-10 dataset"
        self._open(folder / "annotations.json", folder / "positive image set")
        annotated = {image.name: image for image in self.images}
        names = membership(self.card, self.root).names[self.split]
        if unknown := [name for name in names if name not in annotated]:
            raise SplitError(
                f"{unknown[0]} of split '{self.split}' is not in {folder / 'annotations.json'}: get both anew"
            )
        self.images = tuple(annotated[name] for name in names)

    def _load(self, index: int) -> Sample:
        return self._load_objects(self.images[index], with_masks=True)


class LEVIRCD(FolderDataset, datasets.LEVIRCD):  # type: ignore[misc]  # `root` is a Path here
    """LEVIR-CD, unpacked by TorchGeo or by the authors' archives; masks are (H, W)."""

    card: ClassVar[Card] = change.LEVIR_CD

    def __len__(self) -> int:
        """Number of image pairs in the split."""
        return len(self.triples)

    def _verify(self) -> None:
        folder = self.root / self.split if (self.root / self.split).is_dir() else self.root
        names = {path.name for layer in self.directories for path in (folder / layer).glob(f"{self.split}_*.png")}
        if not names:
            raise DatasetNotFoundError(self)
        self.triples = [tuple(folder / layer / name for layer in self.directories) for name in sorted(names)]
        self._require(path for triple in self.triples for path in triple)

    def sources(self, index: int) -> tuple[Path, ...]:
        """Both dates, and the label."""
        return self.triples[index]

    def _load(self, index: int) -> Sample:
        before, after, label = self.triples[index]
        return _pair(before, after, label, read_mask(label))


class OSCD(FolderDataset, datasets.OSCD):  # type: ignore[misc]  # `plot` has fewer options here
    """OSCD as the paper uses it: the 8-bit pictures of each city, cut into tiles of 256 px.

    TorchGeo reads the 13 raw bands of whole cities.
    """

    card: ClassVar[Card] = change.OSCD

    def __init__(
        self,
        root: str | Path = "data",
        split: str = "train",
        transforms: Transforms | None = None,
        grid: Literal["oscd", "oscd_released"] = "oscd",
        cache: Path | None = None,
    ) -> None:
        """Open one split; the tiles are cut if they are not there yet.

        Args:
            root: The dataset's folder.
            split: "train" or "test".
            transforms: Takes a sample and returns a changed one.
            grid: "oscd": tiles overlap by 128 px, as the paper says. "oscd_released": only the last ones of a row and
                column overlap, as in the tool that the authors released.
            cache: Folder for the tiles, by default `tiles` in `root`.

        Raises:
            UnknownSplitError: There is no such split.
            DatasetNotFoundError: `root` does not hold the dataset, or a city lacks its pictures.
            TileError: The pictures cannot be cut.
        """
        self.grid = GRIDS[grid]
        self.folder = (cache or Path(root) / "tiles") / grid
        super().__init__(root, split, transforms)

    def __len__(self) -> int:
        """Number of tiles in the split."""
        return len(self.names)

    def _verify(self) -> None:
        name = "Onera Satellite Change Detection dataset"
        labels = sorted((self.root / f"{name} - {self.split.capitalize()} Labels").glob("*/cm/*-cm.tif"))
        if not labels:
            raise DatasetNotFoundError(self)
        self.names: list[str] = []
        self._rasters: list[tuple[Path, ...]] = []  # of each tile
        for label in labels:
            city = label.parts[-3]
            pair = self.root / f"{name} - Images" / city / "pair"
            layers = {"A": pair / "img1.png", "B": pair / "img2.png", LABEL: label}
            self._require(layers.values())
            names = tile(layers, self.folder, city, self.grid)
            self.names += names
            self._rasters += [tuple(layers.values())] * len(names)

    def sources(self, index: int) -> tuple[Path, ...]:
        """Both pictures of the city that the tile is cut from, and the city's label."""
        return self._rasters[index]

    def _load(self, index: int) -> Sample:
        before, after, label = (self.folder / layer / self.names[index] for layer in ("A", "B", LABEL))
        return _pair(before, after, label, _read_change_map(label))


class BigEarthNet(FolderDataset, datasets.BigEarthNet):  # type: ignore[misc]  # `root` is a Path here
    """The Sentinel-2 half of BigEarthNet v1: 12 bands at 10 m, and a multi-hot label of 43 or 19 classes."""

    card: ClassVar[Card] = retrieval.BIGEARTHNET

    def __init__(
        self,
        root: str | Path = "data",
        split: str = "train",
        transforms: Transforms | None = None,
        num_classes: Literal[19, 43] = 43,
    ) -> None:
        """Open one split.

        Args:
            root: The dataset's folder.
            split: "train", "val" or "test".
            transforms: Takes a sample and returns a changed one.
            num_classes: 43, or 19, where an image may be left without a label.

        Raises:
            UnknownSplitError: There is no such split.
            DatasetNotFoundError: `root` does not hold the dataset.
        """
        self.bands = "s2"
        self.num_classes = num_classes
        self.class2idx = {name: index for index, name in enumerate(self.card.classes)}
        super().__init__(root, split, transforms)

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each label."""
        return tuple(self.class_sets[self.num_classes])

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.folders)

    def _verify(self) -> None:
        if not self.card.is_in(self.root):
            raise DatasetNotFoundError(self)
        self.folders = self._load_folders()

    def sources(self, index: int) -> tuple[Path, ...]:
        """The bands, the list of the split, and the labels."""
        folder = Path(self.folders[index]["s2"])
        bands = (folder / f"{folder.name}_{band}.tif" for band in self.card.bands)
        labels = next(folder.glob("*.json"), folder / f"{folder.name}_labels_metadata.json")
        return *bands, self.root / self.splits_metadata[self.split]["filename"], labels

    def _load(self, index: int) -> Sample:
        folder, expected = Path(self.folders[index]["s2"]), len(self.card.bands)
        bands = len(self._load_paths(index))
        # TorchGeo would stack the bands that are left, each under the name of another.
        if bands != expected or not any(folder.glob("*.json")):
            raise PixelError(f"{folder} has {bands} of {expected} bands, or no label file; unpack it again")
        try:
            return {"image": self._load_image(index), "label": self._load_target(index)}
        except (RasterioError, ValueError, KeyError) as error:
            raise PixelError(f"{folder} has a damaged band or an unknown label ({error}); unpack it again") from error

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw an image in true colour with its labels, as TorchGeo does."""
        return datasets.BigEarthNet.plot(self, sample, show_titles, suptitle)


def _pair(before: Path, after: Path, label: Path, mask: Tensor) -> Sample:
    dates = [read_rgb(before), read_rgb(after)]
    for image in dates:
        check_same_size(image, mask, label)
    return {"image": torch.stack(dates), "mask": mask}


def _read_change_map(path: Path) -> Tensor:
    """Read a label of OSCD, 1 unchanged and 2 changed, as int64 (H, W), 0 and 1."""
    try:
        with Image.open(path) as image:
            return (torch.from_numpy(np.array(image)) > 1).long()
    except (OSError, SyntaxError, EOFError) as error:  # Pillow raises them all for damaged files
        raise PixelError(f"{path} cannot be read as a label; unpack it again") from error
