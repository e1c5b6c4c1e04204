"""Synthetic scenes as TorchGeo datasets, one for each task. Importing TorchGeo takes seconds, so import it late."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchgeo.datasets import NonGeoDataset

from dvbench.data.card import Task
from dvbench.data.cards.synthetic import SMALL_TARGETS, SYNTHETIC
from dvbench.data.plot import draw
from dvbench.data.synthetic import small_targets
from dvbench.data.synthetic.canvas import KINDS
from dvbench.data.synthetic.plan import PLACES, SCENE_CLASSES
from dvbench.data.synthetic.scene import Scene, SyntheticError, scene

Sample = dict[str, Any]

_APART = 1_000_000  # scenes between the splits, so that they share none
_KEPT_BYTES = 256 * 2**20  # of images: a split no larger than this is drawn once, not once an epoch
# The scenes of these tasks have what the task is about; the other tasks take all classes in turn.
_SCENES: dict[Task, tuple[str, ...]] = {
    Task.DETECTION: ("harbor", "industrial", "parking", "residential", "sea"),
    Task.INSTANCE: ("harbor", "industrial", "residential", "sea"),
    Task.CHANGE: ("industrial", "residential"),
    Task.REGION: ("farmland", "harbor", "industrial", "parking", "residential"),
}


class Synthetic(NonGeoDataset):
    """Procedural aerial scenes, labelled for one task.

    Dataset format:

    * nothing is stored on disk: a scene is drawn when it is asked for, the same each time; small splits stay in memory
    * two pictures, before and after, for change; one picture for every other task

    Dataset classes:

    * classification: what the whole scene is, from desert to sea
    * detection and instance segmentation: background, building, storage_tank, tennis_court, vehicle, ship
    * semantic segmentation: land cover and objects, 11 classes; 255 where clouds hide the ground
    * change: unchanged, and changed where a building was put up or pulled down; 255 under clouds
    * region classification: what an area is used for, 8 classes, or which object it is, 5 classes
    * retrieval: multi-label, which of the semantic classes are in sight
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self,
        task: Task | str,
        split: str = "train",
        transforms: Callable[[Sample], Sample] | None = None,
        *,
        count: int | None = None,
        size: int = 512,
        seed: int = 0,
        difficulty: int = 1,
        object_size: int = 32,
    ) -> None:
        """Describe a series of scenes.

        Args:
            task: What the samples are labelled for.
            split: One of "train", "val" and "test"; they share no scene.
            transforms: Takes a sample and returns a changed one.
            count: Number of scenes, by default that of the card.
            size: Side S of the images in pixels.
            seed: Which series; two seeds share no scene.
            difficulty: 0-3, as of `scene`.
            object_size: Length of a house in pixels, as of `scene`.

        Raises:
            SyntheticError: The split is unknown, or a number is out of the range that `scene` takes.
        """
        if split not in self.splits:
            raise SyntheticError(f"split '{split}' is not in Synthetic; choose one of {', '.join(self.splits)}")
        self.task = Task(task)
        self.card = next(card for card in SYNTHETIC if card.task is self.task)
        self.classes = self.card.classes
        self.split = split
        self.transforms = transforms
        self._count = self.card.split(split).count if count is None else count
        self._size, self._seed, self._difficulty, self._object_size = size, seed, difficulty, object_size
        self.scene(0)  # complains of numbers out of range
        self._keeps = self._count * size**2 * 12 <= _KEPT_BYTES  # 12: three float32 channels
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        """Number of scenes in the split."""
        return self._count

    def __getitem__(self, index: int) -> Sample:
        """One scene with the labels of the task.

        Args:
            index: Position in the split.

        Returns:
            "image": float32 (3, S, S), RGB, 0-255, for change (2, 3, S, S), before and after; and the labels that
            `Task` lists.

        Raises:
            IndexError: `index` is not below the number of scenes.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} is not in split {self.split}, which has {len(self)}")
        drawn = self._kept.get(index) or self._draw(index)
        if self._keeps:
            self._kept[index] = drawn
        sample = {name: value.clone() for name, value in drawn.items()}
        return sample if self.transforms is None else self.transforms(sample)

    def sources(self, index: int) -> tuple[Path, ...]:
        """Files that a sample is made from: none."""
        del index
        return ()

    def _draw(self, index: int) -> Sample:
        drawn = self.scene(index)
        sample: Sample = {"image": _tensor(drawn.image), **self._labels(drawn)}
        if self.task is Task.CHANGE:
            sample["image"] = torch.stack([_tensor(drawn.before), sample["image"]])
        return sample

    @property
    def names(self) -> list[str]:
        """What each scene is drawn from."""
        drawn = f"seed {self._seed}, {self._size} px, difficulty {self._difficulty}, houses of {self._object_size} px"
        return [f"{index}, {drawn}" for index in range(len(self))]

    def scene(self, index: int) -> Scene:
        """The scene behind a sample, with its labels of every kind."""
        classes = _SCENES.get(self.task, SCENE_CLASSES)
        return scene(
            self._seed,
            index + self.splits.index(self.split) * _APART,
            self._size,
            difficulty=self._difficulty,
            object_size=self._object_size,
            scene_class=classes[index % len(classes)],
        )

    def _labels(self, drawn: Scene) -> Sample:
        match self.task:
            case Task.CLASSIFICATION:
                return {"label": torch.tensor(drawn.label)}
            case Task.RETRIEVAL:
                return {"label": torch.from_numpy(drawn.presence)}
            case Task.SEMANTIC:
                return {"mask": torch.from_numpy(drawn.semantic).long()}
            case Task.CHANGE:
                return {"mask": torch.from_numpy(drawn.change).long()}
            case Task.REGION:
                return _regions(drawn)
        boxes, kinds, masks = drawn.instances
        labels = {"bbox_xyxy": torch.from_numpy(boxes).float(), "label": torch.from_numpy(kinds) - KINDS[0] + 1}
        return labels if self.task is Task.DETECTION else {**labels, "mask": torch.from_numpy(masks)}

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw a sample with its labels.

        Args:
            sample: What `__getitem__` returns.
            show_titles: Whether to name the panels.
            suptitle: Title of the figure.

        Returns:
            The figure.
        """
        return draw(sample, self.classes, show_titles, suptitle)


