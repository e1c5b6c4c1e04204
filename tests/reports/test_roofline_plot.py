"""The roofline plot draws every point under its roof, and says when there is none."""

import pytest

from reports.plot import PlotError
from reports.roofline import Point, Roof, roofline_plot

ROOF = Roof("Some GPU, fp32", 50e12, 2e12)
POINTS = [Point("model, 512 px", "all", 10.0, 5e12), Point("model, 512 px", "scan", 2.0, 1e12)]


def test_points_and_roof_lie_where_their_numbers_say() -> None:
    (axes,) = roofline_plot(POINTS, [ROOF], title="Roofline", caption="made by hand").axes
    roof, whole, scan = axes.get_lines()
    assert whole.get_xydata().tolist() == [[10.0, 5e12]]
    assert scan.get_xydata().tolist() == [[2.0, 1e12]]
    (low, start), ridge, (_, flat) = roof.get_xydata().tolist()
    assert start == pytest.approx(low * ROOF.bandwidth)
    assert ridge == [25.0, 50e12]  # FLOP/s over B/s
    assert flat == 50e12
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_the_legend_names_models_and_kinds() -> None:
    (axes,) = roofline_plot(POINTS, [ROOF], title="Roofline", caption="").axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["model, 512 px", " ", "scan"]


@pytest.mark.parametrize(("points", "roofs"), [([], [ROOF]), (POINTS, [])])
def test_nothing_to_draw_says_what_to_do(points: list[Point], roofs: list[Roof]) -> None:
    with pytest.raises(PlotError, match="measure a model with --roofline"):
        roofline_plot(points, roofs, title="Roofline", caption="")
