"""The paper's numbers stand in every table unchanged, ours beside them, and no verdict claims more than was shown."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from dvbench.costs import counts, figures, numbers, throughput
from dvbench.costs.figures import figure20, figure21
from dvbench.costs.found import Found
from dvbench.costs.latency import table14
from dvbench.costs.layout import table1
from dvbench.costs.numbers import MIB
from dvbench.costs.throughput import table13
from dvbench.paper import table as paper_table
from dvbench.paper.cost_rows import RESOLUTIONS, name, printed, rows
from dvbench.profile.cell import Cell
from dvbench.profile.counters import Counts
from reports.record import Measure, Record, Status
from reports.table import Table

Rows = list[dict[str, str]]
NONE = Found.newest([])


def record(
    model: str,
    side: int,
    *samples: float,
    attention: str = "none",
    status: Status = Status.OK,
    reason: str = "",
    group: str = "a",
    hardware: str = "This CPU (2 cores)",
    device: str = "cpu",
    dtype: str = "fp32",
    batch: int = 1,
    **values: float,
) -> Record:
    """Make a record by hand; `values` are further measures."""
    cell = Cell(model, side, batch=batch, device=device, attention=attention, image="scene.jpg")
    measures = {key: Measure(value, "1", "measured") for key, value in values.items()}
    if samples:
        middle = sorted(samples)[len(samples) // 2]
        measures["latency_ms"] = Measure(middle, "ms", "measured", samples)
        measures["throughput"] = Measure(1e3 / middle, "img/s", "measured")
    return Record(
        cell=cell.as_dict() | {"dtype": dtype},
        identity=f"{abs(hash((model, side, attention, hardware, samples))):016x}",
        status=status,
        reason=reason,
        measures=measures,
        environment={"hardware": hardware, "threads": 2, "torch": "2.11", "code": "0c0de"},
        created="2026-01-02T03:04:05+00:00",
        command="dvbench profile",
        group=group,
    )


@pytest.fixture(autouse=True)
def off_by(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Let every count be the paper's number times a factor; the real counts are tested where they are made."""
    factors = SimpleNamespace(params=1.0, flops=1.0, memory=1.0)

    def counts_of(cell: Cell, batch: int | None = None) -> Counts:
        row = next(row for row, model in rows(13).items() if model == (cell.model, cell.attention))
        line = printed(13).get((row, 512), {"params_m": "80", "flops_g": "80"})
        megabytes = printed(14).get((row, cell.resolution), {}).get("memory_mb") or "100"
        return Counts(
            parameters=round(factors.params * float(line["params_m"]) * 1e6),
            weight_bytes=0,
            flops={"mm": 24 * 10**9},
            paper_flops=round(factors.flops * float(line["flops_g"]) * 1e9),
            live_bytes=round(factors.memory * float(megabytes) * MIB) * (batch or 1),
            tokens_kept=(),
        )

    for module in (numbers, counts, throughput, figures):
        monkeypatch.setattr(module, "counts_of", counts_of)
    throughput._batch_within.cache_clear()
    yield factors
    throughput._batch_within.cache_clear()


def by_column(table: Table) -> Rows:
    """The rows as dictionaries; of two columns with one heading the first is kept."""
    return [dict(reversed(list(zip(table.columns, row, strict=True)))) for row in table.rows]


def at(table: Table, model: str, side: int | None = None) -> dict[str, str]:
    (row,) = (row for row in by_column(table) if row["Model"] == model and row.get("px") in (None, str(side)))
    return row


def latency(*records: Record) -> Table:
    return dict(table14(Found.newest(records)))["table14"]


def memory(*records: Record) -> Table:
    return dict(table14(Found.newest(records)))["table14_memory"]


# What the paper prints


def test_table1_is_reproduced_in_all_stages_of_both_models() -> None:
    ((_, table),) = table1()
    assert len(table.rows) == 8
    for row in by_column(table):
        pairs = [cell.split(" | ") for column, cell in row.items() if column.endswith("paper | ours")]
        assert len(pairs) == 5
        assert all(theirs == ours for theirs, ours in pairs)
        assert row["verdict"] == "reproduced"


@pytest.mark.parametrize(("measured", "column"), [(latency, "latency_ms"), (memory, "memory_mb")])
@pytest.mark.parametrize("records", [(), (record("resnet101", 512, 3.0, 4.0, 5.0),)], ids=["none", "one record"])
def test_table14_prints_every_number_of_the_paper(
    measured: Callable[..., Table], column: str, records: tuple[Record, ...]
) -> None:
    heading = "paper (ms)" if column == "latency_ms" else "paper (MB)"
    ours = {(row["Model"], row["px"]): row[heading] for row in by_column(measured(*records))}
    for line in paper_table(14).to_dict("records"):
        label = name((line["model"], line["variant"]))
        assert ours[label, line["resolution"]] == ("OOM" if line["oom"] == "true" else line[column])


