"""Tables 15 to 19: which row is which switches, what it costs, and how runs are set beside the paper."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dvbench import cli, paper
from dvbench.paper.ablation_rows import REDUCED, TABLES, Row, rows
from dvbench.profile import counters
from dvbench.tables.ablations import row_counts, tables
from dvbench.tables.targets import TARGETS
from dvbench.training.plan import Wish
from dvbench.training.run_cell import RunCell
from dvbench.training.wanted_runs import wanted
from models.dynamicvis import DynamicVis, DynamicVisConfig
from models.zoo import build
from reports.ledger import Ledger
from reports.outcomes import Outcomes, keep
from reports.record import Measure, Record, Status
from reports.table import Table
from tests.dvbench.runs_on_paper import run
from tests.oracles.two_pass import two_pass_forward

DEFAULTS = {
    15: "forward + reverse, mean",
    16: "7/8, 3/4, 1/2, 0",
    17: "spatial",
    18: "head",
    19: "decay 0.1",
}
SIZES = {15: 5, 16: 5, 17: 4, 18: 4, 19: 7}


def named(table: int, name: str) -> Row:
    (found,) = [row for row in rows(table) if row.name == name]
    return found


def record(cell: RunCell, created: str = "2026-01-01", **scores: float) -> Record:
    environment: dict[str, Any] = {"hardware": "a card", "run_folder": "x"}
    environment["protocol"] = json.dumps(cell.load_protocol().model_dump(mode="json"))
    measures = {name: Measure(value, "%", "measured") for name, value in scores.items()}
    return Record(cell.as_dict(), cell.identity(), Status.OK, "", measures, environment, created, "", "")


def keep_small_targets(cell: RunCell, right: int, folder: Path) -> None:
    """Leave a run behind that finds so many of the 80 pixels of the target in each image, and one more a seed."""
    counts = np.tile(np.array([[90, 100, 100], [right + cell.seed, 60 + cell.seed, 80]]).T, (40, 1, 1))
    counts[::2, 2] += 5
    names = np.array([f"test/{number}" for number in range(40)])
    found = Outcomes("dense", names, {"counts": counts, "target": np.array(1), "mean": np.array(False)})
    keep(found, record(cell, **found.score(np.arange(40)), baseline=10), Ledger(folder))


def line(table: Table, name: str) -> dict[str, str]:
    (found,) = [cells for cells in table.rows if cells[0] == name]
    return dict(zip(table.columns, found, strict=True))


# -- which row is which switches


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_the_paper_is_a_configuration_of_its_own(table: int) -> None:
    made = rows(table)
    assert len(made) == len(paper.table(table)) == SIZES[table]
    for one, other in combinations(made, 2):
        assert (one.switches, one.changes) != (other.switches, other.changes)
    for row in made:
        DynamicVisConfig(**row.switches)


@pytest.mark.parametrize("table", TABLES)
def test_the_default_is_the_row_that_the_paper_prints_alike_in_all_five_tables(table: int) -> None:
    (default,) = [row for row in rows(table) if row.is_default]
    assert default.name == DEFAULTS[table]
    assert [default.printed[score] for score in ("precision", "recall", "f1")] == ["94.11", "93.82", "93.81"]


@pytest.mark.parametrize(
    ("table", "name", "switches"),
    [
        (15, "forward", {"paths": ("forward",)}),
        (15, "forward + reverse, gate", {"merge": "gate"}),
        (15, "forward + reverse + shuffle, gate", {"paths": ("forward", "reverse", "shuffle"), "merge": "gate"}),
        (16, "0, 0, 0, 0", {"keep": (0, 0, 0, 0)}),
        (16, "3/4, 1/2, 0, 0", {"keep": (4, 2, 1, 1)}),
        (16, "15/16, 7/8, 3/4, 1/2", {"keep": (16, 8, 4, 2)}),
        (16, "31/32, 15/16, 7/8, 3/4", {"keep": (32, 16, 8, 4)}),
        (17, "channel", {"selection": "channel"}),
        (17, "spatial + channel, parallel", {"selection": "parallel"}),
        (18, "none", {"global_tokens": "none"}),
        (18, "head tail", {"global_tokens": "head_tail"}),
    ],
)
def test_switches_are_those_that_the_row_names(table: int, name: str, switches: dict[str, Any]) -> None:
    assert named(table, name).switches == switches
    assert not named(table, name).changes


def test_noise_is_a_change_of_the_protocol() -> None:
    assert named(19, "fixed 0.4").changes == {"noise": {"kind": "fixed", "scale": 0.4}}
    cells, _ = wanted(19, Wish(scale="full"))
    by_row = dict(zip([row.name for row in rows(19)], [cell.load_protocol() for cell in cells], strict=True))
    assert [by_row["decay 0.1"].noise.at(share) for share in (0, 1)] == pytest.approx([0.1, 0.0001])
    assert [by_row["fixed 0.4"].noise.at(share) for share in (0, 1)] == [0.4, 0.4]
    assert by_row["fixed 0"].noise.at(0) == by_row["loss"].noise.at(0) == 0
    assert by_row["loss"].losses == {"balance": 0.1}
    assert not by_row["fixed 0"].losses


# -- cells


def test_full_runs_are_of_the_base_model_on_aid_from_scratch() -> None:
    cells, _ = wanted(16, Wish(scale="full"))
    assert {(cell.model, cell.protocol, cell.weights, cell.scale) for cell in cells} == {
        ("dynamicvis_b", "aid", "", "full")
    }
    assert [cell.model_options.get("keep") for cell in cells] == [
        (0, 0, 0, 0),
        (4, 2, 1, 1),
        None,
        (16, 8, 4, 2),
        (32, 16, 8, 4),
    ]


def test_reduced_runs_have_three_seeds_and_tables_share_the_default_row() -> None:
    runs = [wanted(table, Wish(scale="smoke"))[0] for table in TABLES]
    assert [len(cells) for cells in runs] == [3 * SIZES[table] for table in TABLES]
    assert {cell.protocol for cells in runs for cell in cells} == {REDUCED}
    shared = set.intersection(*map(set, runs))
    assert sorted(cell.seed for cell in shared) == [0, 1, 2]
    assert all(cell.switches == cell.changes == "{}" for cell in shared)
    assert len(set().union(*runs)) == 3 * (sum(SIZES.values()) - 4)


def test_the_figure_asks_for_reduced_runs_whatever_the_scale() -> None:
    cells, _ = wanted(16, Wish(scale="full"), TARGETS["selection"].protocol)
    assert cells == wanted(16, Wish(scale="smoke"))[0]


def test_rows_differ_in_identity_and_in_what_progress_calls_them() -> None:
    cells, _ = wanted(16, Wish(scale="smoke", seeds=1))
    assert len({cell.identity() for cell in cells}) == len({cell.label for cell in cells}) == 5
    assert cells[1].label == "dynamicvis_t (keep [4, 2, 1, 1])"


# -- what a row costs, counted by hand


def test_gates_of_paths_add_a_layer_for_each_block() -> None:
    """A gate over p paths is p x (p width) weights: for widths 96 to 768 with 2, 4, 16 and 4 blocks, 10,176 p p."""
    blocks = 2 * 96 + 4 * 192 + 16 * 384 + 4 * 768
    assert blocks == 10_176
    default = row_counts(named(15, "forward + reverse, mean")).parameters
    assert row_counts(named(15, "forward + reverse, gate")).parameters - default == 4 * blocks
    assert row_counts(named(15, "forward + reverse + shuffle, gate")).parameters - default == 9 * blocks
    assert row_counts(named(15, "forward")).parameters == default == 36_770_142


def test_ratios_change_tokens_and_work_but_only_the_dense_row_has_no_gates() -> None:
    counts = [row_counts(row) for row in rows(16)]
    assert [one.tokens_kept for one in counts] == [
        (16_384, 4096, 1024, 256),
        (4096, 2048, 1024, 256),
        (2048, 1024, 512, 256),
        (1024, 512, 256, 128),
        (512, 256, 128, 64),
    ]
    assert [one.parameters for one in counts] == [36_759_966, *[36_770_142] * 4]  # one gate of its width a block
    assert [one.macs for one in counts] == sorted((one.macs for one in counts), reverse=True)
    assert [one.live_bytes for one in counts] == sorted((one.live_bytes for one in counts), reverse=True)


def test_global_tokens_cost_what_longer_sequences_cost() -> None:
    none, head, both, mid = (row_counts(row) for row in rows(18))
    assert head.macs == mid.macs
    assert both.macs - head.macs == head.macs - none.macs  # as many tokens more again
    assert head.parameters == none.parameters == both.parameters


def test_channel_mixing_adds_two_convolutions_and_a_mixer_to_each_block() -> None:
    """Convolutions of 3 x 3 between `width` maps, and a mixer on squares of 16 x 16, with its norm.

    A gate has each block but the first stage's two, whose ratio is 1 (the authors' ChannelSparseMixer in
    dynamicvis/models/models.py makes `channel_gate` where `reduction_ratio > 1`).
    """
    width, rank, states = 256, 16, 16
    inner = 2 * width
    mixer = width + 2 * width * inner + 5 * inner + inner * (rank + 2 * states) + rank * inner + inner
    mixer += inner * states + inner + inner * width
    convolutions = sum(depth * 2 * (9 * w * w + w) for depth, w in zip((2, 4, 16, 4), (96, 192, 384, 768), strict=True))
    added = convolutions + 26 * mixer + 24 * width
    assert row_counts(named(17, "spatial + channel, serial")).parameters == 36_770_142 + added


@pytest.mark.slow
def test_the_published_graph_holds_about_what_the_paper_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both directions on a stacked copy, counted as our own live bytes are."""

    class Every(set[object]):
        def __contains__(self, _: object) -> bool:
            return True

    monkeypatch.setattr(counters, "ELEMENTWISE", Every())  # only live bytes are asked for
    for row in rows(16):
        with torch.device("meta"):
            model, image = build("dynamicvis_b", **row.switches), torch.empty(1, 3, 512, 512)
        assert isinstance(model, DynamicVis)
        with torch.no_grad(), counters._Watch([*model.parameters(), image]) as watch:
            two_pass_forward(model, image)
        published = float(row.printed["memory_mb"]) * 2**20
        assert 0.88 * published < watch.peak < published
        assert row_counts(row).live_bytes < watch.peak


