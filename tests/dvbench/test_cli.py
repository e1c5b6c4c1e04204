"""The command line as a user meets it: exit codes, one-line errors, and files that are there or not."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio import Affine

from dvbench import cli
from dvbench.profile import sweep
from dvbench.profile.counters import Counts
from dvbench.profile.isolate import IsolatedFailure
from reports.ledger import Ledger
from tests.dvbench.stand_ins import Workers

PROGRAM = str(Path(sys.executable).with_name("dvbench"))
VERBS = [[], ["profile"], ["reproduce"], ["report"], ["gate"], ["list"], ["doctor"], ["show"], ["show", "tokens"]]
TINY = ("--model", "dynamicvis_t", "--res", "32")


class Outcome(NamedTuple):
    code: object
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        try:
            code: object = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse leaves this way
            code = stop.code
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def refusal(run: Run) -> Callable[..., str]:
    """Run what must be refused, and return the one line that says why."""

    def refusal(*arguments: object) -> str:
        outcome = run(*arguments)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert line.startswith("dvbench: ")
        assert outcome.out == ""
        return line

    return refusal


def geotiff(path: Path, bands: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (bands, 40, 40), dtype=np.uint8)
    shape = {"driver": "GTiff", "width": 40, "height": 40, "count": bands, "dtype": "uint8"}
    with rasterio.open(path, "w", transform=Affine(10, 0, 500_000, 0, -10, 5_000_000), **shape) as dataset:
        dataset.write(pixels)
    return path


# Help


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb) or "dvbench")
def test_help_has_examples(run: Run, verb: list[str]) -> None:
    outcome = run(*verb, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "examples:\n" + "  dvbench " in outcome.out


def test_help_of_no_verb_imports_anything_heavy() -> None:
    script = f"""
import sys
from dvbench.cli import main
for verb in {VERBS}:
    try:
        main([*verb, "--help"])
    except SystemExit:
        pass
