"""The roofline plot: work a second over work a byte, under what the device can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, NullFormatter

from reports.plot import COLOURS, GRID, INK, PALE_INK, STYLE, PlotError

_MARKERS = {"all": "*", "matmul": "s", "convolution": "^", "attention": "D", "scan": "o"}


@dataclass(frozen=True, slots=True)
class Roof:
    """The measured ceilings of a device.

    Attributes:
        name: The device and dtype.
        flops: FLOP/s, above zero.
        bandwidth: B/s, above zero.
    """

    name: str
    flops: float
    bandwidth: float

    @property
    def label(self) -> str:
        """Name and ceilings in words."""
        return f"{self.name}: {self.flops / 1e12:.3g} TFLOP/s, {self.bandwidth / 1e9:.3g} GB/s"


@dataclass(frozen=True, slots=True)
class Point:
    """What a model, or one kind of its ops, reached.

    Attributes:
        label: The model; its points share a colour.
        kind: "all" for the whole model, else a kind of op.
        intensity: FLOP per byte, above zero.
        speed: FLOP/s, above zero.
    """

    label: str
    kind: str
    intensity: float
    speed: float


def roofline_plot(points: Sequence[Point], roofs: Sequence[Roof], *, title: str, caption: str) -> Figure:
    """Draw points under the roofs of their devices, both axes logarithmic.

    Raises:
        PlotError: There is no point or no roof.
    """
    if not points or not roofs:
        raise PlotError(f"{title}: there is nothing to draw; measure a model with --roofline")
    models = list(dict.fromkeys(point.label for point in points))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        axes.set(xscale="log", yscale="log", xlabel="Work per byte moved (FLOP/B)", ylabel="Speed (FLOP/s)")
        axes.xaxis.set(major_formatter="{x:g}", minor_formatter=NullFormatter())
        axes.yaxis.set(major_formatter=EngFormatter(), minor_formatter=NullFormatter())
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        _draw_roofs(axes, points, roofs)
        for point in points:
            axes.plot(point.intensity, point.speed, **_looks(point.kind, _colour(models.index(point.label))))
        axes.legend(handles=_legend(points, models), loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(fill(caption, 130), x=0.01, ha="left", fontsize=7, color=PALE_INK)
    return figure


def _draw_roofs(axes: Axes, points: Sequence[Point], roofs: Sequence[Roof]) -> None:
    ridges = [roof.flops / roof.bandwidth for roof in roofs]
    low = min(*(point.intensity for point in points), *ridges) / 3
    high = max(*(point.intensity for point in points), *ridges) * 6
    for number, (roof, ridge) in enumerate(zip(roofs, ridges, strict=True)):
        style = ("-", "--", ":")[number % 3]
        axes.plot([low, ridge, high], [low * roof.bandwidth, roof.flops, roof.flops], style, color=INK, linewidth=1.2)
        words = f"{roof.flops / 1e12:.3g} TFLOP/s", f"{roof.bandwidth / 1e9:.3g} GB/s"
        axes.annotate(
            words[0], (high, roof.flops), xytext=(-2, 3), textcoords="offset points", ha="right", fontsize=7.5
        )
        axes.annotate(words[1], (low, low * roof.bandwidth), xytext=(16, 2), textcoords="offset points", fontsize=7.5)
    axes.set_xlim(low, high)


def _colour(model: int) -> str:
    return COLOURS[model % len(COLOURS)]


def _looks(kind: str, colour: str) -> dict[str, Any]:
    whole = kind == "all"
    return {
        "color": colour,
        "marker": _MARKERS.get(kind, "P"),
        "linestyle": "none",
        "markersize": 12 if whole else 6,
        "markerfacecolor": colour if whole else "white",
        "markeredgecolor": "white" if whole else colour,
        "markeredgewidth": 0.7 if whole else 1.2,
        "zorder": 4 if whole else 3,
    }


def _legend(points: Sequence[Point], models: Sequence[str]) -> list[Line2D]:
    entries = [Line2D([], [], label=label, **_looks("all", _colour(i))) for i, label in enumerate(models)]
    kinds = [kind for kind in _MARKERS if kind != "all" and any(point.kind == kind for point in points)]
    keys = [Line2D([], [], label=kind, **_looks(kind, PALE_INK)) for kind in kinds]
    return [*entries, Line2D([], [], label=" ", linestyle="none"), *keys]
