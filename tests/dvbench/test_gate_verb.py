"""Planted regressions are caught, unchanged code passes, and the command line says which is which."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dvbench import cli
from dvbench.gate import hard, measure, soft
from dvbench.gate.measure import BASELINE, check_models
from dvbench.profile.cell import Cell
from dvbench.profile.isolate import IsolatedFailure
from models import mamba
from models.dynamicvis import DynamicVis
from models.scan import backends
from models.zoo import ZOO, entry
from reports.gate import HARD, Finding, Verdict, judge
from reports.gate_baseline import MADE, Part, Values, read_baseline, write_baseline
from tasks.classification import Classification
from tests.reports.test_rounds import record

SIDE = 64
MADE_HERE = {**dict.fromkeys(MADE, "x"), "hardware": "a CPU", "threads": 1}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure two models at one small size."""
    monkeypatch.setattr(hard, "SIDES", (SIDE,))
    monkeypatch.setattr(hard, "SCENE_SIDE", SIDE)
    monkeypatch.setattr(measure, "ZOO", {name: ZOO[name] for name in ("dynamicvis_t", "resnet18")})


def found(part: str, before: hard.Taken, now: hard.Taken) -> dict[str, Finding]:
    """Judge what was taken; by figure, without those that are the same."""
    parts = [{part: Part(MADE_HERE, *taken)} for taken in (before, now)]
    findings = judge(parts[0], parts[1], Path("baseline.json"))
    return {finding.figure: finding for finding in findings if finding.verdict is not Verdict.SAME}


def counts(model: str = "dynamicvis_t") -> hard.Taken:
    return hard.counts([model], lambda _: None)


def outputs() -> hard.Taken:
    return hard.outputs(["dynamicvis_t", "resnet18"], lambda _: None)


# Planted regressions


def test_unchanged_code_has_the_same_counts_and_outputs() -> None:
    assert found("counts", counts(), counts()) == {}
    assert found("outputs", outputs(), outputs()) == {}


def test_counts_say_what_they_mean() -> None:
    figures, failures = counts()
    assert failures == {}
    shapes = {name.rpartition("/")[2]: shape for name, shape in figures.items() if "map" in name or "logits" in name}
    assert shapes == {
        "map 1": (1, 24, 16, 16),
        "map 2": (1, 48, 8, 8),
        "map 3": (1, 96, 4, 4),
        "map 4": (1, 192, 2, 2),
        "logits": (1, 30),
    }
    assert figures["dynamicvis_t/64/tokens_kept"] == (32, 16, 8, 4)  # one of 8, 4, 2 and 1 tokens (table 1)


def test_a_doubled_projection_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    before, project = counts(), mamba.PathMixer.project

    def project_twice(self: mamba.PathMixer, tokens: Tensor) -> Tensor:
        self.mamba.in_proj(self.norm(tokens))
        return project(self, tokens)

    monkeypatch.setattr(mamba.PathMixer, "project", project_twice)
    moved = found("counts", before, counts())
    # Tokens and global tokens of each block (widths 24, 48, 96, 96, 192; depths 1, 1, 2, 1) times 4 width^2.
    more = sum((kept + rows) * 4 * w * w for kept, rows, w in ((32, 16, 24), (16, 8, 48), (8, 4, 96), (8, 4, 96)))
    more += (4 + 2) * 4 * 192 * 192
    macs = moved["dynamicvis_t/64/macs"]
    assert (macs.verdict, macs.now[0] - macs.before[0]) == (Verdict.WORSE, more)
    assert "dynamicvis_t/parameters" not in moved


def test_a_wider_projection_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    before, init = counts(), mamba.Mamba.__init__
    monkeypatch.setattr(mamba.Mamba, "__init__", lambda self, width, **kinds: init(self, width, **kinds, expand=4))
    moved = found("counts", before, counts())
    assert moved["dynamicvis_t/parameters"].verdict is Verdict.WORSE
    assert moved["dynamicvis_t/64/macs"].verdict is Verdict.WORSE


def test_attention_that_is_no_longer_fused_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard, "SIDES", (512,))
    before, build = counts("deit_t16"), hard.build_classifier
    monkeypatch.setattr(hard, "build_classifier", lambda model: build(model, attention="eager"))
    moved = found("counts", before, counts("deit_t16"))
    assert moved["deit_t16/512/live_bytes"].verdict is Verdict.WORSE
    assert "deit_t16/512/macs" not in moved


