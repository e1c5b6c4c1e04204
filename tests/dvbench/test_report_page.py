"""`dvbench report all` and `dvbench reproduce all`: one page, no flaw costs another target, nothing is done twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dvbench import cli
from dvbench.environment import environment
from dvbench.profile.cell import Cell
from dvbench.tables import page_content as page
from dvbench.tables import standing, targets
from dvbench.tables.standing import FILE
from dvbench.tables.targets import TARGETS
from dvbench.training import execute as execution
from dvbench.training.plan import Wish
from dvbench.training.run_cell import RunCell
from dvbench.training.unfinished import Unfinished, begin_measuring, unfinished
from dvbench.training.wanted_runs import wanted
from dvbench.verbs import reproduce as verb
from reports.ledger import Ledger
from reports.plot import PlotError
from reports.record import Measure, Record, Status

HERE = environment("cpu")
TOKEN_STAGES = page.token_stages
FEW = ("table1", "table2", "table3", "figure8", "audit")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def few_targets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the targets that take no time, and leave the token viewer to its own test."""
    monkeypatch.setattr(page, "token_stages", lambda: ([], ""))
    everything = dict(TARGETS)
    for name in set(TARGETS) - set(FEW):
        del TARGETS[name]
    yield
    TARGETS.clear()
    TARGETS.update(everything)  # in their order


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[RunCell]:
    """Stand in for training: cells are noted and get a record at once; deit_t16 breaks."""
    ran: list[RunCell] = []

    def execute(cell: RunCell, place: execution.Place, *_: object, **__: object) -> Record:
        ran.append(cell)
        if cell.model == "deit_t16":
            raise RuntimeError("no such luck\nand more")
        made = record(cell)
        place.ledger.write(made)
        return made

    monkeypatch.setattr(execution, "execute", execute)
    return ran


def record(cell: RunCell, **environment: Any) -> Record:
    protocol = json.dumps(cell.load_protocol().model_dump(mode="json"))
    here = {**HERE, "run_folder": "x", "protocol": protocol, **environment}
    metric = cell.load_protocol().select.metric
    measures = {metric: Measure(90.0, "%", "measured"), "baseline": Measure(0.0, "%", "measured")}
    measures["run_s"] = Measure(7.0, "s", "measured")
    return Record(cell.as_dict(), cell.identity(), Status.OK, "", measures, here, "2020-01-01T00:00:00+00:00", "", "")


def html(out: Path) -> str:
    return (out / "index.html").read_text(encoding="utf-8")


def report(out: Path, *names: str) -> int:
    return cli.main(["report", *(names or ("all",)), "--out", str(out)])


def reproduce_all(out: Path, *more: str) -> int:
    return cli.main(["reproduce", "all", "--scale", "smoke", "--out", str(out), *more])


def test_an_empty_folder_gives_a_page_that_says_what_to_run(tmp_path: Path) -> None:
    assert report(tmp_path) == 0
    text = html(tmp_path)
    assert "No record yet" in text
    assert "nox -s reproduce-all -- --scale smoke" in text
    for name in (*(f"table{i}" for i in range(1, 20)), *(f"figure{i}" for i in range(8, 22)), "audit"):
        assert f'<details class="target" id="{name}">' in text
    assert "cannot be reproduced yet" in text


def test_the_viewer_shows_the_scene_and_what_each_stage_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SHOWN_MODEL", "dynamicvis_t")
    monkeypatch.setattr(page, "SHOWN_SIDE", 128)
    stages, note = TOKEN_STAGES()
    assert [len(stage.pictures) for stage in stages] == [1, 2, 2, 2, 2]
    assert all(picture.data.startswith(b"\xff\xd8") for stage in stages for picture in stage.pictures)
    assert "keeps 128 of 1024 tokens (12.5 %)" in stages[1].note
    assert "untrained" in note


def test_a_corrupt_record_is_named_and_left_where_it_is(tmp_path: Path, capsys: Capture) -> None:
    broken = tmp_path / "records" / "broken-0123.json"
    broken.parent.mkdir()
    broken.write_text("{")
    assert report(tmp_path) == 0
    assert "set aside" in capsys.readouterr().err
    assert "Set aside:" in html(tmp_path)
    assert "broken-0123.json" in html(tmp_path)
    assert broken.read_text() == "{"


def test_a_run_that_is_still_going_is_told_by_its_table_and_the_page(tmp_path: Path) -> None:
    (cell, *_), _ = wanted(3, Wish(scale="smoke"))
    folder = tmp_path / "runs" / cell.folder()
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"identity": cell.identity(), "cell": cell.as_dict()}))
    (folder / "log.csv").write_text("epoch\n1\n2\n")
    assert report(tmp_path) == 0
    told = f"Still going or interrupted: {cell.model} on neon_trees, seed 0, 2 epochs done"
    assert told in (tmp_path / "table3.md").read_text()
    assert told not in (tmp_path / "table2.md").read_text()
    assert told in html(tmp_path)
    Ledger(tmp_path / "records").write(record(cell))
    assert unfinished(tmp_path, {cell.identity()}) == []
    assert report(tmp_path) == 0
    assert told not in html(tmp_path)


