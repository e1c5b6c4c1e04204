"""Each kind of place filled with its objects."""

from collections.abc import Callable

from dvbench.data.synthetic.canvas import Colour, Surface
from dvbench.data.synthetic.plan import Place, Plan, Thing
from dvbench.data.synthetic.shapes import SUBPIXELS, TURN, Point, moved

HOUSE_ROOFS: tuple[Colour, ...] = (
    (158, 92, 70), (142, 80, 64), (124, 110, 104), (98, 96, 100), (170, 120, 90), (136, 128, 122), (112, 84, 74),
)  # fmt: skip
HALL_ROOFS: tuple[Colour, ...] = ((198, 200, 202), (176, 180, 184), (104, 134, 168), (216, 214, 206), (150, 152, 156))
VEHICLES: tuple[Colour, ...] = (
    (226, 228, 230), (208, 210, 212), (52, 54, 60), (164, 48, 44), (58, 82, 130), (128, 132, 138), (30, 32, 36),
)  # fmt: skip
SHIPS: tuple[Colour, ...] = ((116, 68, 58), (70, 74, 84), (96, 104, 116), (150, 154, 158), (60, 84, 104))
TANKS: tuple[Colour, ...] = ((226, 226, 222), (208, 206, 198), (190, 178, 160))
COURTS: tuple[Colour, ...] = ((62, 112, 84), (150, 88, 66), (66, 104, 146))

QUARTER = TURN // 4


def fill(plan: Plan, place: Place) -> None:
    """Put into a place what belongs there, and the place into the plan."""
    plan.places.append(place)
    _FILLS[place.kind](plan, place)