def test_an_extra_copy_is_caught_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    before, forward = counts(), DynamicVis.forward

    def copy_first(self: DynamicVis, image: Tensor, routes: Any = None) -> tuple[Tensor, ...]:
        copy = image.clone()
        maps = forward(self, image, routes)
        del copy
        return maps

    monkeypatch.setattr(DynamicVis, "forward", copy_first)
    (live,) = found("counts", before, counts()).values()
    assert (live.figure, live.verdict) == ("dynamicvis_t/64/live_bytes", Verdict.WORSE)
    assert live.now[0] - live.before[0] == 4 * 3 * SIDE * SIDE


def test_swapped_channels_are_caught_in_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    before, load = outputs(), hard.load_scene

    def blue_first(*arguments: Any) -> SimpleNamespace:
        return SimpleNamespace(tensor=load(*arguments).tensor.flip(1))

    monkeypatch.setattr(hard, "load_scene", blue_first)
    moved = found("outputs", before, outputs())
    assert {name: f.verdict for name, f in moved.items()} == {
        "dynamicvis_t/logits": Verdict.CHANGED,
        "resnet18/logits": Verdict.CHANGED,
    }


def test_a_lost_direction_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    before, run = outputs(), mamba.Mamba.run

    def forward_only(self: mamba.Mamba, x: Tensor, z: Tensor, *, reverse: bool) -> Tensor:  # noqa: ARG001
        return run(self, x, z)

    monkeypatch.setattr(mamba.Mamba, "run", forward_only)
    assert list(found("outputs", before, outputs())) == ["dynamicvis_t/logits"]


def test_a_worse_loss_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = {**hard.SHORTENED, "counts": {"train": 64, "val": 8, "test": 48}}
    monkeypatch.setattr(hard, "SHORTENED", shortened)

    def accuracy(*seeds: int) -> hard.Taken:
        return hard.accuracy(seeds, lambda _: None)

    before = accuracy(0, 1)
    assert found("accuracy", before, accuracy(2)) == {}
    losses = Classification.losses

    def against_another_image(self: Classification, batch: Any) -> dict[str, Tensor]:
        return losses(self, {**batch, "label": batch["label"].roll(1)})

    monkeypatch.setattr(Classification, "losses", against_another_image)
    (score,) = found("accuracy", before, accuracy(2)).values()
    assert (score.figure, score.verdict) == ("dynamicvis_t/synthetic_classification/accuracy", Verdict.WORSE)


def test_a_run_without_a_score_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "losses", lambda self, batch: {"x": self(batch["image"]).sum() * torch.nan})
    figures, failures = hard.accuracy([0], lambda _: None)
    assert figures == {}
    assert failures["dynamicvis_t"].startswith("NotScoredError: ")


def test_a_model_that_breaks_fails_alone_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Tensor:
        raise RuntimeError("shapes do not match\nmore lines")

    before = outputs()
    monkeypatch.setattr(DynamicVis, "forward", broken)
    (finding,) = found("outputs", before, outputs()).values()
    assert (finding.verdict, finding.by) == (Verdict.MISSING, "RuntimeError: shapes do not match")


# Ratios


class FakeWorker:
    """Answers as a process would."""

    seconds: dict[Cell, float] = {}
    order: list[int] = []

    def __init__(self, _subject: object, cell: Cell, *_: object, **__: object) -> None:
        self.cell = cell

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, method: str, timeout: float) -> float:  # noqa: ARG002 (as Worker's)
        if self.cell.scan == "broken":
            raise IsolatedFailure("worker", "error", f"no luck with {method}")
        if method == "sample":
            self.order.append(self.cell.resolution)
        return self.seconds[self.cell]


FIRST, SECOND = Cell("dynamicvis_t", 32).settled(), Cell("dynamicvis_t", 64).settled()


def test_cells_take_turns_and_each_pass_adds_three_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "seconds", {FIRST: 1.0, SECOND: 4.0})
    monkeypatch.setattr(FakeWorker, "order", [])
    figures, failures = soft.ratios([(SECOND, FIRST)], lambda _: None, passes=2)
    assert (figures, failures) == ({"dynamicvis_t@64 : dynamicvis_t@32": (4.0,) * 6}, {})
    assert FakeWorker.order == [64, 32] * soft.SAMPLES * 2


def test_a_cell_that_cannot_run_fails_its_pairs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft, "Worker", FakeWorker)
    broken = replace(FIRST, scan="broken")
    monkeypatch.setattr(FakeWorker, "seconds", {FIRST: 1.0, SECOND: 4.0, broken: 1.0})
    figures, failures = soft.ratios([(broken, FIRST), (SECOND, FIRST)], lambda _: None, passes=2)
    assert list(figures) == ["dynamicvis_t@64 : dynamicvis_t@32"]
    assert failures == {"dynamicvis_t@32 broken : dynamicvis_t@32": "worker: no luck with warm"}


