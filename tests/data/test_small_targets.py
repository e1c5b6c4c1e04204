"""Scenes with one small target: how large it is, where it may lie, and that nothing else tells its kind."""

from collections import Counter

import numpy as np
import pytest

from dvbench.data.catalog import CATALOG, dataset
from dvbench.data.synthetic import SyntheticError
from dvbench.data.synthetic.small_targets import KINDS, small_target


@pytest.mark.parametrize("size", [64, 96, 512])
def test_the_target_covers_about_one_percent_wholly_inside_the_image(size: int) -> None:
    for index in range(8):
        drawn = small_target(0, index, size)
        (mask,) = drawn.instances.masks
        assert 0.008 < mask.mean() < 0.012
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
        assert drawn.instances.kinds.tolist() == [KINDS[index % 4]]


def test_kinds_take_turns_and_places_do_not() -> None:
    drawn = [small_target(1, index, 64) for index in range(32)]
    assert Counter(scene.plan.things[0].kind for scene in drawn) == dict.fromkeys(KINDS, 8)
    assert len({scene.plan.things[0].centre for scene in drawn}) == 32


def test_the_same_scene_again_has_the_same_bytes_and_another_seed_has_others() -> None:
    assert np.array_equal(small_target(0, 3, 64).image, small_target(0, 3, 64).image)
    assert not np.array_equal(small_target(0, 3, 64).image, small_target(1, 3, 64).image)


def test_the_catalog_serves_them_with_the_mask_of_the_target() -> None:
    name = "synthetic_small_targets"
    train, test = (dataset(name, split, count=6, size=64) for split in ("train", "test"))
    assert len(train) == 6
    assert CATALOG[name].card.classes == ("background", "target")
    for index in range(6):
        sample = train[index]
        assert sample["image"].shape == (3, 64, 64)
        assert np.array_equal(sample["mask"], small_target(0, index, 64).instances.masks[0])
    assert not np.array_equal(train[0]["image"], test[0]["image"])


def test_clouds_hide_targets_and_are_not_scored() -> None:
    cloudy = [small_target(0, index, 64, difficulty=3) for index in range(12)]
    hidden = [scene for scene in cloudy if (scene.target == 255).any()]
    assert hidden
    for scene in cloudy:
        assert np.array_equal(scene.target == 255, scene.semantic == 255)
        assert (scene.target == 1).mean() < 0.012


@pytest.mark.parametrize(("name", "options"), [("size", {"size": 32}), ("difficulty", {"difficulty": 4})])
def test_what_cannot_be_drawn_is_named(name: str, options: dict[str, int]) -> None:
    with pytest.raises(SyntheticError, match=f"^{name} "):
        dataset("synthetic_small_targets", "train", **options)
    with pytest.raises(SyntheticError, match="seed -1 is too small"):
        small_target(-1, 0, 64)
