"""Batches that depend on the seed only, not on how many processes make them."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dvbench.data.card import Task
from dvbench.data.transforms import Sample

Batch = dict[str, Any]
Order = Callable[[torch.Generator], Tensor]
"""Draws int64 (samples,), each position once."""


class Part(NamedTuple):
    """Which samples of a batch one of several processes takes: every `world`-th, from the `rank`-th on."""

    rank: int
    world: int


WHOLE = Part(0, 1)
MOST_WORKERS = 8  # as the released configurations
MOST_REDRAWS = 100

_STACKED: Mapping[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("image", "label", "size", "is_query"),
    Task.DETECTION: ("image", "size"),
    Task.INSTANCE: ("image", "size"),
    Task.SEMANTIC: ("image", "mask", "size"),
    Task.CHANGE: ("image", "mask", "size"),
    Task.REGION: ("image", "size"),
    Task.RETRIEVAL: ("image", "label", "size", "is_query"),
}


class BatchError(ValueError):
    """No batch can be made; the message says of what and what to do."""


class Samples(Protocol):
    """A dataset whose samples can be asked for one by one."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


def loader(
    dataset: Samples,
    task: Task,
    batch_size: int,
    *,
    seed: int,
    train: bool,
    mix: Callable[[Batch], Batch] | None = None,
    with_boxes_only: bool = False,
    workers: int | None = None,
    part: Part = WHOLE,
    order: Order | None = None,
) -> DataLoader[Batch]:
    """Load a dataset batch by batch.

    The same seed gives the same batches in the same order for any number of workers, and the same samples in each
    batch for any number of processes that share it. Each pass over the loader is an
    epoch with an order and random numbers of its own; call `loader.sampler.set_epoch` to go on from one of them.

    Args:
        dataset: Where the samples come from; its transforms may draw from torch's global random numbers only.
        task: Decides how samples are collated, see `collate`.
        batch_size: Samples in a batch, over all processes; the last may have fewer.
        seed: Decides order, augmentation and mixing; not negative.
        train: Shuffle.
        mix: Changes a collated batch, such as augmentation "mixup_or_cutmix".
        with_boxes_only: Put another random sample in the place of one whose image, once augmented, shows no box.
        workers: Processes that load; by default as many as suit the machine.
        part: Which samples of each batch are loaded here, where several processes train together.
        order: Draws the order of an epoch, where shuffling freely would read slowly.

    Returns:
        A loader of batches, pinned where there is a GPU. Besides what `collate` says, a batch holds "index", int64
        (B,): positions in the dataset.

    Raises:
        BatchError: The dataset is empty or the batch size is below 1.
    """
    if not len(dataset):
        raise BatchError(f"{type(dataset).__name__} has no samples in this split; choose another split or fill it")
    if batch_size < 1:
        raise BatchError(f"batch size is {batch_size}; give 1 or more")
    draws = Draws(len(dataset), batch_size, seed=seed, shuffle=train, part=part, order=order)
    if workers is None:
        workers = min(_free_cores(), MOST_WORKERS, len(draws))
    return DataLoader(
        _Batches(dataset, task, mix, with_boxes_only),
        batch_size=None,  # a draw is a whole batch
        sampler=draws,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None,
        generator=torch.Generator(),  # or each pass would draw from the global numbers, on which the model depends
    )


def collate(task: Task, samples: list[Sample]) -> Batch:
    """Make a batch of samples.

    Args:
        task: What they are samples of.
        samples: At least one.

    Returns:
        "image" and "size" are stacked, and so are "label" in classification and retrieval and "mask" in semantic
        segmentation and change detection; every other key is a list with one entry a sample.

    Raises:
        BatchError: What is to be stacked differs in shape.
    """
    columns = {key: [sample[key] for sample in samples] for key in samples[0]}
    return {key: _stack(key, column) if key in _STACKED[task] else column for key, column in columns.items()}