def test_a_measurement_that_is_still_going_is_told_by_what_measures() -> None:
    run = Unfinished("", "dvbench reproduce table14", 0, "now")
    waiting = {name for name, target in TARGETS.items() if target.waits_for(run)}
    assert waiting == set()  # none of the few
    assert targets.Target("latency", 14).waits_for(run)


def test_the_mark_of_a_measurement_is_found_and_is_no_record(tmp_path: Path) -> None:
    mark = begin_measuring(tmp_path, "dvbench profile")
    (found,) = unfinished(tmp_path, set())
    assert found.what == "dvbench profile"
    ledger = Ledger(tmp_path / "records")
    assert (ledger.records(), ledger.problems) == ([], [])
    mark.unlink()
    assert unfinished(tmp_path, set()) == []


def test_records_of_several_machines_are_listed(tmp_path: Path) -> None:
    cells, _ = wanted(2, Wish(scale="smoke"))
    for cell, hardware in zip(cells, ("one card", "another card"), strict=False):
        Ledger(tmp_path / "records").write(record(cell, hardware=hardware))
    assert report(tmp_path) == 0
    assert "<td>one card</td>" in html(tmp_path)
    assert "<td>another card</td>" in html(tmp_path)


def test_reproduce_all_goes_on_after_a_failure_and_names_it(
    tmp_path: Path, runs: list[RunCell], capsys: Capture
) -> None:
    assert reproduce_all(tmp_path) == 1
    printed = capsys.readouterr()
    assert "failed: table2, table3, figure8;" in printed.err
    assert "RuntimeError: no such luck" in printed.out
    assert len(runs) == len(set(runs)), "figure8 shares the runs of table2"
    assert {cell.model for cell in runs} == {"dynamicvis_t", "resnet18", "deit_t16"}
    assert (tmp_path / "table3.md").is_file()
    assert len(Ledger(tmp_path / "records").records()) == len([cell for cell in runs if cell.model != "deit_t16"])
    assert "dynamicvis_t" in html(tmp_path)


def test_a_second_run_does_nothing(
    tmp_path: Path, runs: list[RunCell], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ("--rows", "dynamicvis_t", "resnet18")
    assert reproduce_all(tmp_path, *rows) == 0
    assert "done" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    runs.clear()
    monkeypatch.setattr(standing, "draw", None)  # would be an error
    assert reproduce_all(tmp_path, *rows) == 0
    assert runs == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.usefixtures("runs")
def test_trainings_leave_the_batch_of_measurements_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Cell] = []
    monkeypatch.setattr(verb, "measure", lambda cells, *_: measured.extend(cells) or [])
    TARGETS["cost"] = targets.Target("cost", 14, tables=lambda _: [])
    assert reproduce_all(tmp_path, "--rows", "dynamicvis_t", "--per-device", "4") == 0
    assert {cell.batch for cell in measured} == {1}


@pytest.mark.parametrize("lost", ["table3.csv", "index.html", FILE])
def test_what_was_lost_is_drawn_again(tmp_path: Path, runs: list[RunCell], lost: str) -> None:
    rows = ("--rows", "dynamicvis_t")
    assert reproduce_all(tmp_path, *rows) == 0
    (tmp_path / lost).unlink()
    assert reproduce_all(tmp_path, *rows) == 0
    assert (tmp_path / lost).is_file()
    assert len(runs) == len(set(runs))


def test_results_in_a_clone_are_no_code(tmp_path: Path) -> None:
    def write(name: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
        return standing.drawing_code(tmp_path)

    code = [
        "dvbench/tables/page_content.py",
        "dvbench/paper/v1/table1.csv",
        "tasks/protocols/aid.yaml",
        "reports/parts/page.css",
    ]
    seen = [write(name) for name in [*code, "reports/table.py"]]
    assert len(set(seen)) == len(seen)
    for result in ("table1.csv", "index.html", "runs/resnet18/log.csv"):
        assert write(f"reports/out/{result}") == seen[-1]


def test_a_target_that_cannot_be_drawn_costs_no_other(tmp_path: Path, capsys: Capture) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("by zero")

    TARGETS["table1"] = targets.Target("layout", tables=broken)
    assert report(tmp_path) == 1
    assert "table1: cannot be drawn: ZeroDivisionError: by zero" in capsys.readouterr().err
    assert (tmp_path / "table3.md").is_file()
    assert "cannot be drawn" in html(tmp_path)


def test_nothing_to_show_is_an_error_for_one_figure_and_a_row_for_all(tmp_path: Path, capsys: Capture) -> None:
    assert report(tmp_path, "figure8") == 2
    assert "dvbench reproduce figure8" in capsys.readouterr().err
    with pytest.raises(PlotError):
        standing.stand("figure8", [], tmp_path, alone=True)
    assert standing.stand("figure8", [], tmp_path)[0].verdicts == {"not run": 1}


def test_a_dry_run_adds_up_both_parts_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    assert reproduce_all(tmp_path, "--dry-run") == 0
    printed = capsys.readouterr().out
    (together,) = [line.split() for line in printed.splitlines() if line.strip().startswith("together")]
    (training,) = [line.split() for line in printed.splitlines() if line.strip().startswith("training runs")]
    cells = {cell for number in (2, 3) for cell in wanted(number, Wish(scale="smoke"))[0]}
    assert training[2] == together[1] == str(len(cells))
    assert not list(tmp_path.iterdir())
