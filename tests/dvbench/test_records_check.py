"""`dvbench records check`: each kind of flaw in a record from somebody's machine is found, and sound ones pass."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvbench import cli
from dvbench.costs import counts, numbers, throughput
from dvbench.environment import environment
from dvbench.profile.cell import PART_WHERE, WHERE, Cell, identity
from dvbench.profile.counters import Counts
from dvbench.training import run_cell
from dvbench.training.run_cell import RunCell
from dvbench.verdicts.check import check
from reports.ledger import Ledger
from reports.outcomes import Outcomes, keep
from reports.record import Measure, Record, Status

NOW = "2026-01-01T00:00:00+00:00"
CLEAN = environment("cpu") | {"git_commit": "c" * 40, "git_dirty": False}
GPU = {"device": "cuda", "gpu": "NVIDIA H200", "gpu_memory_bytes": 150 * 10**9, "gpu_capability": "9.0", "cuda": "13.0",
       "driver": "570.1", "hardware": "NVIDIA H200", "tf32_matmul": False, "tf32_conv": True}  # fmt: skip
Spoil = Callable[[Record], Record]


def measured(model: str = "dynamicvis_t", side: int = 64) -> Record:
    """Of `dvbench profile` on a GPU."""
    cell = Cell(model, side, device="cuda").settled()
    measures = {
        "macs": Measure(10**9, "MAC", "counted"),
        "elementwise_flops": Measure(0, "FLOP", "counted"),
        "latency_ms": Measure(2.0, "ms", "measured", (1.0, 2.0, 9.0)),
        "throughput": Measure(500.0, "img/s", "measured"),
        "cuda_allocated_peak_bytes": Measure(10**9, "B", "measured"),
        "max_batch_size": Measure(256, "1", "measured"),
    }
    here = CLEAN | GPU
    return Record(cell.as_dict(), cell.identity(here), Status.OK, "", measures, here, NOW, "dvbench profile", "g")


def part() -> Record:
    """Of the GPU run, whose parts have an identity of their own."""
    asked = {"part": "scan times", "scale": "full", "device": "cuda", "length": 4160}
    found = {"triton": Measure(1.0, "ms", "measured", (1.0,)), "mamba_ssm": Measure(None, "ms", "measured", note="no")}
    return replace(measured(), cell=asked, identity=identity(asked, CLEAN | GPU, PART_WHERE), measures=found)


def trained(folder: Path) -> Record:
    """Of `dvbench run`, kept in a folder with its outcomes: three images of two classes, two of them right."""
    cell = RunCell("resnet18", "uc_merced", "full")
    protocol = cell.load_protocol().model_dump(mode="json")
    code = run_cell.deciding_code()
    basis: dict[str, Any] = {"data": {"origin": "genuine"}, "precision": "fp32", "batch": 512, "at_once": 64,
                             "devices": 8, "epochs": 600, "code": code, "weights": None}  # fmt: skip
    arrays = {"classes": np.array(2), "counts": np.array([1, 1, 1]), "true": np.array([0, 1, 1]),
              "predicted": np.array([0, 1, 0])}  # fmt: skip
    outcomes = Outcomes("macro", np.array(["test/a", "test/b", "test/c"]), arrays)
    scores = outcomes.score(np.arange(3))
    measures = {name: Measure(score, "%", "measured", interval=(20.0, 100.0)) for name, score in scores.items()}
    measures |= {"baseline": Measure(0.0, "%", "measured"), "peak_bytes": Measure(10**9, "B", "measured")}
    here = CLEAN | {"protocol": json.dumps(protocol), "evaluator": "tasks.metrics", "run_folder": "x"}
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
    assert capsys.readouterr().out == f"3 records below {tmp_path}: sound\n"


def test_a_cell_that_ran_out_of_memory_is_a_result(tmp_path: Path) -> None:
    Ledger(tmp_path).write(replace(measured(), status=Status.OOM, reason="CUDA out of memory", measures={}))
    assert found(tmp_path) == []


# -- what is wrong with a measurement


def here(**changed: Any) -> Spoil:
    return lambda record: replace(record, environment={**record.environment, **changed})


def asked(**changed: Any) -> Spoil:
    """Ask for something else; None takes the condition away."""

    def spoil(record: Record) -> Record:
        cell = {name: value for name, value in {**record.cell, **changed}.items() if value is not None}
        return replace(record, cell=cell)

    return spoil


def measure(name: str, **changed: Any) -> Spoil:
    def spoil(record: Record) -> Record:
        return replace(record, measures={**record.measures, name: replace(record.measures[name], **changed)})

    return spoil


def say(**changed: Any) -> Spoil:
    return lambda record: replace(record, **changed)


def without(name: str) -> Spoil:
    return lambda r: replace(r, measures={key: value for key, value in r.measures.items() if key != name})


#: What is wrong -> how a sound measurement is spoilt, and the words that tell it.
FLAWS: dict[str, tuple[Spoil, str]] = {
    "negative": (measure("macs", value=-1), "macs is negative"),
    "negative sample": (measure("latency_ms", samples=(-1.0, 2.0, 9.0)), "latency_ms is negative"),
    "zero work": (measure("macs", value=0), "macs is zero"),
    "zero bytes": (measure("cuda_allocated_peak_bytes", value=0), "cuda_allocated_peak_bytes is zero"),
    "zero time": (measure("latency_ms", samples=(0.0, 2.0, 9.0)), "latency_ms is zero"),
    "beyond measure": (measure("macs", value=10**31), "macs is no number that can be measured"),
    "other unit": (measure("macs", unit="B"), "macs is in 'B'"),
    "unknown unit": (lambda r: replace(r, measures={**r.measures, "x": Measure(1, "parsec", "measured")}),
                     "x is in 'parsec'"),
    "no latency": (without("latency_ms"), "ended ok without latency_ms or throughput"),
    "no throughput": (without("throughput"), "ended ok without latency_ms or throughput"),
    "latency unknown": (measure("latency_ms", value=None), "ended ok without latency_ms or throughput"),
    "better than its samples": (measure("latency_ms", samples=(3.0, 4.0)), "latency_ms is not the median"),
    "no samples": (measure("latency_ms", samples=()), "latency_ms is not the median of its samples"),
    "too fast": (measure("throughput", value=5000.0), "throughput is not what batch and latency give, 500 img/s"),
    "more than there is": (measure("cuda_allocated_peak_bytes", value=10**12), "more than the gpu_memory_bytes"),
    "failed, no reason": (say(status=Status.OOM), "ended 'oom' and does not say why"),
    "no precision": (asked(dtype=None), "cell lacks, or has one too many: dtype"),
    "unknown precision": (asked(dtype="fp4"), "cell.dtype: Input should be 'fp32' or 'bf16'"),
    "unknown condition": (asked(clock=1), "cell lacks, or has one too many: clock"),
    "other device": (asked(device="cuda:1"), "its cell and its environment are of different devices"),
    "a GPU called CPU": (here(device="cpu"), "its cell and its environment are of different devices"),
    "no torch": (here(torch=None), "does not say torch"),
    "no hardware": (here(hardware=None), "does not say hardware"),
    "other hardware": (here(hardware="NVIDIA B200"), "its hardware is not the gpu that it names"),
    "no driver": (here(driver=None), "does not say driver"),
    "no CUDA": (here(cuda=None), "does not say cuda"),
    "no TF32": (here(tf32_matmul=None), "does not say tf32_matmul"),
    "memory in words": (here(gpu_memory_bytes="a lot"), "gpu_memory_bytes: Input should be a valid integer"),
    "no threads": (here(threads=0), "threads: Input should be greater than 0"),
    "no commit": (here(git_commit=None), "does not say git_commit"),
    "a branch": (here(git_commit="main"), "git_commit: String should match pattern"),
    "clean or not": (here(git_dirty=None), "does not say git_dirty"),
    "dirty": (here(git_dirty=True), "changes that no commit holds"),
    "no command": (say(command=""), "by which command"),
    "no time": (say(created="yesterday"), "'yesterday'"),
    "no zone": (say(created="2026-01-01T00:00:00"), "no time in ISO 8601 with a zone"),
    "future": (say(created="2999-01-01T00:00:00+00:00"), "created in the future"),
    "home": (say(command="dvbench profile --image /home/ann/x.tif"), "tells '/home/ann', which is personal"),
    "home on a Mac": (say(reason="no file /Users/ann/x.tif"), "tells '/Users/ann', which is personal"),
    "home on Windows": (say(reason=r"no file C:\Users\ann\x.tif"), r"tells 'C:\Users\ann', which is personal"),
    "mail": (here(os="Linux ann@example.org"), "tells 'ann@example.org', which is personal"),
    "login": (say(command="ssh ann@box dvbench gpu"), "tells 'ann@box', which is personal"),
    "host": (say(command="dvbench --at node7.cluster.local"), "tells 'node7.cluster.local', which is personal"),
    "cluster": (say(command="dvbench --ray-address ray://head"), "tells 'ray://head', which is personal"),
    "address": (say(command="dvbench --ray-address 10.0.0.7:6379"), "tells '10.0.0.7:6379', which is personal"),
    "escape sequence": (say(reason="\x1b[2J"), "control characters"),
    "turned around": (say(reason="\N{RIGHT-TO-LEFT OVERRIDE}gnp"), "control characters"),
}  # fmt: skip


def named_anew(record: Record) -> Record:
    """Give a record the identity of its content, so that nothing but the flaw is told."""
    return replace(record, identity=identity(record.cell, record.environment, WHERE))


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_is_told_and_nothing_else(flaw: str, tmp_path: Path) -> None:
    spoil, words = FLAWS[flaw]
    Ledger(tmp_path).write(named_anew(spoil(measured())))
    (told,) = found(tmp_path)
    assert words in told


@pytest.mark.parametrize("spoil", [asked(model="vit_b16"), here(code="0123456789ab")], ids=["model", "code"])
@pytest.mark.parametrize("record", [measured(), part()], ids=["cell", "part"])
def test_an_identity_that_is_not_that_of_its_content_is_told(record: Record, spoil: Spoil, tmp_path: Path) -> None:
    Ledger(tmp_path).write(spoil(record))
    (told,) = found(tmp_path)
    assert "identity is not that of its content" in told


def test_what_an_identity_is_made_from_has_to_be_there(tmp_path: Path) -> None:
    record = measured()
    Ledger(tmp_path).write(replace(record, environment={k: v for k, v in record.environment.items() if k != "numba"}))
    assert found(tmp_path) == ["identity cannot be recomputed: what it is made from is missing"]


def test_a_part_of_the_gpu_run_has_its_conditions_and_numbers(tmp_path: Path) -> None:
    nameless = {name: value for name, value in part().cell.items() if name != "scale"}
    Ledger(tmp_path).write(
        replace(part(), cell=nameless, identity=identity(nameless, CLEAN | GPU, PART_WHERE), measures={})
    )
    assert found(tmp_path) == ["does not say cell.scale", "ended ok and holds no number"]


# -- what is wrong with a training run


def basis(**changed: Any) -> Spoil:
    return lambda record: replace(record, basis={**record.basis, **changed})


TRAINING_FLAWS: dict[str, tuple[Spoil, str]] = {
    "a better score": (measure("f1", value=99.0), "f1 is not what its outcomes give, 66.6667 %"),
    "a score of its own": (lambda r: replace(r, measures={**r.measures, "map": Measure(99.0, "%", "measured")}),
                           "map is not what its outcomes give, nothing"),
    "a score less": (without("f1"), "f1 is not what its outcomes give, 66.6667 %"),
    "above 100": (measure("baseline", value=101.0), "baseline is above 100 %"),
    "negative": (measure("baseline", value=-1.0), "baseline is negative"),
    "reversed": (measure("f1", interval=(90.0, 10.0)), "f1 has an interval that ends before it begins"),
    "interval elsewhere": (measure("f1", interval=(90.0, 91.0)), "f1 lies further from its interval than that is wide"),
    "more than there is": (measure("peak_bytes", value=10**15), "peak_bytes is more than the ram_bytes"),
    "other protocol": (here(protocol="{}"), "identity is not that of its content"),
    "other code": (basis(code="0123456789ab"), "identity is not that of its content"),
    "no evaluator": (here(evaluator=None), "does not say evaluator"),
    "no data": (basis(data=None), "does not say basis.data"),
    "no batch": (basis(batch=0), "basis.batch: Input should be greater than 0"),
    "failed": (say(status=Status.ERROR, reason="a loss of NaN"), "ended 'error' and has no score: remove it"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", TRAINING_FLAWS)
def test_each_flaw_of_a_training_run_is_told_and_nothing_else(flaw: str, tmp_path: Path) -> None:
    spoil, words = TRAINING_FLAWS[flaw]
    Ledger(tmp_path).write(spoil(trained(tmp_path)))
    (told,) = found(tmp_path)
    assert words in told


def test_an_interval_may_lie_a_little_beside_its_score(tmp_path: Path) -> None:
    """Macro scores over few images do so in one of ten honest runs: a class that is not drawn scores nothing."""
    Ledger(tmp_path).write(measure("f1", interval=(50.0, 60.0))(trained(tmp_path)))
    assert found(tmp_path) == []


def test_outcomes_that_are_gone_changed_or_of_other_images_are_told(tmp_path: Path) -> None:
    record = trained(tmp_path)
    outcomes: Any = record.basis["outcomes"]
    Ledger(tmp_path).write(basis(outcomes={**outcomes, "images": 630})(record))
    assert found(tmp_path) == ["its outcomes are of 3 images, and it says otherwise"]
    Ledger(tmp_path).write(record)
    with (tmp_path / outcomes["file"]).open("ab") as file:
        file.write(b"more")
    assert "is not what record" in " ".join(found(tmp_path))
    (tmp_path / outcomes["file"]).unlink()
    assert "cannot be read" in " ".join(found(tmp_path))
    Ledger(tmp_path).write(basis(outcomes={**outcomes, "file": "a\0b.npz"})(record))
    assert "embedded null" in " ".join(found(tmp_path))


def test_a_training_run_of_the_first_schema_is_noted_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its identity holds a hash of the code, which records did not say then."""
    record = trained(tmp_path)
    for outcomes in tmp_path.glob("*.npz"):
        outcomes.unlink()
    text = json.loads(record.to_json())
    del text["basis"]
    measures = {name: {k: v for k, v in one.items() if k != "interval"} for name, one in text["measures"].items()}
    Ledger(tmp_path).path(record).write_text(json.dumps(text | {"schema": 1, "measures": measures}))
    (note,) = check(tmp_path)[1]
    assert not note.fails
    assert "measured by an earlier version" in note.what
    assert cli.main(["records", "check", str(tmp_path)]) == 0
    assert "note: identity cannot be recomputed" in capsys.readouterr().out


