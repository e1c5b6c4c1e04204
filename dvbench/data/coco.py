"""COCO annotation files, read once and checked: labels and ids from 1, boxes inside their images."""

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine
from torch import Tensor

from dvbench.data.archives import safe_name

Box = tuple[float, float, float, float]
Record = dict[str, Any]


class CocoError(ValueError):
    """An annotation file cannot be used; the message is one line that says which entry of which file and why."""


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        id: From 1, in the order of the file. Ids are given anew because pycocotools takes 0 for "not matched".
        label: Class from 1, as 0 is the background.
        bbox_xyxy: Left, top, right, bottom in px, inside the image.
        area: In px, as stored; LEVIR-Ship's is (w + 1)(h + 1).
        polygons: Outline in one or several parts, each x, y, x, y... in px; empty where the file has none.
        runs: Mask of a crowd as COCO codes it, run by run; None where the file has none.
    """

    id: int
    label: int
    bbox_xyxy: Box
    area: float
    polygons: tuple[tuple[float, ...], ...]
    runs: Record | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with its objects.

    Attributes:
        name: Path below the image folder, with forward slashes.
        height: In px.
        width: In px.
        instances: Its objects; may be empty.
        crowds: Boxes that stand for several objects. Nothing learns from them, and what is found there is not scored.
    """

    name: str
    height: int
    width: int
    instances: tuple[Instance, ...]
    crowds: tuple[Instance, ...]


@dataclass(frozen=True)
class Coco:
    """What an annotation file holds.

    Attributes:
        images: In the order of the file.
        findings: One line for each box that had to be clipped or left out.
    """

    images: tuple[AnnotatedImage, ...]
    findings: tuple[str, ...]


