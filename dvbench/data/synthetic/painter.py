"""A plan painted: ground, places, roads and trees, then the objects on top."""

from functools import cached_property

import numpy as np

from dvbench.data.synthetic.canvas import Canvas, Colour, Surface
from dvbench.data.synthetic.dice import Dice, Field, crowns, fractal
from dvbench.data.synthetic.objects import SHADOW, WHITE, draw_shadow, draw_thing, lit
from dvbench.data.synthetic.places import bay, parking_rows
from dvbench.data.synthetic.plan import Place, Plan, Terrain
from dvbench.data.synthetic.shapes import (
    COSINES,
    SINES,
    SUBPIXELS,
    TURN,
    UNIT_BITS,
    Patch,
    disc,
    moved,
    raster,
    rectangle,
    strip,
)

TERRAINS: dict[Terrain, tuple[Colour, Colour]] = {
    "grass": ((76, 92, 56), (134, 138, 96)),
    "sand": ((184, 154, 114), (224, 198, 156)),
    "soil": ((118, 110, 80), (160, 148, 114)),
    "woods": ((96, 104, 66), (126, 124, 88)),
    "sea": ((20, 50, 72), (38, 78, 98)),
}
COVER: dict[Terrain, int] = {"woods": -110, "grass": 105, "sand": 170}  # trees where the noise is above
CANOPY: tuple[Colour, Colour] = ((22, 40, 22), (88, 112, 58))
CROPS: tuple[Colour, ...] = (
    (96, 122, 58), (130, 138, 70), (172, 156, 96), (138, 114, 84), (74, 104, 56), (186, 172, 116), (116, 98, 74),
)  # fmt: skip
ASPHALT: Colour = (106, 106, 108)
CONCRETE: Colour = (152, 150, 144)
DIRT: Colour = (178, 158, 126)
BARE: Colour = (166, 142, 110)


