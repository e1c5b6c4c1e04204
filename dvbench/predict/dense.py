"""Class maps of overlapping windows: logits averaged, written strip by strip as GeoTIFF."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from dvbench.predict.raster import Raster
from dvbench.predict.windows import View
from tasks.task import Prediction

PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
           (204, 121, 167), (153, 153, 153), (120, 80, 40), (255, 255, 255))  # fmt: skip
"""Colours of the classes, told apart by colour-blind eyes (Okabe and Ito)."""


def strips(
    predicted: Iterable[tuple[View, Prediction]], size: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Turn the logits of windows, row by row of windows, into finished rows of the class map.

    Only one row of windows is held at a time, so memory grows with the image's width and not with its height.

    Args:
        predicted: windows with "logits" (classes, height, width).
        size: height and width of the whole image.

    Yields:
        Number of the first row, and classes of some rows, uint8 (rows, width).
    """
    height, width = size
    sums: NDArray[np.float32] | None = None
    first = 0  # the row of the image at which the sums begin
    for top, row in groupby(predicted, key=lambda pair: pair[0].top):
        if sums is not None:
            yield first, sums[:, : top - first].argmax(axis=0).astype(np.uint8)
            done = np.zeros_like(sums)
            done[:, : sums.shape[1] - (top - first)] = sums[:, top - first :]
            sums, first = done, top
        for view, prediction in row:
            # Each pixel's logits are summed: their mean has the same largest class.
            logits = prediction["logits"].float().numpy()
            if sums is None:
                sums = np.zeros((len(logits), view.height, width), dtype=np.float32)
            across = min(view.width, width - view.left)
            sums[:, :, view.left : view.left + across] += logits[:, :, :across]
    if sums is not None:
        yield first, sums[:, : height - first].argmax(axis=0).astype(np.uint8)


def write(rows: Iterable[tuple[int, NDArray[np.uint8]]], raster: Raster, classes: tuple[str, ...], path: Path) -> None:
    """Write a class map as a compressed GeoTIFF in the raster's coordinate system, one byte a pixel.

    The file is written to the end even if it is interrupted before: the caller renames it when it is complete.
    """
    height, width = raster.size
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": height,
        "width": width,
        "crs": raster.dataset.crs,
        "transform": raster.dataset.transform,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write_colormap(1, {i: PALETTE[i % len(PALETTE)] for i in range(len(classes))})
        out.update_tags(classes=", ".join(f"{i} {name}" for i, name in enumerate(classes)))
        for first, values in rows:
            out.write(values, 1, window=Window(0, first, width, len(values)))
