"""The embedded sample as a TorchGeo dataset. Importing TorchGeo takes seconds, so import this module late."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset

from dvbench.data.scene import EMBEDDED

Sample = dict[str, Any]


class NeonTrees(NonGeoDataset):
    """NEON tree crowns, a small detection dataset that comes with the package.

    Airborne RGB images of the `National Ecological Observatory Network <https://www.neonscience.org>`_, 0.1 m on the
    ground, with hand-drawn boxes around tree crowns, taken from the Python package DeepForest 2.1.0.

    Dataset format:

    * images are three-channel JPEGs of 512x512 pixels, two of the test images of 400x400
    * annotations are COCO JSON files, one per split

    Dataset classes:

    0. background
    1. tree

    Dataset splits:

    * train: 12 images, 241 boxes, Yellowstone; one image has no box
    * val: 4 images, 163 boxes, other tiles of the same scene
    * test: 6 images, 335 boxes, another scene of Yellowstone, one of Florida and one of California

    Licence: MIT, Copyright (c) 2019 Ben Weinstein. Keep the README beside the images with every copy.

    If you use this dataset in your research, please cite the following paper:

    * https://doi.org/10.1111/2041-210X.13472
    """

    classes: ClassVar[tuple[str, ...]] = ("background", "tree")
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self,
        root: str | Path = EMBEDDED,
        split: Literal["train", "val", "test"] = "train",
        transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:
        """Open one split.

        Args:
            root: Folder with `images` and `annotations`, by default the one inside the package.
            split: One of "train", "val" and "test".
            transforms: Takes a sample and returns a changed one.

        Raises:
            ValueError: `split` is none of the three.
            DatasetNotFoundError: `root` lacks the annotations or one of the images.
        """
        if split not in self.splits:
            raise ValueError(f"split {split!r} is not in NeonTrees; choose one of {', '.join(self.splits)}")
        self.root = Path(root)
        self.split = split
        self.transforms = transforms
        self._annotations = self.root / "annotations" / f"{split}.json"
        self._folder = self.root / "images" / split
        self._verify()

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """One image with its boxes.

        Args:
            index: Position in the split.

        Returns:
            "image": float32 (3, H, W), RGB, 0-255; "bbox_xyxy": float32 (N, 4), left, top, right, bottom in pixels;
            "label": int64 (N,), index into `classes`. N may be 0.
        """
        image = self._images[index]
        boxes = self._boxes[image["id"]]
        bbox_xyxy = torch.tensor([box["bbox"] for box in boxes], dtype=torch.float32).reshape(-1, 4)
        bbox_xyxy[:, 2:] += bbox_xyxy[:, :2]
        sample: Sample = {
            "image": self._load_image(image["file_name"]),
            "bbox_xyxy": bbox_xyxy,
            "label": torch.tensor([box["category_id"] for box in boxes], dtype=torch.int64),
        }
        return sample if self.transforms is None else self.transforms(sample)

    def sources(self, index: int) -> tuple[Path, ...]:
        """Files that a sample is made from: its image, and the annotations of its split."""
        return self._folder / self._images[index]["file_name"], self._annotations

    def _load_image(self, name: str) -> Tensor:
        with Image.open(self._folder / name) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()

    def _verify(self) -> None:
        """Read the annotations and check that every image they name is there."""
        if not self._annotations.is_file():
            raise DatasetNotFoundError(self)
        content = json.loads(self._annotations.read_text(encoding="utf-8"))
        self._images: list[dict[str, Any]] = content["images"]
        self._boxes: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for box in content["annotations"]:
            self._boxes[box["image_id"]].append(box)
        if not all((self._folder / image["file_name"]).is_file() for image in self._images):
            raise DatasetNotFoundError(self)

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw a sample with its boxes.

        Args:
            sample: What `__getitem__` returns.
            show_titles: Whether to write the number of boxes above the image.
            suptitle: Title of the figure.

        Returns:
            The figure.
        """
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.subplots()
        axes.imshow(sample["image"].permute(1, 2, 0).to(torch.uint8).numpy())
        axes.set_axis_off()
        for left, top, right, bottom in sample["bbox_xyxy"].tolist():
            axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="yellow"))
        if show_titles:
            axes.set_title(f"{len(sample['label'])} trees")
        if suptitle is not None:
            figure.suptitle(suptitle)
        return figure