# -- what is wrong with a folder


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        measured().to_json().replace('"schema": 2', '"schema": 3'),
        measured().to_json().replace('"value": 500.0', '"value": NaN'),
        measured().to_json().replace('"group": "g"', r'"group": "\ud800"'),
    ],
    ids=["damaged", "nested", "unknown schema", "not a number", "half a character"],
)
def test_one_file_that_is_no_record_does_not_hide_what_is_wrong_with_others(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    path = Ledger(tmp_path).write(replace(measured(), command=""))
    count, findings = check(tmp_path)
    assert count == 1
    assert [finding.file for finding in findings] == ["a.json", path.name]


def test_what_is_asked_is_checked_whatever_it_is(tmp_path: Path) -> None:
    Ledger(tmp_path).write(named_anew(asked(batch="many")(measured())))
    assert "cell.batch: Input should be a valid integer" in found(tmp_path)


def test_a_protocol_nested_without_end_is_told(tmp_path: Path) -> None:
    Ledger(tmp_path).write(here(protocol="[" * 100_000)(trained(tmp_path)))
    assert found(tmp_path) == ["identity cannot be recomputed: what it is made from is missing"]


def test_files_that_are_twice_there_renamed_links_or_of_no_record_are_told(tmp_path: Path) -> None:
    path = Ledger(tmp_path / "a").write(measured())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    renamed = Ledger(tmp_path).write(part()).rename(tmp_path / "mine.json")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "link.json").symlink_to(path)
    told = {finding.file: finding.what for finding in check(tmp_path)[1]}
    assert told == {
        f"b/{path.name}": f"has the identity of {path.name}: keep one of them",
        "mine.json": f"is called {Ledger(tmp_path).path(part()).name} where dvbench wrote it: leave the name",
        "notes.txt": "belongs to no record: remove it",
        "link.json": "is a link: put the file itself there",
    }
    assert renamed.is_file()


