"""The cells that tables 13 and 14 ask to be measured."""

from dataclasses import replace

from dvbench.paper.cost_rows import OTHER_MAMBA, RESOLUTIONS, rows
from dvbench.profile.cell import Cell

LAPTOP_RESOLUTIONS = RESOLUTIONS[:4]  # what two CPU cores do in minutes
LAPTOP_SIDE = 512  # up to which a CPU measures the other Mamba backbones, which are slow there and not in the paper


def cells(number: int, template: Cell, resolutions: tuple[int, ...]) -> list[Cell]:
    """Return the cells of table 13 (512 px only) or 14; the rest of each is taken from `template`."""
    sides = (512,) if number == 13 else resolutions
    return [
        replace(template, model=model, resolution=side, attention=attention).settled()
        for side in sides
        for row, (model, attention) in rows(number).items()
        if row not in OTHER_MAMBA or side <= LAPTOP_SIDE or template.device != "cpu"
    ]
