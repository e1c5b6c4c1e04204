from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from reports.plot import PlotError, Series, resolution_plot, save

SIDES = [128.0, 256.0, 512.0, 1024.0]


def draw(*series: Series) -> tuple[Figure, Axes]:
    figure = resolution_plot(series, ylabel="Latency (ms)", title="Latency", caption="Made up for a test.")
    return figure, figure.axes[0]


def curve(label: str, kind: Literal["ours", "paper"] = "ours", oom: tuple[float, ...] = ()) -> Series:
    return Series(label, SIDES, [5.0, 6.0, 9.0, 40.0], kind=kind, oom=list(oom))


def test_both_axes_are_logarithmic_and_the_sides_are_whole_numbers() -> None:
    figure, axes = draw(curve("a"))
    figure.canvas.draw()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["128", "256", "512", "1024"]


def test_one_model_has_one_colour_and_the_paper_is_thin_and_dashed() -> None:
    _, axes = draw(curve("a"), curve("b"), curve("a", "paper"))
    ours, other, paper = axes.get_lines()
    assert to_hex(ours.get_color()) == to_hex(paper.get_color()) != to_hex(other.get_color())
    assert paper.get_linewidth() < ours.get_linewidth()
    assert (ours.is_dashed(), paper.is_dashed()) == (False, True)


def test_predicted_values_are_hollow() -> None:
    _, axes = draw(curve("a"), Series("a", [2048.0], [160.0], predicted=True))
    measured, predicted = axes.get_lines()
    assert measured.get_markerfacecolor() != "white"
    assert predicted.get_markerfacecolor() == "white"


def test_out_of_memory_is_a_mark_and_a_word_above_the_data() -> None:
    figure, axes = draw(curve("a", oom=(2048.0,)), curve("b", oom=(2048.0,)), curve("b", "paper", oom=(4096.0,)))
    figure.canvas.draw()
    assert [text.get_text() for text in axes.texts] == ["OOM"] * 3
    heights = [float(text.xy[1]) for text in axes.texts]  # type: ignore[attr-defined]
    assert heights[0] == heights[2] > heights[1], "marks at the same size stand one below the other"
    top_of_data = axes.transAxes.inverted().transform(axes.transData.transform((1024, 40)))[1]
    assert min(heights) > top_of_data
    assert [tick.get_text() for tick in axes.get_xticklabels()][-2:] == ["2048", "4096"]


def test_the_legend_is_outside_and_names_models_and_ways() -> None:
    figure, axes = draw(curve("a"), curve("b", "paper"))
    figure.canvas.draw()
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", " ", "this run", "paper"]
    assert legend.get_window_extent().x0 > axes.get_window_extent().x1


def test_a_model_that_never_fitted_still_has_its_mark() -> None:
    _, axes = draw(Series("a", [], [], oom=[512.0]))
    assert [text.get_text() for text in axes.texts] == ["OOM"]


def test_saved_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    first, second = (save(draw(curve("a"))[0], tmp_path / name, "figure20") for name in ("one", "two"))
    assert [path.name for path in first] == ["figure20.png", "figure20.svg", "figure20.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert not any(stamp in path.read_bytes() for path in first for stamp in (b"CreationDate", b"dc:date", b"tIME"))
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in first)


def test_text_of_strangers_is_drawn_as_it_reads(tmp_path: Path) -> None:
    label = "5$ to \\frac{$ </text><script>\x1b"
    figure = resolution_plot([curve(label)], ylabel=label, title=label, caption=label)
    _, svg, _ = save(figure, tmp_path, "figure20")
    root = ElementTree.parse(svg, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))  # noqa: S314
    comments = [str(one.text).strip() for one in root.iter() if one.tag is ElementTree.Comment]
    assert comments.count("5$ to \\frac{$ &lt;/text&gt;&lt;script&gt;\\x1b") == 4
    assert not [one for one in root.iter() if str(one.tag).endswith("script")]


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_without_a_place_on_a_log_axis(number: float) -> None:
    with pytest.raises(PlotError, match="a: a log axis shows positive, finite numbers only"):
        Series("a", [128.0], [number])


def test_every_x_needs_its_y() -> None:
    with pytest.raises(PlotError, match="a: 2 x for 1 y"):
        Series("a", [128.0, 256.0], [1.0])


def test_nothing_to_draw() -> None:
    with pytest.raises(PlotError, match="measure at least one image size"):
        draw(Series("a", [], []))
