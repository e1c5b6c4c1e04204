"""`dvbench records check`: each kind of flaw in a record from somebody's machine is found, and sound ones pass."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvbench import cli
from dvbench.environment import environment
from dvbench.profile.cell import PART_WHERE, Cell, identity
from dvbench.training import run_cell
from dvbench.training.run_cell import RunCell
from dvbench.verdicts.check import RULES, RecordsError, check
from reports.ledger import Ledger
from reports.outcomes import Outcomes, keep
from reports.record import Measure, Record, Status

NOW = "2026-01-01T00:00:00+00:00"
GPU = {"device": "cuda", "gpu": "NVIDIA H200", "gpu_memory_bytes": 150 * 10**9, "gpu_capability": "9.0",
       "driver": "570.1", "cuda": "13.0", "hardware": "NVIDIA H200", "git_dirty": False}  # fmt: skip
Spoil = Callable[[Record], Record]


def measured() -> Record:
    here = environment("cpu") | GPU
    cell = Cell("dynamicvis_t", 64, device="cuda").settled()
    measures = {
        "macs": Measure(10**9, "MAC", "counted"),
        "latency_ms": Measure(2.0, "ms", "measured", (1.0, 2.0, 9.0)),
        "throughput": Measure(500.0, "img/s", "measured"),
        "cuda_allocated_peak_bytes": Measure(10**9, "B", "measured"),
    }
    return Record(cell.as_dict(), cell.identity(here), Status.OK, "", measures, here, NOW, "dvbench profile", "g")


def part() -> Record:
    """Of the GPU run, whose parts have an identity of their own."""
    asked = {"part": "scan times", "scale": "full", "device": "cuda", "backend": "triton"}
    made = measured()
    return replace(made, cell=asked, identity=identity(asked, made.environment, PART_WHERE))


def trained(folder: Path) -> Record:
    cell = RunCell("resnet18", "uc_merced", "full")
    protocol = cell.load_protocol().model_dump(mode="json")
    told = {"protocol": json.dumps(protocol), "evaluator": "tasks.metrics", "run_folder": "x"}
    code = run_cell.deciding_code()
    basis: dict[str, Any] = {"data": {"origin": "genuine"}, "precision": "fp32", "batch": 512, "at_once": 64,
                             "devices": 8, "epochs": 600, "code": code, "weights": None}  # fmt: skip
    arrays = {"classes": np.array(2), "counts": np.array([1, 1, 1]), "true": np.array([0, 1, 1]),
              "predicted": np.array([0, 1, 0])}  # fmt: skip
    outcomes = Outcomes("macro", np.array(["test/a", "test/b", "test/c"]), arrays)
    scores = outcomes.score(np.arange(3))
    measures = {name: Measure(score, "%", "measured", interval=(0.0, 100.0)) for name, score in scores.items()}
    here = environment("cpu") | {"git_dirty": False} | told
    known_as = run_cell.identity(cell.as_dict(), protocol, code)
    record = Record(cell.as_dict(), known_as, Status.OK, "", measures, here, NOW, "dvbench run", "", basis)
    return keep(outcomes, record, Ledger(folder))


def found(folder: Path) -> list[str]:
    return [finding.what for finding in check(folder)[1]]


def test_sound_records_of_every_kind_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for record in (measured(), part()):
        Ledger(tmp_path / "nvidia-h200").write(record)
    trained(tmp_path / "nvidia-h200")
    (tmp_path / "README.md").write_text("whose they are")
    assert found(tmp_path) == []
    assert cli.main(["records", "check", str(tmp_path)]) == 0
    assert "3 records" in capsys.readouterr().out


def here(**changed: Any) -> Spoil:
    return lambda record: replace(record, environment={**record.environment, **changed})


def measure(name: str, **changed: Any) -> Spoil:
    def spoil(record: Record) -> Record:
        return replace(record, measures={**record.measures, name: replace(record.measures[name], **changed)})

    return spoil


#: What is wrong -> how a sound measurement is spoilt, and the words that tell it.
FLAWS: dict[str, tuple[Spoil, str]] = {
    "another model": (lambda r: replace(r, cell={**r.cell, "model": "vit_b16"}), "identity is not that of its content"),
    "another machine": (here(hardware="NVIDIA B200"), "identity is not that of its content"),
    "no hardware": (lambda r: replace(r, environment={k: v for k, v in r.environment.items() if k != "hardware"}),
                    "identity cannot be recomputed"),
    "negative": (measure("macs", value=-1), "macs is negative"),
    "zero": (measure("throughput", value=0.0), "throughput is zero"),
    "other unit": (measure("macs", unit="B"), "macs is in 'B'"),
    "unknown unit": (lambda r: replace(r, measures={"x": Measure(1, "parsec", "measured")}), "x is in 'parsec'"),
    "no number": (lambda r: replace(r, measures={}), "holds no number"),
    "better than its samples": (measure("latency_ms", value=1.0), "latency_ms is not the median of its samples"),
    "no samples": (measure("latency_ms", samples=()), "latency_ms is not the median of its samples"),
    "too fast": (measure("throughput", value=5000.0), "throughput is not what batch and latency give, 500 img/s"),
    "more than there is": (measure("cuda_allocated_peak_bytes", value=10**12), "more than the gpu_memory_bytes"),
    "no driver": (here(driver=None), "does not say driver"),
    "dirty": (here(git_dirty=True), "changes that no commit holds"),
    "no command": (lambda r: replace(r, command=""), "by which command"),
    "no time": (lambda r: replace(r, created="yesterday"), "was created 'yesterday'"),
    "no zone": (lambda r: replace(r, created="2026-01-01T00:00:00"), "no time in ISO 8601 with a zone"),
    "future": (lambda r: replace(r, created="2999-01-01T00:00:00+00:00"), "created in the future"),
    "home": (lambda r: replace(r, command="dvbench profile --image /home/ann/x.tif"), "tells '/home/ann/x.tif'"),
    "home on Windows": (lambda r: replace(r, reason=r"C:\Users\ann\x.tif"), "which is personal"),
    "address": (here(os="Linux ann@example.org"), "tells 'ann@example.org'"),
    "control characters": (lambda r: replace(r, reason="\x1b[2J"), "control characters"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_is_told(flaw: str, tmp_path: Path) -> None:
    spoil, words = FLAWS[flaw]
    Ledger(tmp_path).write(spoil(measured()))
    assert words in " / ".join(found(tmp_path))


#: The same of a training run.
TRAINING_FLAWS: dict[str, tuple[Spoil, str]] = {
    "a better score": (measure("f1", value=99.0), "f1 is not what its outcomes give"),
    "above 100": (measure("f1", value=101.0), "f1 is above 100 %"),
    "reversed": (measure("f1", interval=(90.0, 10.0)), "ends before it begins"),
    "other protocol": (here(protocol="{}"), "identity is not that of its content"),
    "no protocol": (here(protocol=None), "does not say protocol"),
    "no basis": (lambda r: replace(r, basis={}), "does not say basis.data"),
    "other outcomes": (lambda r: replace(r, basis={**r.basis, "outcomes": {"file": "x.npz", "sha256": "0"}}),
                       "x.npz cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", TRAINING_FLAWS)
def test_each_flaw_of_a_training_run_is_told(flaw: str, tmp_path: Path) -> None:
    spoil, words = TRAINING_FLAWS[flaw]
    Ledger(tmp_path).write(spoil(trained(tmp_path)))
    assert words in " / ".join(found(tmp_path))


def test_files_that_are_no_records_twice_there_or_renamed_are_told(tmp_path: Path) -> None:
    path = Ledger(tmp_path).write(measured())
    (tmp_path / "copy.json").write_bytes(path.read_bytes())
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "newer.json").write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    told = {finding.file: finding.what for finding in check(tmp_path)[1]}
    assert "unreadable record" in told["broken.json"]
    assert "schema 3" in told["newer.json"]
    assert told["notes.txt"] == "belongs to no record: remove it"
    everything = " / ".join(found(tmp_path))
    assert "has the identity of" in everything
    assert f"is called {path.name} where dvbench wrote it" in everything


def test_the_command_ends_with_1_and_names_file_and_flaw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Ledger(tmp_path).write(replace(measured(), command=""))
    assert cli.main(["records", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert path.name in printed
    assert "by which command" in printed


def test_a_folder_without_records_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert cli.main(["records", "check", str(folder)]) == 2
        assert "holds no records" in capsys.readouterr().err


def test_every_rule_is_seen_to_find_something() -> None:
    readable = [spoil for what, (spoil, _) in FLAWS.items() if what != "no time"]  # which no record can be read with
    flaws = [spoil(measured()) for spoil in readable]
    assert all(any(list(rule(record)) for record in flaws) for rule in RULES)
    with pytest.raises(RecordsError):
        check(Path("nowhere"))


def test_what_is_committed_is_sound() -> None:
    folder = Path(__file__).resolve().parents[2] / "reports" / "records"
    if not list(folder.rglob("*.json")):
        pytest.skip("no record is committed yet")
    assert found(folder) == []


def test_a_record_of_a_machine_fills_the_papers_columns_under_its_name(tmp_path: Path) -> None:
    cell = Cell("dynamicvis_b", 2048, device="cuda").settled()
    made = measured()
    Ledger(tmp_path / "h200").write(replace(made, cell=cell.as_dict(), identity=cell.identity(made.environment)))
    records, out = str(tmp_path / "h200"), tmp_path / "out"
    assert cli.main(["report", "table14", "--records", records, "--out", str(out)]) == 0
    lines = (out / "table14.md").read_text().splitlines()
    assert any("NVIDIA H200" in line for line in lines)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    (row,) = [row for row in rows if row[1:3] == ["DynamicVis-B", "2048"]]
    assert row[3:5] == ["97.18", "2"]
