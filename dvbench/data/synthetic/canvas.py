"""The canvas: three rasters that are painted together, so that the labels cannot miss the picture."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from dvbench.data.synthetic.dice import Field
from dvbench.data.synthetic.shapes import Patch, Points, raster

Colour = tuple[int, int, int]


class Surface(IntEnum):
    """What a pixel shows: land cover first, then the kinds of objects. The values are those of semantic masks."""

    GROUND = 0
    TREES = 1
    FIELD = 2
    WATER = 3
    ROAD = 4
    PAVED = 5
    BUILDING = 6
    STORAGE_TANK = 7
    TENNIS_COURT = 8
    VEHICLE = 9
    SHIP = 10


KINDS: tuple[Surface, ...] = tuple(surface for surface in Surface if surface >= Surface.BUILDING)


class Canvas:
    """An image and its labels while they are painted.

    Attributes:
        size: Side S in pixels.
        pixels: int32 (S, S, 3), RGB, nominally 0-255; values outside are cut off in the end.
        surface: uint8 (S, S), values of `Surface`.
        owner: uint16 (S, S), number of the object that is seen, from 1; 0 where there is none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.pixels: NDArray[np.int32] = np.zeros((size, size, 3), dtype=np.int32)
        self.surface = np.zeros((size, size), dtype=np.uint8)
        self.owner = np.zeros((size, size), dtype=np.uint16)

    def paint(self, outline: Points, colour: Colour, surface: Surface | None = None, owner: int = 0) -> None:
        """Fill a polygon with a colour; label it too where a surface is given, else it is a mark on what is there."""
        patch = raster(outline, self.size)
        if patch is None:
            return
        self.pixels[patch.window][patch.inside] = colour
        if surface is not None:
            self.label(patch, surface, owner)

    def label(self, patch: Patch, surface: Surface, owner: int = 0) -> None:
        """Label the pixels of a patch."""
        self.surface[patch.window][patch.inside] = surface
        self.owner[patch.window][patch.inside] = owner

    def blend(self, outline: Points, colour: Colour, opacity: int) -> None:
        """Lay a colour over a polygon, with an opacity of 0-256; labels stay."""
        patch = raster(outline, self.size)
        if patch is not None:
            self.tint(patch, colour, opacity)

    def tint(self, patch: Patch, colour: Colour, opacity: int) -> None:
        """Lay a colour over the pixels of a patch, as `blend`."""
        part = self.pixels[patch.window]
        under = part[patch.inside]
        part[patch.inside] = under + ((np.array(colour, dtype=np.int32) - under) * opacity >> 8)

    def cover(self, colour: Colour, opacity: Field | int) -> None:
        """Lay a colour over the whole image, with an opacity of 0-256, one or int32 (S, S) of them."""
        for channel, value in enumerate(colour):
            part = self.pixels[..., channel]
            part += ((value - part) * opacity) >> 8
