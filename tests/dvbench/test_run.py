"""`dvbench run` end to end: a record, a resumable folder, processes that agree, and clear refusals."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dvbench import cli
from dvbench.data.catalog import dataset
from dvbench.verbs.common import INTERRUPTED
from reports.ledger import Ledger
from reports.outcomes import Outcomes
from reports.record import Record
from tasks.fit import Compute, FitError
from tasks.protocol import names
from tasks.task import Task

PROGRAM = str(Path(sys.executable).with_name("dvbench"))
SMALL = ("counts.train=8", "counts.val=4", "counts.test=4", "dataset_options.size=64", "image_size=64", "batch=4")
CLASSIFY = ("run", "classification", "--dataset", "aid", "--scale", "smoke", "--model", "resnet18", "--workers", "0")


def arguments(out: Path, *more: str, epochs: int = 2, settings: tuple[str, ...] = SMALL) -> list[str]:
    return [*CLASSIFY, "--out", str(out), "--epochs", str(epochs), "--set", *settings, *more]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    def run(*given: str) -> tuple[object, str, str]:
        try:
            code: object = cli.main(given)
        except SystemExit as stop:
            code = stop.code
        return code, *capfd.readouterr()

    return run


Run = Callable[..., tuple[object, str, str]]


def records(out: Path) -> list[Record]:
    return Ledger(out / "records").records()


def folder(out: Path) -> Path:
    (found,) = (out / "runs").iterdir()
    return found


def test_a_run_leaves_a_record_with_scores_intervals_and_circumstances(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run(*arguments(tmp_path))
    assert code in (0, 1)  # two epochs on eight images need not learn
    assert "Not comparable" in printed
    (record,) = records(tmp_path)
    assert record.status == "ok"
    assert {"precision", "recall", "f1", "accuracy", "baseline"} <= record.measures.keys()
    low, high = record.measures["f1"].interval or (101, -1)
    assert 0 <= low <= float(record.measures["f1"].value or 0) <= high <= 100
    assert record.environment["reduced"] is True
    assert json.loads(str(record.environment["protocol"]))["epochs"] == 2
    found = Outcomes.of(record, tmp_path / "records")
    images = [int(str(name).rpartition("/")[2].partition(",")[0]) for name in found.images]
    scenes = dataset("synthetic_classification", "test", size=64, count=4, object_size=16)
    assert found.arrays["true"].tolist() == [int(scenes[index]["label"]) for index in images]
    kept = {path.name for path in folder(tmp_path).iterdir()}
    assert {"best.ckpt", "last.ckpt", "log.csv", "examples.npz", "confusion.csv", "run.json", "tensorboard"} <= kept
    log = pd.read_csv(folder(tmp_path) / "log.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert log["val/f1"].notna().tolist() == [False, True]


def test_a_record_says_what_its_scores_rest_on(run: Run, tmp_path: Path) -> None:
    run(*arguments(tmp_path))
    (record,) = records(tmp_path)
    data, outcomes = record.basis["data"], record.basis["outcomes"]
    assert isinstance(data, dict)
    assert isinstance(outcomes, dict)
    assert (data["dataset"], data["origin"]) == ("synthetic_classification", "synthetic")
    assert {name: record.basis[name] for name in ("precision", "batch", "at_once", "devices", "epochs", "weights")} == {
        "precision": "fp32", "batch": 4, "at_once": 4, "devices": 1, "epochs": 2, "weights": None
    }  # fmt: skip
    best = (folder(tmp_path) / "best.ckpt").read_bytes()
    assert record.basis["checkpoint"] == hashlib.sha256(best).hexdigest()
    kept = tmp_path / "records" / str(outcomes["file"])
    assert outcomes["sha256"] == hashlib.sha256(kept.read_bytes()).hexdigest()
    assert Outcomes.of(record, kept.parent).score(np.arange(4))["f1"] == pytest.approx(record.measures["f1"].value)


def test_weights_that_a_run_starts_from_are_told_by_their_content(run: Run, tmp_path: Path) -> None:
    run(*arguments(tmp_path / "first", epochs=1))
    best = folder(tmp_path / "first") / "best.ckpt"
    _, printed, _ = run(*arguments(tmp_path / "second", "--weights", str(best), epochs=1))
    (first,), (second,) = records(tmp_path / "first"), records(tmp_path / "second")
    told = second.basis["weights"]
    assert isinstance(told, dict)
    assert (told["name"], told["kind"], told["missing"]) == ("best.ckpt", "unknown", [])
    assert told["sha256"] == first.basis["checkpoint"]
    used = {part: len(keys["used"]) for part, keys in told["parts"].items()}
    assert used == {"backbone": told["used"] - 2, "head": 2}
    assert used["backbone"] == 120  # 20 convolutions, and batch norms of 5 each
    assert "best.ckpt in resnet18" in printed
    assert "backbone 120 0 0 head 2 0 0" in " ".join(printed.split())


def test_drawn_data_in_the_layout_of_a_dataset_gives_rows_of_its_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    run("data", "make", "uc_merced", str(tmp_path / "uc_merced"))
    train = ["run", "classification", "--dataset", "uc_merced", "--model", "resnet18", "--scale", "full"]
    small = ["--epochs", "1", "--set", "batch=4", "image_size=64", "--workers", "0", "--out", str(tmp_path / "out")]
    for variant in ("released", "paper"):
        run(*train, *small, "--variant", variant)
    run("report", "table2", "--out", str(tmp_path / "out"))
    rows = [row.split("|") for row in (tmp_path / "out" / "table2.md").read_text().splitlines() if "ResNet-18" in row]
    told = [" ".join(" ".join(row).split()) for row in rows]
    assert len(told) == 3
    assert "not run" in told[0]
    for own, variant in zip(told[1:], ("released", "paper"), strict=True):
        assert own.startswith(f"ResNet-18: uc_merced, {variant}, 1 seed")
        assert "not comparable" in own
        assert "data: uc_merced is drawn" in own
        assert "epochs 1 instead of" in own
        assert "87.98" not in own


def test_what_is_finished_is_taken_over(run: Run, tmp_path: Path) -> None:
    run(*arguments(tmp_path))
    (first,) = records(tmp_path)
    started = time.monotonic()
    run(*arguments(tmp_path))
    assert [record.created for record in records(tmp_path)] == [first.created]
    assert time.monotonic() - started < 30
    checkpoint = folder(tmp_path) / "best.ckpt"
    code, printed, _ = run("evaluate", str(checkpoint), "--workers", "0")
    assert code == 0
    assert f"{first.measures['f1'].value:.2f}" in printed


def test_a_trained_checkpoint_predicts_images(run: Run, tmp_path: Path) -> None:
    run(*arguments(tmp_path, epochs=1))
    Image.new("RGB", (90, 70)).save(tmp_path / "scene.png")
    checkpoint = str(folder(tmp_path) / "best.ckpt")
    code, printed, _ = run("predict", checkpoint, str(tmp_path / "scene.png"), "--out", str(tmp_path / "found"))
    assert code == 0
    assert "scene.png" in printed
    assert (tmp_path / "found" / "classes.csv").read_text().startswith("Image,class,probability")
    code, _, told = run("predict", checkpoint, str(tmp_path / "scene.png"), "--after", str(tmp_path / "scene.png"))
    assert (code, "change detection compares two dates" in told) == (2, True)


def test_seeds_give_mean_and_spread(run: Run, tmp_path: Path) -> None:
    _, printed, _ = run(*arguments(tmp_path, "--seeds", "2", epochs=1))
    assert "±" in printed
    assert [record.cell["seed"] for record in records(tmp_path)] == [0, 1]


@pytest.mark.parametrize(
    "noise", [("noise.kind=fixed", "noise.scale=5"), ("noise.kind=decay", "noise.scale=5")], ids=["fixed", "decay"]
)
def test_noise_on_the_selection_changes_what_is_trained(noise: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    """Also where the selection was measured before, which is done without noise (table 19)."""
    task = ["run", "semantic_segmentation", "--dataset", "synthetic_small_targets", "--scale", "smoke"]
    for out, chosen in (("quiet", ("noise.kind=none",)), ("noisy", noise)):
        settings = [*SMALL, "select.every=1", *chosen]
        given = ["--model", "dynamicvis_t", "--workers", "0", "--epochs", "1", "--out", str(tmp_path / out)]
        run(*task, *given, "--set", *settings)
        (found,) = records(tmp_path / out)
        assert "recall_stage1_untrained" in found.measures
    quiet, noisy = weights(tmp_path / "quiet"), weights(tmp_path / "noisy")
    assert any(not torch.equal(quiet[name], noisy[name]) for name in quiet)


def test_a_dry_run_runs_nothing(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run(*arguments(tmp_path, "--dry-run"))
    assert code == 0
    assert "GPU hours (estimated)" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("run", "juggling", "--model", "resnet18"), "unknown task 'juggling'"),
        (("run", "detection", "--model", "resnet19"), "did you mean resnet"),
        (("run", "detection", "--model", "resnet18", "--dataset", "aid"), "aid is for classification"),
        (("run", "detection", "--model", "resnet18", "--dataset", "nowhere"), "there is no protocol 'nowhere'"),
        (("run", "detection", "--model", "resnet18", "--scale", "full"), "levir_ship is not in"),
        (("run", "detection", "--model", "resnet18", "--set", "epohcs=3"), "neon_trees: epohcs: Extra inputs"),
        (("run", "detection", "--model", "resnet18", "--set", "optimiser.lr=-1"), "optimiser.lr"),
        (("run", "detection", "--model", "resnet18", "--set", "head.kind=yolo"), "head.kind"),
        (("run", "detection", "--model", "resnet18", "--batch-size", "3"), "--batch-size 1, 2, 4"),
        (("run", "detection", "--model", "dynamicvis_t", "--weights", "none.pth"), "none.pth is missing"),
        (("evaluate", "none.ckpt"), "none.ckpt is missing"),
        (("predict", "none.ckpt", "scene.tif"), "none.ckpt is missing"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    given: tuple[str, ...], reason: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = run(*given)
    assert code == 2
    assert reason in told.splitlines()[-1]
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_class_count_that_differs_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, told = run(*arguments(tmp_path, settings=(*SMALL, "mix={name: mixup_or_cutmix, classes: 3}")))
    assert code == 2
    assert "mix.classes is 3, synthetic_classification has" in told.splitlines()[-1]


def test_a_loss_that_is_not_finite_ends_the_run_with_a_record_that_names_the_batch(run: Run, tmp_path: Path) -> None:
    code, _, told = run(*arguments(tmp_path, settings=(*SMALL, "optimiser.lr=1.0e+30", "schedule.warmup_epochs=0")))
    assert code == 1
    assert "not finite at epoch" in told
    (record,) = records(tmp_path)
    assert record.status == "error"
    assert "images [" in record.reason


def test_a_folder_of_another_run_is_left_alone(run: Run, tmp_path: Path) -> None:
    run(*arguments(tmp_path, epochs=1))
    mark = folder(tmp_path) / "run.json"
    mark.write_text(mark.read_text().replace('"identity": "', '"identity": "0'))
    code, _, told = run(*arguments(tmp_path, "--fresh", epochs=1))
    assert code == 2
    assert "another configuration" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, _, told = run(*arguments(tmp_path))
    assert code == 2
    assert str(tmp_path) in told


def test_a_disk_that_fills_leaves_no_half_written_checkpoint(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(*arguments(tmp_path, epochs=1))

    def full(file: int) -> None:  # noqa: ARG001
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tasks.fit.os.fsync", full)
    code, _, told = run(*arguments(tmp_path, "--fresh", epochs=1))
    assert code == 2
    assert "No space left on device" in told.splitlines()[-1]
    assert not [path for path in folder(tmp_path).iterdir() if "partial" in path.name or path.name == "last.ckpt"]


def start(
    *given: str, program: Sequence[str] = (PROGRAM,), more: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(more or {})}
    return subprocess.Popen([*program, *given], env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603


def weights(out: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder(out) / "last.ckpt", weights_only=True)["state_dict"]
    return state


def test_the_precision_of_pretraining_trains(run: Run, tmp_path: Path) -> None:
    settings = ("counts.train=8", "counts.val=4", "counts.test=4", "image_size=64", "batch=4", "precision=bf16")
    code, _, told = run(
        "run", "region_classification", "--scale", "smoke", "--model", "dynamicvis_t", "--workers", "0",
        "--epochs", "1", "--out", str(tmp_path), "--set", *settings,
    )  # fmt: skip
    assert code in (0, 1), told
    assert records(tmp_path)[0].basis["precision"] == "bf16"


def test_a_run_that_is_interrupted_inside_an_epoch_ends_with_the_weights_of_one_that_is_not(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.fit.MOST_STEPS", 2)
    settings = (*SMALL, "counts.train=24", "batch=4")  # epochs of 6 steps
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run(*arguments(whole, settings=settings))[0] in (0, 1)
    step, steps = Task.training_step, iter(range(9, 0, -1))

    def interrupted(*given: Any) -> Any:
        if next(steps) == 1:  # the ninth step; the last checkpoint is of the eighth, the second of its epoch
            raise KeyboardInterrupt
        return step(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", interrupted)
        assert run(*arguments(stopped, settings=settings))[0] == INTERRUPTED
    assert reached(stopped) == 8
    assert run(*arguments(stopped, settings=settings))[0] in (0, 1)
    first, second = weights(whole), weights(stopped)
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [pd.read_csv(folder(out) / "log.csv").drop(columns="seconds") for out in (whole, stopped)]
    pd.testing.assert_frame_equal(*logs)


def test_a_process_learns_its_number_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = {"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
    slurm["SLURM_NTASKS_PER_NODE"] = "4"
    lightning, torchrun = {"NODE_RANK": "1", "LOCAL_RANK": "2"}, {"RANK": "3", "LOCAL_RANK": "1"}
    for launcher, rank in ((lightning, 6), (torchrun, 3), (slurm, 5)):
        with monkeypatch.context() as patch:
            for name, value in launcher.items():
                patch.setenv(name, value)
            assert Compute("cpu", devices=4, nodes=2).rank == rank
            if launcher is slurm:
                patch.delenv("SLURM_NTASKS_PER_NODE")
                with pytest.raises(FitError, match="Use `--ntasks-per-node=8` instead"):
                    _ = Compute("cpu", devices=4, nodes=2).rank


def test_a_launcher_that_contradicts_the_options_is_refused(tmp_path: Path) -> None:
    """Else two processes would take the same images."""
    environment = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
    process = start(*arguments(tmp_path, "--device", "cpu"), more=environment)
    _, told = process.communicate()
    assert process.returncode == 2
    assert told.splitlines()[-1].startswith("dvbench: the launcher says process 0 of 1, the options process 1 of 1:")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("least_steps", [12, 24], ids=["inside an epoch", "after an epoch"])
def test_a_run_that_is_killed_ends_with_the_weights_of_one_that_is_not(
    tmp_path: Path, workers: str, least_steps: int
) -> None:
    """Processes that load ahead must begin where the run goes on, and sums over an epoch go on too."""
    often = f"import sys, tasks.fit as fit; fit.MOST_STEPS = {5 if least_steps == 12 else 999}; "
    program = [sys.executable, "-c", often + "from dvbench.cli import main; sys.exit(main())"]
    settings = (*SMALL, "counts.train=64", "select.every=1")  # epochs of 16 steps, of two forward passes each
    given = [*CLASSIFY[:6], "--model", "dynamicvis_t", "--workers", workers, "--batch-size", "2", "--epochs", "3"]
    given += ["--set", *settings, "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(*given, str(whole), program=program).wait() in (0, 1)
    process = start(*given, str(killed), program=program)
    while (at := reached(killed)) < least_steps or bool(at % 16) == (least_steps == 24):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "records").exists() or not records(killed)
    if least_steps == 12:
        other = start(*given, str(killed), "--batch-size", "4", program=program)
        _, told = other.communicate()
        assert other.returncode == 2
        assert "2 images in a forward pass of 1 processes: go on with as many, or begin anew with --fresh" in told
    assert start(*given, str(killed), program=program).wait() in (0, 1)
    first, second = weights(whole), weights(killed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    logs = [pd.read_csv(folder(out) / "log.csv").drop(columns="seconds") for out in (whole, killed)]
    pd.testing.assert_frame_equal(*logs)
    assert logs[0].notna().all(axis=None)


def reached(out: Path) -> int:
    """The step of the last checkpoint, 0 before there is one."""
    for path in out.rglob("last.ckpt"):
        return int(torch.load(path, weights_only=True)["global_step"])
    return 0


@pytest.mark.slow
def test_two_processes_score_as_one_with_the_same_batch(tmp_path: Path) -> None:
    settings = (*SMALL, "counts.train=32", "counts.test=9", "noise.kind=none")
    given = [*CLASSIFY[:6], "--model", "dynamicvis_t", "--workers", "0", "--epochs", "3", "--set", *settings, "--out"]
    assert start(*given, str(tmp_path / "one")).wait() in (0, 1)
    assert start(*given, str(tmp_path / "two"), "--devices", "2").wait() in (0, 1)
    one, two = (records(tmp_path / name)[0].measures for name in ("one", "two"))
    for name in ("f1", "accuracy", "baseline"):
        assert one[name].value == pytest.approx(two[name].value, abs=1e-3)
    logs = [pd.read_csv(folder(tmp_path / name) / "log.csv") for name in ("one", "two")]
    assert logs[0]["train/loss"].tolist() == pytest.approx(logs[1]["train/loss"].tolist(), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [name for name in names() if name.startswith("synthetic_")] + ["neon_trees"])
def test_every_task_learns_on_its_reduced_data(protocol: str, run: Run, tmp_path: Path) -> None:
    from tasks.protocol import load

    chosen = load(protocol)
    code, printed, _ = run(
        "run", chosen.task, "--dataset", protocol, "--scale", "smoke", "--model", "dynamicvis_t", "--out", str(tmp_path)
    )
    assert code == 0, printed
