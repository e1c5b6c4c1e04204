"""A sweep loses nothing: cells fail alone, what is measured is on disk, and resuming takes over only the same cell."""

import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dvbench.data.scene import default_scene
from dvbench.profile import sweep as module
from dvbench.profile.cell import Cell
from dvbench.profile.isolate import IsolatedFailure, Kind
from dvbench.profile.sweep import CALLS, HEADROOM, PROCESS_BYTES, REACHED, Plan, counts_of, sweep
from reports.ledger import Ledger, LedgerError
from reports.record import MEASURES, Record, Status
from tests.dvbench.stand_ins import Workers

TINY = Cell("dynamicvis_t", 32).settled()
RESNET = Cell("resnet18", 32).settled()
PLAN = Plan(default_scene(), repeat=4)
ENVIRONMENT = {"hardware": "CPU", "threads": 2, "torch": "2", "numba": "1", "mamba_ssm": None, "code": "abc"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "records")


def run(ledger: Ledger, *cells: Cell, plan: Plan = PLAN) -> dict[str, Record]:
    return {str(r.cell["model"]): r for r in sweep(list(cells), ledger, plan, lambda _: None)}


def test_records_hold_samples_and_counts_and_are_in_the_ledger(ledger: Ledger, workers: Workers) -> None:
    workers.seconds["resnet18"] = 0.02
    records = run(ledger, TINY, RESNET)
    assert sorted(ledger.records(), key=lambda r: str(r.cell["model"])) == [
        records["dynamicvis_t"],
        records["resnet18"],
    ]
    resnet = records["resnet18"]
    assert resnet.status == Status.OK
    assert resnet.measures["latency_ms"].samples == (20.0, 20.0, 20.0, 20.0)
    assert resnet.measures["throughput"].value == 50.0
    assert resnet.measures["parameters"].value == counts_of(RESNET).parameters
    assert resnet.measures["fvcore_macs"].value == 320
    assert records["dynamicvis_t"].environment["scan_backend"] == "cpu"


