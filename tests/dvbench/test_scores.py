"""Tables 2 to 12 from records: every row of the paper, ours beside it, reduced runs apart."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from dvbench import cli, paper
from dvbench.paper.score_rows import TABLES, benchmarks, printed
from dvbench.tables.scores import tables
from dvbench.tables.targets import TARGETS
from dvbench.training.plan import Wish
from dvbench.training.wanted_runs import wanted
from models.rivals.roster import RIVALS
from models.zoo import ZOO
from reports.table import Table
from tests.dvbench.runs_on_paper import run


def row(table: Table, name: str) -> dict[str, str]:
    (found,) = [line for line in table.rows if line[0] == name]
    return dict(zip(table.columns, found, strict=True))


@pytest.mark.parametrize("number", TABLES)
def test_every_row_of_the_paper_is_there_and_ours_are_real_models(number: int) -> None:
    rows = list(printed(number))
    assert len(rows) == len(paper.table(number))
    ours = [line.ours for line in rows if line.ours]
    assert ours
    assert {one.model for one in ours} <= ZOO.keys() | RIVALS.keys()
    for benchmark in benchmarks(number):
        assert set(benchmark.columns) <= set(paper.table(number).columns)


def test_table_2_runs_all_that_the_zoo_has() -> None:
    names = {line.name for line in printed(2) if line.ours}
    assert {"ResNet-18", "DeiT-S", "ViT-L", "Swin-B", "DynamicVis-B†", "DynamicVis-L‡", "DynamicVis-L"} <= names
    assert names == {line.name for line in printed(2)}


def test_a_full_run_is_compared_and_what_was_not_run_says_why() -> None:
    cells, _ = wanted(3, Wish(scale="full", rows=("DynamicVis-B‡",), seeds=2))
    assert [cell.seed for cell in cells] == [0, 1]
    made = [run(cell, ap50=80.2 + i, ap50_small=60.0, ap50_medium=95.3) for i, cell in enumerate(cells)]
    ((_, table),) = tables(3, made)
    ours = row(table, "DynamicVis-B‡")
    assert ours["ap50, paper | ours"] == "80.3 | 80.70 (74.35 to 87.05, 2 seeds)"  # t of 1 degree: 12.71 * 0.5
    assert ours["verdict"] == "differs"  # the small ones
    assert row(table, "DynamicVis-B")["verdict"] == "not run"
    assert "--weights" in row(table, "DynamicVis-B")["why"]
    assert row(table, "YOLOX")["why"] == "no model of ours"
    assert row(table, "YOLOX")["ap50, paper | ours"] == "81.9"


def test_no_selection_as_released_has_a_row_of_its_own_that_says_which_form_it_is() -> None:
    (cell,), _ = wanted(3, Wish(scale="full", rows=("DynamicVis-B†",)))
    assert (cell.model, cell.weights) == ("dynamicvis_b_dense", "")
    released = replace(cell, model="dynamicvis_b_released_dense")
    ((_, table),) = tables(3, [run(cell, ap50=70.0), run(released, ap50=60.0)])
    assert "70.00" in row(table, "DynamicVis-B†")["ap50, paper | ours"]
    own = row(table, "DynamicVis-B†: levir_ship, released, 1 seed")
    assert "60.00" in own["ap50, paper | ours"]
    assert (own["verdict"], own["why"]) == (
        "not comparable",
        "model dynamicvis_b_released_dense instead of dynamicvis_b_dense",
    )
    assert "paper and release disagree" in " ".join(table.notes)


def test_rows_of_vit_in_table_12_run_from_published_weights(tmp_path: Path) -> None:
    (tmp_path / "vit.pth").write_bytes(b"weights")
    weights = {"vit_b16": str(tmp_path / "vit.pth")}
    cells, _ = wanted(12, Wish(scale="full", rows=("ViT",), weights=weights))
    assert {cell.model for cell in cells} == {"vit_b16"}
    assert {cell.protocol for cell in cells} == {"bigearthnet", "bigearthnet19", "forestnet", "forestnet4"}
    assert {cell.weights_hash for cell in cells} == {hashlib.sha256(b"weights").hexdigest()[:12]}


def test_detectors_of_one_backbone_are_told_apart() -> None:
    cells, _ = wanted(3, Wish(scale="full", rows=("FCOS", "RetinaNet")))
    assert {json.loads(cell.changes)["head"]["kind"] for cell in cells} == {"fcos", "retinanet"}
    ((_, table),) = tables(3, [run(cells[0], ap50=70.0)])
    assert "70.00" in row(table, "FCOS")["ap50, paper | ours"]
    assert row(table, "RetinaNet")["ap50, paper | ours"] == "75.3"


def test_reduced_runs_never_stand_beside_the_paper() -> None:
    cells, told = wanted(2, Wish(scale="smoke"))
    assert {cell.protocol for cell in cells} == {"synthetic_classification"}
    assert len(cells) == len(set(cells)) == 3
    assert "reduced run" in told[0]
    beside, reduced = tables(2, [run(cells[0], f1=90.0, baseline=3.0)])
    assert all(line[-2] == "not run" for line in beside[1].rows)
    assert "reduced" in reduced[1].title
    assert any("Not comparable" in note for note in reduced[1].notes)


def test_rows_with_pretraining_run_when_their_weights_are_given(tmp_path: Path) -> None:
    file = tmp_path / "b.safetensors"
    file.write_bytes(b"any")
    wish = Wish(scale="full", rows=("DynamicVis",), weights={"dynamicvis_b": str(file)})
    cells, _ = wanted(8, wish)
    given = [cell for cell in cells if cell.weights]
    assert {(cell.model, cell.input) for cell in given} == {("dynamicvis_b", "1x"), ("dynamicvis_b", "2x")}
    assert all(len(cell.weights_hash) == 12 for cell in given)


def test_every_table_and_figure_of_accuracy_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = [name for name, target in TARGETS.items() if target.trained]
    numbered = {*(f"table{i}" for i in (*range(2, 13), *range(15, 20))), *(f"figure{i}" for i in range(8, 20))}
    assert numbered | {"selection"} == set(names)
    assert cli.main(["reproduce", *names, "--scale", "smoke", "--dry-run", "--out", str(tmp_path)]) == 0
    assert "GPU hours" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_tables_are_drawn_without_any_run_and_figures_say_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["report", "table3", "--out", str(tmp_path)]) == 0
    assert "82.8" in (tmp_path / "table3.md").read_text()
    assert cli.main(["report", "figure11", "--out", str(tmp_path)]) == 2
    assert "dvbench reproduce figure11" in capsys.readouterr().err
