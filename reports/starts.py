"""What a start is worth: one panel a test, one line a seed, from scratch to pretrained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.plot import COLOURS, GRID, PALE_INK, STYLE, PlotError


@dataclass(frozen=True)
class Panel:
    """The scores of one model in one test.

    Attributes:
        model: names the row of panels.
        test: names the column.
        score: what is measured, in percent.
        starts: start -> seed -> score.
    """

    model: str
    test: str
    score: str
    starts: Mapping[str, Mapping[int, float]]


def starts_figure(panels: Sequence[Panel], starts: Sequence[str], *, title: str, caption: str) -> Figure:
    """Draw each seed as a line over the starts, and their means as points.

    Args:
        panels: models and tests in the order in which they are to stand; a combination may be missing.
        starts: from left to right.
        title: what the figure shows.
        caption: where the numbers come from.

    Raises:
        PlotError: there is no panel.
    """
    if not panels:
        raise PlotError(f"{title}: there is nothing to draw yet")
    models = list(dict.fromkeys(panel.model for panel in panels))
    tests = list(dict.fromkeys(panel.test for panel in panels))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(tests) + 0.6, 2.3 * len(models) + 1), layout="constrained")
        grid = figure.subplots(len(models), len(tests), squeeze=False, sharex=True, sharey="col")
        for axes in grid.flat:
            axes.set_visible(False)
        for panel in panels:
            row, column = models.index(panel.model), tests.index(panel.test)
            axes = grid[row, column]
            axes.set_visible(True)
            _draw(axes, panel, starts, COLOURS[row % len(COLOURS)])
            axes.set_title(f"{panel.test}\n{panel.model}", fontsize=9, loc="left")
            axes.set_ylabel(f"{panel.score} (%)")
        for axes in grid[0]:
            axes.set_ylim(bottom=0)  # when all is drawn, as it fixes the top of the whole column
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(fill(caption, 36 * len(tests)), x=0.01, ha="left", fontsize=7, color=PALE_INK)
    return figure


def _draw(axes: Axes, panel: Panel, starts: Sequence[str], colour: str) -> None:
    seeds = sorted({seed for scores in panel.starts.values() for seed in scores})
    for seed in seeds:
        there = [(place, panel.starts[start][seed]) for place, start in enumerate(starts)
                 if seed in panel.starts.get(start, {})]  # fmt: skip
        axes.plot(*zip(*there, strict=True), color=colour, alpha=0.35, linewidth=1, marker=".", markersize=3)
    for place, start in enumerate(starts):
        if scores := panel.starts.get(start):
            axes.plot(place, mean(scores.values()), "o", color=colour, markersize=6)
    axes.set_xticks(range(len(starts)), starts)
    axes.tick_params(labelbottom=True)
    axes.set(xlim=(-0.4, len(starts) - 0.6))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
