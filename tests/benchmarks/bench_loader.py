"""Our loader against torchvision's classes doing the same work: decode JPEGs, crop, flip and normalise at 512 px."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from dvbench.data.augment import augmentation
from dvbench.data.card import Task
from dvbench.data.cards.detection import NEON_TREES
from dvbench.data.loaders import loader
from dvbench.data.samples import NeonTrees
from dvbench.data.scene import EMBEDDED
from dvbench.data.transforms import BYTE_STATISTICS, pipeline

SIDE = 512
IMAGES = 96  # a pass; the same few files over and over, so that the disk plays no part
BATCH = 8
MEAN, DEVIATION = BYTE_STATISTICS


class Plain(Dataset[dict[str, Any]]):
    """Images and boxes as torchvision's tutorials load them."""

    def __init__(self, files: list[Path], boxes: list[list[list[float]]]) -> None:
        self.files = files
        self.boxes = boxes
        self.transforms = v2.Compose(
            [
                v2.PILToTensor(),
                v2.ConvertBoundingBoxFormat("XYXY"),
                v2.RandomResizedCrop(SIDE, (0.3, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([mean / 255 for mean in MEAN], [deviation / 255 for deviation in DEVIATION]),
            ]
        )

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> Any:
        image = default_loader(self.files[index % len(self.files)])
        boxes = self.boxes[index % len(self.boxes)]
        frame = tv_tensors.BoundingBoxes(boxes or torch.zeros(0, 4), format="XYWH", canvas_size=image.size[::-1])
        return self.transforms({"image": image, "boxes": frame, "labels": torch.ones(len(boxes), dtype=torch.int64)})


class Repeated(NeonTrees):
    """The embedded images as often as `Plain` shows them."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index % len(self._images))


def _collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    lists = {key: [sample[key] for sample in samples] for key in samples[0]}
    return lists | {"image": torch.stack(lists["image"])}


def _exhaust(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


@pytest.mark.benchmark(group="loader")
@pytest.mark.parametrize("workers", [0, 2])
def bench_loader_against_torchvision(workers: int, side_by_side: Callable[..., float]) -> None:
    steps = (augmentation("resized_crop", size=SIDE), augmentation("horizontal_flip"), augmentation("vertical_flip"))
    trees = Repeated(transforms=pipeline(NEON_TREES, *steps))
    ours = loader(trees, Task.DETECTION, BATCH, seed=0, train=True, workers=workers)
    files = [EMBEDDED / "images" / "train" / image["file_name"] for image in trees._images]
    boxes = [[box["bbox"] for box in trees._boxes[image["id"]]] for image in trees._images]
    theirs = DataLoader(
        Plain(files, boxes),
        BATCH,
        shuffle=True,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    side_by_side(
        lambda: _exhaust(ours),
        lambda: _exhaust(theirs),
        rounds=9,
        goal="at most 1.11 of its time: 90 % of the images per second",
    )