# -- tables


@pytest.mark.parametrize("table", TABLES)
def test_without_runs_the_costs_are_there_and_the_scores_are_not_run(table: int) -> None:
    (stem, cost), (_, beside) = tables(table, [], Path())
    assert stem == f"table{table}_cost"
    assert len(cost.rows) == len(beside.rows) == SIZES[table]
    assert {cells[-2] for cells in beside.rows} == {"not run"}
    default = line(cost, f"{DEFAULTS[table]} (default)")
    assert (default["parameters"], default["paper's way (G)"]) == ("36,770,142", "30.01")


def test_table_16_sets_live_bytes_beside_the_papers_memory() -> None:
    cost = tables(16, [], Path())[0][1]
    dense = line(cost, "0, 0, 0, 0")
    assert dense["paper (MB)"] == "379.99"
    assert float(dense["live (MiB)"]) == pytest.approx(row_counts(rows(16)[0]).live_bytes / 2**20, abs=0.005)
    assert {cells[-1] for cells in cost.rows} <= {"reproduced", "differs"}


def test_full_runs_are_set_beside_their_own_row_only() -> None:
    cells, _ = wanted(16, Wish(scale="full", seeds=3))
    scores = {"precision": 94.0, "recall": 93.9}
    made = [run(cell, f1=90.0 + cell.seed / 10, **scores) for cell in cells if cell.switches == "{}"]
    beside = tables(16, made, Path())[1][1]
    default = line(beside, "7/8, 3/4, 1/2, 0 (default)")
    assert default["f1, paper | ours"].startswith("93.81 | 90.10 (")
    assert default["precision, paper | ours"] == "94.11 | 94.00 (93.80 to 94.20, 3 seeds)"  # as over images alone
    assert default["verdict"] == "differs"  # f1 does
    assert [cells[-2] for cells in beside.rows].count("not run") == 4
    noisy = run(wanted(19, Wish(scale="full", rows=("fixed 0.4",)))[0][0], f1=93.0, **scores)
    assert tables(16, [noisy], Path())[1][1].rows == tables(16, [], Path())[1][1].rows  # noise is no reduction ratio


