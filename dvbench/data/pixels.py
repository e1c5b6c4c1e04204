"""Image and label files become tensors in the units of the dataset cards: 8-bit values 0-255, classes from 0."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from torch import Tensor

_TIFF = {".tif", ".tiff"}
_PNG = b"\x89PNG"
_LABEL_MODES = {"1", "L", "P"}  # of Pillow: one band, at most 8 bits
_DAMAGED = (OSError, SyntaxError, EOFError, struct.error)  # Pillow raises them all for files that are cut off
_HALF = 128  # between the two values of a label stored as 0 and 255


class PixelError(ValueError):
    """A file does not hold the pixels it should; the message is one line that says which, why and what to do."""


def read_rgb(path: Path) -> Tensor:
    """Read an image file.

    A grey band is repeated three times; an alpha or infrared band after red, green and blue is left out.

    Args:
        path: JPEG, PNG or TIFF.

    Returns:
        float32 (3, H, W), 0-255.

    Raises:
        PixelError: The file is missing, damaged, or its pixels are not 8-bit.
    """
    if path.suffix.lower() in _TIFF:
        return _read_tiff(path)
    try:
        return decode_rgb(path.read_bytes(), path)
    except OSError as error:
        raise PixelError(f"{path} cannot be read ({error.strerror}); download it again") from error


def decode_rgb(encoded: bytes, name: object) -> Tensor:
    """Decode a JPEG or PNG held in memory, as `read_rgb` does.

    Args:
        encoded: Content of the file.
        name: What to call it in a message.

    Returns:
        float32 (3, H, W), 0-255.

    Raises:
        PixelError: The content is damaged, or its pixels are not 8-bit.
    """
    if encoded.startswith(_PNG) and encoded[24:25] == b"\x10":  # Pillow would cut 16 bits down to 8
        raise _too_deep("16-bit", name)
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = np.array(image.convert("RGB"))
    except _DAMAGED as error:
        raise PixelError(f"{name} is no intact JPEG or PNG; download it again") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float()


def _read_tiff(path: Path) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                if file.dtypes[0] != "uint8":
                    raise _too_deep(file.dtypes[0], path)
                pixels: NDArray[np.uint8] = file.read((1, 2, 3) if file.count >= 3 else (1, 1, 1))
    except RasterioError as error:
        raise PixelError(f"{path} is no intact TIFF; download it again") from error
    return torch.from_numpy(pixels).float()


def _too_deep(dtype: str, name: object) -> PixelError:
    return PixelError(f"{name} has {dtype} pixels, not 0-255; convert it (gdal_translate -ot Byte -scale)")


def read_mask(path: Path) -> Tensor:
    """Read a label file of two classes.

    The foreground is stored as 255, as 1, or as the set bit of a 1-bit TIFF, depending on the dataset and even on its
    packing, so what is found decides: where no value exceeds 1, one is foreground, else 128 and above.

    Args:
        path: One band of at most 8 bits, or bands that are all alike.

    Returns:
        int64 (H, W), 0 or 1.

    Raises:
        PixelError: The file is missing, damaged, or has more than 8 bits per band.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise PixelError(f"{path} has labels of more than 8 bits; two classes are expected, such as 0 and 255")
            values = np.asarray(image if image.mode in _LABEL_MODES else image.convert("L"), dtype=np.uint8)
    except _DAMAGED as error:
        raise PixelError(f"{path} cannot be read as a label; download it again") from error
    foreground = values >= (_HALF if values.max(initial=0) > 1 else 1)
    return torch.from_numpy(foreground.astype(np.int64))


def check_same_size(image: Tensor, mask: Tensor, path: Path) -> None:
    """Refuse a label that does not cover its image.

    Args:
        image: (..., H, W).
        mask: (H, W), read from `path`.
        path: The label file, for the message.

    Raises:
        PixelError: Height or width differ.
    """
    if image.shape[-2:] != mask.shape:
        sizes = [f"{size[1]}x{size[0]}" for size in (mask.shape, image.shape[-2:])]
        raise PixelError(f"{path} has {sizes[0]} pixels and its image {sizes[1]}; download both again")