@pytest.mark.usefixtures("workers")
def test_a_record_carries_its_command_without_the_programs_folder(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/home/somebody/bin/dvbench", "profile", "--image", "my scene.tif"])
    assert run(ledger, RESNET)["resnet18"].command == "dvbench profile --image 'my scene.tif'"


def test_samples_of_one_resolution_alternate_in_one_group(ledger: Ledger, workers: Workers) -> None:
    records = run(ledger, TINY, RESNET)
    assert workers.samples() == ["dynamicvis_t", "resnet18"] * 4
    assert records["dynamicvis_t"].group == records["resnet18"].group


def test_resolutions_are_measured_in_order_and_apart(ledger: Ledger, workers: Workers) -> None:
    large = replace(RESNET, resolution=64)
    records = list(sweep([large, TINY, RESNET], ledger, PLAN, lambda _: None))
    assert [r.cell["resolution"] for r in records] == [32, 32, 64]
    assert records[0].group == records[1].group != records[2].group
    assert workers.started() == ["dynamicvis_t", "resnet18", "resnet18"]


def test_a_cell_that_cannot_fit_is_a_row_and_never_started(
    ledger: Ledger, workers: Workers, machine: SimpleNamespace
) -> None:
    machine.free = PROCESS_BYTES + int(HEADROOM * counts_of(RESNET).live_bytes) - 1
    records = run(ledger, TINY, RESNET)
    assert records["resnet18"].status == Status.OOM_PREDICTED
    assert records["resnet18"].reason == "its tensors alone need 0.0 GiB, 0.7 GiB are free"
    assert "latency_ms" not in records["resnet18"].measures
    assert records["dynamicvis_t"].status == Status.OK
    assert workers.started() == ["dynamicvis_t"]


def test_a_cell_over_budget_is_skipped_with_its_estimate(
    ledger: Ledger, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_s = 20
    speed = counts_of(RESNET).total_flops / (REACHED * call_s)
    monkeypatch.setattr(module, "speed", lambda device, dtype: speed)  # noqa: ARG005
    records = run(ledger, TINY, RESNET, plan=replace(PLAN, repeat=4, budget_s=100))
    assert records["resnet18"].status == Status.SKIPPED
    estimate = call_s * (CALLS + 4)
    assert records["resnet18"].reason == f"about {estimate} s estimated, the budget is 100 s: raise --budget"
    assert records["dynamicvis_t"].status == Status.OK
    assert workers.started() == ["dynamicvis_t"]


@pytest.mark.parametrize(
    ("method", "kind", "status"),
    [
        ("start", "error", Status.ERROR),
        ("first_call", "oom", Status.OOM),
        ("memory", "crashed", Status.CRASHED),
        ("warm", "timeout", Status.TIMEOUT),
        ("sample", "oom", Status.OOM),
        ("fvcore", "error", Status.ERROR),
    ],
)
def test_a_failure_ends_only_its_own_cell(
    ledger: Ledger, workers: Workers, method: str, kind: Kind, status: Status
) -> None:
    workers.failures["dynamicvis_t", method, 1] = IsolatedFailure("dynamicvis_t", kind, f"went wrong in {method}")
    records = run(ledger, TINY, RESNET)
    failed, other = records["dynamicvis_t"], records["resnet18"]
    assert (failed.status, failed.reason) == (status, f"went wrong in {method}")
    assert (other.status, len(other.measures["latency_ms"].samples)) == (Status.OK, 4)
    assert "parameters" in failed.measures
    after = [call for label, call in workers.calls if label == "dynamicvis_t"]
    assert after[-1] == method, "nothing more is asked of a cell that has failed"


def test_a_child_killed_between_samples_keeps_those_it_gave(ledger: Ledger, workers: Workers) -> None:
    workers.failures["dynamicvis_t", "sample", 3] = IsolatedFailure("dynamicvis_t", "oom", "killed by the kernel")
    record = run(ledger, TINY, RESNET)["dynamicvis_t"]
    assert record.status == Status.OOM
    assert len(record.measures["latency_ms"].samples) == 2


def test_when_the_budget_allows_no_further_sample_there_are_fewer(ledger: Ledger, workers: Workers) -> None:
    workers.seconds["dynamicvis_t"] = 40.0
    record = run(ledger, TINY, plan=replace(PLAN, budget_s=30))["dynamicvis_t"]
    assert record.status == Status.OK
    assert len(record.measures["latency_ms"].samples) == 1


def test_ctrl_c_keeps_what_is_measured_and_resume_goes_on(ledger: Ledger, workers: Workers) -> None:
    workers.failures["resnet18", "sample", 3] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(ledger, TINY, RESNET, plan=replace(PLAN, repeat=10))
    (kept,) = ledger.records()
    assert (kept.cell["model"], kept.status) == ("dynamicvis_t", Status.OK)
    assert len(kept.measures["latency_ms"].samples) == 3

    workers.calls.clear()
    records = run(ledger, TINY, RESNET, plan=replace(PLAN, resume=True))
    assert workers.started() == ["resnet18"]
    assert records["dynamicvis_t"] == kept
    assert records["resnet18"].status == Status.OK


def test_ctrl_c_keeps_a_slow_cell_that_has_its_only_sample(ledger: Ledger, workers: Workers) -> None:
    workers.failures["resnet18", "sample", 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(ledger, TINY, RESNET, plan=replace(PLAN, repeat=1))
    assert [r.cell["model"] for r in ledger.records()] == ["dynamicvis_t"]


def test_ctrl_c_after_too_few_samples_leaves_the_cell_to_be_measured(ledger: Ledger, workers: Workers) -> None:
    workers.failures["resnet18", "sample", 2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(ledger, TINY, RESNET, plan=replace(PLAN, repeat=10))
    assert ledger.records() == []


def test_resume_starts_nothing_that_is_settled(ledger: Ledger, workers: Workers) -> None:
    first = run(ledger, TINY, RESNET)
    workers.calls.clear()
    assert run(ledger, TINY, RESNET, plan=replace(PLAN, resume=True)) == first
    assert workers.calls == []


def test_resume_tries_again_what_had_failed(ledger: Ledger, workers: Workers) -> None:
    workers.failures["dynamicvis_t", "warm", 1] = IsolatedFailure("dynamicvis_t", "crashed", "ended by SIGSEGV")
    run(ledger, TINY, RESNET)
    workers.calls.clear()
    assert run(ledger, TINY, RESNET, plan=replace(PLAN, resume=True))["dynamicvis_t"].status == Status.OK
    assert workers.started() == ["dynamicvis_t"]
    assert len(ledger.records()) == 2


def test_resume_measures_again_for_a_largest_batch_that_is_missing(ledger: Ledger, workers: Workers) -> None:
    run(ledger, RESNET)
    workers.calls.clear()
    record = run(ledger, RESNET, plan=replace(PLAN, resume=True, max_batch=True))["resnet18"]
    assert workers.started() == ["resnet18"]
    assert "max_batch_size" in record.measures


def test_without_resume_everything_is_measured_again(ledger: Ledger, workers: Workers) -> None:
    run(ledger, TINY)
    workers.calls.clear()
    run(ledger, TINY)
    assert workers.started() == ["dynamicvis_t"]
    assert len(ledger.records()) == 1


def test_a_corrupt_record_is_not_taken_over(ledger: Ledger, workers: Workers) -> None:
    run(ledger, TINY)
    (path,) = ledger.folder.iterdir()
    path.write_text(path.read_text()[:100])
    workers.calls.clear()
    assert run(ledger, TINY, plan=replace(PLAN, resume=True))["dynamicvis_t"].status == Status.OK
    assert workers.started() == ["dynamicvis_t"]


@pytest.mark.usefixtures("workers")
def test_a_full_disk_is_told_and_earlier_records_survive(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ledger, TINY)
    before = [path.read_bytes() for path in ledger.folder.iterdir()]

    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LedgerError, match="No space left on device; free some space"):
        run(ledger, RESNET)
    assert [path.read_bytes() for path in ledger.folder.iterdir()] == before


def test_dry_run_counts_and_neither_starts_nor_writes(ledger: Ledger, workers: Workers) -> None:
    records = run(ledger, TINY, RESNET, plan=replace(PLAN, dry_run=True))
    assert workers.calls == []
    assert not ledger.folder.exists()
    assert records["resnet18"].measures["parameters"].value == counts_of(RESNET).parameters
    assert records["resnet18"].status == Status.SKIPPED


def test_largest_batch_on_a_cpu_is_predicted_from_live_bytes(
    ledger: Ledger, workers: Workers, machine: SimpleNamespace
) -> None:
    machine.free = 2**30
    cell = replace(RESNET, resolution=64)
    measure = run(ledger, cell, plan=replace(PLAN, max_batch=True))["resnet18"].measures["max_batch_size"]
    best = measure.value
    assert isinstance(best, int)
    assert (measure.how, measure.note) == ("predicted", "from live bytes, 1.0 GiB free")
    fits, too_many = (HEADROOM * counts_of(cell, batch).live_bytes for batch in (best, best + 1))
    assert fits <= machine.free < too_many
    assert ("resnet18", "fits") not in workers.calls


@pytest.mark.usefixtures("machine")
def test_the_authors_recipe_is_taken_on_a_gpu_at_the_largest_batch(ledger: Ledger, workers: Workers) -> None:
    record = run(ledger, replace(RESNET, device="cuda"), plan=replace(PLAN, max_batch=True))["resnet18"]
    assert record.measures["max_batch_size"].value == 6
    assert record.measures["recipe_throughput"].note == "(6,) images a pass"
    on_a_cpu = run(ledger, RESNET, plan=replace(PLAN, max_batch=True))["resnet18"]
    assert "recipe_throughput" not in on_a_cpu.measures
    assert workers.calls.count(("resnet18", "recipe")) == 1


@pytest.mark.usefixtures("machine")
def test_a_recipe_that_fails_spoils_nothing_else(ledger: Ledger, workers: Workers) -> None:
    workers.failures["resnet18", "recipe", 1] = IsolatedFailure("resnet18", "timeout", "recipe took longer than 3 s")
    record = run(ledger, replace(RESNET, device="cuda"), plan=replace(PLAN, max_batch=True))["resnet18"]
    taken = record.measures["recipe_throughput"]
    assert (record.status, taken.value, taken.note) == (Status.OK, None, "recipe took longer than 3 s")
    assert record.measures["max_batch_size"].value == 6


@pytest.mark.usefixtures("machine")
def test_a_record_without_the_recipe_is_not_taken_over_where_it_is_asked_for(ledger: Ledger, workers: Workers) -> None:
    cell, plan = replace(RESNET, device="cuda"), replace(PLAN, max_batch=True, resume=True)
    taken = run(ledger, cell, plan=plan)["resnet18"]
    assert run(ledger, cell, plan=plan)["resnet18"] == taken
    before = {name: measure for name, measure in taken.measures.items() if name != "recipe_throughput"}
    ledger.write(replace(taken, measures=before))
    run(ledger, cell, plan=plan)
    assert workers.calls.count(("resnet18", "recipe")) == 2


@pytest.mark.usefixtures("machine")
def test_recipes_come_after_all_else(ledger: Ledger, workers: Workers) -> None:
    cells = [replace(cell, device="cuda") for cell in (TINY, RESNET)]
    run(ledger, *cells, plan=replace(PLAN, max_batch=True))
    methods = [method for _, method in workers.calls]
    assert methods[-2:] == ["recipe", "recipe"]
    assert methods.count("recipe") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"model": "dynamicvis_b"},
        {"resolution": 64},
        {"batch": 2},
        {"dtype": "bf16"},
        {"device": "cuda"},
        {"attention": "eager"},
        {"scan": "reference"},
        {"image": "other.png"},
        {"image_hash": "0123"},
        {"fit": "crop"},
        {"bands": "4,3,2"},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_identity_tells_cells_apart(change: dict[str, object]) -> None:
    other = replace(TINY, **change)  # type: ignore[arg-type]
    assert other.identity(ENVIRONMENT) != TINY.identity(ENVIRONMENT)


@pytest.mark.parametrize("key", list(ENVIRONMENT))
def test_identity_tells_machines_and_code_apart(key: str) -> None:
    assert TINY.identity(ENVIRONMENT | {key: "another"}) != TINY.identity(ENVIRONMENT)


def test_identity_leaves_out_what_changes_no_number() -> None:
    assert TINY.identity(ENVIRONMENT | {"git_commit": "abc", "os": "Linux 7"}) == TINY.identity(ENVIRONMENT)


def test_a_model_that_is_measured_for_real(ledger: Ledger) -> None:
    record = run(ledger, TINY, plan=replace(PLAN, repeat=3))["dynamicvis_t"]
    assert (record.status, record.reason) == (Status.OK, "")
    assert {name: m.unit for name, m in record.measures.items()} == {n: MEASURES[n][0] for n in record.measures}
    assert record.measures.keys() >= {
        "latency_ms",
        "first_call_ms",
        "allocator_peak_bytes",
        "fvcore_macs",
        "tokens_kept",
    }
    assert len(record.measures["latency_ms"].samples) == 3
    assert record.environment["scan_backend"] in ("cpu", "reference")
    assert record.measures["fvcore_macs"].value == pytest.approx(record.measures["macs"].value, rel=0.02)