class Unfused(soft.Timed):
    """A model whose fused scan is lost: the loop runs under its name."""

    def __init__(self, cell: Cell, *arguments: Any) -> None:
        backends.BACKENDS["cpu"] = replace(backends.BACKENDS["reference"], name="cpu")
        super().__init__(cell, *arguments)


@contextmanager
def busy_core() -> Iterator[None]:
    """Let another process keep a core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as hog:
        try:
            yield
        finally:
            hog.kill()


@pytest.mark.slow
def test_a_lost_fusion_is_caught_and_twenty_disturbed_runs_raise_no_alarm() -> None:
    pairs = [(SECOND, replace(SECOND, scan="reference")), (SECOND, Cell("resnet18", 64).settled())]
    before = soft.ratios(pairs, lambda _: None, passes=measure.BASELINE_PASSES)
    lost = found("ratios", before, soft.ratios(pairs, lambda _: None, subject=Unfused))
    assert lost["dynamicvis_t@64 : dynamicvis_t@64 reference"].verdict is Verdict.WORSE
    with busy_core():
        alarms = [found("ratios", before, soft.ratios(pairs, lambda _: None)) for _ in range(20)]
    assert [f for run in alarms for f in run.values() if f.verdict.failed] == []


# The command line


class Gate:
    """Runs `dvbench gate` in this process with a baseline and a folder of its own."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.baseline = folder / "baseline.json"
        self.out = folder / "out"
        self._capfd = capfd

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        places = ["--baseline", str(self.baseline), "--out", str(self.out)]
        code = cli.main(["gate", *map(str, arguments), *places])
        return code, *self._capfd.readouterr()