def test_table13_prints_every_number_of_the_paper() -> None:
    made = dict(table13(NONE))
    for line in paper_table(13).to_dict("records"):
        label = name((line["method"], line["variant"]))
        row, cost = at(made["table13"], label), at(made["table13_cost"], label)
        assert row["largest batch, paper"] == line["max_batch_size"]
        assert row["paper (img/s)"] == line["throughput_samples_per_s"]
        assert (cost["params, paper (M)"], cost["FLOPs, paper (G)"]) == (line["params_m"], line["flops_g"])


def test_without_records_nothing_was_run_and_the_tables_say_so() -> None:
    for table in (latency(), dict(table13(NONE))["table13"]):
        assert {row["verdict"] for row in by_column(table)} == {"not run"}
        assert "Ours: nothing has been measured yet." in table.notes
    assert {row["ours (ms)"] for row in by_column(latency())} == {""}


# Verdicts


def test_speed_is_never_reproduced_on_other_hardware_even_when_equal() -> None:
    row = at(latency(record("resnet101", 128, 5.13, 5.13, 5.13)), "ResNet101", 128)
    assert (row["paper (ms)"], row["ours (ms)"], row["verdict"]) == ("5.13", "5.13", "not comparable")
    row = at(dict(table13(Found.newest([record("resnet101", 512, 5.0, 5.0, 5.0)])))["table13"], "ResNet101")
    assert (row["paper (img/s)"], row["ours (img/s)"], row["verdict"]) == ("200", "200", "not comparable")


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "reproduced"), (0.96, "reproduced"), (0.94, "differs")])
def test_memory_is_reproduced_within_its_tolerance(off_by: SimpleNamespace, factor: float, verdict: str) -> None:
    off_by.memory = factor
    row = at(memory(), "DynamicVis-B", 2048)
    assert row["verdict"] == verdict
    assert row["difference"] == f"{100 * (factor - 1):+.1f} %"


def test_memory_of_a_record_goes_before_the_count_and_the_peak_has_its_own_column() -> None:
    made = memory(record("resnet101", 128, 1.0, live_bytes=150 * MIB, resident_peak_bytes=250 * MIB))
    row = at(made, "ResNet101", 128)
    assert (row["paper (MB)"], row["live (MB)"], row["peak here (MB)"]) == ("300.96", "150.00", "250.00")
    assert row["verdict"] == "differs"


def test_memory_where_the_paper_ran_out_is_not_comparable() -> None:
    row = at(memory(), "ViT-B", 4096)
    assert (row["paper (MB)"], row["verdict"]) == ("OOM", "not comparable")


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "reproduced"), (1.002, "differs")])
def test_parameters_are_reproduced_only_when_nearly_equal(off_by: SimpleNamespace, factor: float, verdict: str) -> None:
    off_by.params = factor
    cost = dict(table13(NONE))["table13_cost"]
    assert at(cost, "DynamicVis-L")["verdict"] == verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1.009, "reproduced"), (1.011, "differs")])
def test_flops_are_reproduced_within_a_percent(off_by: SimpleNamespace, factor: float, verdict: str) -> None:
    off_by.flops = factor
    cost = dict(table14(NONE))["table14_cost"]
    flops_verdict = [row[cost.columns.index("difference") + 1] for row in cost.rows if row[0] == "DynamicVis-B"]
    assert flops_verdict == [verdict]


def test_our_extra_row_is_not_judged() -> None:
    row = at(dict(table14(NONE))["table14_cost"], "ViT-B, fused attention*")
    assert (row["params, paper (M)"], row["verdict"]) == ("", "not in the paper")


@pytest.mark.parametrize("model", ["Vim-Ti*", "VMamba-T*", "RSMamba-B*"])
def test_other_mamba_backbones_are_marked_as_not_in_the_paper(model: str) -> None:
    for named in (table13(NONE), table14(NONE)):
        for stem, table in named:
            assert any(note.startswith("* not in the paper") for note in table.notes), stem
    assert at(dict(table13(NONE))["table13_cost"], model)["verdict"] == "not in the paper"
    made = latency(record(model[:-1].lower().replace("-", "_"), 128, 7.0))
    assert (at(made, model, 128)["paper (ms)"], at(made, model, 128)["ours (ms)"]) == ("", "7")


# Ratios


