"""Two panels on the selection of tokens: what it costs in accuracy, and whether it keeps the targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from textwrap import fill

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.plot import COLOURS, GRID, PALE_INK, STYLE, PlotError


@dataclass(frozen=True)
class Selection:
    """One set of reduction ratios, with one value a seed of each score.

    Attributes:
        label: the ratios as the paper prints them.
        macs: multiply-adds of one forward pass.
        accuracy: percent.
        kept: share of the tokens kept in each stage, above 0, at most 1: the recall of random selection.
        untrained: for each such stage the recall before training, from 0 to 1.
        trained: the same after training.
    """

    label: str
    macs: float
    accuracy: Sequence[float]
    kept: Sequence[float] = ()
    untrained: Sequence[Sequence[float]] = ()
    trained: Sequence[Sequence[float]] = ()


def selection_figure(selections: Sequence[Selection], *, score: str, floor: float, title: str, caption: str) -> Figure:
    """Draw accuracy against multiply-adds, and the recall of the targets' tokens stage by stage.

    Args:
        selections: from the least reduction to the most; those without `kept` have no place in the second panel.
        score: name of the accuracy.
        floor: accuracy of the best constant prediction, percent.
        title: what the figure shows.
        caption: where the numbers come from.

    Raises:
        PlotError: there is no selection to draw.
    """
    if not selections:
        raise PlotError(f"{title}: there is nothing to draw; train at least one set of reduction ratios")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
        colours = {one.label: COLOURS[i % len(COLOURS)] for i, one in enumerate(selections)}
        _draw_cost(left, selections, colours, floor)
        left.set(xlabel="multiply-adds of one image (M)", ylabel=f"{score} (%)")
        left.set_title("(a) accuracy and cost", fontsize=10, loc="left")
        _draw_recall(right, [one for one in selections if one.kept], colours)
        right.set(ylabel="targets' pixels in kept tokens (%)")
        right.set_title("(b) recall of the targets; stages that keep all are left out", fontsize=10, loc="left")
        for axes in (left, right):
            axes.grid(axis="y", color=GRID, linewidth=0.6)
            axes.set_axisbelow(True)
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(fill(caption, 165), x=0.01, ha="left", fontsize=7, color=PALE_INK)
    return figure


def _draw_cost(axes: Axes, selections: Sequence[Selection], colours: dict[str, str], floor: float) -> None:
    axes.axhline(floor, color=PALE_INK, linestyle=(0, (1, 1.2)), linewidth=1)
    axes.annotate("best constant prediction", (1, floor), xycoords=("axes fraction", "data"), xytext=(0, 3),
                  textcoords="offset points", ha="right", fontsize=7.5, color=PALE_INK)  # fmt: skip
    for one in selections:
        colour, macs = colours[one.label], one.macs / 1e6
        axes.plot([macs] * len(one.accuracy), one.accuracy, "_", color=colour, alpha=0.6, markersize=9)
        axes.errorbar(macs, mean(one.accuracy), _spread(one.accuracy), color=colour, marker="o", capsize=3)
    axes.set(xlim=(0, 1.1e-6 * max(one.macs for one in selections)), ylim=(0, 100))
    handles = [Line2D([], [], color=colour, marker="o", label=label) for label, colour in colours.items()]
    axes.legend(handles=handles, title="reduction by stage", loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _draw_recall(axes: Axes, selections: Sequence[Selection], colours: dict[str, str]) -> None:
    """One group a stage; in it, for each set of ratios, random, untrained and trained from left to right."""
    stages = max((len(one.kept) for one in selections), default=0)
    width = 0.84 / max(1, len(selections))
    for place, one in enumerate(selections):
        colour = colours[one.label]
        for stage, kept in enumerate(one.kept):
            if kept == 1:
                continue
            x = stage + 1 + (place - (len(selections) - 1) / 2) * width
            half = width * 0.42
            axes.hlines(100 * kept, x - half, x + half, color="black", linewidth=1.6, zorder=4)
            for values, shift, filled in ((one.untrained, -0.2, False), (one.trained, 0.2, True)):
                percent = [100 * value for value in values[stage]]
                axes.bar(x + shift * width, mean(percent), 0.38 * width, yerr=_spread(percent), edgecolor=colour,
                         color=colour if filled else "white", error_kw={"elinewidth": 0.9, "capsize": 2})  # fmt: skip
    axes.set_xticks(range(1, stages + 1), [f"stage {stage}" for stage in range(1, stages + 1)])
    axes.set_ylim(0, 105)
    handles = [
        Line2D([], [], color="black", linewidth=1.6, label="random selection"),
        Line2D([], [], color=PALE_INK, marker="s", markerfacecolor="white", linestyle="none", label="before training"),
        Line2D([], [], color=PALE_INK, marker="s", linestyle="none", label="after training"),
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3, columnspacing=1.2)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