class SmallTargets(Synthetic):
    """Procedural scenes with one small object, the target, which covers about 1 % of the image.

    Dataset classes, of pixels: background and target, which is a building, a tank, a tennis court or a vehicle.
    """

    def __init__(
        self,
        split: str = "train",
        transforms: Callable[[Sample], Sample] | None = None,
        *,
        count: int | None = None,
        size: int = 512,
        seed: int = 0,
        difficulty: int = 0,
    ) -> None:
        """Describe a series of scenes; arguments and errors as of `Synthetic`."""
        super().__init__(Task.SEMANTIC, split, transforms, count=count, size=size, seed=seed, difficulty=difficulty)
        self.card, self.classes = SMALL_TARGETS, SMALL_TARGETS.classes

    def scene(self, index: int) -> Scene:
        """The scene behind a sample."""
        place = index + self.splits.index(self.split) * _APART
        return small_targets.small_target(self._seed, place, self._size, difficulty=self._difficulty)

    def _labels(self, drawn: Scene) -> Sample:
        return {"mask": torch.from_numpy(drawn.target).long()}


def _regions(drawn: Scene) -> Sample:
    """Boxes of places and of objects, so that an image has many regions, of classes that come every few images."""
    places, objects = drawn.regions, drawn.instances
    kinds = np.concatenate([places.kinds, objects.kinds - KINDS[0] + len(PLACES)])
    boxes = np.concatenate([places.boxes, objects.boxes])
    return {"bbox_xyxy": torch.from_numpy(boxes).float(), "label": torch.from_numpy(kinds)}


def _tensor(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).float()
