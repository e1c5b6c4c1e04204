"""The figure on the selection: from plain numbers, with and without stages that select."""

import io

import pytest
from matplotlib.figure import Figure

from reports.plot import PlotError
from reports.selection import Selection, selection_figure

DENSE = Selection("0, 0, 0, 0", 9e6, [80.0, 82.0, 81.0])
SPARSE = Selection(
    "7/8, 3/4", 4e6, [70.0, 60.0, 65.0], [0.125, 0.25], [[0.1, 0.1, 0.2], [0.2, 0.3, 0.2]], [[0.5] * 3, [0.6] * 3]
)


def draw(*selections: Selection) -> Figure:
    figure = selection_figure(selections, score="accuracy", floor=25, title="title", caption="reduced scale")
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_the_first_panel_shows_mean_and_seeds_over_cost() -> None:
    left, _ = draw(DENSE, SPARSE).axes
    seeds = [line for line in left.lines if line.get_marker() == "_" and len(line.get_xdata()) == 3]
    drawn = {float(line.get_xdata()[0]): tuple(line.get_ydata()) for line in seeds}
    assert drawn == {9: (80, 82, 81), 4: (70, 60, 65)}
    means = [tuple(line.get_ydata()) for line in left.lines if line.get_marker() == "o" and len(line.get_ydata()) == 1]
    assert means == [(81,), (65,)]


def test_the_second_panel_shows_recall_before_and_after_against_random() -> None:
    _, right = draw(DENSE, SPARSE).axes
    heights = [round(bar.get_height(), 2) for bar in right.patches]
    assert heights == [13.33, 50, 23.33, 60]  # stage by stage, before and after
    random = [float(line.get_segments()[0][0][1]) for line in right.collections if len(line.get_segments()[0]) == 2]
    assert {12.5, 25.0} <= set(random)
    assert [label.get_text() for label in right.get_xticklabels()] == ["stage 1", "stage 2"]


def test_one_seed_and_no_stage_are_drawn_as_well() -> None:
    draw(DENSE)
    draw(Selection("7/8", 1e6, [50.0], [0.125], [[0.1]], [[0.2]]))


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(PlotError, match="train at least one set of reduction ratios"):
        draw()
