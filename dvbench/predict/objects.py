"""Boxes and instances of overlapping windows, merged and written in the raster's coordinates."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import geopandas
import numpy as np
from rasterio.features import shapes
from shapely import STRtree, box, unary_union
from shapely.affinity import affine_transform, translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from torch import Tensor

from dvbench.predict.raster import Raster
from dvbench.predict.windows import View
from tasks.task import Prediction

SAME = 0.5  # intersection over union from which two windows saw the same object
EDGE = 2.0  # px; an object that comes so close to an inner edge of its window may be cut off


@dataclass(frozen=True)
class Found:
    """One object, in pixels of the whole image."""

    outline: BaseGeometry
    label: int
    score: float
    cut: bool


def collect(predicted: Iterable[tuple[View, Prediction]], size: tuple[int, int], least_score: float) -> list[Found]:
    """Gather the objects of all windows and keep one of those that several windows saw.

    A window sees only part of an object at its edge. Such a part gives way to any object that covers half of it.

    Args:
        predicted: windows with "boxes", "labels", "scores" and, for instances, "masks".
        size: height and width of the whole image.
        least_score: objects below are left out.

    Returns:
        The objects, best first.
    """
    found: list[Found] = []
    for view, prediction in predicted:
        for i in np.flatnonzero(prediction["scores"].numpy() >= least_score).tolist():
            left, top, right, bottom = prediction["boxes"][i].tolist()
            outline = _outline(prediction["masks"][i]) if "masks" in prediction else box(left, top, right, bottom)
            if outline.area > 0:
                found.append(
                    Found(
                        translate(outline, view.left, view.top),
                        int(prediction["labels"][i]),
                        float(prediction["scores"][i]),
                        _is_cut(view, size, (left, top, right, bottom)),
                    )
                )
    image = box(0, 0, size[1], size[0])
    inside = (replace(one, outline=one.outline.intersection(image)) for one in _merged(found))
    return [one for one in inside if one.outline.area > 0]


def table(found: list[Found], classes: tuple[str, ...], raster: Raster) -> geopandas.GeoDataFrame:
    """Return the objects with their class and score, in the raster's coordinate system.

    A picture without one gets pixel coordinates: x to the right, y down.
    """
    a = raster.dataset.transform
    placed = [affine_transform(one.outline, (a.a, a.b, a.d, a.e, a.c, a.f)) for one in found]
    columns = {
        "class": [classes[one.label] for one in found],
        "label": [one.label for one in found],
        "score": [round(one.score, 4) for one in found],
    }
    return geopandas.GeoDataFrame(columns, geometry=placed, crs=raster.dataset.crs)


def _outline(mask: Tensor) -> BaseGeometry:
    pixels = mask.numpy().astype(np.uint8)
    return unary_union([shape(outline) for outline, _ in shapes(pixels, mask=pixels > 0)])


def _is_cut(view: View, size: tuple[int, int], bounds: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = bounds
    return (
        (left < EDGE and view.left > 0)
        or (top < EDGE and view.top > 0)
        or (right > view.width - EDGE and view.left + view.width < size[1])
        or (bottom > view.height - EDGE and view.top + view.height < size[0])
    )


def _merged(found: list[Found]) -> list[Found]:
    """Keep the best of each group of objects that are the same, whole ones before parts."""
    order = sorted(found, key=lambda one: (one.cut, -one.score))
    tree = STRtree([one.outline for one in order])
    kept = np.zeros(len(order), dtype=bool)
    for i, one in enumerate(order):
        rivals = (order[j] for j in tree.query(one.outline) if j < i and kept[j] and order[j].label == one.label)
        kept[i] = not any(_covers(rival, one) for rival in rivals)
    return sorted((one for one, keep in zip(order, kept, strict=True) if keep), key=lambda one: -one.score)


def _covers(better: Found, other: Found) -> bool:
    common = better.outline.intersection(other.outline).area
    union = better.outline.area + other.outline.area - common
    return common > SAME * union or (other.cut and common > SAME * other.outline.area)
