"""An image file of any size becomes a network input.

PNG, JPEG and the like are read with Pillow. TIFF and GeoTIFF are read with rasterio, which fetches only the window and
the resolution that are wanted, so that a raster far larger than memory is no obstacle.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Fit = Literal["resize", "crop"]
Bands = tuple[int, int, int]
MaskedArray = np.ma.MaskedArray[Any, Any]

EMBEDDED = Path(str(files("dvbench.data") / "neon_trees"))
MEAN = (123.675, 116.28, 103.53)  # of ImageNet, per RGB channel, for pixels in 0-255
STD = (58.395, 57.12, 57.375)
MAX_PIXELS = 20_000 * 20_000  # Pillow decodes the whole picture and splits it into bands, 3 GB at this size

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # either byte order, classic and BigTIFF
_BAND_MODES = {"L", "LA", "RGB", "RGBA", "I", "F"}  # of Pillow; other modes hold no bands that could be chosen from
_RGB_BANDS: dict[int, tuple[Bands, str]] = {  # number of bands -> those shown as red, green, blue, and what to say
    1: ((1, 1, 1), "grey repeated 3 times"),
    3: ((1, 2, 3), ""),
    4: ((1, 2, 3), "bands 1,2,3 of 4, the fourth (alpha or near infrared) left out"),
    13: ((4, 3, 2), "bands 4,3,2 of 13, read as Sentinel-2 L1C"),
}


class SceneError(ValueError):
    """An image cannot be used; the message is one line that says which, why and what to do."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A square image, ready to be drawn and to be fed to a network.

    Attributes:
        image: uint8 array (R, R, 3), RGB, 0-255.
        source: Name of the file it came from.
        note: What was done to the file's pixels, such as ``"grey repeated 3 times; resized (bicubic) from 400x300"``.
    """

    image: NDArray[np.uint8]
    source: str
    note: str

    @property
    def tensor(self) -> Tensor:
        """The image as float32 (1, 3, R, R), normalised by ImageNet's mean and standard deviation."""
        image = torch.from_numpy(self.image).permute(2, 0, 1).unsqueeze(0).float()
        return (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class _Request(NamedTuple):
    """The arguments of `load_scene`."""

    path: Path
    resolution: int
    fit: Fit
    bands: Bands | None


class _Plan(NamedTuple):
    """What to read: 1-based bands, and a box (left, top, right, bottom) in pixels, or None for the whole image."""

    bands: Bands
    box: tuple[int, int, int, int] | None
    notes: list[str]


def default_scene() -> Path:
    """The real scene that comes with the package: a JPEG of 2048x2048 pixels at 0.1 m, forest in Yellowstone."""
    return EMBEDDED / "scene_2048.jpg"


def load_scene(path: str | Path, resolution: int, *, fit: Fit = "resize", bands: Bands | None = None) -> Scene:
    """Read an image file as a square RGB scene.

    Pixels that are not uint8 are stretched from the 2nd to the 98th percentile of all that was read, with one pair of
    limits for the three bands, so that colours keep their balance. NaN, infinity and nodata become black.

    Args:
        path: PNG, JPEG or another format that Pillow knows, TIFF or GeoTIFF.
        resolution: Side R of the scene, in pixels.
        fit: ``"resize"`` scales the whole image to R x R (bicubic, the aspect ratio is not kept), ``"crop"`` cuts
            R x R pixels from its centre.
        bands: 1-based bands to show as red, green and blue. By default a single band is repeated, the first three of 3
            or 4 are taken, and 13 are taken for Sentinel-2 L1C, whose red, green and blue are bands 4, 3 and 2.

    Raises:
        SceneError: The file is missing, unreadable or truncated, or does not have what is asked for.
    """
    path = Path(path)
    if resolution <= 0:
        raise SceneError(f"resolution {resolution} is not a size in pixels; give a positive number")
    try:
        if not path.is_file():
            raise SceneError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give an image file")
        read = _read_raster if _is_raster(path) else _read_picture
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing georeference, palettes with transparency: neither matters here
            pixels, notes = read(_Request(path, resolution, fit, bands))
    except SceneError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:  # Pillow raises them all
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise SceneError(f"{path} cannot be read ({reason}); give an intact PNG, JPEG or GeoTIFF") from error
    image, stretch = _to_uint8(path, pixels)
    return Scene(image=image, source=path.name, note="; ".join(notes + stretch) or "pixels as stored")


def _is_raster(path: Path) -> bool:
    """Whether rasterio reads the file: TIFF whatever its name, and PNG of 16 bits, which Pillow would cut down to 8."""
    with path.open("rb") as file:
        start = file.read(25)
    return start.startswith(_TIFF_STARTS) or (start.startswith(b"\x89PNG") and start[24:] == b"\x10")


def _read_raster(request: _Request) -> tuple[MaskedArray, list[str]]:
    # A machine that only measures reads the embedded JPEG, and need not have rasterio.
    import rasterio  # noqa: PLC0415
    from rasterio.enums import ColorInterp, Resampling  # noqa: PLC0415
    from rasterio.windows import Window  # noqa: PLC0415

    path, side = request.path, request.resolution
    try:
        with rasterio.open(path) as dataset:
            if ColorInterp.palette in dataset.colorinterp:
                raise SceneError(f"{path} holds palette indices; expand them to RGB first (gdal_translate -expand rgb)")
            plan = _plan(request, (dataset.width, dataset.height), dataset.count)
            window = Window(plan.box[0], plan.box[1], side, side) if plan.box else None
            shape = (3, side, side)
            pixels = dataset.read(plan.bands, window=window, out_shape=shape, resampling=Resampling.cubic, masked=True)
    except rasterio.errors.RasterioError as error:
        raise OSError(str(error)) from (error.__cause__ or error)
    if np.iscomplexobj(pixels):
        raise SceneError(f"{path} holds complex numbers; convert it to amplitude first")
    return np.ma.masked_invalid(np.moveaxis(pixels, 0, -1), copy=False), plan.notes


def _read_picture(request: _Request) -> tuple[MaskedArray, list[str]]:
    path, side = request.path, request.resolution
    with _large_pictures_allowed(), Image.open(path) as stored:
        if stored.width * stored.height > MAX_PIXELS:
            raise SceneError(f"{path} has {_by(stored.size)} pixels, too many to decode at once; convert it to GeoTIFF")
        picture: Image.Image = stored
        notes = []
        if stored.mode not in _BAND_MODES:
            picture = stored.convert("L" if stored.mode == "1" else "RGB")
            notes = [f"mode {stored.mode} converted to {picture.mode}"]
        plan = _plan(request, picture.size, len(picture.getbands()))
        channels = picture.split()  # resized together, colours would be multiplied by alpha first
    scaled = [channels[band - 1].resize((side, side), Image.Resampling.BICUBIC, plan.box) for band in plan.bands]
    pixels = np.stack([np.asarray(channel) for channel in scaled], axis=-1)
    return np.ma.masked_invalid(pixels, copy=False), notes + plan.notes


@contextmanager
def _large_pictures_allowed() -> Iterator[None]:
    """Lift Pillow's limit of 179 million pixels: an aerial scene of 16384 x 16384 is no decompression bomb."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _plan(request: _Request, size: tuple[int, int], count: int) -> _Plan:
    """Decide what to read of an image of `size` (width, height) with `count` bands."""
    path, side, fit, bands = request
    chosen, notes = choose_bands(path, count, bands)
    if size == (side, side):
        return _Plan(chosen, None, notes)
    if fit == "resize":
        return _Plan(chosen, None, [*notes, f"resized (bicubic) from {_by(size)}"])
    if side > min(size):
        raise SceneError(f"{path} has {_by(size)} pixels, too few to crop {_by((side, side))}; crop less, or resize")
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    box = (left, top, left + side, top + side)
    return _Plan(chosen, box, [*notes, f"cropped from the centre of {_by(size)}"])


def choose_bands(path: Path, count: int, bands: Bands | None) -> tuple[Bands, list[str]]:
    """Decide which bands of an image file are shown as red, green and blue, and say so; see `load_scene`.

    Raises:
        SceneError: None is known, or those asked for are not there.
    """
    if bands is None:
        if count not in _RGB_BANDS:
            raise SceneError(f"{path} has {count} bands and none is known to be red; name three with --bands R,G,B")
        chosen, note = _RGB_BANDS[count]
        return chosen, [note] if note else []
    if min(bands) < 1 or max(bands) > count:
        raise SceneError(
            f"{path} has {count} bands, so --bands {_listed(bands)} is out of range; name three of 1 to {count}"
        )
    return bands, [f"bands {_listed(bands)} of {count}"]


def _to_uint8(path: Path, pixels: MaskedArray) -> tuple[NDArray[np.uint8], list[str]]:
    """Pixels in 0-255, and what was done to get there; masked ones become 0."""
    valid = pixels.compressed()
    if valid.size == 0:
        raise SceneError(f"{path} has no valid pixel in the part that is read; choose another scene")
    if pixels.dtype == np.uint8:
        return pixels.filled(0), []
    low, high = np.percentile(valid, (2, 98))
    span = high - low or 1.0  # a constant image
    scaled = (pixels.filled(low).astype(np.float32) - low) / span
    note = f"{pixels.dtype} stretched from {low:.5g} to {high:.5g} (2nd to 98th percentile)"
    return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8), [note]


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _listed(bands: Bands) -> str:
    return ",".join(map(str, bands))
