"""The embedded tree crowns are a TorchGeo dataset: what the splits hold, what a sample is, what a broken copy says."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset

from dvbench.data.samples import NeonTrees
from dvbench.data.scene import EMBEDDED


@pytest.mark.parametrize(("split", "images", "boxes"), [("train", 12, 241), ("val", 4, 163), ("test", 6, 335)])
def test_every_split_holds_what_its_docstring_says(split: Any, images: int, boxes: int) -> None:
    dataset = NeonTrees(split=split)
    assert isinstance(dataset, NonGeoDataset)
    samples = [dataset[index] for index in range(len(dataset))]
    assert (len(samples), sum(len(sample["label"]) for sample in samples)) == (images, boxes)
    for sample in samples:
        image, bbox = sample["image"], sample["bbox_xyxy"]
        channels, height, width = image.shape
        assert (channels, image.dtype, bbox.dtype, sample["label"].dtype) == (3, *[torch.float32] * 2, torch.int64)
        assert 1 < image.max() <= 255
        assert image.min() >= 0
        assert bbox.shape == (len(sample["label"]), 4)
        assert (bbox[:, :2] >= 0).all()
        assert (bbox[:, :2] < bbox[:, 2:]).all()
        assert (bbox[:, 2:] <= torch.tensor([width, height])).all()
        assert (sample["label"] == NeonTrees.classes.index("tree")).all()


def test_boxes_are_corners() -> None:
    sample = NeonTrees(split="test")[0]
    assert sample["bbox_xyxy"][0].tolist() == [106, 92, 106 + 33, 92 + 45]  # annotated as x, y, width, height


def test_image_without_a_box_keeps_the_shapes() -> None:
    sample = NeonTrees(split="train")[0]
    assert (sample["bbox_xyxy"].shape, sample["label"].shape) == ((0, 4), (0,))


def test_splits_share_no_image() -> None:
    names = [path.name for path in (EMBEDDED / "images").glob("*/*.jpg")]
    assert len(set(names)) == len(names) == 22


def test_transforms_are_applied() -> None:
    dataset = NeonTrees(transforms=lambda sample: {**sample, "image": sample["image"] / 255})
    assert dataset[1]["image"].max() <= 1


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="'valid' is not in NeonTrees; choose one of train, val, test"):
        NeonTrees(split="valid")  # type: ignore[arg-type]


def test_root_without_the_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=tmp_path.name):
        NeonTrees(root=tmp_path)


def test_copy_that_lost_an_image(tmp_path: Path) -> None:
    root = Path(shutil.copytree(EMBEDDED, tmp_path / "copy", ignore=shutil.ignore_patterns("scene_*", "train", "test")))
    assert len(NeonTrees(root=root, split="val")) == 4
    next((root / "images" / "val").iterdir()).unlink()
    with pytest.raises(DatasetNotFoundError):
        NeonTrees(root=root, split="val")


def test_plot_draws_every_box() -> None:
    dataset = NeonTrees(split="val")
    figure = dataset.plot(dataset[0], suptitle="validation")
    (axes,) = figure.axes
    assert len(axes.patches) == len(dataset[0]["label"])
    assert (axes.get_title(), figure.get_suptitle()) == (f"{len(axes.patches)} trees", "validation")


def test_attribution_travels_with_the_images() -> None:
    notice = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert "MIT" in notice
    assert "Copyright (c) 2019 Ben Weinstein" in notice
    assert "National Ecological Observatory Network" in notice
