"""The page of a contact sheet: a title, rows of captioned pictures, a legend."""

from dataclasses import dataclass
from itertools import chain

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

SIDE = 448  # px of the longer side of a picture
LINE = 22  # px of a line of text
FONT = ImageFont.load_default(14)
INK, PAPER = (34, 34, 34), (255, 255, 255)
_TITLE = ImageFont.load_default(20)
_GREY = (128, 128, 128)
_COLUMNS = 4  # pictures side by side
_GAP, _SWATCH = 12, 14  # px


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet.

    Attributes:
        picture: RGB, no side longer than `SIDE`.
        caption: One line below it, cut where it is too long.
    """

    picture: Image.Image
    caption: str


def lay_out(title: str, groups: list[list[Panel]], legend: list[tuple[str, Colour]]) -> Image.Image:
    """Put pictures on a page.

    Args:
        title: Goes on top.
        groups: Pictures that stay side by side, the same number in each group; at least one group.
        legend: Name and colour of what is drawn in the pictures.

    Returns:
        The page, RGB.
    """
    in_group = len(groups[0])
    in_row = max(min(_COLUMNS // in_group, len(groups)), 1)
    rows = [list(chain(*groups[start : start + in_row])) for start in range(0, len(groups), in_row)]
    heights = [max(panel.picture.height for panel in row) for row in rows]
    width = _GAP + in_group * in_row * (SIDE + _GAP)
    legend_rows = _folded(legend, width - 2 * _GAP)
    page = (width, 3 * _GAP + LINE + sum(heights) + len(rows) * (LINE + _GAP) + len(legend_rows) * LINE)
    drawn = Image.new("RGB", page, PAPER)
    pen = ImageDraw.Draw(drawn)
    pen.text((_GAP, _GAP), title, INK, _TITLE)
    y = 2 * _GAP + LINE
    for row, height in zip(rows, heights, strict=True):
        for column, panel in enumerate(row):
            left = _GAP + column * (SIDE + _GAP)
            drawn.paste(panel.picture, (left, y))
            pen.text((left, y + height + 2), _cut(panel.caption), INK, FONT)
        y += height + LINE + _GAP
    for entries in legend_rows:
        x = float(_GAP)
        for name, colour in entries:
            pen.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=colour, outline=_GREY)
            pen.text((x + _SWATCH + 6, y - 1), name, INK, FONT)
            x += _entry_width(name)
        y += LINE
    return drawn


def _folded(legend: list[tuple[str, Colour]], width: int) -> list[list[tuple[str, Colour]]]:
    """Break the legend into rows that fit."""
    rows: list[list[tuple[str, Colour]]] = []
    free = 0.0
    for name, colour in legend:
        if _entry_width(name) > free:
            rows.append([])
            free = width
        rows[-1].append((name, colour))
        free -= _entry_width(name)
    return rows


def _entry_width(name: str) -> float:
    return _SWATCH + 6 + FONT.getlength(name) + 2 * _GAP


def _cut(caption: str) -> str:
    """Shorten a caption to the width of a panel."""
    if FONT.getlength(caption) <= SIDE:
        return caption
    while FONT.getlength(f"{caption}...") > SIDE:
        caption = caption[:-1]
    return f"{caption}..."
