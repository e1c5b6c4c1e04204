"""What all writers share: a supply of scenes, and ways to store pictures and labels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dvbench.data.synthetic import Scene, scene

SIGNATURE = "drawn by dvbench data make, not photographed"
"""What every picture and label says of itself in its metadata, so that it is known when the folder's note is gone."""


class Scenes:
    """Cloudless scenes of one seed, each other than the one before."""

    def __init__(self, seed: int) -> None:
        self._seed, self._index = seed, -1

    def draw(self, scene_class: str, size: int, object_size: int = 24) -> Scene:
        """The next scene; arguments as of `scene`."""
        self._index += 1
        return scene(self._seed, self._index, size, difficulty=0, object_size=object_size, scene_class=scene_class)


def save(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    """Write a picture in the format that its name ends with, after making its folder.

    Args:
        path: Where to. PNG, JPEG or TIFF.
        pixels: uint8 (H, W, 3) or (H, W); bool (H, W) is stored with one bit per pixel.
        options: Of Pillow's writer of that format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = PngInfo()
    note.add_text("Software", SIGNATURE)
    # Each writer takes the word that its format has for it, and passes over the others.
    Image.fromarray(pixels).save(path, pnginfo=note, comment=SIGNATURE, software=SIGNATURE, **options)


def as_mask(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """True and False as 255 and 0, the way most label files store them."""
    return inside.astype(np.uint8) * 255
