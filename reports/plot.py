"""Figures over image size: log axes, ours thick, the paper's thin, and what ran out of memory said so."""

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from reports.escape import visible
from reports.ledger import write_atomically

# Okabe and Ito's colours, which stay apart for colour-blind readers; a brown is in place of their yellow, which is too
# pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7A4B1E")
_MARKERS = ("o", "s", "^", "D", "v", "P")  # fewer than the colours, so that a ninth model still looks like no other
_MARK_STEP = 0.06  # height of one out-of-memory mark, as a share of the axes
INK, PALE_INK, GRID = "#222222", "#595959", "#E3E3E3"

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
}
# Dates and random ids would make every file differ from the last one drawn from the same records.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


class PlotError(ValueError):
    """Numbers that cannot be drawn; the message is one line."""


@dataclass
class Series:
    """One curve. Curves with the same label are the same model and share a colour.

    Attributes:
        label: The model.
        x: Image side in px, above zero.
        y: One value for each ``x``, above zero.
        kind: "ours" or "paper".
        oom: Image sides that ran out of memory.
        predicted: Whether the values, or the lack of memory, were predicted rather than measured; drawn hollow.

    Raises:
        PlotError: ``x`` and ``y`` differ in length, or a number has no place on a log axis.
    """

    label: str
    x: list[float]
    y: list[float]
    kind: Literal["ours", "paper"] = "ours"
    oom: list[float] = field(default_factory=list)
    predicted: bool = False

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise PlotError(f"{self.label}: {len(self.x)} x for {len(self.y)} y; give one y for each x")
        if not all(0 < number < math.inf for number in (*self.x, *self.y, *self.oom)):
            raise PlotError(f"{self.label}: a log axis shows positive, finite numbers only; leave the others out")


def resolution_plot(series: Sequence[Series], *, ylabel: str, title: str, caption: str) -> Figure:
    """Draw curves over the image side, both axes logarithmic.

    Args:
        series: The curves; a model keeps the colour of its first one.
        ylabel: The quantity and its unit.
        title: What the figure shows.
        caption: Where the numbers come from, printed small below: device, date, the paper's table.

    Raises:
        PlotError: There is not a single point or out-of-memory mark.
    """
    sides = [side for one in series for side in (*one.x, *one.oom)]
    if not sides:
        raise PlotError(f"{title}: there is nothing to draw; measure at least one image size")
    models = list(dict.fromkeys(one.label for one in series))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xlabel="Image side (px)", ylabel=ylabel)
        _scale(axes, series, sides)
        for one in series:
            axes.plot(one.x, one.y, **_looks(one, models.index(one.label)))
        _mark_oom(axes, series, models)
        axes.legend(handles=_legend(series, models), loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(fill(caption, 130), x=0.01, ha="left", fontsize=7, color=PALE_INK)
    return figure


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write ``stem``.png (200 dpi), .svg and .pdf, the same bytes for the same figure.

    Raises:
        LedgerError: The folder cannot be written, or the disk is full.
    """
    paths = []
    for kind, metadata in _METADATA.items():
        data = io.BytesIO()
        with plain_text(figure), mpl.rc_context({"svg.hashsalt": stem, "pdf.fonttype": 42}):
            figure.savefig(data, format=kind, dpi=200, metadata=metadata)
        paths.append(write_atomically(folder / f"{stem}.{kind}", data.getvalue()))
    return paths


@contextmanager
def plain_text(figure: Figure) -> Iterator[None]:
    """Draw every text of a figure as it reads: a dollar sign begins no formula, and no control character gets through.

    Labels of ticks are made while drawing, so that the switch must hold until then.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(visible(text.get_text()))
    with mpl.rc_context({"text.parse_math": False}):
        yield


def _looks(one: Series, model: int) -> dict[str, Any]:
    colour, ours = COLOURS[model % len(COLOURS)], one.kind == "ours"
    return {
        "color": colour,
        "linestyle": (0, (1, 1.2)) if one.predicted else "-" if ours else (0, (5, 3)),
        "linewidth": 2.0 if ours else 0.9,
        "marker": _MARKERS[model % len(_MARKERS)],
        "markersize": (5.5 if one.predicted else 6.5) if ours else 3,
        "markerfacecolor": "white" if one.predicted else colour,
        "markeredgecolor": "white" if ours and not one.predicted else colour,
        "markeredgewidth": 1.2 if one.predicted else 0.7,
        "zorder": 3 if ours else 2,
    }


def _scale(axes: Axes, series: Sequence[Series], sides: Sequence[float]) -> None:
    """Set both axes, with room at the top for the out-of-memory marks."""
    axes.set(xscale="log", yscale="log", xlim=(min(sides) / 1.15, max(sides) * 1.15))
    powers = range(math.floor(math.log2(min(sides))), math.ceil(math.log2(max(sides))) + 1)
    axes.xaxis.set(major_locator=FixedLocator([2.0**power for power in powers]), minor_locator=NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")

    values = [value for one in series for value in one.y] or [1.0]
    low, high = min(values) / 1.4, max(values) * 1.4
    marks = max(Counter(side for one in series for side in one.oom).values(), default=0)
    axes.set_ylim(low, low * (high / low) ** (1 / (1 - _MARK_STEP * (marks + 0.5))) if marks else high)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    axes.yaxis.set(major_locator=LogLocator(subs=steps), minor_locator=NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _mark_oom(axes: Axes, series: Sequence[Series], models: list[str]) -> None:
    """Put a cross and the word at the top edge, one below the other where several models stop at the same size."""
    edge = axes.get_xaxis_transform()
    marks: Counter[float] = Counter()
    for one in series:
        ours = one.kind == "ours"
        cross = {"marker": "X", "markersize": 8.5} if ours else {"marker": "x", "markersize": 4.5}
        looks = _looks(one, models.index(one.label)) | cross | {"linestyle": "none"}
        for side in one.oom:
            height = 1 - _MARK_STEP * (marks[side] + 0.5)
            marks[side] += 1
            axes.plot(side, height, transform=edge, **looks)
            axes.annotate(
                "OOM",
                (side, height),
                xycoords=edge,
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7.5,
                fontweight="bold" if ours else "normal",
                color=looks["color"],
            )


def _legend(series: Sequence[Series], models: list[str]) -> list[Line2D]:
    """One entry a model, then one for each way of drawing that occurs."""
    entries = [Line2D([], [], label=label, **_looks(Series(label, [], []), i)) for i, label in enumerate(models)]
    ways = {_way(one): one for one in sorted(series, key=lambda one: (one.kind, one.predicted))}
    grey = {"color": PALE_INK, "markeredgecolor": PALE_INK}
    keys = [
        Line2D([], [], label=way, **_looks(one, 0) | grey | {"marker": "o" if one.predicted else ""})
        for way, one in ways.items()
    ]
    return [*entries, Line2D([], [], label=" ", linestyle="none"), *keys]


def _way(one: Series) -> str:
    name = "this run" if one.kind == "ours" else "paper"
    return f"{name}, predicted" if one.predicted else name


def _plain(value: float, _position: int | None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
