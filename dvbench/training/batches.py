"""From a protocol to batches: the dataset by name, its splits, augmentation and units."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from dvbench.data import catalog
from dvbench.data.augment import augmentation
from dvbench.data.card import RGB, Card
from dvbench.data.card import Task as Label
from dvbench.data.loaders import WHOLE, Batch, Part, Samples, loader
from dvbench.data.names import sample_names
from dvbench.data.transforms import BYTE_STATISTICS, Statistics, pipeline
from tasks.protocol import Protocol, Step
from tasks.task import Problem

LABELS = {
    "classification": Label.CLASSIFICATION,
    "detection": Label.DETECTION,
    "instance_segmentation": Label.INSTANCE,
    "semantic_segmentation": Label.SEMANTIC,
    "change_detection": Label.CHANGE,
    "region_classification": Label.REGION,
    "retrieval": Label.RETRIEVAL,
}
MULTILABEL = ("bigearthnet", "synthetic_retrieval")
QUERIES = "val"
_SHARE = re.compile(r"(?P<split>\w+)\[(?P<start>\d*)%?:(?P<stop>\d*)%?\]")


class DataMismatchError(ValueError):
    """A dataset does not hold what a protocol asks for; the message names both."""


@dataclass(frozen=True)
class Source:
    """A dataset as a protocol uses it.

    Attributes:
        protocol: says how.
        seed: of order and augmentation.
        part: which samples of each batch this process takes.
        workers: processes that load; None for as many as suit the machine.
    """

    protocol: Protocol
    seed: int = 0
    part: Part = WHOLE
    workers: int | None = None

    @property
    def card(self) -> Card:
        """The dataset in words and numbers."""
        return catalog.entry(self.protocol.dataset).card

    @property
    def problem(self) -> Problem:
        """What the dataset asks of a task."""
        fitting = {LABELS[self.protocol.task]}
        if self.protocol.task == "retrieval":  # by one label as well as by several
            fitting.add(Label.CLASSIFICATION)
        if self.card.task not in fitting:
            raise DataMismatchError(
                f"protocol {self.protocol.name} is for {self.protocol.task}, but {self.card.name} is labelled for "
                f"{self.card.task}"
            )
        count = self.protocol.dataset_options.get("num_classes")
        classes = self.card.classes if count is None else tuple(map(str, range(count)))
        return Problem(classes, multilabel=self.card.name in MULTILABEL)

    def train(self, images_at_once: int) -> DataLoader[Batch]:
        """Return shuffled, augmented batches of the training split.

        Raises:
            DataMismatchError: the split is empty or lacks what the task needs.
            MissingDatasetError: the dataset is not there.
        """
        chosen = self.protocol
        told, there = (chosen.mix.options if chosen.mix else {}).get("classes"), len(self.problem.classes)
        if told not in (None, there):
            raise DataMismatchError(
                f"protocol {chosen.name}: mix.classes is {told}, {chosen.dataset} has {there} classes"
            )
        mix = augmentation(chosen.mix.name, **chosen.mix.options) if chosen.mix else None
        samples = self.samples(chosen.train_split, chosen.train, keep_targets=False)
        return self._loader(
            samples,
            images_at_once,
            train=True,
            mix=mix,
            with_boxes_only=chosen.with_boxes_only,
            order=getattr(samples, "order", None),
        )

    def test(self, split: str, images_at_once: int) -> DataLoader[Batch]:
        """Return batches of a split in order; labels stay in the coordinates of the original image."""
        keep = self.card.task is not Label.REGION  # whose boxes are an input
        samples = self.samples(split, self.protocol.test, keep_targets=keep)
        if self.protocol.task == "retrieval":
            queries = self.samples(QUERIES, self.protocol.test, keep_targets=keep)
            samples = ConcatDataset([_Marked(queries, True), _Marked(samples, False)])  # type: ignore[list-item]
        return self._loader(samples, images_at_once, train=False)

    def samples(self, split: str, steps: Sequence[Step], *, keep_targets: bool) -> Samples:
        """Open a split, or a share of one such as "train[:90%]", with what is done to its samples."""
        transforms = pipeline(
            self.card,
            *(augmentation(step.name, **step.options) for step in steps),
            bands=self.card.colours,
            statistics=self._statistics(),
            keep_targets=keep_targets,
        )
        return self.raw(split, transforms=transforms)

    def raw(self, split: str, **options: Any) -> Samples:
        """Open a split as it lies on disk."""
        share = _SHARE.fullmatch(split)
        name = share["split"] if share else split
        count = {"count": self.protocol.counts[name]} if name in self.protocol.counts else {}
        arguments: dict[str, Any] = self.protocol.dataset_options | count | options
        whole: Samples = catalog.dataset(self.protocol.dataset, name, **arguments)
        if not len(whole):
            raise DataMismatchError(f"split '{name}' of {self.protocol.dataset} is empty; fill it or choose another")
        return _share(whole, int(share["start"] or 0), int(share["stop"] or 100)) if share else whole

    def _statistics(self) -> Statistics | None:
        """Return what raw reflectance is normalised by: the statistics of 8-bit images, see `Protocol.white`."""
        if self.card.bands == RGB:
            return None
        mean, deviation = ([value * self.protocol.white / 255 for value in each] for each in BYTE_STATISTICS)
        return mean, deviation

    def _loader(self, samples: Samples, images_at_once: int, **options: Any) -> DataLoader[Batch]:
        # Drawn splits stay in memory once drawn; each loading process would draw them again, on the cores that train.
        workers = 0 if self.workers is None and self.protocol.counts else self.workers
        task = self.card.task
        return loader(samples, task, images_at_once, seed=self.seed, workers=workers, part=self.part, **options)


def names(samples: Any) -> list[str]:
    """Name the samples of a split, of a share of one, or of what `loader` makes of it, by position in it."""
    match samples:
        case ConcatDataset():
            return [name for part in samples.datasets for name in names(part)]
        case Subset():
            whole = names(samples.dataset)
            return [whole[index] for index in samples.indices]
        case _Marked():
            return names(samples.samples)
        case DataLoader():
            return names(samples.dataset.dataset)  # type: ignore[attr-defined]  # the loader's own
    return sample_names(samples)


class _Marked:
    """Samples that say whether they are queries."""

    def __init__(self, samples: Samples, is_query: bool) -> None:
        self.samples = samples
        self.is_query = torch.tensor(is_query)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.samples[index] | {"is_query": self.is_query}


def _share(whole: Samples, start: int, stop: int) -> Samples:
    """Return a share in percent of a split in a random order that is always the same."""
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = order[len(whole) * start // 100 : len(whole) * stop // 100]
    if not chosen:
        raise DataMismatchError(f"{start} % to {stop} % of {len(whole)} samples are none; take a larger share")
    return Subset(whole, sorted(chosen))  # type: ignore[arg-type]
