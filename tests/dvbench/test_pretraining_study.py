"""The study of what pretraining is worth: which runs it asks for, from which checkpoints, and what its table says."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvbench import cli
from dvbench.tables.pretraining import draw_pretraining, studied
from dvbench.training import execute as execution
from dvbench.training.plan import Wish
from dvbench.training.pretraining_study import LOSSES, NOT_YET, PRETRAINING, TASKS, first, second
from dvbench.training.run_cell import RunCell
from dvbench.training.wanted_runs import wanted
from reports.ledger import Ledger
from reports.outcomes import Outcomes, keep
from reports.record import Measure, Record, Status
from tasks import protocol

MODELS = ("dynamicvis_t", "resnet18")
IMAGES = 60
#: Of the images of `IMAGES`, how many are right by start; each seed adds one.
RIGHT = {"scratch": 20, "CE": 40, "MIL": 40}


def record(cell: RunCell, start: str, created: str = "2026-01-01") -> tuple[Record, Outcomes]:
    """Make the record of a run, scored on images of two classes, and a checkpoint told by its identity."""
    true = np.arange(IMAGES) % 2
    predicted = np.where(np.arange(IMAGES) < RIGHT[start] + cell.seed, true, 1 - true)
    names, counts = np.array([f"test/{number}" for number in range(IMAGES)]), np.ones(IMAGES, dtype=np.int64)
    found = Outcomes("macro", names, {"classes": np.array(2), "counts": counts, "predicted": predicted, "true": true})
    chosen = cell.load_protocol()
    score = found.score(np.arange(IMAGES))["f1"]
    measures = {name: Measure(score, "%", "measured") for name in ("f1", chosen.select.metric)}
    here = {"protocol": json.dumps(chosen.model_dump(mode="json")), "run_folder": cell.folder()}
    basis = {"checkpoint": hashlib.sha256(content(cell)).hexdigest(), "weights": {"sha256": cell.weights_hash}}
    made = Record(cell.as_dict(), cell.identity(), Status.OK, "", measures, here, created, "", "", basis=basis)  # type: ignore[arg-type]
    return made, found


def content(cell: RunCell) -> bytes:
    return cell.identity().encode()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[RunCell]:
    """Stand in for training: a run is noted, and leaves a checkpoint and a record at once."""
    ran: list[RunCell] = []
    losses: dict[str, str] = {"": "scratch"}

    def execute(cell: RunCell, place: execution.Place, *_: object, **__: object) -> Record:
        ran.append(cell)
        best = place.run(cell) / "best.ckpt"
        best.parent.mkdir(parents=True)
        best.write_bytes(content(cell))
        start = losses[cell.weights_hash]
        if cell.protocol == PRETRAINING:
            start = next(loss for loss, weight in LOSSES.items() if json.loads(cell.changes)["losses"]["mil"] == weight)
            losses[hashlib.sha256(content(cell)).hexdigest()[:12]] = start
        return keep(record(cell, start)[1], record(cell, start)[0], place.ledger)

    monkeypatch.setattr(execution, "execute", execute)
    return ran


def reproduce(out: Path, *more: str) -> int:
    return cli.main(["reproduce", "table11", "--scale", "smoke", "--jobs", "1", "--out", str(out), *more])


def test_it_is_the_reduced_runs_of_table_11() -> None:
    cells, _ = wanted(11, Wish(scale="smoke"))
    assert cells == list(first(Wish()))
    assert Counter(cell.protocol for cell in cells) == {PRETRAINING: 2 * 2 * 5, **dict.fromkeys(TASKS, 2 * 5)}
    assert {json.loads(cell.changes)["losses"]["mil"] for cell in cells if cell.protocol == PRETRAINING} == {0.0, 0.5}
    assert len(protocol.load(PRETRAINING).losses) == 2
    assert {cell.model for cell in cells} == set(MODELS)
    assert len({task.load_protocol().task for task in cells}) == 5


def test_rows_are_chosen_by_model_and_start() -> None:
    def chosen(*rows: str) -> set[tuple[str, str]]:
        return {(cell.model, cell.changes) for cell in first(Wish(rows=rows)) if cell.protocol == PRETRAINING}

    assert len(chosen()) == 4
    assert chosen("resnet18 MIL") == {("resnet18", '{"losses": {"mil": 0.5}}')}
    assert chosen("scratch") == set()
    assert {cell.protocol for cell in first(Wish(rows=("scratch",)))} == set(TASKS)


def test_the_budget_is_the_same_from_every_start(tmp_path: Path) -> None:
    wish = Wish(seeds=1, changes={"epochs": 2})
    scratch = list(first(wish))
    later = list(second(scratch, wish, tmp_path))
    for cell in later:
        alike = replace(cell, weights="", weights_hash="")
        assert alike in scratch
        assert alike.load_protocol() == cell.load_protocol()
    assert len(later) == 2 * 2 * len(TASKS)


def test_a_checkpoint_that_is_not_there_yet_is_planned_with(tmp_path: Path) -> None:
    (cell,) = first(Wish(seeds=1, rows=("resnet18 CE",)))
    planned = list(second([cell], Wish(), tmp_path))
    assert {(run.weights_hash, Path(run.weights).parent.name) for run in planned} == {(NOT_YET, cell.folder())}
    best = Path(planned[0].weights)
    best.parent.mkdir(parents=True)
    best.write_bytes(b"weights")
    made = list(second([cell], Wish(), tmp_path))
    assert {run.weights_hash for run in made} == {hashlib.sha256(b"weights").hexdigest()[:12]}


def test_a_full_run_is_followed_by_none(tmp_path: Path) -> None:
    cells, _ = wanted(11, Wish(scale="full"))
    assert not list(second(cells, Wish(scale="full"), tmp_path))


def test_tasks_start_from_the_checkpoints_of_their_own_seed(runs: list[RunCell], tmp_path: Path) -> None:
    assert reproduce(tmp_path, "--seeds", "2") == 0
    pretrained = {str(Path("runs") / cell.folder()): cell for cell in runs if cell.protocol == PRETRAINING}
    tuned = [cell for cell in runs if cell.weights]
    assert len(runs) == len(set(runs)) == 2 * 2 * (2 + 4 + 2 * 4)
    for cell in tuned:
        start = pretrained[str(Path(cell.weights).parent.relative_to(tmp_path))]
        assert (start.seed, start.model) == (cell.seed, cell.model)
    before = len(runs)
    assert reproduce(tmp_path, "--seeds", "2") == 0
    assert len(runs) == before  # what is finished is not run again


def test_a_dry_run_counts_both_rounds(runs: list[RunCell], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(tmp_path, "--seeds", "1", "--rows", "dynamicvis", "--dry-run") == 0
    assert "training runs 14 0 " in " ".join(capsys.readouterr().out.split())
    assert not runs


def test_checkpoints_that_are_gone_are_told(
    runs: list[RunCell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(tmp_path, "--seeds", "1", "--rows", "resnet18 MIL") == 0
    for path in tmp_path.glob(f"runs/{PRETRAINING}*/best.ckpt"):
        path.unlink()
    before = len(runs)
    assert reproduce(tmp_path, "--seeds", "1", "--rows", "resnet18 MIL") == 1
    assert "4 runs wait for pretraining that left no checkpoint: --fresh" in capsys.readouterr().err
    assert len(runs) == before


def test_the_table_says_which_starts_differ(runs: list[RunCell], tmp_path: Path) -> None:
    assert reproduce(tmp_path) == 0
    assert runs
    drawn, figure = draw_pretraining(Ledger(tmp_path / "records").records(), tmp_path / "records")
    table = dict(drawn)["table11_starts"]
    lines = {tuple(cells[:2]): dict(zip(table.columns, cells, strict=True)) for cells in table.rows}
    tasks = [name.removeprefix("transfer_") for name in TASKS]
    assert [cells[0] for cells in table.rows] == ["regions", "regions", *tasks, *tasks]
    regions, found = lines["regions", "resnet18"], lines["classification", "resnet18"]
    assert regions["scratch"] == regions["CE against scratch"] == ""
    assert regions["MIL against CE"] == found["MIL against CE"] == "equivalent, within 1"
    assert found["scratch"].startswith("36.6")  # 20 to 24 of 60 images
    assert found["CE against scratch"].startswith("better by 33.")
    assert found["MIL against scratch"].startswith("better by 33.")
    assert found["seeds"] == "5"
    assert any("Not comparable with the paper" in note for note in table.notes)
    assert figure is not None
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 10
    for axes in figure.axes:
        bottom, top = axes.get_ylim()
        assert bottom == 0
        assert top > max(float(max(line.get_ydata())) for line in axes.lines)  # type: ignore[arg-type]


def test_runs_of_other_starts_and_settings_are_left_out() -> None:
    pretraining = next(cell for cell in first(Wish(seeds=1, rows=("resnet18 MIL",))))
    made = record(pretraining, "MIL")[0]
    mine = str(made.basis["checkpoint"])[:12]
    task = RunCell("resnet18", TASKS[0])
    stranger, tuned = replace(task, weights_hash="f" * 12), replace(task, weights_hash=mine)
    other_seed = replace(tuned, seed=1)
    longer = replace(pretraining, changes='{"epochs": 9, "losses": {"mil": 0.2}}')
    cells = [("scratch", stranger), ("MIL", tuned), ("MIL", other_seed), ("MIL", longer)]
    found = studied([made, *(record(cell, start)[0] for start, cell in cells)])
    assert {one.name: {start: len(group) for start, group in one.starts.items()} for one in found} == {
        "regions": {"MIL": 1},
        "classification": {"MIL": 1},
    }


def test_without_runs_there_is_the_papers_table_alone() -> None:
    (drawn, *more), figure = draw_pretraining([], Path())
    assert (drawn[0], more, figure) == ("table11", [], None)
