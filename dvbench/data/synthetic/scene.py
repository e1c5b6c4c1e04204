"""A scene: one picture, or two dates of it, and every kind of label."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvbench.data.synthetic.canvas import Canvas, Surface
from dvbench.data.synthetic.dice import Dice
from dvbench.data.synthetic.exposure import HARDEST, IGNORE, expose
from dvbench.data.synthetic.layout import lay_out
from dvbench.data.synthetic.painter import Painter, Textures
from dvbench.data.synthetic.plan import PLACES, SCENE_CLASSES, Plan
from dvbench.data.synthetic.shapes import Patch, area, bounds, raster

SMALLEST_SIZE, SMALLEST_OBJECT = 32, 6
LAYOUT, _TEXTURES, _EXPOSURE = range(3)  # independent streams, so that difficulty leaves the layout as it is


class SyntheticError(ValueError):
    """A scene cannot be made from these arguments; the message is one line that says which and what to do."""


class Instances(NamedTuple):
    """Objects of which at least a quarter is seen.

    Attributes:
        boxes: int64 (N, 4), left, top, right, bottom in pixels; right and bottom are excluded.
        kinds: int64 (N,), values of `Surface`.
        masks: uint8 (N, S, S), 0 or 1.
    """

    boxes: NDArray[np.int64]
    kinds: NDArray[np.int64]
    masks: NDArray[np.uint8]


class Regions(NamedTuple):
    """Places of which at least a quarter lies in the image.

    Attributes:
        boxes: int64 (N, 4), as of `Instances`.
        kinds: int64 (N,), index into `PLACES`.
    """

    boxes: NDArray[np.int64]
    kinds: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scene:
    """A procedural aerial scene; labels are made when they are first asked for.

    The image shows the second date. All labels but `change` are of that date.

    Attributes:
        plan: What the scene holds.
        seed, index: Which scene it is.
        difficulty: 0-3.
    """

    plan: Plan
    seed: int
    index: int
    difficulty: int

    @property
    def image(self) -> NDArray[np.uint8]:
        """uint8 (S, S, 3), RGB."""
        return self._after[0]

    @property
    def before(self) -> NDArray[np.uint8]:
        """The same ground on an earlier date, uint8 (S, S, 3), RGB."""
        return self._before[0]

    @property
    def label(self) -> int:
        """Scene class, an index into `SCENE_CLASSES`."""
        return SCENE_CLASSES.index(self.plan.scene_class)

    @property
    def semantic(self) -> NDArray[np.uint8]:
        """uint8 (S, S), values of `Surface`; 255 where clouds hide the ground."""
        return self._after[1].surface

    @property
    def target(self) -> NDArray[np.uint8]:
        """uint8 (S, S): 1 where an object is seen, 255 where clouds hide the ground, else 0."""
        canvas = self._after[1]
        return np.where(canvas.surface == IGNORE, IGNORE, canvas.owner > 0).astype(np.uint8)

    @cached_property
    def instances(self) -> Instances:
        """Boxes, kinds and masks of the objects."""
        owner, size = self._after[1].owner, self.plan.size
        boxes, kinds, patches = [], [], []
        for number, thing in enumerate(self.plan.things, start=1):
            patch = raster(thing.outline, size)
            if patch is None:
                continue
            rows, columns = patch.window
            seen = owner[rows, columns] == number
            if 4 * np.count_nonzero(seen) < max(area(thing.outline), 4):
                continue
            y, x = np.flatnonzero(seen.any(axis=1)) + rows.start, np.flatnonzero(seen.any(axis=0)) + columns.start
            boxes.append((x[0], y[0], x[-1] + 1, y[-1] + 1))
            kinds.append(thing.kind)
            patches.append(Patch(patch.window, seen))
        masks = np.zeros((len(patches), size, size), dtype=np.uint8)
        for mask, patch in zip(masks, patches, strict=True):
            mask[patch.window] = patch.inside
        return Instances(np.array(boxes, dtype=np.int64).reshape(-1, 4), np.array(kinds, dtype=np.int64), masks)

    @cached_property
    def change(self) -> NDArray[np.uint8]:
        """uint8 (S, S): 1 where a building was put up or pulled down, 255 under the clouds of either date, else 0.

        Vehicles and ships that moved, and other light, are no change.
        """
        result = np.zeros((self.plan.size, self.plan.size), dtype=np.uint8)
        changed = [
            number
            for number, thing in enumerate(self.plan.things, start=1)
            if thing.kind is Surface.BUILDING and not all(thing.seen)
        ]
        for _, canvas in (self._before, self._after):
            result[np.isin(canvas.owner, changed)] = 1
        for _, canvas in (self._before, self._after):
            result[canvas.surface == IGNORE] = IGNORE
        return result

    @cached_property
    def regions(self) -> Regions:
        """Boxes and kinds of the places."""
        boxes, kinds, size = [], [], self.plan.size
        for place in self.plan.places:
            left, top, right, bottom = bounds(place.outline)
            whole = (right - left) * (bottom - top)
            left, top, right, bottom = max(left, 0), max(top, 0), min(right, size), min(bottom, size)
            if 4 * max(right - left, 0) * max(bottom - top, 0) >= whole:
                boxes.append((left, top, right, bottom))
                kinds.append(PLACES.index(place.kind))
        return Regions(np.array(boxes, dtype=np.int64).reshape(-1, 4), np.array(kinds, dtype=np.int64))

    @cached_property
    def presence(self) -> NDArray[np.int64]:
        """Multi-label: int64 (11,), 1 for each `Surface` that covers at least one pixel, else 0."""
        return (np.bincount(self.semantic.ravel(), minlength=256)[: len(Surface)] > 0).astype(np.int64)

    @cached_property
    def coverage(self) -> float:
        """Share of the image that objects cover, 0-1."""
        return np.count_nonzero(self._after[1].owner) / self.plan.size**2

    @cached_property
    def _textures(self) -> Textures:
        return Textures(Dice(self.seed, self.index, _TEXTURES), self.plan)

    @cached_property
    def _before(self) -> tuple[NDArray[np.uint8], Canvas]:
        return self._photograph(0)

    @cached_property
    def _after(self) -> tuple[NDArray[np.uint8], Canvas]:
        return self._photograph(1)

    def _photograph(self, date: int) -> tuple[NDArray[np.uint8], Canvas]:
        canvas = Painter(self.plan, self._textures, date).paint()
        dice = Dice(self.seed, self.index, _EXPOSURE, date)
        grain, sun = self._textures.grain, self.plan.sun
        return expose(canvas, grain, dice, difficulty=self.difficulty, sun=sun), canvas


def scene(
    seed: int,
    index: int,
    size: int,
    *,
    difficulty: int = 1,
    object_size: int = 32,
    scene_class: str | None = None,
) -> Scene:
    """Make a scene; the same arguments give the same bytes on any machine.

    Args:
        seed: Which series of scenes, from 0 on.
        index: Which scene of the series, from 0 on.
        size: Side S of the image in pixels, 32 or more.
        difficulty: From 0, clear, to 3: clouds that hide objects, haze, noise, and dates that differ in colour.
        object_size: Length of a house in pixels, 6 or more; the other objects are sized by it. Streets do not come
            closer than 128 px, so small objects are sparse: 10 gives objects that cover about 1 % of a 512 px image.
        scene_class: One of `SCENE_CLASSES`, by default drawn at random.

    Returns:
        The scene.

    Raises:
        SyntheticError: An argument is out of its range.
    """
    least = {"seed": 0, "index": 0, "size": SMALLEST_SIZE, "object_size": SMALLEST_OBJECT}
    check_range(least, difficulty, seed=seed, index=index, size=size, object_size=object_size)
    if scene_class is not None and scene_class not in SCENE_CLASSES:
        raise SyntheticError(f"scene class '{scene_class}' is unknown; choose one of {', '.join(SCENE_CLASSES)}")
    dice = Dice(seed, index, LAYOUT)
    drawn = dice.choice(SCENE_CLASSES)
    return Scene(lay_out(scene_class or drawn, dice, size, object_size), seed, index, difficulty)


def check_range(least: Mapping[str, int], difficulty: int, **given: int) -> None:
    """Raise SyntheticError where an argument is below its least value, or the difficulty unknown."""
    for name, value in given.items():
        if value < least[name]:
            raise SyntheticError(f"{name} {value} is too small for a synthetic scene; give {least[name]} or more")
    if difficulty not in range(HARDEST + 1):
        raise SyntheticError(f"difficulty {difficulty} is unknown; give a whole number from 0 to {HARDEST}")
