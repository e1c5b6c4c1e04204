"""Batches depend on the seed and on nothing else."""

import os
from typing import Any

import pytest
import torch

from dvbench.data.augment import augmentation
from dvbench.data.card import Task
from dvbench.data.cards.detection import NEON_TREES
from dvbench.data.loaders import Batch, BatchError, Part, collate, loader
from dvbench.data.samples import NeonTrees
from dvbench.data.transforms import Sample, pipeline


class Noise:
    """Samples that show their index and one random number."""

    def __init__(self, length: int = 10, boxes: int = 1) -> None:
        self.length = length
        self.boxes = boxes

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int, /) -> Sample:
        return {
            "image": torch.rand(3, 4, 4),
            "label": torch.tensor(index),
            "bbox_xyxy": torch.zeros(self.boxes * (index % 2), 4),
            "filename": f"{index}.png",
        }


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(one["image"], other["image"]) and one["filename"] == other["filename"]
        for one, other in zip(ours, theirs, strict=True)
    )


def noise(seed: int = 0, workers: int = 0, **options: Any) -> Any:
    return loader(Noise(), Task.CLASSIFICATION, 4, seed=seed, train=True, workers=workers, **options)


def test_same_seed_same_batches_with_any_number_of_workers() -> None:
    mix = augmentation("mixup_or_cutmix", classes=10)
    alone, helped = noise(mix=mix), noise(mix=mix, workers=2)
    for _ in range(2):
        ours, theirs = list(alone), list(helped)
        assert same(ours, theirs)
        assert all(torch.equal(one["label"], other["label"]) for one, other in zip(ours, theirs, strict=True))


def test_real_images_and_boxes_too() -> None:
    steps = [
        augmentation("horizontal_flip"),
        augmentation("large_scale_jitter", size=128, scale=(0.5, 1.8)),
        augmentation("random_crop", size=128),
        augmentation("pad", size=128),
    ]
    trees = NeonTrees(transforms=pipeline(NEON_TREES, *steps))
    alone, helped, other = (
        list(loader(trees, Task.DETECTION, 4, seed=seed, train=True, workers=workers))
        for seed, workers in ((5, 0), (5, 2), (6, 2))
    )
    for one, two in zip(alone, helped, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert all(map(torch.equal, one["bbox_xyxy"], two["bbox_xyxy"]))
    assert not torch.equal(alone[0]["image"], other[0]["image"])


def test_seeds_and_epochs_differ() -> None:
    batches = noise(seed=0)
    first, second = list(batches), list(batches)
    assert not same(first, second)
    assert not same(first, list(noise(seed=1)))
    again = noise(seed=0)
    again.sampler.set_epoch(1)
    assert same(second, list(again))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_where_it_was_left(workers: int) -> None:
    whole = noise(seed=0, workers=workers)
    list(whole)
    second = list(whole)
    rest = noise(seed=0, workers=workers)
    rest.sampler.go_on(1, 2)
    assert same(second[2:], list(rest))
    assert same(list(whole), list(rest)), "the epoch after it is whole"


def test_each_sample_comes_once_an_list() -> None:
    names = [name for batch in list(noise()) for name in batch["filename"]]
    assert sorted(names) == sorted(f"{index}.png" for index in range(10))
    assert names != sorted(names)
    assert len(noise()) == 3


def test_testing_keeps_the_order() -> None:
    batches = loader(Noise(), Task.CLASSIFICATION, 4, seed=0, train=False, workers=0)
    assert torch.cat([batch["label"] for batch in batches]).tolist() == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_random_numbers_of_the_model_are_left_alone(workers: int) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(noise(workers=workers))
    assert torch.equal(torch.rand(3), expected)


def test_samples_without_boxes_are_replaced_when_asked() -> None:
    def labels(**options: Any) -> list[int]:
        batches = loader(Noise(), Task.DETECTION, 4, seed=0, train=True, workers=0, **options)
        return [int(label) for batch in batches for label in batch["label"]]

    assert sorted(labels()) == list(range(10))
    replaced = labels(with_boxes_only=True)
    assert len(replaced) == 10
    assert all(label % 2 for label in replaced)


def test_a_dataset_without_any_box_ends_with_an_error() -> None:
    batches = loader(Noise(boxes=0), Task.DETECTION, 4, seed=0, train=True, with_boxes_only=True, workers=0)
    with pytest.raises(BatchError, match="100 samples of Noise in a row show no box"):
        list(batches)


def test_nothing_to_load_is_said_at_once() -> None:
    with pytest.raises(BatchError, match="Noise has no samples"):
        loader(Noise(0), Task.DETECTION, 4, seed=0, train=True)
    with pytest.raises(BatchError, match="batch size is 0"):
        loader(Noise(), Task.DETECTION, 0, seed=0, train=True)


STACKED = {
    Task.CLASSIFICATION: {"image", "size", "label"},
    Task.RETRIEVAL: {"image", "size", "label"},
    Task.DETECTION: {"image", "size"},
    Task.INSTANCE: {"image", "size"},
    Task.REGION: {"image", "size"},
    Task.SEMANTIC: {"image", "size", "mask"},
    Task.CHANGE: {"image", "size", "mask"},
}


@pytest.mark.parametrize("task", Task)
def test_what_is_stacked_depends_on_the_task(task: Task) -> None:
    sample = {key: torch.zeros(2, 2) for key in ("image", "size", "label", "mask", "bbox_xyxy")} | {"filename": "a"}
    batch = collate(task, [sample] * 3)
    assert {key for key, value in batch.items() if isinstance(value, torch.Tensor)} == STACKED[task]
    assert batch["image"].shape == (3, 2, 2)
    assert batch["filename"] == ["a"] * 3


def test_images_of_two_sizes_make_no_batch() -> None:
    samples = [{"image": torch.zeros(3, 8, side)} for side in (8, 9)]
    with pytest.raises(BatchError, match=r"'image' has shapes \(3, 8, 8\) and \(3, 8, 9\) in one batch; resize"):
        collate(Task.DETECTION, samples)


def test_workers_suit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def workers(cores: int, length: int = 100) -> int:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
        return loader(Noise(length), Task.CLASSIFICATION, 4, seed=0, train=True).num_workers

    assert [workers(cores) for cores in (1, 2, 64)] == [0, 1, 8]
    assert workers(64, length=10) == 3


def test_memory_is_pinned_with_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert noise().pin_memory is found


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_each_batch_and_augment_it_as_one_would(world: int) -> None:
    whole = list(noise())
    parts = [list(noise(part=Part(rank, world))) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    for i in range(len(parts[0])):
        for rank, part in enumerate(parts):
            end = len(whole[i]["index"]) // world * world
            assert torch.equal(part[i]["index"], whole[i]["index"][rank:end:world])
            assert torch.equal(part[i]["image"], whole[i]["image"][rank:end:world])


def test_processes_that_test_see_every_sample_once() -> None:
    loaders = [
        loader(Noise(9), Task.CLASSIFICATION, 4, seed=0, train=False, workers=0, part=Part(r, 2)) for r in (0, 1)
    ]
    batches = [list(each) for each in loaders]
    assert [len(each) for each in batches] == [len(each) for each in loaders]
    seen = torch.cat([batch["index"] for each in batches for batch in each])
    assert sorted(seen.tolist()) == list(range(9))
