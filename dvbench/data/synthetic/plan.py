"""What a scene holds, before anything is painted: the one list from which picture and labels are made.

All lengths and positions are in sixteenths of a pixel, all directions as in `shapes`.
"""

from dataclasses import dataclass, field
from typing import Literal

from dvbench.data.synthetic.canvas import Colour, Surface
from dvbench.data.synthetic.dice import Dice
from dvbench.data.synthetic.shapes import SUBPIXELS, Point, Points, disc, polygon, rectangle

Terrain = Literal["grass", "sand", "soil", "woods", "sea"]
SCENE_CLASSES = ("desert", "farmland", "forest", "harbor", "industrial", "parking", "residential", "sea")
PLACES = ("crop_field", "dock", "factory", "housing", "parking_lot", "sports_ground", "tank_farm", "woodland")


@dataclass(frozen=True)
class Thing:
    """An object with instance labels.

    Attributes:
        kind: One of `KINDS`.
        centre: Its middle.
        direction: Where its length, or its bow, points.
        length: Extent along the direction; of a tank, the diameter.
        width: Extent across.
        height: Length of its shadow.
        colour: Of its largest part.
        style: Chooses between roof forms, decks and the like.
        seen: Whether it is there on the first and on the second date.
        wake: Length of the wake, 0 for none.
    """

    kind: Surface
    centre: Point
    direction: int
    length: int
    width: int
    height: int
    colour: Colour
    style: int
    seen: tuple[bool, bool] = (True, True)
    wake: int = 0

    @property
    def outline(self) -> Points:
        """The footprint."""
        if self.kind is Surface.STORAGE_TANK:
            return disc(self.centre, self.length // 2)
        if self.kind is Surface.SHIP:
            a, b = self.length // 2, self.width // 2
            hull = [(a, 0), (a // 2, b), (-a * 7 // 8, b), (-a, b // 2), (-a, -b // 2), (-a * 7 // 8, -b), (a // 2, -b)]
            return polygon(self.centre, self.direction, hull)
        return rectangle(self.centre, self.direction, self.length, self.width)


@dataclass(frozen=True)
class Place:
    """An area with one use, such as a block of houses; `style` chooses between its looks."""

    kind: str
    centre: Point
    direction: int
    length: int
    width: int
    style: int

    @property
    def outline(self) -> Points:
        """The area."""
        return rectangle(self.centre, self.direction, self.length, self.width)


@dataclass(frozen=True)
class Road:
    """A straight piece of road."""

    start: Point
    end: Point
    width: int
    paved: bool


@dataclass
class Plan:
    """A whole scene.

    Attributes:
        scene_class: One of `SCENE_CLASSES`.
        size: Side of the image in pixels.
        unit: Length of a house; everything else is sized by it.
        dice: Random numbers for the layout.
        terrain: What the ground looks like.
        direction: Orientation of streets and fields.
        sun: Where shadows point.
        water: Water beside the land, if there is any.
        places, roads, trees, things: The contents; a tree is its centre and radius.
    """

    scene_class: str
    size: int
    unit: int
    dice: Dice
    terrain: Terrain = "grass"
    direction: int = 0
    sun: int = 0
    water: Points | None = None
    places: list[Place] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)
    trees: list[tuple[Point, int]] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)

    def put(self, thing: Thing) -> None:
        """Add an object, unless it lies far outside."""
        if self.inside(thing.centre, thing.length + thing.wake):
            self.things.append(thing)

    def inside(self, point: Point, margin: int = 0) -> bool:
        """Whether a point lies in the image, or no further out than `margin`."""
        return all(-margin <= coordinate < self.size * SUBPIXELS + margin for coordinate in point)
