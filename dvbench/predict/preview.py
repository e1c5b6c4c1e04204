"""Small pictures of predictions on the whole image."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.enums import Resampling

from dvbench.predict.dense import PALETTE
from dvbench.predict.objects import Found
from dvbench.predict.raster import Raster

SIDE = 1600  # px of the longer side


def draw_objects(raster: Raster, found: list[Found]) -> Image.Image:
    """Outline the objects, a colour for each class."""
    picture, scale = _overview(raster)
    pen = ImageDraw.Draw(picture)
    for one in found:
        colour = PALETTE[1 + (one.label - 1) % (len(PALETTE) - 1)]
        for part in getattr(one.outline, "geoms", [one.outline]):
            pen.line([(x * scale, y * scale) for x, y in part.exterior.coords], fill=colour, width=2)
    return picture


def draw_map(raster: Raster, classes: Path) -> Image.Image:
    """Tint the image with the classes of a map; class 0 stays clear."""
    picture, _ = _overview(raster)
    with rasterio.open(classes) as written:
        values = written.read(1, out_shape=(picture.height, picture.width), resampling=Resampling.nearest)
    colours = np.array(PALETTE, dtype=np.uint8)[values % len(PALETTE)]
    alpha = np.where(values > 0, 110, 0).astype(np.uint8)
    picture.paste(Image.fromarray(colours), mask=Image.fromarray(alpha))
    return picture


def _overview(raster: Raster) -> tuple[Image.Image, float]:
    height, width = raster.size
    scale = min(1.0, SIDE / max(height, width))
    pixels: NDArray[np.uint8] = raster.reduced(max(1, round(height * scale)), max(1, round(width * scale)))
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1))), scale