def vehicle(plan: Plan, centre: Point, direction: int) -> None:
    """Park or drive a vehicle; half of all are there on one date only."""
    dice = plan.dice
    length = max(plan.unit * dice.integer(5, 6) // 16, 4 * SUBPIXELS)
    seen = dice.choice([(True, True), (True, True), (True, False), (False, True)])
    colour = dice.choice(VEHICLES)
    plan.put(
        Thing(Surface.VEHICLE, centre, direction, length, length // 2, length // 8, colour, dice.integer(0, 3), seen)
    )


def ship(plan: Plan, centre: Point, direction: int, *, length: int, sailing: bool) -> None:
    """Moor a ship, or let it sail with a wake."""
    dice = plan.dice
    seen = dice.choice([(True, True), (True, False), (False, True), (False, True)])
    wake = length * dice.integer(8, 24) // 8 if sailing else 0
    width = max(length * dice.integer(14, 20) // 64, 2 * SUBPIXELS)
    colour, style = dice.choice(SHIPS), dice.integer(0, 3)
    plan.put(Thing(Surface.SHIP, centre, direction, length, width, length // 16, colour, style, seen, wake))


def _building(plan: Plan, centre: Point, direction: int, length: int, width: int, roofs: tuple[Colour, ...]) -> None:
    """Put up a building; one in four is built or pulled down between the dates."""
    dice = plan.dice
    seen = dice.choice([(True, True)] * 6 + [(True, False), (False, True)])
    height = min(length, width) * dice.integer(3, 6) // 16
    style = dice.integer(0, 3) + (4 if roofs is HALL_ROOFS else 0)
    plan.put(Thing(Surface.BUILDING, centre, direction, length, width, height, dice.choice(roofs), style, seen))


def _grid(place: Place, columns: int, rows: int) -> list[Point]:
    """Centres of equal lots along and across a place."""
    return [
        moved(
            place.centre,
            place.direction,
            (2 * column + 1 - columns) * place.length // (2 * columns),
            (2 * row + 1 - rows) * place.width // (2 * rows),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def _housing(plan: Plan, place: Place) -> None:
    dice, unit = plan.dice, plan.unit
    for lot in _grid(place, 3, 2):
        if dice.chance(1, 10):
            continue
        length = min(unit * dice.integer(12, 17) // 16, place.length * 5 // 16)
        width = length * dice.integer(10, 13) // 16
        direction = place.direction + dice.choice([0, 0, QUARTER, QUARTER, -1, 1])
        _building(plan, _jittered(plan, lot, unit // 10), direction, length, width, HOUSE_ROOFS)
        for _ in range(dice.integer(1, 3)):
            side = dice.integer(0, TURN - 1)
            radius = unit * dice.integer(4, 8) // 32
            plan.trees.append((moved(lot, side, length * 5 // 8 + radius), radius))


def _factory(plan: Plan, place: Place) -> None:
    dice = plan.dice
    halls = dice.integer(1, 2)
    for lot in _grid(place, halls, 1):
        length = min(plan.unit * dice.integer(40, 52) // 16, place.width * 13 // 16)
        width = min(plan.unit * dice.integer(20, 36) // 16, place.length * 11 // (16 * halls))
        _building(plan, lot, place.direction + QUARTER, length, width, HALL_ROOFS)
        for _ in range(dice.integer(0, 2) if halls == 1 else 0):  # between two there is no room
            along = dice.integer(-length // 2, length // 2)
            gap = width // 2 + plan.unit // 4
            vehicle(plan, moved(lot, place.direction, gap, along), place.direction + QUARTER)


def _tank_farm(plan: Plan, place: Place) -> None:
    dice = plan.dice
    count = dice.integer(2, 3)
    lot = min(place.length, place.width) // count
    diameter = min(plan.unit * dice.integer(14, 20) // 16, lot * 13 // 16)
    colour = dice.choice(TANKS)
    for centre in _grid(place, count, count):
        if dice.chance(7, 8):
            plan.put(
                Thing(Surface.STORAGE_TANK, centre, 0, diameter, diameter, diameter // 3, colour, dice.integer(0, 1))
            )


def bay(plan: Plan) -> int:
    """Width of a parking bay."""
    return max(plan.unit * 4 // 16, 4 * SUBPIXELS)


def parking_rows(plan: Plan, place: Place) -> list[Point]:
    """The middle of each double row of bays of a parking lot."""
    rows = max(place.width // (bay(plan) * 4), 1)
    return _grid(place, 1, rows)


def _parking_lot(plan: Plan, place: Place) -> None:
    dice, step = plan.dice, bay(plan)
    taken = dice.integer(4, 7)
    reach = place.length // 2 - step
    for row in parking_rows(plan, place):
        for along in range(-reach + step // 2, reach, step):
            for side in (-1, 1):
                if dice.chance(taken, 10):
                    spot = moved(row, place.direction, along, side * step)
                    vehicle(plan, spot, place.direction + side * QUARTER)


def _sports_ground(plan: Plan, place: Place) -> None:
    dice = plan.dice
    count = dice.integer(2, 3)
    length = min(plan.unit * 5 // 4, place.width * 3 // 4)
    width = min(length // 2, place.length * 12 // (16 * count))
    colour = dice.choice(COURTS)
    for centre in _grid(place, count, 1):
        plan.put(Thing(Surface.TENNIS_COURT, centre, place.direction + QUARTER, length, width, 0, colour, 0))


def _dock(plan: Plan, place: Place) -> None:
    dice = plan.dice
    for side in (-1, 1):
        length = min(plan.unit * dice.integer(28, 44) // 16, place.length * 7 // 8)
        across = side * (place.width // 2 + length // 8 + SUBPIXELS)
        along = dice.integer(0, max(place.length - length, 0)) // 2
        berth = moved(place.centre, place.direction, along, across)
        ship(plan, berth, place.direction + dice.choice([0, TURN // 2]), length=length, sailing=False)


def _nothing(_plan: Plan, _place: Place) -> None:
    """Crops and woods are ground, without objects."""


def _jittered(plan: Plan, point: Point, reach: int) -> Point:
    return point[0] + plan.dice.integer(-reach, reach), point[1] + plan.dice.integer(-reach, reach)


_FILLS: dict[str, Callable[[Plan, Place], None]] = {
    "crop_field": _nothing,
    "dock": _dock,
    "factory": _factory,
    "housing": _housing,
    "parking_lot": _parking_lot,
    "sports_ground": _sports_ground,
    "tank_farm": _tank_farm,
    "woodland": _nothing,
}
