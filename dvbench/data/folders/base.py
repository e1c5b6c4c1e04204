"""What the datasets of this folder have in common."""

import abc
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset

from dvbench.data.card import Card
from dvbench.data.coco import AnnotatedImage, CocoError, boxes_and_labels, masks, read_coco
from dvbench.data.pixels import check_same_size, read_mask, read_rgb
from dvbench.data.plot import draw

Sample = dict[str, Any]
Transforms = Callable[[Sample], Sample]


class IncompleteDatasetError(DatasetNotFoundError):
    """A dataset is there, but files are missing; the message is one line with their number and the first of them.

    Attributes:
        missing: The files.
    """

    def __init__(self, dataset: "FolderDataset", missing: Iterable[Path]) -> None:
        self.missing = paths = sorted(missing)
        what = f"{dataset.card.title} in {dataset.root} lacks {len(paths)} files, the first is {paths[0]}"
        FileNotFoundError.__init__(self, f"{what}; finish the download")


class FolderDataset(NonGeoDataset, abc.ABC):
    """A dataset that lies in a folder as its authors published it, split by split.

    Attributes:
        card: The dataset in words and numbers.
    """

    card: ClassVar[Card]

    def __init__(self, root: str | Path = "data", split: str = "train", transforms: Transforms | None = None) -> None:
        """Open one split.

        Args:
            root: The dataset's folder.
            split: Name of one of the card's splits.
            transforms: Takes a sample and returns a changed one.

        Raises:
            UnknownSplitError: There is no such split.
            DatasetNotFoundError: `root` does not hold the dataset, or files of the split are missing.
        """
        self.card.split(split)
        self.root = Path(root)
        self.split = split
        self.transforms = transforms
        self._verify()

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each label."""
        return self.card.classes

    def __getitem__(self, index: int) -> Sample:
        """One sample, as `Task` describes it for this dataset's task.

        Args:
            index: Position in the split.

        Raises:
            IndexError: The split has no such position.
            PixelError: A file is damaged, or not what the dataset's card says.
        """
        sample = self._load(index)
        return sample if self.transforms is None else self.transforms(sample)

    @abc.abstractmethod
    def sources(self, index: int) -> tuple[Path, ...]:
        """Files that a sample is made from, as published: its image first, its labels last.

        A file that serves the whole split, such as an annotation file or a list, belongs to each of its samples. The
        first file tells the samples of a dataset apart, and what is counted.

        Args:
            index: Position in the split.
        """

    @abc.abstractmethod
    def _verify(self) -> None:
        """List the files of the split and check that they are there."""

    @abc.abstractmethod
    def _load(self, index: int) -> Sample:
        """Read one sample."""

    def _require(self, paths: Iterable[Path]) -> None:
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise IncompleteDatasetError(self, missing)

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw a sample with its labels.

        Args:
            sample: What `__getitem__` returns; a "prediction" in it is drawn too.
            show_titles: Whether to name the panels.
            suptitle: Title of the figure.

        Returns:
            The figure.
        """
        return draw(sample, self.classes, show_titles, suptitle)


class CocoDataset(FolderDataset):
    """Images with objects, annotated in COCO files."""

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.images)

    def _open(self, annotations: Path, folder: Path) -> None:
        if not annotations.is_file() or not folder.is_dir():
            raise DatasetNotFoundError(self)
        content = read_coco(annotations, self.card.classes)
        self.images, self.findings = content.images, content.findings
        self._annotations, self._folder = annotations, folder
        self._require(folder / image.name for image in self.images)

    def sources(self, index: int) -> tuple[Path, ...]:
        """The image, and the annotation file."""
        return self._folder / self.images[index].name, self._annotations

    def _load_objects(self, image: AnnotatedImage, with_masks: bool) -> Sample:
        path = self._folder / image.name
        crowds = replace(image, instances=image.crowds)
        sample: Sample = {"image": read_rgb(path), **boxes_and_labels(image), "crowd": boxes_and_labels(crowds)}
        height, width = sample["image"].shape[1:]
        if (height, width) != (image.height, image.width):
            raise CocoError(
                f"{path} has {width}x{height} pixels, its annotation {image.width}x{image.height}; get both anew"
            )
        if with_masks:
            sample["mask"] = masks(image)
            sample["crowd"]["mask"] = masks(crowds)
        return sample


class MaskDataset(FolderDataset):
    """Images with a label file each, of two classes."""

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.files)

    def _open(self, images: Path, labels: Path, image_suffix: str, label_suffix: str) -> None:
        """Pair the files of two folders by their names without suffix."""
        stems = {path.stem for path in _listed(images, image_suffix)}
        labelled = {path.stem for path in _listed(labels, label_suffix)}
        if not stems and not labelled:
            raise DatasetNotFoundError(self)
        pairs = [(images / f"{stem}{image_suffix}", labels / f"{stem}{label_suffix}") for stem in stems | labelled]
        self._require(path for pair in pairs for path in pair)
        self.files = sorted(pairs)

    def sources(self, index: int) -> tuple[Path, ...]:
        """The image, and its label."""
        return self.files[index]

    def _load(self, index: int) -> Sample:
        image_path, label_path = self.files[index]
        image, mask = read_rgb(image_path), read_mask(label_path)
        check_same_size(image, mask, label_path)
        return {"image": image, "mask": mask}


def change_sample(before: Path, after: Path, label: Path, mask: Tensor) -> Sample:
    """Read two dates of a place.

    Args:
        before: First image.
        after: Second image.
        label: File the mask comes from, for messages.
        mask: int64 (H, W).

    Returns:
        "image": float32 (2, 3, H, W), 0-255; "mask": as given.

    Raises:
        PixelError: A file is damaged, or the three differ in size.
    """
    dates = [read_rgb(before), read_rgb(after)]
    for image in dates:
        check_same_size(image, mask, label)
    return {"image": torch.stack(dates), "mask": mask}


def _listed(folder: Path, suffix: str) -> list[Path]:
    """Files of a folder, without the hidden ones that macOS leaves behind."""
    return [path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".")]
