"""Curves show one machine at a time beside the paper's, each model once in the legend."""

from typing import Any

from reports.curves import Curves
from reports.plot import Series

PAPER = [Series("A", [128, 256], [1, 2], kind="paper", oom=[512])]


def drawn(machines: dict[str, list[Series]]) -> dict[str, Any]:
    return Curves("latency", "Latency", "ms", PAPER, machines).to_dict()


def test_without_a_machine_the_papers_curves_are_shown() -> None:
    figure = drawn({})
    assert [trace["visible"] for trace in figure["data"]] == [True, True]
    assert "updatemenus" not in figure["layout"]


def test_one_machine_is_shown_at_a_time_and_can_be_chosen() -> None:
    figure = drawn({"new": [Series("A", [128], [3])], "old": [Series("A", [128], [4]), Series("B", [128], [5])]})
    assert [trace["visible"] for trace in figure["data"]] == [True, True, True, False, False]
    (menu,) = figure["layout"]["updatemenus"]
    assert [button["label"] for button in menu["buttons"]] == ["new", "old"]
    chosen = menu["buttons"][1]["args"][0]
    assert chosen["visible"] == [True, True, False, True, True]
    assert chosen["showlegend"] == [True, False, False, False, True]


def test_a_model_keeps_its_colour_from_machine_to_machine() -> None:
    figure = drawn({"new": [Series("B", [128], [3])], "old": [Series("B", [128], [4])]})
    colours = [trace["line"]["color"] for trace in figure["data"] if trace.get("line")]
    assert colours[1] == colours[2] != colours[0]


def test_out_of_memory_is_a_mark_with_its_word() -> None:
    (mark,) = [trace for trace in drawn({})["data"] if trace["mode"] == "markers+text"]
    assert (mark["x"], mark["text"]) == ([512], ["OOM"])


def test_names_of_strangers_are_text() -> None:
    figure = drawn({"<b>%{x}</b>": [Series("<i>A</i>", [128], [3])], "other": []})
    (menu,) = figure["layout"]["updatemenus"]
    assert menu["buttons"][0]["label"] == "&lt;b&gt;%&#123;x}&lt;/b&gt;"
    trace = next(one for one in figure["data"] if one["name"] == "&lt;i&gt;A&lt;/i&gt;")
    assert trace["hovertemplate"].startswith("<b>&lt;i&gt;A&lt;/i&gt;</b>, &lt;b&gt;%&#123;x}&lt;/b&gt;<br>%{x} px")
