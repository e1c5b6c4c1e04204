"""Scenes laid out: streets, the blocks between them and what they are used for, ships at sea."""

from dataclasses import dataclass
from itertools import pairwise, product
from typing import Literal

from dvbench.data.synthetic.dice import Dice
from dvbench.data.synthetic.places import QUARTER, fill, ship, vehicle
from dvbench.data.synthetic.plan import Place, Plan, Road, Terrain
from dvbench.data.synthetic.shapes import SUBPIXELS, TURN, Point, moved, rectangle

Streets = Literal["paved", "track", "none"]
SPREAD = frozenset({"crop_field", "housing", "woodland"})  # places that fill their block however small the objects are
SPARSEST = 128  # px between streets, so that small objects leave most of the ground empty


@dataclass(frozen=True)
class Style:
    """How a scene class looks: its ground, its streets, and the weight of each use a block can have ("" for none)."""

    terrain: Terrain
    streets: Streets
    uses: dict[str, int]


STYLES: dict[str, Style] = {
    "desert": Style("sand", "track", {"": 20, "housing": 1, "factory": 1}),
    "farmland": Style("soil", "track", {"crop_field": 14, "housing": 1, "woodland": 1}),
    "forest": Style("woods", "track", {"": 16, "housing": 1}),
    "harbor": Style("grass", "paved", {"factory": 5, "tank_farm": 3, "parking_lot": 1}),
    "industrial": Style("soil", "paved", {"factory": 8, "tank_farm": 3, "parking_lot": 1, "": 1}),
    "parking": Style("grass", "paved", {"parking_lot": 9, "factory": 2}),
    "residential": Style("grass", "paved", {"housing": 14, "woodland": 1, "sports_ground": 1}),
    "sea": Style("sea", "none", {"": 1}),
}


def lay_out(scene_class: str, dice: Dice, size: int, unit: int) -> Plan:
    """Plan a scene.

    Args:
        scene_class: One of `SCENE_CLASSES`.
        dice: Random numbers.
        size: Side of the image in pixels.
        unit: Length of a house in pixels.

    Returns:
        The plan; objects may reach over the edges of the image.
    """
    style = STYLES[scene_class]
    plan = Plan(scene_class, size, unit * SUBPIXELS, dice, style.terrain)
    plan.direction = dice.integer(0, TURN - 1)
    plan.sun = dice.integer(0, TURN - 1)
    pitch = max(4 * unit, min(SPARSEST, size // 2)) * SUBPIXELS
    if scene_class == "sea":
        _open_water(plan, pitch)
    else:
        _town(plan, style, pitch)
    return plan


def _town(plan: Plan, style: Style, pitch: int) -> None:
    """Blocks between streets, in a frame turned to the plan's direction; a harbour is half water."""
    dice = plan.dice
    middle = plan.size * SUBPIXELS // 2
    origin = moved((middle, middle), plan.direction, dice.integer(0, pitch), dice.integer(0, pitch))
    reach = plan.size * SUBPIXELS * 3 // (4 * pitch) + 2
    last = reach
    if plan.scene_class == "harbor":
        last = dice.integer(-1, 0)
        _waterfront(plan, moved(origin, plan.direction, 0, last * pitch), pitch)
    street = max(plan.unit * (3 if style.streets == "paved" else 2) // 8, 3 * SUBPIXELS)
    _streets(plan, style.streets, _corners(plan, origin, pitch, range(-reach, last + 1)), street)
    uses = [use for use, weight in style.uses.items() for _ in range(weight)]
    side = pitch - 2 * street if style.streets == "paved" else pitch - street
    for row in range(-reach, last):
        for column in range(-reach, reach):
            centre = moved(origin, plan.direction, column * pitch + pitch // 2, row * pitch + pitch // 2)
            use = dice.choice(uses)
            if use and plan.inside(centre, pitch * 3 // 4):
                extent = side if use in SPREAD else min(side, 5 * plan.unit)
                fill(plan, Place(use, centre, plan.direction, extent, extent, dice.integer(0, 255)))


def _corners(plan: Plan, origin: Point, pitch: int, rows: range) -> list[list[Point]]:
    """Where streets meet: a grid, a little out of true."""
    dice, slack = plan.dice, pitch // 24
    reach = plan.size * SUBPIXELS * 3 // (4 * pitch) + 2
    return [
        [
            moved(
                origin,
                plan.direction,
                column * pitch + dice.integer(-slack, slack),
                row * pitch + dice.integer(-slack, slack),
            )
            for column in range(-reach, reach + 1)
        ]
        for row in rows
    ]


def _streets(plan: Plan, kind: Streets, corners: list[list[Point]], width: int) -> None:
    """Polylines along the rows and the columns of the grid; of tracks, every third."""
    lines = [(line, plan.direction) for line in corners]
    lines += [(list(line), plan.direction + QUARTER) for line in zip(*corners, strict=True)]
    for number, (line, heading) in enumerate(lines):
        if kind == "paved" or number % 3 == 0:
            for start, end in pairwise(line):
                _street(plan, Road(start, end, width, kind == "paved"), heading)


def _street(plan: Plan, road: Road, heading: int) -> None:
    """A piece of street and the traffic on it, which keeps to the right."""
    dice, (x0, y0), (x1, y1) = plan.dice, road.start, road.end
    if not plan.inside(((x0 + x1) // 2, (y0 + y1) // 2), max(abs(x1 - x0), abs(y1 - y0))):
        return
    plan.roads.append(road)
    for _ in range(dice.integer(0, 2) if road.paved else dice.integer(0, 7) // 7):
        part = dice.integer(3, 13)
        spot = (x0 + (x1 - x0) * part // 16, y0 + (y1 - y0) * part // 16)
        ahead = heading + dice.choice([0, TURN // 2])
        vehicle(plan, moved(spot, ahead, 0, road.width // 4), ahead)


def _waterfront(plan: Plan, quay: Point, pitch: int) -> None:
    """Water beyond a straight quay, docks that reach into it, ships on their way."""
    dice, far = plan.dice, plan.size * SUBPIXELS * 2
    edge = moved(quay, plan.direction, 0, plan.unit // 2)
    plan.water = rectangle(moved(edge, plan.direction, 0, far), plan.direction, 2 * far, 2 * far)
    reach = plan.size * SUBPIXELS // pitch + 1
    for column in range(-reach, reach + 1):
        foot = moved(edge, plan.direction, column * pitch)
        dock = moved(foot, plan.direction, 0, pitch // 2)
        if column % 2 == 0 and plan.inside(dock, pitch // 2):
            fill(plan, Place("dock", dock, plan.direction + QUARTER, pitch, plan.unit // 2, dice.integer(0, 255)))
        spot = moved(foot, plan.direction, 0, pitch * dice.integer(14, 24) // 8)
        if plan.inside(spot) and dice.chance(1, 2):
            length = plan.unit * dice.integer(12, 28) // 16
            ship(plan, spot, dice.integer(0, TURN - 1), length=length, sailing=True)


def _open_water(plan: Plan, pitch: int) -> None:
    """Ships scattered over the sea, far enough apart not to touch."""
    dice = plan.dice
    for row, column in product(range(plan.size * SUBPIXELS // pitch), repeat=2):
        if dice.chance(3, 4):
            x, y = (cell * pitch + pitch // 4 + dice.integer(0, pitch // 2) for cell in (column, row))
            length = plan.unit * dice.integer(12, 30) // 16
            ship(plan, (x, y), dice.integer(0, TURN - 1), length=length, sailing=dice.chance(3, 4))