def test_reduced_runs_have_a_table_of_their_own_that_compares_with_nothing() -> None:
    cells, _ = wanted(16, Wish(scale="smoke"))
    made = [record(cell, precision=60, recall=60, f1=60 + cell.seed, baseline=10) for cell in cells[:6]]
    _, (_, beside), (stem, reduced) = tables(16, made, Path())
    assert stem == f"table16_{REDUCED}"
    assert {cells[-2] for cells in beside.rows} == {"not run"}
    dense = line(reduced, "0, 0, 0, 0")
    assert (dense["f1"], dense["seeds"], dense["learned"]) == ("61.00 ± 1.00", "3", "yes")
    assert dense["verdict"] == "not comparable"
    assert line(reduced, "7/8, 3/4, 1/2, 0 (default)")["verdict"] == "not run"
    assert not any("93.81" in cell for cells in reduced.rows for cell in cells)
    assert any("Not comparable with the paper" in note for note in reduced.notes)


def test_reduced_rows_say_whether_they_are_told_apart_from_the_default(tmp_path: Path) -> None:
    cells, _ = wanted(16, Wish(scale="smoke"))
    for cell in cells:
        keep_small_targets(cell, 30 if cell.switches == '{"keep": [0, 0, 0, 0]}' else 60, tmp_path)
    reduced = tables(16, Ledger(tmp_path).records(), tmp_path)[2][1]
    told = {cells[0]: cells[-2] for cells in reduced.rows}
    assert told.pop("0, 0, 0, 0").startswith("worse by ")
    assert told.pop("7/8, 3/4, 1/2, 0 (default)") == ""
    assert set(told.values()) == {"equivalent, within 1"}  # they are the same on every image


