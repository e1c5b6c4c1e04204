"""Convex polygons in integer coordinates: made, moved and turned into pixels.

Coordinates are x, y in sixteenths of a pixel, y downwards; corners are listed so that the inside lies where the cross
product with each edge is not negative. Directions are numbered, 64 to the full turn, clockwise from the x axis.
"""

from collections.abc import Iterable
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]
Points = list[Point]

SUBPIXELS = 16
TURN = 64
# No product lies within 0.01 of a half, so that rounding gives the same table with any mathematics library.
UNIT_BITS = 12  # a direction is a vector of length 4096
_ANGLES = np.arange(TURN) * (2 * np.pi / TURN)
COSINES: list[int] = np.rint((1 << UNIT_BITS) * np.cos(_ANGLES)).astype(np.int64).tolist()
SINES: list[int] = np.rint((1 << UNIT_BITS) * np.sin(_ANGLES)).astype(np.int64).tolist()


class Patch(NamedTuple):
    """The pixels of a polygon: a window of the image and bool (rows, columns), True inside."""

    window: tuple[slice, slice]
    inside: NDArray[np.bool_]


def moved(start: Point, direction: int, along: int, across: int = 0) -> Point:
    """The point that lies `along` a direction and `across` it, to its right, from `start`."""
    cosine, sine = COSINES[direction % TURN], SINES[direction % TURN]
    x = (along * cosine - across * sine) >> UNIT_BITS
    y = (along * sine + across * cosine) >> UNIT_BITS
    return start[0] + x, start[1] + y


def polygon(centre: Point, direction: int, corners: Iterable[Point]) -> Points:
    """A polygon from corners given as (along, across) of its centre."""
    return [moved(centre, direction, along, across) for along, across in corners]


def rectangle(centre: Point, direction: int, length: int, width: int) -> Points:
    """A rectangle whose `length` points along the direction."""
    a, b = length // 2, width // 2
    return polygon(centre, direction, [(a, -b), (a, b), (-a, b), (-a, -b)])


def disc(centre: Point, radius: int) -> Points:
    """A circle, as a polygon of 8 or 16 corners."""
    corners = 16 if radius > 8 * SUBPIXELS else 8
    return [moved(centre, step, radius) for step in range(0, TURN, TURN // corners)]


def strip(start: Point, end: Point, width: int) -> Points:
    """A straight band from one point to another."""
    x, y = end[0] - start[0], end[1] - start[1]
    length = isqrt(x * x + y * y) or 1
    right, down = -y * width // (2 * length), x * width // (2 * length)
    sides = ((end, -1), (end, 1), (start, 1), (start, -1))
    return [(point[0] + side * right, point[1] + side * down) for point, side in sides]


def swept(outline: Points, by: Point) -> Points:
    """The convex hull of a polygon and its copy moved `by`: what it passes over on the way."""
    corners = sorted({*outline, *((x + by[0], y + by[1]) for x, y in outline)})
    return _half_hull(corners) + _half_hull(corners[::-1])


def _half_hull(corners: list[Point]) -> list[Point]:
    """One side of the hull of sorted points (Andrew's monotone chain), without its last point."""
    chain: list[Point] = []
    for x, y in corners:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain[:-1]


def area(outline: Points) -> int:
    """Area in whole pixels."""
    pairs = zip(outline, outline[1:] + outline[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) // (2 * SUBPIXELS**2)


def bounds(outline: Points) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the box around a polygon, in whole pixels; it may reach out of the image."""
    x, y = zip(*outline, strict=True)
    return min(x) // SUBPIXELS, min(y) // SUBPIXELS, -(-max(x) // SUBPIXELS), -(-max(y) // SUBPIXELS)


def raster(outline: Points, size: int) -> Patch | None:
    """The pixels whose centres lie in a convex polygon, or None where it misses the image of `size`."""
    left, top, right, bottom = bounds(outline)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, size), min(bottom, size)
    if left >= right or top >= bottom:
        return None
    x = np.arange(left * SUBPIXELS + SUBPIXELS // 2, right * SUBPIXELS, SUBPIXELS)
    y = np.arange(top * SUBPIXELS + SUBPIXELS // 2, bottom * SUBPIXELS, SUBPIXELS)
    corners = np.array([*outline, outline[0]])
    x0, y0 = corners[:-1].T[..., None]
    across, down = (corners[1:] - corners[:-1]).T[..., None]
    inside = (across * (y - y0))[:, :, None] >= (down * (x - x0))[:, None]  # (edges, rows, columns)
    return Patch((slice(top, bottom), slice(left, right)), np.logical_and.reduce(inside))