def test_ratios_are_medians_of_pairs_within_a_group() -> None:
    vit = record("vit_b16", 128, 10.0, 20.0, 10.0, attention="eager")
    row = at(latency(vit, record("dynamicvis_b", 128, 10.0, 40.0, 30.0)), "DynamicVis-B", 128)
    assert row["of ViT-B, paper | ours"] == "4.66 | 2"  # 1, 2 and 3; the quotient of medians would be 3
    assert row["of ResNet101, paper | ours"] == "2.83 | ·"


def test_ratios_across_groups_are_quotients_and_marked() -> None:
    vit = record("vit_b16", 128, 10.0, 20.0, 10.0, attention="eager", group="b")
    row = at(latency(vit, record("dynamicvis_b", 128, 10.0, 40.0, 30.0)), "DynamicVis-B", 128)
    assert row["of ViT-B, paper | ours"] == "4.66 | ~3"


def test_growth_is_that_of_the_same_model_from_half_the_side() -> None:
    records = [record("resnet101", 512, 10.0, group="a"), record("resnet101", 1024, 35.0, group="b")]
    assert at(latency(*records), "ResNet101", 1024)["of half the side, paper | ours"] == "2.5 | ~3.5"


def test_the_eager_vit_is_the_reference_not_the_fused_one() -> None:
    fused = record("vit_b16", 128, 1.0, attention="sdpa")
    row = at(latency(fused, record("dynamicvis_b", 128, 5.0)), "DynamicVis-B", 128)
    assert row["of ViT-B, paper | ours"] == "4.66 | ·"
    assert at(latency(fused), "ViT-B, fused attention*", 128)["ours (ms)"] == "1"


def test_throughput_ratios_are_paired_too() -> None:
    vit = record("vit_b16", 512, 10.0, 80.0, 30.0, attention="eager")
    table = dict(table13(Found.newest([vit, record("dynamicvis_b", 512, 5.0, 20.0, 10.0)])))["table13"]
    assert at(table, "DynamicVis-B")["of ViT-B, paper | ours"] == "2.28 | 3"


# Rows that did not end well


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (Status.OOM_PREDICTED, "its tensors alone need 24.7 GiB, 20.0 GiB are free"),
        (Status.OOM, "killed by the kernel"),
        (Status.SKIPPED, "about 900 s estimated"),
        (Status.CRASHED, "ended by SIGSEGV"),
    ],
)
def test_a_cell_that_was_not_measured_shows_its_status_and_reason(status: Status, reason: str) -> None:
    table = latency(record("vit_b16", 2048, attention="eager", status=status, reason=reason))
    row = at(table, "ViT-B", 2048)
    assert (row["paper (ms)"], row["ours (ms)"], row["verdict"]) == ("1581.18", status, "not run")
    assert f"vit_b16 (eager) at 2048 px: {status}: {reason}." in table.notes


def test_noisy_rows_are_marked() -> None:
    row = at(latency(record("resnet101", 128, 1.0, 2.0, 9.0)), "ResNet101", 128)
    assert row["n"] == "3, noisy"


def test_a_size_that_the_paper_does_not_have_has_a_row_when_measured() -> None:
    row = at(latency(record("resnet101", 64, 7.0)), "ResNet101", 64)
    assert (row["paper (ms)"], row["ours (ms)"]) == ("", "7")


def test_fvcore_stands_beside_our_count() -> None:
    cost = dict(table14(Found.newest([record("resnet101", 512, 1.0, fvcore_macs=12.1e9)])))["table14_cost"]
    row = at(cost, "ResNet101")
    assert (row["MACs run (G)"], row["fvcore MACs (G)"]) == ("12.00", "12.10")


def test_largest_batches_here_say_how_they_were_found() -> None:
    found = Found.newest([record("resnet101", 512, 1.0, max_batch_size=64)])
    row = at(dict(table13(found))["table13"], "ResNet101")
    assert (row["largest batch, paper"], row["largest batch here"]) == ("608", "64 (measured)")
    assert row["in 48 GB by live bytes (predicted)"] == str(int(48e9 / (328.65 * MIB)))


def test_a_gap_splits_into_the_recipe_and_the_rest() -> None:
    taken = [
        record("vit_b16", 512, 20.0, attention="eager", recipe_throughput=100.0, recipe_peak_bytes=455 * MIB),
        record("dynamicvis_b", 512, 10.0, recipe_throughput=300.0, recipe_peak_bytes=189 * MIB),
    ]
    table = dict(table13(Found.newest(taken)))["table13_recipe"]
    row = at(table, "DynamicVis-B")
    assert (row["paper (img/s)"], row["their recipe here (img/s)"], row["ours, batch 1 (img/s)"]) == (
        "196",
        "300",
        "100",
    )
    assert (row["of ViT-B, paper"], row["their recipe"], row["ours"]) == ("2.28", "3", "2")  # 196 / 86, 300 / 100
    assert (row["the recipe's part"], row["the rest"]) == ("1.5", "0.76")  # 3 / 2 and 2.279 / 3
    assert (row["memory, paper (MB)"], row["their reading here (MB)"]) == ("188.71", "189.00")
    assert at(dict(table13(NONE))["table13_recipe"], "DynamicVis-B")["the recipe's part"] == ""