class Textures:
    """The noise of a scene, shared by its two dates; each int32 (S, S), made when it is first wanted."""

    def __init__(self, dice: Dice, plan: Plan) -> None:
        self._dice, self._size, self._sun = dice, plan.size, plan.sun
        self._crown = 8 if plan.unit >= 20 * SUBPIXELS else 4
        self.broad = fractal(dice, plan.size, 128, 4)
        self.grain = fractal(dice, plan.size, 16)

    @cached_property
    def canopy(self) -> Field:
        """Tree crowns lit from one side, 0-256."""
        height = crowns(self._dice, self._crown)
        x, y = moved((0, 0), self._sun, 3)
        slope = height - np.roll(height, (-y, -x), (0, 1))
        shade = 70 + (height * 96 + slope * 160) // self._crown**2
        repeats = -(-self._size // len(shade))
        tiled = np.tile(shade, (repeats, repeats))[: self._size, : self._size]
        return (tiled + self.broad // 4).clip(0, 256)


class Painter:
    """Paints one date of a plan.

    Args:
        plan: What to paint.
        textures: Noise of the scene.
        date: 0 for the first date, 1 for the second.
    """

    def __init__(self, plan: Plan, textures: Textures, date: int) -> None:
        self.plan, self.textures, self.date = plan, textures, date
        self.canvas = Canvas(plan.size)

    def paint(self) -> Canvas:
        """The finished canvas."""
        self._terrain()
        for place in self.plan.places:
            self._place(place)
        self._roads()
        self._building_sites()
        self._trees()
        self._things()
        return self.canvas

    def _terrain(self) -> None:
        plan, canvas, textures = self.plan, self.canvas, self.textures
        everything = np.ones((plan.size, plan.size), dtype=np.bool_)
        whole = Patch((slice(0, plan.size), slice(0, plan.size)), everything)
        share = 128 + textures.broad // 2 + textures.grain // 3
        if plan.terrain == "sand":
            share = share + self._dunes()
        self._fill(whole, *TERRAINS[plan.terrain], share)
        if plan.terrain in COVER:
            self._woods(whole, COVER[plan.terrain])
        if plan.terrain == "sea":
            canvas.label(whole, Surface.WATER)
        if plan.water is not None and (water := raster(plan.water, plan.size)):
            self._fill(water, *TERRAINS["sea"], 128 + textures.broad[water.window] // 2)
            canvas.label(water, Surface.WATER)

    def _dunes(self) -> Field:
        """Ripples that the wind has bent, int32 (S, S)."""
        steps = np.arange(self.plan.size, dtype=np.int32)
        turned = self.plan.direction
        along = (steps[:, None] * COSINES[turned] + steps * SINES[turned]) >> (UNIT_BITS - 2)
        ripple: Field = 24 - np.abs((along + self.textures.broad // 2) % 48 - 24) * 3
        return ripple

    def _fill(self, patch: Patch, dark: Colour, bright: Colour, share: Field) -> None:
        """Paint a patch with two colours mixed: share is int32 (rows, columns), 0 for the first, 256 for the second."""
        parts, steps = share.clip(0, 256)[..., None], np.array(bright, dtype=np.int32) - np.array(dark, dtype=np.int32)
        mixed = (parts * steps >> 8) + np.array(dark, dtype=np.int32)
        np.copyto(self.canvas.pixels[patch.window], mixed, where=patch.inside[..., None])

    def _woods(self, patch: Patch, sparse: int) -> None:
        """Trees over a patch where the noise is above `sparse`."""
        textures = self.textures
        ragged = textures.broad[patch.window] + textures.grain[patch.window] // 3 > sparse
        grown = Patch(patch.window, patch.inside & ragged)
        self._fill(grown, *CANOPY, textures.canopy[patch.window])
        self.canvas.label(grown, Surface.TREES)

    def _place(self, place: Place) -> None:
        outline = disc(place.centre, place.length * 9 // 16) if place.kind == "woodland" else place.outline
        patch = raster(outline, self.plan.size)
        if patch is None:
            return
        if place.kind == "woodland":
            self._woods(patch, -30)
        elif place.kind == "crop_field":
            self._field(place, patch)
        elif place.kind in {"factory", "tank_farm", "dock"}:
            colour = (CONCRETE, lit(CONCRETE, -30), lit(DIRT, -20))[place.style % 3]
            self.canvas.paint(place.outline, colour, Surface.PAVED)
        elif place.kind == "parking_lot":
            self._parking_lot(place, patch)

    def _field(self, place: Place, patch: Patch) -> None:
        """A crop in rows."""
        across = _within(place, patch)[place.style % 2]
        period = (4 + place.style % 5) * SUBPIXELS
        furrow = np.abs(across % period - period // 2) * 192 // period
        colour = CROPS[place.style % len(CROPS)]
        self._fill(patch, lit(colour, -44), lit(colour, 36), 80 + furrow + self.textures.broad[patch.window] // 2)
        self.canvas.label(patch, Surface.FIELD)

    def _parking_lot(self, place: Place, patch: Patch) -> None:
        """Asphalt with the lines between the bays, in double rows."""
        self.canvas.paint(place.outline, lit(ASPHALT, -16), Surface.PAVED)
        step, rows = bay(self.plan), len(parking_rows(self.plan, place))
        along, across = _within(place, patch)
        line, reach, pitch = max(step // 10, SUBPIXELS), place.length // 2 - step, place.width // rows
        across = np.abs((across + place.width // 2) % pitch - pitch // 2)
        lines = (across < line // 2) | ((across < step * 3 // 2) & ((along + reach) % step < line))
        marked = Patch(patch.window, lines & patch.inside & (np.abs(along) <= reach))
        self.canvas.tint(marked, WHITE, 120)

    def _roads(self) -> None:
        canvas = self.canvas
        for road in self.plan.roads:
            colour = ASPHALT if road.paved else DIRT
            canvas.paint(disc(road.end, road.width // 2), colour, Surface.ROAD)
            canvas.paint(strip(road.start, road.end, road.width), colour, Surface.ROAD)
        for road in self.plan.roads:
            if road.paved and road.width >= 8 * SUBPIXELS:
                canvas.blend(strip(road.start, road.end, SUBPIXELS), WHITE, 90)

    def _building_sites(self) -> None:
        """Bare soil where a building stands on the other date only."""
        for thing in self.plan.things:
            if thing.kind is Surface.BUILDING and not thing.seen[self.date]:
                site = rectangle(thing.centre, thing.direction, thing.length * 9 // 8, thing.width * 9 // 8)
                self.canvas.blend(site, BARE, 80 + 40 * (thing.style % 4))

    def _trees(self) -> None:
        canvas, sun = self.canvas, self.plan.sun
        for centre, radius in self.plan.trees:
            canvas.blend(disc(moved(centre, sun, radius * 3 // 4), radius), SHADOW, 120)
            canvas.paint(disc(centre, radius), CANOPY[0], Surface.TREES)
            canvas.blend(disc(moved(centre, sun, -radius // 5), radius * 3 // 4), CANOPY[1], 150)
            canvas.blend(disc(moved(centre, sun, -radius * 2 // 5), radius // 3), CANOPY[1], 150)

    def _things(self) -> None:
        canvas, plan = self.canvas, self.plan
        present = [(number, thing) for number, thing in enumerate(plan.things, start=1) if thing.seen[self.date]]
        for _, thing in present:
            draw_shadow(canvas, thing, plan.sun)
        for number, thing in present:
            draw_thing(canvas, thing, plan.sun, number)


def _within(place: Place, patch: Patch) -> tuple[Field, Field]:
    """Position of each pixel of a window along and across a place, int32 (rows, columns), from its centre."""
    rows, columns = patch.window
    cosine, sine = COSINES[place.direction % TURN], SINES[place.direction % TURN]
    x = np.arange(columns.start, columns.stop) * SUBPIXELS + SUBPIXELS // 2 - place.centre[0]
    y = (np.arange(rows.start, rows.stop) * SUBPIXELS + SUBPIXELS // 2 - place.centre[1])[:, None]
    along, across = (x * cosine + y * sine) >> UNIT_BITS, (y * cosine - x * sine) >> UNIT_BITS
    return along.astype(np.int32), across.astype(np.int32)
