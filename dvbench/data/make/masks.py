"""Massachusetts Roads and WHU Building: a label file for each image."""

from pathlib import Path

import numpy as np

from dvbench.data.make.source import Scenes, as_mask, save
from dvbench.data.synthetic.canvas import Surface

_SPLITS = ("train", "val", "test")


def massachusetts_roads(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images of 1500x1500 in each split; images end in .tiff, labels, 0 or 255, in .tif."""
    for split in _SPLITS:
        for number in range(count):
            drawn = scenes.draw("residential", 1500, object_size=16)
            stem = f"{10078660 + 15 * number}_15"
            save(folder / "tiff" / split / f"{stem}.tiff", drawn.image)
            road = np.isin(drawn.semantic, (Surface.ROAD, Surface.VEHICLE))  # vehicles are on roads here
            save(folder / "tiff" / f"{split}_labels" / f"{stem}.tif", as_mask(road))


def whu_building(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images of 512x512 in each split; labels have one bit per pixel."""
    for split in _SPLITS:
        for number in range(count):
            drawn = scenes.draw(("residential", "industrial")[number % 2], 512)
            save(folder / split / "image" / f"{number}.tif", drawn.image)
            save(folder / split / "label" / f"{number}.tif", drawn.semantic == Surface.BUILDING)
