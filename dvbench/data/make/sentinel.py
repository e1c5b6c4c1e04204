"""Sentinel-2 bands made out of an RGB picture."""

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from dvbench.data.make.source import SIGNATURE

BANDS = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip  # ground sampling distance in metres
_CHANNELS = {"B02": 2, "B03": 1, "B04": 0}  # the other bands look green
_TO_REFLECTANCE = 12  # so that white is about 0.3, which is stored as 3000


def save_band(path: Path, image: NDArray[np.uint8], band: str, metres: int) -> None:
    """Write one band as a GeoTIFF.

    Args:
        path: Where to.
        image: uint8 (H, W, 3), RGB, at 10 m.
        band: Such as "B02".
        metres: Ground sampling distance to store it at, a multiple of 10.
    """
    step = metres // 10
    pixels = image[::step, ::step, _CHANNELS.get(band, 1)].astype(np.uint16) * _TO_REFLECTANCE
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape
    grid = rasterio.Affine(metres, 0, 500_000, 0, -metres, 5_000_000)
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint16", crs="EPSG:32633", transform=grid
    ) as file:
        file.write(pixels, 1)
        file.update_tags(TIFFTAG_SOFTWARE=SIGNATURE)
