"""Synthetic scenes: the same bytes everywhere, labels that agree with the picture and with each other."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torchgeo.datasets import NonGeoDataset

from dvbench.data.card import Task
from dvbench.data.cards.synthetic import SYNTHETIC
from dvbench.data.synthetic import Scene, SyntheticError, scene
from dvbench.data.synthetic.canvas import KINDS, Surface
from dvbench.data.synthetic.dataset import Synthetic
from dvbench.data.synthetic.dice import Dice, fractal
from dvbench.data.synthetic.exposure import IGNORE
from dvbench.data.synthetic.plan import PLACES, SCENE_CLASSES
from dvbench.data.synthetic.shapes import TURN, disc, raster, rectangle, swept

PINNED = "5fc79ff26155e979d8c23d6e88c70f224e4f23b4ca432787a619b11b731b7fce"


def scenes(size: int = 192, **options: Any) -> list[Scene]:
    """One scene of each class."""
    return [scene(3, index, size, scene_class=name, **options) for index, name in enumerate(SCENE_CLASSES)]


def test_same_bytes_on_every_machine() -> None:
    digest = hashlib.sha256()
    for drawn in scenes(96, difficulty=3, object_size=20):
        parts = (drawn.image, drawn.before, drawn.semantic, drawn.change, drawn.instances.masks, drawn.presence)
        for part in (*parts, drawn.instances.boxes, drawn.regions.boxes, drawn.regions.kinds):
            digest.update(np.ascontiguousarray(part).astype(part.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == PINNED


def test_directions_do_not_hang_on_the_last_bit_of_a_cosine() -> None:
    exact = 4096 * np.cos(np.arange(TURN) * 2 * np.pi / TURN)
    assert np.abs(exact % 1 - 0.5).min() > 0.01


def test_seeds_and_indices_differ() -> None:
    first, other_seed, other_index = scene(0, 0, 64), scene(1, 0, 64), scene(0, 1, 64)
    assert not np.array_equal(first.image, other_seed.image)
    assert not np.array_equal(first.image, other_index.image)


def test_boxes_fit_masks_and_masks_fit_the_semantic_mask() -> None:
    found = 0
    for drawn in scenes(difficulty=2):
        assert drawn.instances.masks.sum(axis=0).max(initial=0) <= 1, "objects hide each other, they do not overlap"
        for box, kind, mask in zip(*drawn.instances, strict=True):
            y, x = np.nonzero(mask)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert (drawn.semantic[mask == 1] == kind).all()
            found += 1
    assert found > 50


def test_objects_are_brighter_or_darker_than_what_surrounds_them() -> None:
    drawn = scene(0, 0, 512, difficulty=0, scene_class="sea")
    brightness = drawn.image.mean(axis=2)
    for box, mask in zip(drawn.instances.boxes, drawn.instances.masks, strict=True):
        left, top, right, bottom = box
        inside = mask[top:bottom, left:right] == 1
        window = brightness[top:bottom, left:right]
        assert window[inside].mean() > window[~inside].mean() + 15


def test_masks_sit_exactly_on_the_objects() -> None:
    """The picture changes most along the edges of the masks, and less along edges that are moved by 2 pixels."""
    drawn = scene(1, 0, 512, difficulty=0, scene_class="industrial")
    down, right = np.gradient(drawn.image.mean(axis=2))
    steepness = np.hypot(down, right)
    objects = np.isin(drawn.semantic, KINDS)
    edge = objects ^ (
        np.roll(objects, 1, 0) & np.roll(objects, -1, 0) & np.roll(objects, 1, 1) & np.roll(objects, -1, 1)
    )
    moved = [steepness[np.roll(edge, shift, axis)].mean() for shift in (-2, 2) for axis in (0, 1)]
    assert steepness[edge].mean() > 1.2 * max(moved)


def test_water_is_blue_and_woods_are_green() -> None:
    for drawn in scenes(difficulty=0):
        water, trees = drawn.image[drawn.semantic == Surface.WATER], drawn.image[drawn.semantic == Surface.TREES]
        if len(water):
            assert water[:, 2].mean() > water[:, 0].mean() + 20
        if len(trees):
            assert trees[:, 1].mean() > max(trees[:, 0].mean(), trees[:, 2].mean()) + 5


def test_change_is_where_buildings_differ_and_nothing_else() -> None:
    changed_somewhere = 0
    for index in range(6):
        drawn = scene(5, index, 256, difficulty=0, scene_class="residential")
        assert set(np.unique(drawn.change)) <= {0, 1}
        changed = drawn.change == 1
        difference = np.abs(drawn.image.astype(int) - drawn.before).mean(axis=2)
        if changed.any():
            changed_somewhere += 1
            assert difference[changed].mean() > 3 * difference[~changed].mean()
    assert changed_somewhere > 3


def test_difficulty_leaves_the_layout_alone() -> None:
    for easy, hard in zip(scenes(difficulty=0), scenes(difficulty=3), strict=True):
        seen = hard.semantic != IGNORE
        assert np.array_equal(easy.semantic[seen], hard.semantic[seen])


def test_difficulty_adds_haze_noise_and_clouds() -> None:
    easy, hard = scenes(difficulty=0), scenes(difficulty=3)
    darkest = [np.mean([np.percentile(drawn.image, 5) for drawn in group]) for group in (easy, hard)]
    noise = [np.mean([np.diff(drawn.image[..., 0].astype(int)).std() for drawn in group]) for group in (easy, hard)]
    assert darkest[0] < darkest[1]
    assert noise[0] < noise[1]
    assert not any((drawn.semantic == IGNORE).any() for drawn in easy)
    assert any((drawn.semantic == IGNORE).any() for drawn in hard)


def test_clouds_hide_labels() -> None:
    cloudy = [drawn for drawn in scenes(difficulty=3) if (drawn.semantic == IGNORE).any()]
    for drawn in cloudy:
        hidden = drawn.semantic == IGNORE
        assert not drawn.instances.masks[:, hidden].any()
        assert (drawn.change[hidden] == IGNORE).all()


def test_object_size_sets_how_much_of_the_image_is_target() -> None:
    shares = {unit: np.mean([drawn.coverage for drawn in scenes(512, object_size=unit)]) for unit in (10, 32)}
    assert 0.005 < shares[10] < 0.02
    assert shares[32] > 4 * shares[10]


def test_regions_are_boxes_in_the_image() -> None:
    for drawn in scenes():
        boxes, kinds = drawn.regions
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes[:, 2:] <= 192).all()
        assert set(kinds.tolist()) <= set(range(len(PLACES)))


def test_regions_to_learn_from_are_places_and_objects() -> None:
    dataset = Synthetic("region", size=128, object_size=16)
    seen = set()
    for index in range(20):
        sample, drawn = dataset[index], dataset.scene(index)
        named = [dataset.classes[kind] for kind in sample["label"]]
        objects = [Surface(kind).name.lower() for kind in drawn.instances.kinds]
        assert named == [*(PLACES[kind] for kind in drawn.regions.kinds), *objects]
        boxes = np.concatenate([drawn.regions.boxes, drawn.instances.boxes])
        assert np.array_equal(sample["bbox_xyxy"].numpy(), boxes)
        seen |= set(named)
    assert len(seen) >= 12


def test_presence_lists_what_the_semantic_mask_shows() -> None:
    for drawn in scenes():
        assert np.flatnonzero(drawn.presence).tolist() == sorted(set(np.unique(drawn.semantic).tolist()) - {IGNORE})


def test_scene_class_can_be_seen() -> None:
    """Colours alone, by the nearest of eight class means, tell most classes of new scenes."""

    def colours(seed: int, name: str) -> Any:
        pixels = scene(seed, 0, 128, difficulty=0, scene_class=name).image.reshape(-1, 3)
        return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])

    means = np.stack([np.mean([colours(seed, name) for seed in range(4)], axis=0) for name in SCENE_CLASSES])
    hits = [
        np.abs(means - colours(seed, name)).sum(axis=1).argmin() == label
        for seed in (10, 11, 12)
        for label, name in enumerate(SCENE_CLASSES)
    ]
    assert np.mean(hits) > 0.6


@pytest.mark.parametrize("size", [32, 97, 300])
def test_any_size(size: int) -> None:
    for drawn in scenes(size, object_size=8):
        assert (drawn.image.shape, drawn.before.shape) == ((size, size, 3), (size, size, 3))
        assert drawn.instances.masks.shape == (len(drawn.instances.kinds), size, size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size 8 is too small for a synthetic scene; give 32 or more"),
        ({"seed": -1}, "seed -1 is too small"),
        ({"object_size": 2}, "object_size 2 is too small for a synthetic scene; give 6 or more"),
        ({"difficulty": 4}, "difficulty 4 is unknown; give a whole number from 0 to 3"),
        ({"scene_class": "moon"}, "scene class 'moon' is unknown; choose one of desert, "),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SyntheticError, match=message):
        scene(**{"seed": 0, "index": 0, "size": 64, **arguments})


def test_raster_takes_the_pixels_whose_centres_lie_inside() -> None:
    patch = raster(rectangle((16 * 5, 16 * 4), 0, 16 * 4, 16 * 2), 20)
    assert patch is not None
    assert patch.window == (slice(3, 5), slice(3, 7))
    assert patch.inside.all()
    round_patch = raster(disc((16 * 50, 16 * 50), 16 * 20), 100)
    assert round_patch is not None
    assert abs(round_patch.inside.sum() / (np.pi * 20**2) - 1) < 0.03
    assert raster(rectangle((-160, 40), 0, 16, 16), 20) is None


def test_swept_shape_covers_start_and_end() -> None:
    start = rectangle((320, 320), 5, 160, 80)
    hull = raster(swept(start, (100, 60)), 60)
    for outline in (start, [(x + 100, y + 60) for x, y in start]):
        patch = raster(outline, 60)
        assert hull is not None
        assert patch is not None
        canvas = np.zeros((60, 60), dtype=bool)
        canvas[hull.window] |= hull.inside
        assert canvas[patch.window][patch.inside].all()


def test_noise_is_centred_and_bounded() -> None:
    field = fractal(Dice(0), 200, 64)
    assert field.shape == (200, 200)
    assert field.dtype == np.int32
    assert abs(field.mean()) < 40
    assert np.abs(field).max() <= 256


@pytest.mark.parametrize("card", SYNTHETIC, ids=lambda card: str(card.task))
def test_dataset_keeps_the_contract_of_its_task(card: Any) -> None:
    dataset = Synthetic(card.task, "val", size=160, object_size=20)
    assert isinstance(dataset, NonGeoDataset)
    assert len(dataset) == card.split("val").count
    keys = {
        Task.CLASSIFICATION: {"label"},
        Task.DETECTION: {"bbox_xyxy", "label"},
        Task.INSTANCE: {"bbox_xyxy", "label", "mask"},
        Task.SEMANTIC: {"mask"},
        Task.CHANGE: {"mask"},
        Task.REGION: {"bbox_xyxy", "label"},
        Task.RETRIEVAL: {"label"},
    }
    first_label = 1 if card.task in {Task.DETECTION, Task.INSTANCE} else 0
    for index in range(8):
        sample = dataset[index]
        assert sample.keys() == {"image"} | keys[card.task]
        assert sample["image"].shape == ((2, 3, 160, 160) if card.task is Task.CHANGE else (3, 160, 160))
        assert sample["image"].dtype == torch.float32
        assert 1 < sample["image"].max() <= 255
        for key, dtype in (("label", torch.int64), ("bbox_xyxy", torch.float32)):
            assert key not in sample or sample[key].dtype == dtype
        if card.task is Task.RETRIEVAL:
            assert sample["label"].shape == (len(card.classes),)
        elif "label" in sample:
            assert ((sample["label"] >= first_label) & (sample["label"] < len(card.classes))).all()
        if card.task is Task.INSTANCE:
            assert (sample["mask"].shape, sample["mask"].dtype) == ((len(sample["label"]), 160, 160), torch.uint8)
        elif "mask" in sample:
            assert (sample["mask"].shape, sample["mask"].dtype) == ((160, 160), torch.int64)
            assert set(sample["mask"].unique().tolist()) <= {*range(len(card.classes)), IGNORE}


def test_every_class_occurs_in_the_dataset() -> None:
    labels = {int(Synthetic("classification", size=32)[index]["label"]) for index in range(len(SCENE_CLASSES))}
    assert labels == set(range(len(SCENE_CLASSES)))
    kinds = torch.cat([Synthetic("detection", size=256, difficulty=0)[index]["label"] for index in range(10)])
    assert set(kinds.tolist()) == set(range(1, len(KINDS) + 1))


def test_sample_is_the_same_each_time_and_splits_differ() -> None:
    train, test = Synthetic("semantic", "train", size=64), Synthetic("semantic", "test", size=64)
    assert torch.equal(train[1]["image"], train[1]["image"])
    assert not torch.equal(train[1]["image"], test[1]["image"])
    assert not torch.equal(train[1]["image"], Synthetic("semantic", "train", size=64, seed=1)[1]["image"])


@pytest.mark.parametrize("task", list(Task))
def test_what_a_transform_does_to_a_sample_leaves_the_next_one_alone(task: Task) -> None:
    def blacken(sample: dict[str, Any]) -> dict[str, Any]:
        for value in sample.values():
            value.zero_()
        return sample

    dataset, blackened = Synthetic(task, size=64, count=2), Synthetic(task, size=64, count=2, transforms=blacken)
    blackened[1]
    blackened.transforms = None
    for name, value in dataset[1].items():
        assert torch.equal(blackened[1][name], value), name


def test_transforms_are_applied() -> None:
    dataset = Synthetic("classification", size=32, transforms=lambda sample: {**sample, "image": sample["image"] / 255})
    assert dataset[0]["image"].max() <= 1


def test_iteration_ends() -> None:
    assert len(list(Synthetic("classification", size=32, count=3))) == 3  # type: ignore[call-overload]


def test_unknown_split() -> None:
    with pytest.raises(SyntheticError, match="split 'valid' is not in Synthetic; choose one of train, val, test"):
        Synthetic("change", "valid")


def test_plot_draws_every_box() -> None:
    dataset = Synthetic("detection", size=128, object_size=20)
    sample = dataset[0]
    figure = dataset.plot(sample, suptitle="harbour")
    assert len(figure.axes[0].patches) == len(sample["label"])
    assert figure.get_suptitle() == "harbour"
