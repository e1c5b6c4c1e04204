"""From a number to its evidence: each kind of number tells where it comes from and by which rule it was judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from dvbench import cli
from dvbench.data.make import make
from dvbench.profile.cell import Cell
from dvbench.tables.trace import UnknownNumberError, trace
from dvbench.training.run_cell import RunCell
from reports.ledger import Ledger
from reports.record import Measure, Record, Status
from tests.dvbench.conftest import HERE
from tests.dvbench.runs_on_paper import uc_merced

ROW, COLUMN = "ResNet-18", "uc_merced_f1"


def facts(name: str, row: str, column: str, records: list[Record], out: Path) -> dict[str, str]:
    return dict(trace(name, row, column, records, out))


def measured() -> Record:
    cell = Cell("dynamicvis_b", 2048, image="scene.jpg").settled()
    latency = {"latency_ms": Measure(4500.0, "ms", "measured", (4500.0,))}
    identity = cell.identity(HERE)
    return Record(
        cell.as_dict(), identity, Status.OK, "", latency, HERE, "2026-01-01", "dvbench profile --res 2048", "a"
    )


def test_a_score_tells_its_rule_records_data_weights_and_departures(tmp_path: Path) -> None:
    runs = [uc_merced(seed) for seed in range(3)]
    found = facts("table2", ROW, COLUMN, runs, tmp_path)
    assert found["paper"] == "87.4, arXiv 2503.16426v1"
    assert found["verdict"] == "reproduced"
    assert "the whole interval over seeds and test images lies within the tolerance" in found["rule"]
    assert found["command"] == "dvbench run"
    assert found["code"].startswith(f"commit {'c' * 40}, dvbench")
    assert "fingerprint abababab" in found["data"]
    assert found["weights"] == "random"
    assert found["departures"] == "none"
    assert found["run folder"].endswith("(no longer there)")


def test_every_record_behind_a_mean_is_told(tmp_path: Path) -> None:
    runs = [uc_merced(seed) for seed in range(3)]
    told = [text for label, text in trace("table2", ROW, COLUMN, runs, tmp_path) if label == "record"]
    assert [text.split(",")[0] for text in told] == [run.identity[:12] for run in runs]


def test_a_run_folder_that_is_there_is_told_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    assert facts("table2", ROW, COLUMN, [uc_merced()], tmp_path)["run folder"] == str(tmp_path / "runs" / "x")


def test_a_number_that_does_not_stand_in_a_row_tells_what_it_departs_in(tmp_path: Path) -> None:
    own = "ResNet-18: uc_merced, released, 1 seed"
    found = facts("table2", own, COLUMN, [uc_merced(here={"git_dirty": True})], tmp_path)
    assert "paper" not in found
    assert found["verdict"] == "not comparable"
    assert "changes that commit cccccccccc does not hold" in found["departures"]
    assert found["rule"] == "beside no number of the paper"


def test_what_a_record_of_an_older_schema_rests_on_is_unknown(tmp_path: Path) -> None:
    own = "ResNet-18: uc_merced, released, 1 seed"
    found = facts("table2", own, COLUMN, [replace(uc_merced(), basis={}, schema=1)], tmp_path)
    assert found["data"] == found["weights"] == "unknown"
    assert "schema 1" in found["record"]


def test_data_that_has_changed_since_and_weights_that_are_gone_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    make("uc_merced", tmp_path / "uc_merced", count=1)
    data = {"dataset": "uc_merced", "origin": "genuine", "split": {"origin": "authors"}, "fingerprint": "ab" * 32}
    weights = {"name": "b.pth", "sha256": "cd" * 32, "kind": "unknown", "missing": []}
    started = uc_merced(weights=str(tmp_path / "b.pth"), basis={"data": data, "weights": weights})
    found = facts("table2", "ResNet-18: uc_merced, released, 1 seed", COLUMN, [started], tmp_path)
    assert found["data"] == "genuine, fingerprint abababababababab (not what lies here now)"
    assert found["weights"].endswith("(no longer there)")


def test_a_count_tells_that_it_is_exact(tmp_path: Path) -> None:
    found = facts("table13", "DynamicVis-B", "parameters (M)", [], tmp_path)
    assert found["verdict"] == "reproduced"
    assert found["rule"].startswith("exact: within the tolerance of 0.1 %")
    assert "on the meta device" in found["counted"]


def test_a_latency_tells_machine_command_and_why_it_has_no_verdict(tmp_path: Path) -> None:
    found = facts("table14", "DynamicVis-B, 2048 px", "latency (ms)", [measured()], tmp_path)
    assert (found["verdict"], found["why"]) == ("not comparable", "other hardware than the paper's")
    assert found["made"] == f"2026-01-01 on {HERE['hardware']}"
    assert found["command"] == "dvbench profile --res 2048"
    assert "departures" not in found


def test_a_number_that_is_only_the_papers_says_so(tmp_path: Path) -> None:
    found = facts("table3", "YOLOX", "ap50", [], tmp_path)
    assert found["rule"] == "the paper's number, copied; there is none of ours"
    assert found["why"] == "no model of ours"


@pytest.mark.parametrize(
    ("name", "row", "column", "words"),
    [
        ("table2", "ResNet18", COLUMN, "no row 'ResNet18': nearest are 'ResNet-18'"),
        ("table2", ROW, "uc_f1", "no number 'uc_f1' in row 'ResNet-18': nearest are 'uc_merced_f1'"),
        ("figure20", "a", "b", "figure20 has no numbers to trace"),
    ],
)
def test_a_number_that_is_not_there_is_one_line(name: str, row: str, column: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNumberError, match=words):
        trace(name, row, column, [], tmp_path)


def test_the_command_prints_the_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger(tmp_path / "records").write(uc_merced())
    assert cli.main(["report", "trace", "table2", ROW, COLUMN, "--out", str(tmp_path)]) == 0
    assert "inconclusive" in capsys.readouterr().out
    assert cli.main(["report", "trace", "table2", "--out", str(tmp_path)]) == 2
    assert "give table, row and column" in capsys.readouterr().err


def test_one_variant_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    for variant in ("released", "paper"):
        cell = RunCell("resnet18", "uc_merced", "full", variant)
        Ledger(tmp_path / "records").write(replace(uc_merced(variant=variant), identity=cell.identity()))
    assert cli.main(["report", "table2", "--variant", "paper", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "table2.md").read_text()
    assert "variant paper" in text
    assert "uc_merced, released" not in text
