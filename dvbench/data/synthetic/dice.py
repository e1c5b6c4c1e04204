"""Random numbers that are the same on every machine, and the fractal noise made of them."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Field = NDArray[np.int32]


class Dice:
    """Random integers from the raw stream of PCG64.

    NumPy keeps the streams of its bit generators from version to version, but not those of `Generator`'s methods. So
    only raw draws and integer arithmetic are used, and a key gives the same numbers everywhere.
    """

    def __init__(self, *key: int) -> None:
        """Start the stream of a key, a tuple of integers from 0 on; streams of different keys are independent."""
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + self._bits.random_raw() % (high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[self.integer(0, len(options) - 1)]

    def chance(self, part: int, whole: int) -> bool:
        """True in `part` of `whole` cases."""
        return self.integer(1, whole) <= part

    def octets(self, rows: int, columns: int) -> Field:
        """An int32 array (rows, columns) of values from -128 to 127."""
        raw = np.asarray(self._bits.random_raw(-(-rows * columns // 8)), dtype="<u8")
        return raw.view(np.int8)[: rows * columns].reshape(rows, columns).astype(np.int32)


def fractal(dice: Dice, size: int, coarse: int, fine: int = 1) -> Field:
    """Fractal noise: octaves of value noise, each with cells half as wide and half as strong as the one before.

    Args:
        dice: Where the lattice values come from.
        size: Side of the result, in pixels.
        coarse: Width of the cells of the first octave, in pixels, a power of two.
        fine: Width of the cells of the last octave, a power of two not above `coarse`.

    Returns:
        int32 (size, size), centred on 0, nearly always within -256 to 255.
    """
    step, strength = coarse, 64
    field = dice.octets(_cells(size, step), _cells(size, step)) * strength
    while step > 1:
        step //= 2
        cells = _cells(size, step)
        field = _doubled(_doubled(field).T).T[:cells, :cells]
        if step >= fine:
            strength //= 2
            field = field + dice.octets(cells, cells) * strength
    return np.ascontiguousarray(field[:size, :size] >> 6)


def crowns(dice: Dice, width: int, tile: int = 256) -> Field:
    """The height of a closed canopy: one dome for each cell of a grid, off its centre; the tile can be repeated.

    Args:
        dice: Where the trees stand and how high they are.
        width: Width of a crown in pixels.
        tile: Side of the result in pixels, a multiple of `width`.

    Returns:
        int32 (tile, tile), nearly always from 0 to twice the square of `width`.
    """
    cells = tile // width
    corner = np.arange(cells, dtype=np.int32) * width
    x, y = (dice.octets(cells, cells) + 128) * width >> 8, (dice.octets(cells, cells) + 128) * width >> 8
    tops = width * width + ((dice.octets(cells, cells) + 128) * width * width >> 8)
    steps = np.arange(tile, dtype=np.int32)
    height = np.zeros((tile, tile), dtype=np.int32)
    for row, column in np.ndindex(3, 3):
        neighbour = (row - 1, column - 1)
        there = [np.roll(part, neighbour, (0, 1)) for part in (x, y, tops)]
        left, above, top = (part.repeat(width, 0).repeat(width, 1) for part in there)
        left += (corner - neighbour[1] * width).repeat(width)
        above += (corner - neighbour[0] * width).repeat(width)[:, None]
        height = np.maximum(height, top - (steps - left) ** 2 - (steps[:, None] - above) ** 2)
    return height


def _cells(size: int, step: int) -> int:
    """Lattice points needed to reach across `size` pixels."""
    return -(-size // step) + 1


def _doubled(field: Field) -> Field:
    """Rows interpolated to twice their density, (n, m) -> (2 n - 1, m)."""
    result = np.empty((2 * len(field) - 1, field.shape[1]), dtype=np.int32)
    result[::2] = field
    result[1::2] = (field[:-1] + field[1:]) >> 1
    return result
