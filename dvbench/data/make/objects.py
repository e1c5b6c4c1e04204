"""LEVIR-Ship, NWPU VHR-10 and SSDD: objects in COCO files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvbench.data.cards.instance import NWPU_VHR10
from dvbench.data.make.source import Scenes, save
from dvbench.data.synthetic.canvas import Surface
from dvbench.data.synthetic.scene import Scene

_SHIP = {Surface.SHIP: 1}
_NWPU = {Surface.SHIP: 2, Surface.STORAGE_TANK: 3, Surface.TENNIS_COURT: 5, Surface.VEHICLE: 10}


class _Found(NamedTuple):
    """An object as COCO has it: category, box as x, y, w, h, polygon and area in pixels."""

    category: int
    box: list[int]
    polygon: list[int]
    area: int


def levir_ship(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images in each split, every third without a ship; areas are (w + 1)(h + 1), annotation ids start at 0."""
    for split in ("train", "val", "test"):
        images = []
        for number in range(count):
            drawn = scenes.draw("desert" if number % 3 == 2 else "sea", 512, object_size=10)
            name = f"GF1_WFV1_{split}_{number}.png"
            save(folder / "images" / f"{split}2017" / name, drawn.image, compress_level=1)
            images.append((name, drawn.image.shape[:2], [_boxed(found) for found in _objects(drawn, 512, _SHIP)]))
        _write_coco(folder / "annotations" / f"instances_{split}2017.json", images, {"ship": 1}, first=0)


def nwpu_vhr10(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` positive images and half as many negative ones; image ids are the file number - 1."""
    unpacked = folder / "NWPU VHR-10 dataset"
    images = []
    for number in range(1, count + 1):
        drawn = scenes.draw(("harbor", "industrial", "residential")[number % 3], 640, object_size=56)
        height = 533 + 7 * (number % 12)
        name, found = f"{number:03d}.jpg", _objects(drawn, height, _NWPU)
        save(unpacked / "positive image set" / name, drawn.image[:height], quality=90)
        images.append((name, (height, 640), found))
        lines = [f"({x},{y}),({x + w},{y + h}),{category}\n" for category, (x, y, w, h), _, _ in found]
        text = unpacked / "ground truth" / f"{number:03d}.txt"
        text.parent.mkdir(exist_ok=True)
        text.write_text("".join(lines), encoding="utf-8")
    for number in range(1, count // 2 + 1):
        save(unpacked / "negative image set" / f"{number:03d}.jpg", scenes.draw("desert", 640).image, quality=90)
    categories = {name: category for category, name in enumerate(NWPU_VHR10.classes) if category}
    _write_coco(unpacked / "annotations.json", images, categories, first=1)


def ssdd(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images in each of the two lists; grey pictures of three channels, annotation ids of val start at 0."""
    for offset, split in enumerate(("train", "val")):
        images = []
        for number in range(count):
            drawn = scenes.draw("sea", 500, object_size=24)
            height = 350 - 11 * (number % 5)
            radar = (drawn.image[:height].mean(axis=2, keepdims=True) * 2 - 80).clip(0, 255).astype(np.uint8)
            name = f"{2 * number + offset + 1:06d}.jpg"
            save(folder / "imgs" / name, radar.repeat(3, axis=2), quality=90)
            images.append((name, (height, 500), _objects(drawn, height, _SHIP)))
        _write_coco(
            folder / "annotations" / f"SSDD_instances_{split}.json",
            images,
            {"ship": 1},
            first=0 if split == "val" else 1,
        )


def _objects(drawn: Scene, height: int, categories: Mapping[Surface, int]) -> list[_Found]:
    """The objects of the known kinds in the upper `height` rows of a scene."""
    found = []
    for kind, mask in zip(drawn.instances.kinds, drawn.instances.masks[:, :height], strict=True):
        if Surface(kind) in categories and mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            category = categories[Surface(kind)]
            found.append(_Found(category, [int(value) for value in box], _outline(mask), int(mask.sum())))
    return found


def _outline(mask: NDArray[np.uint8]) -> list[int]:
    """The polygon around a mask: down its left side and up its right, exact where no row has a gap."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    down = np.stack([left, rows, left, rows + 1], axis=1)
    up = np.stack([right, rows + 1, right, rows], axis=1)[::-1]
    corners: list[int] = np.concatenate([down, up]).ravel().tolist()
    return corners


def _boxed(found: _Found) -> _Found:
    """The object with its box for an outline, and LEVIR-Ship's idea of its area."""
    x, y, w, h = found.box
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    return found._replace(polygon=corners, area=(w + 1) * (h + 1))


def _write_coco(
    path: Path,
    images: Iterable[tuple[str, tuple[int, ...], list[_Found]]],
    categories: Mapping[str, int],
    *,
    first: int,
) -> None:
    """Write an annotation file.

    Args:
        path: Where to.
        images: File name, height and width, and objects of each image; image ids count from 0.
        categories: Name -> id.
        first: Id of the first annotation.
    """
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name, "supercategory": name} for name, number in categories.items()],
    }
    for image_id, (name, (height, width), objects) in enumerate(images):
        content["images"].append({"id": image_id, "file_name": name, "height": height, "width": width})
        for found in objects:
            annotation = {
                "id": first + len(content["annotations"]),
                "image_id": image_id,
                "category_id": found.category,
                "bbox": found.box,
                "area": found.area,
                "segmentation": [found.polygon],
                "iscrowd": 0,
            }
            content["annotations"].append(annotation)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
