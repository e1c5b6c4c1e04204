"""Figures from runs: what is set side by side, and that no run takes the place of another."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from dvbench.tables.score_figures import draw_figure
from dvbench.training.run_cell import RunCell
from reports.record import Record
from tests.dvbench.runs_on_paper import run


def trained(out: Path, f1: float, folder: str, **cell: Any) -> Record:
    """Leave a run of DynamicVis on UC Merced with a log of two steps."""
    path = out / "runs" / folder
    path.mkdir(parents=True)
    log = pd.DataFrame({"step": [1, 2], "train/loss": [2.0, 1.0], "val/f1": [f1 / 2, f1]})
    log.to_csv(path / "log.csv", index=False)
    made = RunCell("dynamicvis_b", "uc_merced", "full", **cell)
    return run(made, here={"run_folder": folder}, f1=f1)


def test_figure_10_has_a_curve_for_each_start_and_change_of_a_model(tmp_path: Path) -> None:
    pretrained = {"weights": "/data/epoch_200.pth", "weights_hash": "123456789abc"}
    records = [
        trained(tmp_path, 10, "scratch"),
        trained(tmp_path, 20, "pretrained", **pretrained),
        trained(tmp_path, 30, "other", weights="epoch_200.pth", weights_hash="cba987654321"),
        trained(tmp_path, 40, "short", changes=json.dumps({"epochs": 50}), **pretrained),
        trained(tmp_path, 50, "switched", switches=json.dumps({"global_tokens": "mid"})),
        trained(tmp_path, 60, "text", variant="paper"),
    ]
    figure = draw_figure("figure10", records, tmp_path)
    (_, right) = figure.axes
    assert {line.get_label(): list(line.get_ydata())[-1] for line in right.lines} == {
        "dynamicvis_b": 10,
        "dynamicvis_b, from epoch_200.pth 123456": 20,
        "dynamicvis_b, from epoch_200.pth cba987": 30,
        "dynamicvis_b, from epoch_200.pth 123456, epochs 50": 40,
        'dynamicvis_b, global_tokens "mid"': 50,
        "dynamicvis_b, paper": 60,
    }


def test_of_several_seeds_the_newest_is_drawn(tmp_path: Path) -> None:
    records = [trained(tmp_path, 10, "first"), trained(tmp_path, 20, "second", seed=1)]
    (_, right) = draw_figure("figure10", records, tmp_path).axes
    assert [list(line.get_ydata())[-1] for line in right.lines] == [20]