def test_flops_stand_as_the_authors_tool_writes_them() -> None:
    cost = dict(table13(NONE))["table13_cost"]
    assert at(cost, "ViT-L")["as its tool writes it"] == "0.362T"
    assert at(cost, "DynamicVis-L")["as its tool writes it"] == "82.31G"


# Which records


def test_the_newest_machine_is_chosen_and_named() -> None:
    old = record("vit_b16", 128, 3.0, attention="eager", hardware="Old CPU")
    found = Found.newest([old, record("resnet101", 128, 9.0, hardware="New CPU")])
    assert set(found.records) == {(("resnet101", "none"), 128)}
    assert "New CPU" in found.stamp
    assert "Old CPU" not in found.stamp


def test_a_table_never_mixes_code_or_scan_backends() -> None:
    def with_scan(side: int, scan: str, code: str = "0c0de") -> Record:
        made = record("dynamicvis_b", side, 9.0)
        return replace(made, cell={**made.cell, "scan": scan}, environment={**made.environment, "code": code})

    resnet = record("resnet101", 128, 5.0)
    resnet = replace(resnet, cell={**resnet.cell, "scan": "none"})
    mixed = [with_scan(128, "auto", "01dc0de"), with_scan(256, "auto"), with_scan(512, "reference"), resnet]
    assert set(Found.newest(mixed).records) == {(("dynamicvis_b", "none"), 512), (("resnet101", "none"), 128)}


def test_the_newest_record_of_a_cell_is_chosen() -> None:
    found = Found.newest([record("resnet101", 128, 9.0), record("resnet101", 128, 4.0)])
    assert found.value(("resnet101", "none"), 128, "latency_ms") == 4.0


@pytest.mark.parametrize("other", [{"dtype": "bf16"}, {"device": "cuda"}])
def test_dtypes_and_devices_are_not_mixed(other: dict[str, str]) -> None:
    found = Found.newest([record("vit_b16", 128, 3.0, attention="eager", **other), record("resnet101", 128, 9.0)])  # type: ignore[arg-type]
    assert set(found.records) == {(("resnet101", "none"), 128)}


def test_larger_batches_are_left_out() -> None:
    assert Found.newest([record("resnet101", 128, 9.0, batch=8)]).records == {}


# Figures


def curves(figure: Figure) -> list[tuple[list[float], list[float]]]:
    lines = figure.axes[0].lines
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines]


@pytest.mark.parametrize(("draw", "column"), [(lambda: figure20(NONE), "latency_ms"), (figure21, "memory_mb")])
def test_figures_carry_the_papers_curves(draw: Callable[[], Figure], column: str) -> None:
    drawn = curves(draw())
    lines = paper_table(14)
    for _, group in lines.groupby(["model", "variant"]):
        known = group[group[column] != ""]
        curve = ([float(x) for x in known["resolution"]], [float(y) for y in known[column]])
        assert curve in drawn


def test_figure20_draws_ours_and_marks_out_of_memory() -> None:
    eager = record("vit_b16", 256, attention="eager", status=Status.OOM_PREDICTED, reason="too large")
    figure = figure20(Found.newest([record("resnet101", 128, 9.0), record("resnet101", 256, 19.0), eager]))
    assert ([128, 256], [9.0, 19.0]) in curves(figure)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels.count("OOM") == 2, "the paper's at 4096 and ours at 256"


def test_a_latency_that_no_axis_has_a_place_for_is_left_out() -> None:
    figure = figure20(Found.newest([record("resnet101", 128, -9.0), record("resnet101", 256, 19.0)]))
    assert ([256], [19.0]) in curves(figure)


def test_figure21_counts_ours_at_every_size(off_by: SimpleNamespace) -> None:
    off_by.memory = 0.5
    mine = [float(printed(14)[("DynamicVis-B", ""), side]["memory_mb"]) / 2 for side in RESOLUTIONS]
    assert any(x == list(RESOLUTIONS) and y == pytest.approx(mine, rel=1e-6) for x, y in curves(figure21()))


@pytest.mark.slow
def test_the_real_counts_reproduce_the_papers_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    body = by_column(counts.cost_table(13, NONE))
    assert {row["verdict"] for row in body if row["params, paper (M)"]} == {"reproduced"}