def test_the_command_ends_with_1_and_names_file_and_flaw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Ledger(tmp_path).write(replace(measured(), command=""))
    assert cli.main(["records", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert path.name in printed
    assert "by which command" in printed
    assert "sound" not in printed


def test_a_folder_without_records_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert cli.main(["records", "check", str(folder)]) == 2
        assert capsys.readouterr().err == (
            f"dvbench: {folder} holds no records: give a folder such as reports/out/records\n"
        )


def test_what_is_committed_is_sound() -> None:
    folder = Path(__file__).resolve().parents[2] / "reports" / "records"
    if not list(folder.rglob("*.json")):
        pytest.skip("no record is committed yet")
    assert [finding for finding in check(folder)[1] if finding.fails] == []


def test_a_folder_of_a_machine_fills_the_papers_columns_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `dvbench gpu` leaves it, with the parts of its run, and a training run beside them."""
    same = Counts(10**6, 4 * 10**6, {"mm": 10**9}, 10**9, live_bytes=10**8, tokens_kept=())  # counting takes minutes
    for module in (counts, numbers, throughput):
        monkeypatch.setattr(module, "counts_of", lambda *_: same)
    monkeypatch.setattr(throughput, "_batch_within", lambda *_: 1)
    place, out = tmp_path / "nvidia-h200", tmp_path / "out"
    for record in (measured("dynamicvis_b", 2048), measured("dynamicvis_b", 512), part()):
        Ledger(place).write(record)
    trained(place)
    assert cli.main(["report", "table13", "table14", "--records", str(place), "--out", str(out)]) == 0

    def row(table: str, *start: str) -> list[str]:
        text = (out / table).read_text()
        assert "Ours: NVIDIA H200," in text
        rows = [[cell.strip() for cell in line.split("|")[1:]] for line in text.splitlines()]
        return next(row for row in rows if tuple(row[: len(start)]) == start)

    assert row("table14.md", "DynamicVis-B", "2048")[2:4] == ["97.18", "2"]
    assert "256 (measured)" in row("table13.md", "DynamicVis-B")
    assert "500" in row("table13.md", "DynamicVis-B")
