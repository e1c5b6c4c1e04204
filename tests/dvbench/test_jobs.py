"""Runs side by side, here and on a Ray cluster, and what is left when their processes are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

from dvbench import cli
from dvbench.training import plan
from dvbench.training.cluster import RayCluster, ray_cluster
from dvbench.training.jobs import ATTEMPTS, Job, Outcome, Pool, Processes, at_once_here, run_side_by_side, work
from dvbench.training.run_cell import RunCell
from dvbench.verbs.common import INTERRUPTED
from reports.ledger import Ledger
from reports.record import Record, Status
from tasks.fit import Compute

PROGRAM = str(Path(sys.executable).with_name("dvbench"))
SMALL = ("counts.train=48", "counts.val=4", "counts.test=4", "dataset_options.size=64", "image_size=64", "batch=4")
EPOCHS = 8
# A machine under load starts Ray's own processes too slowly for Ray's patience.
PATIENT = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
}


def cells(seeds: int) -> list[RunCell]:
    return [plan.cell("resnet18", "aid", "smoke", seed=seed) for seed in range(seeds)]


def record(cell: RunCell, created: str = "2026-01-01T00:00:00+00:00") -> Record:
    return Record(cell.as_dict(), cell.identity(), Status.OK, "", {}, {}, created, "", "")


def run(
    wanted: list[RunCell], out: Path, told: list[str], pool: Callable[[], AbstractContextManager[Pool]]
) -> list[Record]:
    return run_side_by_side(
        wanted, Compute("cpu", workers=0), out, pool, command="", report=lambda *_: None, tell=told.append
    )


def dying(job: Job) -> Outcome:
    """Ends as its seed says: well, by a signal, or with an error."""
    if job.cell.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.cell.seed == 2:
        return "error", "FitError: no batch of 3"
    return Record(job.cell.as_dict(), job.identity, Status.OK, "", {}, {}, "2026-01-01", "", "")


def test_what_is_finished_needs_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    known = [record(cell) for cell in cells(2)]
    for each in known:
        Ledger(tmp_path / "records").write(each)
    assert run(cells(2), tmp_path, [], partial(ray_cluster, "", Compute("cpu"))) == known


def test_a_machine_without_ray_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    given = ["run", "classification", "--model", "resnet18", "--scale", "smoke", "--jobs", "ray"]
    assert cli.main([*given, "--out", str(tmp_path)]) == 2
    assert "--jobs ray needs Ray: uv sync --extra ray" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("jobs", ["2", "ray"])
def test_runs_side_by_side_do_not_spread_over_devices(
    jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["run", "classification", "--model", "resnet18", "--scale", "smoke", "--jobs", jobs, "--devices", "2"]
    assert cli.main([*given, "--out", str(tmp_path)]) == 2
    assert "leave out --devices and --nodes" in capsys.readouterr().err.splitlines()[-1]


def test_a_process_with_other_code_refuses(tmp_path: Path) -> None:
    (cell,) = cells(1)
    job = Job(cell, "0" * 64, tmp_path, tmp_path, Compute("cpu"), "", fresh=False)
    kind, reason = work(job)  # type: ignore[misc]
    assert (kind, "install the same version on every machine" in reason) == ("error", True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "kind", "reason", "died"),
    [
        ("OutOfMemoryError", Status.OOM, "the machine ran out of memory", True),
        ("RayTaskError", Status.ERROR, "dvbench cannot be imported there", False),
        ("WorkerCrashedError", Status.CRASHED, "its process was killed (WorkerCrashedError)", True),
    ],
)
def test_what_ended_a_run_on_a_cluster_is_told(raised: str, kind: Status, reason: str, died: bool) -> None:
    """A process that cannot import dvbench is not started again: it never will."""
    errors = pytest.importorskip("ray.exceptions", reason="the ray extra is not installed")
    error = type(raised, (getattr(errors, raised),), {"__init__": lambda _: None, "__str__": lambda _: ""})

    def get(_: object) -> None:
        raise error

    cluster = RayCluster(SimpleNamespace(get=get, exceptions=errors), SimpleNamespace(remote=lambda job: job))
    handle = cluster.start("job")  # type: ignore[arg-type]
    (found, told), killed = cluster.outcome(handle)  # type: ignore[misc]
    assert (found, reason in told, killed) == (kind, True, died)


@pytest.mark.parametrize("where", ["here", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_run_that_always_dies_is_a_row_and_the_others_end(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "ray":
        pytest.importorskip("ray", reason="the ray extra is not installed")
    for name, value in PATIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the processes of Ray find `dying`
    told: list[str] = []
    pool = partial(Processes, 2, dying) if where == "here" else partial(ray_cluster, "", Compute("cpu"), dying)
    found = run(cells(3), tmp_path, told, pool)
    assert [each.status for each in found] == [
        Status.OK,
        Status.OOM if where == "here" else Status.CRASHED,
        Status.ERROR,
    ]
    assert "killed" in found[1].reason
    assert found[2].reason == "FitError: no batch of 3"
    assert sum("seed 1" in line and "started again" in line for line in told) == ATTEMPTS - 1
    assert {each.identity for each in Ledger(tmp_path / "records").records()} == {each.identity for each in found}


@pytest.mark.parametrize(
    ("cell", "compute", "processors", "free", "expected"),
    [
        pytest.param("smoke", Compute("cpu"), 4, 64, 3, id="one for each run"),
        pytest.param("smoke", Compute("cpu"), 2, 64, 2, id="one for each processor"),
        pytest.param("smoke", Compute("cpu"), 4, 9, 2, id="as memory allows"),
        pytest.param("smoke", Compute("cpu"), 4, 1, 1, id="one in any case"),
        pytest.param("smoke", Compute("cuda"), 4, 64, 1, id="one GPU"),
        pytest.param("smoke", Compute("cpu", devices=2), 4, 64, 1, id="several processes a run"),
        pytest.param("full", Compute("cpu"), 4, 64, 1, id="large ones"),
    ],
)
def test_reduced_runs_share_the_processors(
    cell: str, compute: Compute, processors: int, free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvbench.training.jobs.processors", lambda: processors)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free * 2**30))
    assert at_once_here([plan.cell("resnet18", "aid", cell, seed=seed) for seed in range(3)], compute) == expected


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"), ("head", "'head' is not HOST:PORT")],
)
def test_a_cluster_that_is_not_there_is_named(
    address: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="the ray extra is not installed")
    given = ["run", "classification", "--model", "resnet18", "--scale", "smoke", "--jobs", "ray"]
    assert cli.main([*given, "--ray-address", address, "--out", str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["2", "ray"])
def test_a_killed_worker_loses_no_finished_run_and_its_own_goes_on(jobs: str, tmp_path: Path) -> None:
    if jobs == "ray":
        pytest.importorskip("ray", reason="the ray extra is not installed")
    assert cli.main([*training(tmp_path), "--seed", "0"]) in (0, 1)  # a few images need not be enough to learn
    (finished,) = Ledger(tmp_path / "records").records()
    started = side_by_side(tmp_path, jobs, seeds=3)
    log = _wait(lambda: midway(tmp_path), started)
    before = pd.read_csv(log)["seconds"].tolist()[:-1]  # the last one's checkpoint may be under way
    trainer_of(started).kill()
    _, told = started.communicate(timeout=600)
    assert started.returncode in (0, 1), told
    assert told.count("started again, 2 of 3") == 1
    records = Ledger(tmp_path / "records").records()
    assert sorted(int(str(each.cell["seed"])) for each in records) == [0, 1, 2]
    assert {each.status for each in records} == {Status.OK}
    assert finished in records
    assert pd.read_csv(log)["seconds"].tolist()[: len(before)] == before  # none was trained again
    for each in tmp_path.glob("runs/*/log.csv"):
        assert pd.read_csv(each)["epoch"].tolist() == list(range(1, EPOCHS + 1))


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "how"), [("2", signal.SIGINT), ("ray", signal.SIGTERM)])
def test_a_command_that_is_told_to_end_does_so_in_order(jobs: str, how: signal.Signals, tmp_path: Path) -> None:
    if jobs == "ray":
        pytest.importorskip("ray", reason="the ray extra is not installed")
    started = side_by_side(tmp_path, jobs, seeds=2)
    log = _wait(lambda: midway(tmp_path), started)
    trains = trainer_of(started)
    started.send_signal(how)
    _, told = started.communicate(timeout=600)
    assert (started.returncode, "interrupted: what is finished is kept" in told) == (INTERRUPTED, True), told
    assert log.exists()
    assert not trains.is_running() or trains.status() == psutil.STATUS_ZOMBIE


def training(out: Path) -> list[str]:
    """Arguments of a small training, without its seeds."""
    given = ["run", "classification", "--dataset", "aid", "--scale", "smoke", "--model", "resnet18"]
    settings = ["--epochs", str(EPOCHS), "--workers", "0", "--device", "cpu", "--set", *SMALL]
    return [*given, *settings, "--out", str(out)]


def side_by_side(out: Path, jobs: str, seeds: int) -> "subprocess.Popen[str]":
    command = [PROGRAM, *training(out), "--seeds", str(seeds), "--jobs", jobs]
    quiet = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    return subprocess.Popen(command, text=True, env=os.environ | PATIENT, **quiet)  # type: ignore[call-overload,no-any-return] # noqa: S603


def midway(out: Path) -> Path | None:
    """Find the log of a run that has done some epochs and has more to do."""
    logs = out.glob("runs/*/log.csv")
    return next((log for log in logs if 2 <= len(log.read_text().splitlines()) - 1 <= EPOCHS - 4), None)


def trainer_of(started: "subprocess.Popen[str]") -> psutil.Process:
    """Find a process that trains, by the title that Ray gives it or by the one that it is forked from."""
    for child in psutil.Process(started.pid).children(recursive=True):
        with suppress(psutil.Error):
            forked_from = " ".join(psutil.Process(child.ppid()).cmdline())
            if "ray::work" in " ".join(child.cmdline()) or "forkserver" in forked_from:
                return child
    return pytest.fail("no process trains")


def _wait(condition: Callable[[], Path | None], process: "subprocess.Popen[str]") -> Path:
    for _ in range(9000):
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()[1]}")
        if found := condition():
            return found
        time.sleep(0.05)
    return pytest.fail("waited too long")