heavy = [name for name in ("torch", "numpy", "pandas", "matplotlib", "rasterio", "timm", "rich") if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("dvbench 0.")


def test_the_installed_program_refuses_in_one_line() -> None:
    command = [PROGRAM, "profile", "--res", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    line = "dvbench: resolution 100: give a positive number of pixels divisible by 32, such as 512\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


# profile


@pytest.fixture
def workers(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Stand-ins for the processes, and made-up counts, which cost nothing."""
    monkeypatch.setattr(sweep, "counts_of", lambda *_: Counts(1, 4, {"mm": 2}, 1, 2**20, ()))
    return workers


RESNET = ("--model", "resnet18", "--res", "64")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A folder in which a model was really measured, and what the user saw."""
    folder = tmp_path_factory.mktemp("measured")
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = cli.main(["profile", *RESNET, "--repeat", "2", "--out", str(folder)])
    return folder, Outcome(code, out.getvalue(), err.getvalue())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_profile_measures_and_writes(measured: tuple[Path, Outcome]) -> None:
    folder, outcome = measured
    assert outcome.code == 0, outcome.err
    assert {path.name for path in folder.iterdir()} == {"records", "profile.md", "profile.tex", "profile.csv"}
    (record,) = Ledger(folder / "records").records()
    assert record.cell["model"] == "resnet18"
    assert len(record.measures["latency_ms"].samples) == 2
    assert "resnet18" in outcome.out
    assert "resnet18" in (folder / "profile.md").read_text()
    assert f"wrote {folder / 'profile.md'}" in outcome.err
    assert "image scene_2048.jpg: resized (bicubic) from 2048x2048" in outcome.err


def test_resume_measures_nothing_again(measured: tuple[Path, Outcome], run: Run) -> None:
    folder, _ = measured
    before = contents(folder / "records")
    outcome = run("profile", *RESNET, "--resume", "--out", folder)
    assert outcome.code == 0
    assert "first call" not in outcome.err
    assert contents(folder / "records") == before


def test_records_name_neither_user_nor_folder(measured: tuple[Path, Outcome]) -> None:
    folder, _ = measured
    for text in contents(folder / "records").values():
        environment = json.loads(text)["environment"]
        assert not [value for value in environment.values() if isinstance(value, str) and value.startswith("/")]


def test_profile_of_several_sizes(run: Run, workers: Workers, tmp_path: Path) -> None:
    outcome = run("profile", "--model", "dynamicvis_t", "resnet18", "--res", 64, 32, "--repeat", 2, "--out", tmp_path)
    assert outcome.code == 0
    assert len(Ledger(tmp_path / "records").records()) == 4
    assert workers.samples() == ["dynamicvis_t", "resnet18"] * 4
    rows = [line.split(",")[:2] for line in (tmp_path / "profile.csv").read_text().splitlines()[1:]]
    assert rows == [["dynamicvis_t", "32"], ["resnet18", "32"], ["dynamicvis_t", "64"], ["resnet18", "64"]]


def test_a_failed_cell_is_a_row_and_the_exit_code_tells(run: Run, workers: Workers, tmp_path: Path) -> None:
    workers.failures["dynamicvis_t", "warm", 1] = IsolatedFailure("dynamicvis_t", "crashed", "ended by SIGSEGV in warm")
    outcome = run("profile", "--model", "dynamicvis_t", "resnet18", "--res", 32, "--repeat", 2, "--out", tmp_path)
    assert outcome.code == 1
    assert "dynamicvis_t at 32 px: crashed: ended by SIGSEGV in warm." in outcome.out
    assert "resnet18" in outcome.out


def test_out_of_memory_is_a_result_not_a_failure(run: Run, workers: Workers, tmp_path: Path) -> None:
    workers.failures["dynamicvis_t", "memory", 1] = IsolatedFailure("dynamicvis_t", "oom", "killed by the kernel")
    outcome = run("profile", *TINY, "--out", tmp_path)
    assert outcome.code == 0
    assert "dynamicvis_t at 32 px: oom: killed by the kernel." in outcome.out


def test_ctrl_c_is_one_line_that_says_how_to_go_on(run: Run, workers: Workers, tmp_path: Path) -> None:
    workers.failures["dynamicvis_t", "sample", 5] = KeyboardInterrupt()
    outcome = run("profile", *TINY, "--repeat", 9, "--out", tmp_path)
    assert outcome.code == 130
    last = outcome.err.splitlines()[-1]
    assert last.startswith("dvbench: interrupted")
    assert "--resume" in last
    assert len(Ledger(tmp_path / "records").records()) == 1


def test_dry_run_counts_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("profile", "--model", "resnet18", "--res", 4096, "--dry-run", "--out", tmp_path / "none")
    assert outcome.code == 0
    assert "11.69" in outcome.out
    assert outcome.err == "4096 px · resnet18 · count\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "dynamicvis_x"), "unknown model 'dynamicvis_x': did you mean dynamicvis_t"),
        (("--model", "resnet"), "did you mean resnet"),
        (("--res", 0), "resolution 0: give a positive number of pixels divisible by 32"),
        (("--res", -32), "resolution -32: give a positive"),
        (("--res", 512, 100), "resolution 100: give a positive"),
        (("--res", "big"), "argument --res: invalid int value: 'big'"),
        (("--device", "tpu"), "unknown device 'tpu': use auto, cpu, cuda or cuda:N"),
        (("--scan", "mamba_ssm", "--device", "cpu"), "scan backend 'mamba_ssm' cannot run: "),
        (("--scan", "fast"), "unknown scan backend 'fast': choose from auto, mamba_ssm, triton, cpu, reference"),
        (("--dtype", "fp8"), "argument --dtype: invalid choice: 'fp8'"),
        (("--batch-size", 0), "'0' is not a positive whole number"),
        (("--repeat", -3), "--repeat"),
        (("--budget", "soon"), "'soon' is not a positive number of seconds"),
        (("--seed", 2**64), "is not a whole number from 0"),
        (("--bands", "4,3"), "'4,3' is not R,G,B: three band numbers from 1, such as 4,3,2"),
        (("--bands", "red,3,2"), "'red,3,2' is not R,G,B"),
        (("--bands", "0,1,2"), "is out of range; name three of 1 to 3"),
        (("--bands", "1,2,9"), "has 3 bands, so --bands 1,2,9 is out of range"),
        (("--image", "/nowhere/scene.png"), "/nowhere/scene.png is missing; give an image file"),
        (("--fit", "crop", "--res", 64, 4096), "too few to crop 4096x4096"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_profile_refuses(
    refusal: Callable[..., str], workers: Workers, tmp_path: Path, arguments: tuple[object, ...], words: str
) -> None:
    assert words in refusal("profile", *arguments, "--out", tmp_path / "out")
    assert workers.calls == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("device", "count"), [("cuda", 0), ("cuda:1", 0), ("cuda:4", 2)])
def test_a_gpu_that_is_not_there(
    refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, device: str, count: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    line = refusal("profile", "--device", device)
    assert f"device '{device}' was asked for, but" in line
    assert ("use --device cpu" if count == 0 else "the last one is cuda:1") in line


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "folder"])
def test_images_that_cannot_be_read(refusal: Callable[..., str], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "scene.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    broken = {"empty": b"", "text": b"not an image", "truncated": whole[: len(whole) // 2]}
    if kind == "folder":
        path = tmp_path
    else:
        path.write_bytes(broken[kind])
    assert str(path) in refusal("profile", *TINY, "--image", path)


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        (1, "grey repeated 3 times"),
        (4, "bands 1,2,3 of 4, the fourth (alpha or near infrared) left out"),
        (13, "bands 4,3,2 of 13, read as Sentinel-2 L1C"),
    ],
)
@pytest.mark.usefixtures("workers")
def test_profile_says_which_bands_it_uses(run: Run, tmp_path: Path, bands: int, said: str) -> None:
    scene = geotiff(tmp_path / "scene.tif", bands)
    outcome = run("profile", *TINY, "--image", scene, "--out", tmp_path)
    assert outcome.code == 0
    assert f"image scene.tif: {said}; resized" in outcome.err


def test_two_bands_need_a_choice(refusal: Callable[..., str], run: Run, workers: Workers, tmp_path: Path) -> None:
    scene = geotiff(tmp_path / "scene.tif", 2)
    assert "has 2 bands and none is known to be red; name three with --bands R,G,B" in refusal(
        "profile", *TINY, "--image", scene, "--out", tmp_path
    )
    assert workers.calls == []
    assert run("profile", *TINY, "--image", scene, "--bands", "2,1,1", "--out", tmp_path).code == 0
    (record,) = Ledger(tmp_path / "records").records()
    assert (record.cell["image"], record.cell["bands"]) == ("scene.tif", "2,1,1")


@pytest.mark.parametrize("verb", [("profile", *TINY), ("report", "table1"), ("show", "tokens", *TINY)])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    run: Run, workers: Workers, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    outcome = run(*verb, "--out", taken)
    assert outcome.code == 2
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("dvbench: "))
    assert str(taken) in line
    assert line == outcome.err.splitlines()[-1]
    assert workers.calls == []
    assert taken.read_text() == "mine"