def test_a_row_whose_outcomes_are_gone_is_named_and_the_others_are_compared(tmp_path: Path) -> None:
    dense, default = (wanted(16, Wish(scale="smoke", rows=(name,)))[0] for name in ("0, 0, 0, 0", DEFAULTS[16]))
    finer = wanted(16, Wish(scale="smoke", rows=("15/16, 7/8",)))[0]
    before = [record(cell, f1=60, baseline=10) for cell in wanted(16, Wish(scale="smoke", rows=("31/32",)))[0]]
    for cell in (*dense, *default, *finer):
        keep_small_targets(cell, 60, tmp_path)
    for path in tmp_path.glob(f"*{dense[0].identity()[:12]}*.npz"):
        path.unlink()
    reduced = tables(16, [*before, *Ledger(tmp_path).records()], tmp_path)[2][1]
    told = {cells[0]: cells[-2] for cells in reduced.rows}
    assert told["15/16, 7/8, 3/4, 1/2"] == "equivalent, within 1"
    assert told["0, 0, 0, 0"] == told["31/32, 15/16, 7/8, 3/4"] == ""
    (note,) = [note for note in reduced.notes if "is not compared" in note]  # the one from before is silent
    assert note.startswith("0, 0, 0, 0 is not compared: ")
    assert "run it again with --fresh" in note


def test_outcomes_are_looked_for_where_the_records_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    elsewhere = tmp_path / "of another machine"
    for cell in wanted(16, Wish(scale="smoke"))[0]:
        keep_small_targets(cell, 60, elsewhere)
    assert cli.main(["report", "table16", "--records", str(elsewhere), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("equivalent, within 1") == 4


def test_of_several_settings_the_newest_is_shown_and_never_a_mixture() -> None:
    old, _ = wanted(16, Wish(scale="smoke"))
    new, _ = wanted(16, Wish(scale="smoke", seeds=1, changes={"epochs": 1}))
    made = [record(cell, f1=10, baseline=10) for cell in old] + [record(cell, "2026-02-02", f1=50) for cell in new]
    found = line(tables(16, made, Path())[2][1], "0, 0, 0, 0")
    assert (found["f1"], found["seeds"]) == ("50.00", "1")


# -- the command line


def test_a_tiny_row_runs_from_the_command_line_to_its_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask = ["reproduce", "table16", "--scale", "smoke", "--rows", "31/32", "--seeds", "1", "--epochs", "1"]
    assert cli.main([*ask, "--workers", "0", "--out", str(tmp_path)]) in (0, 1)  # one epoch need not be enough
    (made,) = Ledger(tmp_path / "records").records()
    assert json.loads(str(made.cell["switches"])) == {"keep": [32, 16, 8, 4]}
    assert made.measures["kept_stage1"].value == pytest.approx(1 / 32)
    assert 0 <= float(made.measures["recall_stage1"].value or 0) <= 1
    assert "recall_stage1_untrained" in made.measures
    assert "Table 16, reduced" in capsys.readouterr().out
    (last,) = [text for text in (tmp_path / f"table16_{REDUCED}.csv").read_text().splitlines() if "31/32" in text]
    assert last.endswith(",1,,not comparable")
    assert cli.main([*ask, "--workers", "0", "--out", str(tmp_path)]) in (0, 1)
    assert Ledger(tmp_path / "records").records() == [made]  # taken over, not run again
    assert cli.main(["report", "selection", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "selection.png").stat().st_size > 10_000


def test_the_figure_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["report", "selection", "--out", str(tmp_path)]) == 2
    assert "dvbench reproduce selection" in capsys.readouterr().err
