"""An image file read window by window, as 8-bit RGB."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from dvbench.data.scene import Bands, SceneError, choose_bands

SURVEY = 1024  # px; the reduced image from which the range of values is taken


@dataclass(frozen=True)
class Raster:
    """An open image file.

    Attributes:
        path: the file.
        dataset: what rasterio opened.
        bands: numbers from 1 of the bands read as red, green and blue.
        limits: values that become 0 and 255; None where they are 8-bit already.
        note: how bands and values were chosen; empty if as stored.
    """

    path: Path
    dataset: Any
    bands: Bands
    limits: tuple[float, float] | None
    note: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.dataset.height), int(self.dataset.width)

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return a window as (3, height, width); what lies outside of the image, or holds no data, is 0.

        Raises:
            SceneError: the file is damaged there.
        """
        window = Window(left, top, width, height)
        return self._bytes(window=window, boundless=self._exceeds(window))

    def reduced(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the whole image as (3, height, width); errors as `read`."""
        return self._bytes(out_shape=(3, height, width))

    def _bytes(self, **how: Any) -> NDArray[np.uint8]:
        try:
            pixels = self.dataset.read(self.bands, masked=True, **how)
        except RasterioError as error:
            raise _unreadable(self.path, error) from error
        if self.limits is None:
            plain: NDArray[np.uint8] = pixels.filled(0)
            return plain
        low, high = self.limits
        values = np.ma.masked_invalid(pixels.astype(np.float32)).filled(low)
        stretched: NDArray[np.uint8] = np.rint(((values - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)
        return stretched

    def _exceeds(self, window: Window) -> bool:
        height, width = self.size
        return bool(window.col_off + window.width > width or window.row_off + window.height > height)


@contextmanager
def open_raster(path: Path, bands: Bands | None = None) -> Iterator[Raster]:
    """Open an image file of any format that rasterio reads: GeoTIFF, PNG, JPEG.

    Values that are not 8-bit are stretched from the 2nd to the 98th percentile of a reduced image, with one pair of
    limits for the whole file, so that windows fit together.

    Args:
        path: the file.
        bands: numbers from 1 of the bands to read as red, green and blue; see `dvbench.data.scene.load_scene`.

    Raises:
        SceneError: the file is missing, unreadable or without such bands.
    """
    if not path.is_file():
        raise SceneError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give an image file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a plain picture has pixel coordinates
        try:
            dataset = rasterio.open(path)
        except RasterioError as error:
            raise _unreadable(path, error) from error
        with dataset:
            chosen, notes = choose_bands(path, dataset.count, bands)
            limits = None if set(dataset.dtypes) == {"uint8"} else _limits(path, dataset, chosen)
            if limits:
                notes.append(f"{dataset.dtypes[0]} stretched from {limits[0]:.5g} to {limits[1]:.5g}")
            yield Raster(path, dataset, chosen, limits, "; ".join(notes))


def _limits(path: Path, dataset: Any, bands: Bands) -> tuple[float, float]:
    shape = (3, min(dataset.height, SURVEY), min(dataset.width, SURVEY))
    try:
        values = np.ma.masked_invalid(dataset.read(bands, out_shape=shape, masked=True)).compressed()
    except RasterioError as error:
        raise _unreadable(path, error) from error
    if values.size == 0:
        raise SceneError(f"{path} has no valid pixel; choose another image")
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high) if high > low else float(low) + 1


def _unreadable(path: Path, error: Exception) -> SceneError:
    reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
    return SceneError(f"{path} cannot be read ({reason}); give an intact GeoTIFF, PNG or JPEG")
