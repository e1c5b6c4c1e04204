"""Samples of every kind are drawn: a panel per image and mask, boxes and outlines where the pixels are."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from dvbench.data.plot import draw

IMAGE = torch.randint(0, 256, (3, 20, 30)).float()
BOX = torch.tensor([[2.0, 3.0, 12.0, 9.0]])
CLASSES = ("background", "ship", "plane")


def mask() -> torch.Tensor:
    drawn = torch.zeros(1, 20, 30, dtype=torch.uint8)
    drawn[0, 3:9, 2:12] = 1
    return drawn


@pytest.mark.parametrize(
    ("sample", "titles"),
    [
        ({"image": IMAGE, "label": torch.tensor(2)}, ["plane"]),
        ({"image": IMAGE, "label": torch.tensor(2), "prediction": torch.tensor(1)}, ["plane\npredicted: ship"]),
        ({"image": IMAGE, "label": torch.tensor([0, 1, 1])}, ["ship, plane"]),
        ({"image": IMAGE, "label": torch.tensor([1]), "bbox_xyxy": BOX}, ["objects: 1"]),
        ({"image": IMAGE, "label": torch.zeros(0).long(), "bbox_xyxy": torch.zeros(0, 4)}, ["objects: 0"]),
        ({"image": IMAGE, "label": torch.tensor([1]), "bbox_xyxy": BOX, "mask": mask()}, ["objects: 1"]),
        ({"image": IMAGE, "mask": mask()[0].long() * 255}, ["image", "mask"]),
        ({"image": IMAGE, "mask": mask()[0].long(), "prediction": mask()[0].long()}, ["image", "mask", "prediction"]),
        ({"image": torch.stack([IMAGE, IMAGE]), "mask": mask()[0].long()}, ["before", "after", "mask"]),
    ],
)
def test_panels(sample: dict[str, Any], titles: list[str]) -> None:
    figure = draw(sample, CLASSES, suptitle="one")
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == titles
    assert figure.get_suptitle() == "one"
    assert not any(axis.get_title() for axis in draw(sample, CLASSES, show_titles=False).axes)


def test_box_and_outline_lie_on_the_pixels_they_mean() -> None:
    sample = {"image": IMAGE, "label": torch.tensor([1]), "bbox_xyxy": BOX, "mask": mask()}
    (axis,) = draw(sample, CLASSES).axes
    (rectangle,) = (patch for patch in axis.patches if isinstance(patch, Rectangle))
    (outline,) = axis.collections[0].get_paths()
    np.testing.assert_allclose(rectangle.get_bbox().extents, [2, 3, 12, 9])
    np.testing.assert_allclose(outline.get_extents().extents, [2, 3, 12, 9])
    np.testing.assert_allclose(axis.images[0].get_extent(), [0, 30, 20, 0])


def test_pixels_to_be_ignored_have_a_colour_of_their_own() -> None:
    ignored = torch.full((20, 30), 255)
    ignored[:10] = 1
    axis = draw({"image": IMAGE, "mask": ignored}, CLASSES).axes[1]
    assert set(np.unique(np.asarray(axis.images[0].get_array()))) == {1, len(CLASSES)}
