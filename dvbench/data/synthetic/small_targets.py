"""Scenes that are empty but for one small object, the target: what selection of tokens is meant to find."""

from math import isqrt

from dvbench.data.synthetic.canvas import Colour, Surface
from dvbench.data.synthetic.dice import Dice
from dvbench.data.synthetic.layout import STYLES
from dvbench.data.synthetic.places import COURTS, HOUSE_ROOFS, TANKS, VEHICLES
from dvbench.data.synthetic.plan import Plan, Thing
from dvbench.data.synthetic.scene import LAYOUT, Scene, check_range
from dvbench.data.synthetic.shapes import SUBPIXELS, TURN

SMALLEST_SIZE = 64  # px; a target of a hundredth of a smaller image has too few pixels to be told from another
SHARE = 100  # the target covers about one in so many pixels
TREES = 12
GROUNDS = ("desert", "farmland", "forest")
#: Kind of target -> its length over its width, in quarters, and its colours.
TARGETS: dict[Surface, tuple[int, tuple[Colour, ...]]] = {
    Surface.BUILDING: (5, HOUSE_ROOFS),
    Surface.STORAGE_TANK: (4, TANKS),
    Surface.TENNIS_COURT: (8, COURTS),
    Surface.VEHICLE: (8, VEHICLES),
}
KINDS = tuple(TARGETS)


def small_target(seed: int, index: int, size: int, *, difficulty: int = 0) -> Scene:
    """Make a scene of bare or wooded ground, a few single trees and one target that covers about 1 % of the image.

    Kinds take turns, so that each is as frequent as the others; ground, place and direction are drawn.
    The target lies wholly inside the image, and on top of the trees.

    Args:
        seed: Which series of scenes, from 0 on.
        index: Which scene of the series, from 0 on.
        size: Side S of the image in pixels, 64 or more.
        difficulty: 0-3, as of `scene`; from 1 on clouds may hide the target.

    Returns:
        The scene; its only instance is the target.

    Raises:
        SyntheticError: An argument is out of its range.
    """
    check_range({"seed": 0, "index": 0, "size": SMALLEST_SIZE}, difficulty, seed=seed, index=index, size=size)
    dice = Dice(seed, index, LAYOUT)
    ground, side = dice.choice(GROUNDS), size * SUBPIXELS
    plan = Plan(ground, size, side // 8, dice, STYLES[ground].terrain)
    plan.direction, plan.sun = dice.integer(0, TURN - 1), dice.integer(0, TURN - 1)
    for _ in range(TREES):
        spot = dice.integer(0, side), dice.integer(0, side)
        plan.trees.append((spot, plan.unit * dice.integer(3, 6) // 16))
    plan.put(_target(dice, KINDS[index % len(KINDS)], side))
    return Scene(plan, seed, index, difficulty)


def _target(dice: Dice, kind: Surface, side: int) -> Thing:
    """An object that covers its share of an image of `side` sixteenths of a pixel."""
    (quarters, colours), area = TARGETS[kind], side * side // SHARE
    if kind is Surface.STORAGE_TANK:
        area = area * 4 // 3  # of the square around the circle
    width = isqrt(area * 4 // quarters)
    length = area // width
    edge = isqrt(length * length + width * width) // 2 + SUBPIXELS
    centre = dice.integer(edge, side - edge), dice.integer(edge, side - edge)
    height = 0 if kind is Surface.TENNIS_COURT else width // 4
    direction, colour, style = dice.integer(0, TURN - 1), dice.choice(colours), dice.integer(0, 3)
    return Thing(kind, centre, direction, length, width, height, colour, style)
