"""How each kind of object looks."""

from collections.abc import Callable

from dvbench.data.synthetic.canvas import Canvas, Colour, Surface
from dvbench.data.synthetic.places import QUARTER
from dvbench.data.synthetic.plan import Thing
from dvbench.data.synthetic.shapes import COSINES, SUBPIXELS, TURN, UNIT_BITS, disc, moved, polygon, rectangle, swept

SHADOW: Colour = (14, 18, 30)
WHITE: Colour = (232, 232, 228)
GLASS: Colour = (34, 40, 50)
FOAM: Colour = (206, 220, 222)


def draw_shadow(canvas: Canvas, thing: Thing, sun: int) -> None:
    """The shadow of an object, and the wake of a ship: what goes under all objects."""
    if thing.wake:
        _draw_wake(canvas, thing)
    if thing.height:
        canvas.blend(swept(thing.outline, moved((0, 0), sun, thing.height)), SHADOW, 140)


def draw_thing(canvas: Canvas, thing: Thing, sun: int, owner: int) -> None:
    """The object itself.

    Args:
        canvas: Where to paint it.
        thing: The object.
        sun: Where shadows point.
        owner: Its number, from 1.
    """
    canvas.paint(thing.outline, thing.colour, thing.kind, owner)
    _DETAILS[thing.kind](canvas, thing, sun)


def lit(colour: Colour, change: int) -> Colour:
    """A colour made brighter or darker by a change in 1/256."""
    red, green, blue = (value + (value * change >> 8) for value in colour)
    return red, green, blue


def _building(canvas: Canvas, thing: Thing, sun: int) -> None:
    if thing.style >= 4:
        _flat_roof(canvas, thing)
        return
    for side in (-1, 1):  # two slopes, one towards the sun
        middle = moved(thing.centre, thing.direction, 0, side * thing.width // 4)
        away = COSINES[(thing.direction + side * QUARTER - sun) % TURN]
        slope = rectangle(middle, thing.direction, thing.length, thing.width // 2 + 1)
        canvas.paint(slope, lit(thing.colour, -away * 60 >> UNIT_BITS))
    ridge = rectangle(thing.centre, thing.direction, thing.length, SUBPIXELS)
    canvas.blend(ridge, lit(thing.colour, 50), 160)
    if thing.style % 2:
        chimney = moved(thing.centre, thing.direction, thing.length // 4, thing.width // 6)
        canvas.paint(rectangle(chimney, thing.direction, thing.width // 8, thing.width // 8), lit(thing.colour, -90))


def _flat_roof(canvas: Canvas, thing: Thing) -> None:
    rim = max(thing.width // 24, SUBPIXELS)
    inner = rectangle(thing.centre, thing.direction, thing.length - 2 * rim, thing.width - 2 * rim)
    canvas.paint(inner, lit(thing.colour, -24))
    count = 2 + thing.style % 4
    for number in range(count):
        along = (2 * number + 1 - count) * thing.length // (2 * count)
        if thing.style % 2:  # roof lights across the hall
            light = rectangle(moved(thing.centre, thing.direction, along), thing.direction, rim, thing.width * 5 // 8)
            canvas.paint(light, lit(thing.colour, 30))
        else:  # ventilation
            spot = moved(thing.centre, thing.direction, along, (number % 2 * 2 - 1) * thing.width // 5)
            side = max(thing.width // 9, 2 * SUBPIXELS)
            canvas.blend(rectangle((spot[0] + rim, spot[1] + rim), thing.direction, side, side), SHADOW, 120)
            canvas.paint(rectangle(spot, thing.direction, side, side), lit(thing.colour, 16))


def _tank(canvas: Canvas, thing: Thing, sun: int) -> None:
    radius = thing.length // 2
    canvas.paint(disc(thing.centre, radius), lit(thing.colour, -50))
    canvas.paint(disc(moved(thing.centre, sun, -radius // 10), radius * 7 // 8), thing.colour)
    if thing.style:  # a floating roof, in the shade of the wall
        canvas.blend(disc(thing.centre, radius * 3 // 4), SHADOW, 90)
        canvas.paint(disc(moved(thing.centre, sun, radius // 6), radius * 5 // 8), lit(thing.colour, -30))


def _court(canvas: Canvas, thing: Thing, _sun: int) -> None:
    line = max(thing.width // 20, SUBPIXELS)
    for length, width in (
        (thing.length * 3 // 4, thing.width * 3 // 4),
        (thing.length * 3 // 8, thing.width * 9 // 16),
    ):
        canvas.paint(rectangle(thing.centre, thing.direction, length, width), WHITE)
        inner = rectangle(thing.centre, thing.direction, length - 2 * line, width - 2 * line)
        canvas.paint(inner, lit(thing.colour, 40))
    canvas.paint(rectangle(thing.centre, thing.direction, line, thing.width * 3 // 4), WHITE)


def _vehicle(canvas: Canvas, thing: Thing, _sun: int) -> None:
    for along, length in ((thing.length // 5, thing.length // 7), (-thing.length * 5 // 16, thing.length // 10)):
        window = moved(thing.centre, thing.direction, along)
        canvas.paint(rectangle(window, thing.direction, length, thing.width * 3 // 4), GLASS)


def _ship(canvas: Canvas, thing: Thing, sun: int) -> None:
    length, width = thing.length, thing.width
    a, b = length * 7 // 16, width * 3 // 8
    deck = [(a, 0), (a // 2, b), (-a, b), (-a, -b), (a // 2, -b)]
    canvas.paint(polygon(thing.centre, thing.direction, deck), lit(thing.colour, 90))
    bridge = moved(thing.centre, thing.direction, -length * 5 // 16)
    canvas.blend(rectangle(moved(bridge, sun, width // 6), thing.direction, length // 7, width * 3 // 4), SHADOW, 150)
    canvas.paint(rectangle(bridge, thing.direction, length // 8, width * 3 // 4), WHITE)
    if thing.style % 2:
        for number in range(4):  # hatches or containers
            hold = moved(thing.centre, thing.direction, (number * 9 - 9) * length // 64)
            colour = lit(thing.colour, (-60, 120, 20, -20)[(number + thing.style) % 4])
            canvas.paint(rectangle(hold, thing.direction, length // 9, width * 9 // 16), colour)


def _draw_wake(canvas: Canvas, thing: Thing) -> None:
    """Foam behind the stern, which widens and fades."""
    half, steps = thing.width // 3, 12
    for step in range(steps):
        near = -thing.length // 2 - thing.wake * step // steps
        far = -thing.length // 2 - thing.wake * (step + 1) // steps
        inner, outer = half + thing.wake * step // 96, half + thing.wake * (step + 1) // 96
        trail = polygon(thing.centre, thing.direction, [(near, -inner), (near, inner), (far, outer), (far, -outer)])
        canvas.blend(trail, FOAM, 120 - 10 * step)
    for side in (-1, 1):  # bow waves
        bow, stern = thing.length // 2, -thing.length
        wave = [(bow, 0), (stern, side * thing.width * 2), (stern, side * thing.width * 7 // 4)]
        canvas.blend(polygon(thing.centre, thing.direction, wave[::side]), FOAM, 36)


_DETAILS: dict[Surface, Callable[[Canvas, Thing, int], None]] = {
    Surface.BUILDING: _building,
    Surface.STORAGE_TANK: _tank,
    Surface.TENNIS_COURT: _court,
    Surface.VEHICLE: _vehicle,
    Surface.SHIP: _ship,
}