# reproduce and report


def test_reproduce_runs_what_is_missing_and_draws(run: Run, workers: Workers, tmp_path: Path) -> None:
    arguments = ("reproduce", "figure20", "--res", 32, "--repeat", 2, "--out", tmp_path)
    assert run(*arguments).code == 0
    papers = {"resnet101", "vit_b16 (eager)", "vit_b16 (sdpa)", "dynamicvis_b", "dynamicvis_b_dense"}
    labels = papers | {"vim_ti", "vmamba_t", "rsmamba_b"}
    assert set(workers.started()) == labels
    assert all((tmp_path / f"figure20.{kind}").stat().st_size for kind in ("png", "svg", "pdf"))
    workers.calls.clear()
    assert run(*arguments).code == 0
    assert workers.calls == []
    assert run(*arguments, "--fresh").code == 0
    assert set(workers.started()) == labels


@pytest.mark.parametrize("verb", ["reproduce", "report"])
def test_unknown_target(refusal: Callable[..., str], verb: str) -> None:
    assert refusal(verb, "table1", "tabel3").endswith("cannot reproduce 'tabel3': did you mean table3?")


def test_reproduce_without_a_target(refusal: Callable[..., str]) -> None:
    assert "the following arguments are required: TARGET; see dvbench reproduce --help" in refusal("reproduce")


def test_report_without_records_says_so(run: Run, tmp_path: Path) -> None:
    outcome = run("report", "table1", "figure20", "--out", tmp_path / "new")
    assert outcome.code == 0
    assert outcome.out.count("reproduced") == 8
    assert "nothing has been measured yet" in (tmp_path / "new" / "figure20.svg").read_text()
    assert not (tmp_path / "new" / "records").exists()


def test_report_names_a_corrupt_record_and_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "bad.json").write_text('{"cell": ')
    outcome = run("report", "table1", "--out", tmp_path)
    assert outcome.code == 0
    assert "bad.json: unreadable record" in outcome.err
    assert (tmp_path / "records" / "bad.json").exists()


# list, show


def test_list(run: Run) -> None:
    outcome = run("list")
    assert (outcome.code, outcome.err) == (0, "")
    assert "36,770,142" in outcome.out.split("dynamicvis_b ")[1].splitlines()[0]
    for name in ("vit_b16", "swin_t", "segformer", "neon_trees", "table14", "figure21"):
        assert name in outcome.out


@pytest.mark.parametrize("first", [True, False], ids=["image first", "image last"])
def test_show_tokens_writes_a_picture(run: Run, tmp_path: Path, first: bool) -> None:
    scene = geotiff(tmp_path / "scene.tif", 4)
    options = (*TINY, "--out", tmp_path)
    outcome = run("show", "tokens", *((scene, *options) if first else (*options, scene)))
    assert outcome.code == 0
    path = tmp_path / "tokens_scene_dynamicvis_t_32.png"
    assert outcome.err == f"wrote {path}\n"
    with Image.open(path) as picture:
        picture.load()


def test_show_tokens_needs_a_model_that_selects(refusal: Callable[..., str]) -> None:
    assert "resnet18 does not select tokens: choose a DynamicVis" in refusal("show", "tokens", "--model", "resnet18")
    assert "does not select tokens" in refusal("show", "tokens", "--model", "dynamicvis_b_dense", "--res", 32)
    assert "did you mean" in refusal("show", "tokens", "--model", "dynamicvis")
    assert "resolution 100" in refusal("show", "tokens", "--res", 100)
    assert "see dvbench show --help" in refusal("show", "nothing")
