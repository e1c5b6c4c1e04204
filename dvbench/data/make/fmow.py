"""fMoW-rgb: a folder for each place, with regions in JSON files."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvbench.data.make.source import Scenes, save
from dvbench.data.synthetic.plan import PLACES
from dvbench.data.synthetic.scene import Scene

_CATEGORIES = dict(
    zip(
        PLACES,
        (
            "crop_field", "port", "factory_or_powerplant", "single-unit_residential", "parking_lot_or_garage",
            "recreational_facility", "storage_tank", "park",
        ),
        strict=True,
    )
)  # fmt: skip
_LOOKS = ("farmland", "industrial", "parking", "residential")


def fmow(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` places in each of train, val, test and seq, each with a sharp and a coarse picture.

    The pictures of test and seq lie under numbers; what they show is told in folders of their own.
    """
    for part in ("train", "val", "test", "seq"):
        numbers: Counter[str] = Counter()
        rows = []
        for place in range(count):
            drawn = scenes.draw(_LOOKS[place % len(_LOOKS)], 256)
            boxes, category = _shown(drawn)
            name = f"{category}/{category}_{numbers[category]}"
            numbers[category] += 1
            anonymous = part in {"test", "seq"}
            labels = f"{part}_gt/{name}" if anonymous else f"{part}/{name}"
            images = f"{part}/{place:07d}" if anonymous else labels
            rows.append({"input": labels, "output": images})
            for kind, step in (("rgb", 1), ("msrgb", 2)):
                picture = drawn.image[::step, ::step]
                save(folder / images / f"{Path(images).name}_0_{kind}.jpg", picture, quality=90)
                _annotate(folder / labels / f"{Path(labels).name}_0_{kind}.json", boxes // step, category)
        if part in {"test", "seq"}:
            (folder / f"{part}_gt_mapping.json").write_text(json.dumps(rows), encoding="utf-8")


def _shown(drawn: Scene) -> tuple[NDArray[np.int64], str]:
    """Boxes of all places of the kind of the largest one, int64 (N, 4), and its category."""
    boxes, kinds = drawn.regions
    largest = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).argmax()
    return boxes[kinds == kinds[largest]], _CATEGORIES[PLACES[kinds[largest]]]


def _annotate(path: Path, boxes: NDArray[np.int64], category: str) -> None:
    """Write the regions of one picture; boxes are int64 (N, 4), left, top, right, bottom."""
    regions = [
        {"ID": number, "category": category, "box": [left, top, right - left, bottom - top]}
        for number, (left, top, right, bottom) in enumerate(boxes.tolist())
    ]
    content = {
        "gsd": 0.5,
        "img_filename": f"{path.stem}.jpg",
        "timestamp": "2016-01-05T10:00:00Z",
        "bounding_boxes": regions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
