"""Curves over image size that a reader can hover, zoom and switch between machines; for the report page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from reports.escape import plotly
from reports.plot import Series

#: Okabe and Ito's colours without black and yellow, which vanish on a dark or on a white page, and two more.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A8A8A", "#9467BD")
PAPER = "paper"
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")


@dataclass(frozen=True)
class Curves:
    """One quantity over image size.

    Attributes:
        name: of the plot on the page.
        title: what it shows.
        ylabel: quantity and unit.
        paper: the paper's curves, shown whatever machine is chosen.
        machines: our curves by machine, the one that the tables show first.
        note: where the numbers come from.
    """

    name: str
    title: str
    ylabel: str
    paper: Sequence[Series]
    machines: Mapping[str, Sequence[Series]]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return data and layout as plotly.js takes them."""
        figure: dict[str, Any] = json.loads(_figure(_escaped(self)).to_json())
        return figure


def _escaped(curves: Curves) -> Curves:
    """Return curves with names that plotly shows as they read."""

    def named(series: Sequence[Series]) -> list[Series]:
        return [replace(one, label=plotly(one.label)) for one in series]

    machines = {plotly(name): named(series) for name, series in curves.machines.items()}
    return replace(curves, ylabel=plotly(curves.ylabel), paper=named(curves.paper), machines=machines)


def _figure(curves: Curves) -> go.Figure:
    labels = [one.label for one in (*curves.paper, *(one for many in curves.machines.values() for one in many))]
    models = list(dict.fromkeys(labels))
    traces = [(PAPER, trace) for one in curves.paper for trace in _traces(one, models, PAPER)]
    for machine, series in curves.machines.items():
        traces += [(machine, trace) for one in series for trace in _traces(one, models, machine)]
    figure = go.Figure([trace for _, trace in traces])
    figure.update_layout(**_layout(curves))
    choices = {machine: _shown(traces, machine) for machine in curves.machines or [PAPER]}
    for trace, visible, legend in zip(figure.data, *next(iter(choices.values())), strict=True):
        trace.update(visible=visible, showlegend=legend)
    if len(choices) > 1:
        buttons = [
            {"label": machine, "method": "restyle", "args": [{"visible": visible, "showlegend": legend}]}
            for machine, (visible, legend) in choices.items()
        ]
        figure.update_layout(updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.16, "yanchor": "top"}])
    return figure


def _shown(traces: Sequence[tuple[str, go.Scatter]], machine: str) -> tuple[list[bool], list[bool]]:
    """Say which traces are seen when a machine is chosen, and which of them stand in the legend: each model once."""
    visible = [of in (PAPER, machine) for of, _ in traces]
    named: set[str] = set()
    legend = []
    for seen, (_, trace) in zip(visible, traces, strict=True):
        legend.append(seen and trace.name not in named)
        named |= {trace.name} if seen else set()
    return visible, legend


def _traces(one: Series, models: Sequence[str], machine: str) -> Iterator[go.Scatter]:
    place = models.index(one.label)
    colour, symbol = _COLOURS[place % len(_COLOURS)], _SYMBOLS[place % len(_SYMBOLS)]
    ours = one.kind == "ours"
    hover = f"<b>{one.label}</b>, {machine}<br>%{{x}} px: %{{y:.4~g}}<extra></extra>"
    looks = {"name": one.label, "legendgroup": one.label}
    if one.x:
        yield go.Scatter(
            x=list(one.x),
            y=list(one.y),
            mode="lines+markers",
            line={"color": colour, "width": 2.6 if ours else 1.3, "dash": "solid" if ours else "dash"},
            marker={"symbol": symbol if ours else f"{symbol}-open", "size": 9 if ours else 6},
            hovertemplate=hover,
            **looks,
        )
    if one.oom:
        yield go.Scatter(
            x=list(one.oom),
            y=[max(one.y, default=1.0)] * len(one.oom),
            mode="markers+text",
            text=["OOM"] * len(one.oom),
            textposition="top center",
            marker={"symbol": "x" if ours else "x-thin-open", "color": colour, "size": 11},
            hovertemplate=f"<b>{one.label}</b>, {machine}<br>%{{x}} px: out of memory<extra></extra>",
            **looks,
        )


def _layout(curves: Curves) -> dict[str, Any]:
    """Leave all colours of the ground to the page's style sheet, so that light, dark and print each have theirs."""
    clear = "rgba(0,0,0,0)"
    sides = [side for one in curves.paper for side in one.x]
    axis = {"type": "log", "automargin": True, "zeroline": False, "fixedrange": False}
    ticks = {"tickvals": sorted(set(sides)), "ticktext": [f"{side:g}" for side in sorted(set(sides))]} if sides else {}
    return {
        "template": "none",
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "height": 460,
        "margin": {"l": 10, "r": 10, "t": 70 if len(curves.machines) > 1 else 20, "b": 10},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "xaxis": {**axis, "gridcolor": "#88888855", **ticks},
        "yaxis": {**axis, "title": {"text": curves.ylabel}, "gridcolor": "#88888855", "dtick": 1},
        "legend": {"orientation": "h", "y": -0.1, "x": 0, "yanchor": "top"},
        "hovermode": "closest",
    }