def read_coco(path: Path, classes: Sequence[str]) -> Coco:
    """Read an annotation file.

    Categories are recognised by name, so their ids may start anywhere and come in any order. A box that sticks out of
    its image is clipped, one without area or wholly outside is left out; both are listed, and one warning gives their
    number.

    Args:
        path: COCO JSON file.
        classes: Names in the order of their labels, "background" first. Case, and space or underscore, do not matter.

    Raises:
        CocoError: The file is not COCO JSON, or an entry names a category or an image that is not there.
        UnsafeNameError: A file name points outside the image folder.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        labels = {entry["id"]: _label(entry["name"], classes, path) for entry in content["categories"]}
        return _Reader(path, images, labels).read(content["annotations"])
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CocoError(f"{path} is not a JSON file ({error}); download it again") from error
    except KeyError as error:
        raise CocoError(f"{path} lacks the COCO key {error}; download it again") from error
    except (TypeError, AttributeError) as error:
        raise CocoError(f"{path} is not laid out as COCO ({error}); download it again") from error


def _label(name: str, classes: Sequence[str], path: Path) -> int:
    plain = [_plain(known) for known in classes]
    if _plain(name) not in plain[1:]:
        raise CocoError(f"{path} has the category {name!r}; expected are {', '.join(classes[1:])}")
    return plain.index(_plain(name))


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


class _Reader:
    """Turns the annotations of one file into instances, and notes what was wrong with them."""

    def __init__(self, path: Path, images: dict[Any, Record], labels: dict[Any, int]) -> None:
        self._path = path
        self._images = images
        self._labels = labels
        self._findings: list[str] = []

    def read(self, annotations: list[Record]) -> Coco:
        crowds: dict[Any, list[Instance]] = defaultdict(list)
        instances: dict[Any, list[Instance]] = defaultdict(list)
        for number, entry in enumerate(annotations, start=1):
            image_id = entry["image_id"]
            if image_id not in self._images:
                raise CocoError(f"{self._where(entry)} is for image {image_id}, which the file does not list")
            if instance := self._instance(number, entry):
                (crowds if entry.get("iscrowd", 0) else instances)[image_id].append(instance)
        if self._findings:
            warnings.warn(f"{len(self._findings)} boxes mended, the first: {self._findings[0]}", stacklevel=4)
        images = [
            AnnotatedImage(
                name=str(safe_name(image["file_name"], self._path)),
                height=image["height"],
                width=image["width"],
                instances=tuple(instances[image_id]),
                crowds=tuple(crowds[image_id]),
            )
            for image_id, image in self._images.items()
        ]
        return Coco(tuple(images), tuple(self._findings))

    def _instance(self, number: int, entry: Record) -> Instance | None:
        if entry["category_id"] not in self._labels:
            raise CocoError(f"{self._where(entry)} has category {entry['category_id']}, which the file does not list")
        box = self._box(entry)
        if box is None:
            return None
        left, top, right, bottom = box
        runs = self._runs(entry)
        return Instance(
            id=number,
            label=self._labels[entry["category_id"]],
            bbox_xyxy=box,
            area=float(entry.get("area", (right - left) * (bottom - top))),
            polygons=() if runs else self._polygons(entry),
            runs=runs,
        )

    def _box(self, entry: Record) -> Box | None:
        if len(entry["bbox"]) != 4 or not all(map(math.isfinite, entry["bbox"])):
            raise CocoError(f"{self._where(entry)} has the box {entry['bbox']}; expected are 4 numbers x, y, w, h")
        image = self._images[entry["image_id"]]
        x, y, w, h = map(float, entry["bbox"])
        stored = (x, y, x + w, y + h)
        limits = (image["width"], image["height"])
        left, top, right, bottom = (min(max(value, 0.0), float(limits[i % 2])) for i, value in enumerate(stored))
        what = f"{self._where(entry)}: box {entry['bbox']} in {image['file_name']} of {limits[0]}x{limits[1]} px"
        if left >= right or top >= bottom:
            self._findings.append(f"{what} covers no pixel and is left out")
            return None
        if (left, top, right, bottom) != stored:
            self._findings.append(f"{what} sticks out and is clipped")
        return left, top, right, bottom

    def _polygons(self, entry: Record) -> tuple[tuple[float, ...], ...]:
        parts = entry.get("segmentation") or []
        if not isinstance(parts, list) or any(len(part) < 6 or len(part) % 2 for part in parts):
            raise CocoError(f"{self._where(entry)} has a segmentation that is no list of polygons; only those are read")
        return tuple(tuple(map(float, part)) for part in parts)

    def _runs(self, entry: Record) -> Record | None:
        found = entry.get("segmentation")
        if not entry.get("iscrowd", 0) or not isinstance(found, dict):
            return None
        image = self._images[entry["image_id"]]
        if list(found["size"]) != [image["height"], image["width"]]:
            raise CocoError(f"{self._where(entry)} has a mask of {found['size']} px, unlike its image; get both anew")
        return found

    def _where(self, entry: Record) -> str:
        return f"{self._path} annotation {entry.get('id', '(without id)')}"


def boxes_and_labels(image: AnnotatedImage) -> dict[str, Tensor]:
    """The objects of an image as a sample holds them.

    Returns:
        "bbox_xyxy" float32 (N, 4) in px, "label" int64 (N,) from 1, "area" float32 (N,) in px as stored. N may be 0.
    """
    boxes = torch.tensor([instance.bbox_xyxy for instance in image.instances], dtype=torch.float32)
    labels = torch.tensor([instance.label for instance in image.instances], dtype=torch.int64)
    areas = torch.tensor([instance.area for instance in image.instances], dtype=torch.float32)
    return {"bbox_xyxy": boxes.reshape(-1, 4), "label": labels, "area": areas}


def masks(image: AnnotatedImage) -> Tensor:
    """Draw the outlines of an image's objects. A pixel belongs to an object when its centre lies inside.

    Returns:
        uint8 (N, H, W), 0 or 1, in the order of `boxes_and_labels`.
    """
    drawn = np.zeros((len(image.instances), image.height, image.width), dtype=np.uint8)
    for mask, instance in zip(drawn, image.instances, strict=True):
        if instance.runs:
            mask[:] = _decoded(instance.runs)
        else:
            _draw(mask, instance)
    return torch.from_numpy(drawn)


def _decoded(runs: Record) -> NDArray[np.uint8]:
    from faster_coco_eval.core import mask  # noqa: PLC0415 (seconds)

    coded = mask.frPyObjects(runs, *runs["size"]) if isinstance(runs["counts"], list) else runs
    decoded: NDArray[np.uint8] = mask.decode(coded)
    return decoded


def _draw(mask: NDArray[np.uint8], instance: Instance) -> None:
    """Draw into the part of the mask that the outline covers, which is far quicker than into all of a large image."""
    parts = [np.array(part).reshape(-1, 2) for part in instance.polygons]
    if not parts:
        return
    points = np.concatenate(parts)
    left, top = np.floor(points.min(axis=0)).clip(0).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    part = mask[top:bottom, left:right]
    if part.size:
        shapes = [{"type": "Polygon", "coordinates": [[*map(tuple, points), tuple(points[0])]]} for points in parts]
        rasterize(shapes, out=part, transform=Affine.translation(left, top))