def _stack(key: str, column: list[Tensor]) -> Any:
    shapes = sorted({tuple(value.shape) for value in column})
    if len(shapes) > 1:
        raise BatchError(
            f"'{key}' has shapes {shapes[0]} and {shapes[-1]} in one batch; resize, crop or pad to one size"
        )
    return default_collate(column)  # in a worker, straight into shared memory


@dataclass(frozen=True)
class Draw:
    """The samples of one batch, and for each of them the seed of all random numbers that go into it."""

    indices: list[int]
    seeds: list[int]


class Draws(Sampler[Draw]):
    """Draw the batches of an epoch.

    Args:
        length: Samples in the dataset.
        batch_size: Samples in a batch, over all processes; the last may have fewer.
        seed: Decides the draws, together with the epoch.
        shuffle: Whether the order is random. If so, all processes get equally many samples, for which a few of the
            last batch may be left out.
        part: Which samples of a batch are drawn here.
        order: Draws a random order; any is as likely as any other if None.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        part: Part = WHOLE,
        order: Order | None = None,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.part = part
        self.order = order
        self.epoch = 0
        self.batch = 0

    def __len__(self) -> int:
        """Number of batches."""
        whole, rest = divmod(self.length, self.batch_size)
        return whole + (rest >= self.part.world if self.shuffle else rest > self.part.rank)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of `epoch`, counted from 0."""
        self.epoch = epoch

    def go_on(self, epoch: int, batch: int) -> None:
        """Make the next pass that of `epoch`, without the batches before `batch`; both count from 0.

        Call it before an iterator is made of the loader: processes that load begin at once.
        """
        self.epoch, self.batch = epoch, batch

    def __iter__(self) -> Iterator[Draw]:
        """Draw one epoch, or what is left of one."""
        # Nothing here runs before the first draw is asked for: of the iterators that DataLoader makes, only one counts.
        mixed = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
        self.epoch += 1
        done, self.batch = self.batch, 0
        generator = torch.Generator().manual_seed(int(mixed[0]))
        order = self._order(generator) if self.shuffle else torch.arange(self.length)
        seeds = torch.randint(2**63 - 1, (self.length,), generator=generator)
        whole = zip(order.split(self.batch_size), seeds.split(self.batch_size), strict=True)
        for indices, numbers in islice(whole, done, None):
            end = len(indices) - len(indices) % self.part.world if self.shuffle else len(indices)
            mine = slice(self.part.rank, end, self.part.world)
            if len(indices[mine]):
                yield Draw(indices[mine].tolist(), numbers[mine].tolist())

    def _order(self, generator: torch.Generator) -> Tensor:
        return self.order(generator) if self.order else torch.randperm(self.length, generator=generator)


class _Batches(Dataset[Batch]):
    """Turns draws into batches, in whichever process."""

    def __init__(
        self, dataset: Samples, task: Task, mix: Callable[[Batch], Batch] | None, with_boxes_only: bool
    ) -> None:
        self.dataset = dataset
        self.task = task
        self.mix = mix
        self.with_boxes_only = with_boxes_only

    def __getitem__(self, draw: Draw) -> Batch:
        with torch.random.fork_rng(devices=[]):
            samples = [self._sample(index, seed) for index, seed in zip(draw.indices, draw.seeds, strict=True)]
            batch = collate(self.task, samples) | {"index": torch.tensor(draw.indices)}
            return batch if self.mix is None else self.mix(batch)

    def _sample(self, index: int, seed: int) -> Sample:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU as well
        sample = self.dataset[index]
        if not self.with_boxes_only:
            return sample
        for _ in range(MOST_REDRAWS):
            if len(sample["bbox_xyxy"]):
                return sample
            sample = self.dataset[int(torch.randint(len(self.dataset), ()))]
        raise BatchError(
            f"{MOST_REDRAWS} samples of {type(self.dataset).__name__} in a row show no box; check the data"
        )


def _free_cores() -> int:
    """Cores that this process may use, less the one on which it runs itself."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable - 1