@pytest.fixture
def gate(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return Gate(tmp_path, capfd)


UPDATE = ("--update", "--reason", "first")


def test_a_baseline_says_how_it_was_made_and_the_same_code_passes(gate: Gate) -> None:
    code, _, err = gate("--only", "counts", *UPDATE)
    assert code == 0
    assert f"wrote {gate.baseline}" in err
    made = read_baseline(gate.baseline)["counts"].made
    assert (made["reason"], made["command"] != "", "torch" in str(made["versions"])) == ("first", True, True)
    code, out, _ = gate("--only", "counts")
    assert code == 0
    assert "Regression gate: passed" in out
    assert json.loads((gate.out / "gate.json").read_text())["passed"] is True


def test_a_regression_leaves_code_1_a_table_and_a_job_summary(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate("--only", "counts", *UPDATE)
    project = mamba.PathMixer.project

    def twice(self: mamba.PathMixer, tokens: Tensor) -> Tensor:
        return project(self, tokens) * 0 + project(self, tokens)

    monkeypatch.setattr(mamba.PathMixer, "project", twice)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    code, out, _ = gate("--only", "counts")
    assert code == 1
    assert "Regression gate: FAILED" in out
    assert "dynamicvis_t/64/macs" in out
    assert "<failure" in (gate.out / "gate.xml").read_text()
    assert "dynamicvis_t/64/macs" in (tmp_path / "summary.md").read_text()


def test_an_update_of_one_part_leaves_the_others_and_shows_what_moved(gate: Gate) -> None:
    kept = Part(MADE_HERE, {"a : b": (1.0, 1.1)})
    write_baseline(gate.baseline, {"ratios": kept, "counts": Part(MADE_HERE, {"resnet18/parameters": (7,)})})
    code, out, _ = gate("--only", "counts", *UPDATE)
    assert code == 0
    assert "resnet18/parameters" in out
    written = read_baseline(gate.baseline)
    assert written["ratios"] == kept
    assert written["counts"].figures["resnet18/parameters"] == counts("resnet18")[0]["resnet18/parameters"]


def test_an_update_with_a_broken_model_leaves_the_old_baseline(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    gate("--only", "outputs", *UPDATE)
    before = gate.baseline.read_bytes()
    monkeypatch.setattr(DynamicVis, "forward", None)
    code, _, err = gate("--only", "outputs", *UPDATE)
    assert code == 2
    assert "dynamicvis_t could not be measured" in err.splitlines()[-1]
    assert gate.baseline.read_bytes() == before


def test_another_schema_is_refused_and_an_update_starts_anew(gate: Gate) -> None:
    gate.baseline.write_text('{"schema": 99, "parts": {}}')
    code, out, err = gate("--only", "counts")
    assert (code, out) == (2, "")
    assert err.startswith(f"dvbench: {gate.baseline} has schema 99, this version reads schema 1: write one with")
    assert err.count("\n") == 1
    code, _, err = gate("--only", "counts", *UPDATE)
    assert code == 0
    assert "starting anew" in err
    assert list(read_baseline(gate.baseline)) == ["counts"]


def benchmark_file(folder: Path, ours: float) -> Path:
    side = {"ratio": ours, "opponent_seconds": [1.0] * 3}
    file = {"benchmarks": [{"name": "bench_x", "stats": {"data": [ours] * 3}, "extra_info": side}]}
    (folder / "bench.json").write_text(json.dumps(file))
    return folder / "bench.json"


def test_benchmarks_feed_the_soft_part(gate: Gate, tmp_path: Path) -> None:
    assert gate("--only", "files", "--bench", benchmark_file(tmp_path, 0.5), *UPDATE)[0] == 0
    assert gate("--only", "files", "--bench", benchmark_file(tmp_path, 0.55))[0] == 0
    code, out, _ = gate("--only", "files", "--bench", benchmark_file(tmp_path, 0.7))
    assert code == 1
    assert "bench_x" in out


def test_records_feed_the_soft_part_and_a_corrupt_one_is_named_and_kept(gate: Gate, tmp_path: Path) -> None:
    from reports.ledger import Ledger

    ledger = Ledger(tmp_path / "records")
    for one in (record(1, "dynamicvis_t", [2.0] * 3), record(2, "resnet18", [1.0] * 3)):
        ledger.write(one)
    assert gate("--only", "files", "--records", ledger.folder, *UPDATE)[0] == 0
    assert read_baseline(gate.baseline)["records"].figures == {"dynamicvis_t@64 : resnet18@64": (2.0, 2.0, 2.0)}
    ledger.write(record(1, "dynamicvis_t", [3.0] * 3))
    corrupt = ledger.folder / "corrupt.json"
    corrupt.write_text("{")
    code, _, err = gate("--only", "files", "--records", ledger.folder)
    assert code == 1
    assert f"dvbench: left out: {corrupt}: unreadable record" in err
    assert corrupt.exists()


@pytest.mark.parametrize(
    ("arguments", "figures", "names"),
    [
        (("--update",), {}, "a new baseline needs a reason"),
        (("--update", "--reason", " "), {}, "a new baseline needs a reason"),
        (("--reason", "x"), {}, "--reason goes with --update"),
        (("--only", "files"), {}, "--only files needs --bench FILE or --records DIR"),
        (("--only", "counts"), {"resnet999/macs": (1,)}, "names the model 'resnet999', which the zoo does not have"),
        (("--only", "outputs"), {"resnet18/macs": (1,)}, "has no part 'outputs'"),
        (("--only", "files", "--bench", "none.json"), {"resnet18/macs": (1,)}, "none.json is missing"),
        (("--only", "files", "--records", "none"), {"resnet18/macs": (1,)}, "none holds no record of a latency"),
        (("--only", "counts"), None, "baseline.json is missing: write one with"),
    ],
)
def test_bad_usage_is_refused_in_one_line(
    gate: Gate, arguments: tuple[str, ...], figures: dict[str, Values] | None, names: str
) -> None:
    if figures is not None:
        write_baseline(gate.baseline, {"counts": Part(MADE_HERE, figures or {"resnet18/macs": (1,)})})
    code, out, err = gate(*arguments)
    assert (code, out) == (2, "")
    assert names in err.splitlines()[-1]


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_baseline(gate.baseline, {"counts": Part(MADE_HERE, {"resnet18/macs": (1,)})})
    gate.out.write_text("a file")
    measured: list[str] = []
    monkeypatch.setattr(measure, "measure", lambda part, *_, **__: measured.append(part))
    code, _, err = gate("--only", "counts")
    assert (code, measured) == (2, [])
    assert "cannot write to" in err


# The committed baseline


def test_the_committed_baseline_names_models_that_exist_and_says_how_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "ZOO", ZOO)
    baseline = read_baseline(BASELINE)
    assert set(baseline) >= {*HARD, "ratios"}
    check_models(BASELINE, baseline, HARD)
    assert all(str(part.made["reason"]) and part.made["hardware"] for part in baseline.values())
    assert len(baseline["accuracy"].figures["dynamicvis_t/synthetic_classification/accuracy"]) == measure.BASELINE_SEEDS
    assert set(baseline["ratios"].figures) == {f"{soft.label(a)} : {soft.label(b)}" for a, b in soft.PAIRS}


def test_every_cell_of_the_ratios_is_of_a_model_in_the_zoo() -> None:
    assert all(entry(cell.model) for pair in soft.PAIRS for cell in pair)
