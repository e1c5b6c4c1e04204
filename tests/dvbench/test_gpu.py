"""The GPU run: no step takes others down, every result is on disk at once, and the summary claims what was found."""

import contextlib
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dvbench import cli
from dvbench.environment import environment
from dvbench.gpu import published as published_module
from dvbench.gpu import run as run_module
from dvbench.gpu import steps as steps_module
from dvbench.gpu import summary
from dvbench.gpu.published import TwoPassMixer, published
from dvbench.gpu.race import race
from dvbench.gpu.run import Run, Step, take
from dvbench.gpu.scale import FULL, REHEARSAL
from dvbench.gpu.scans import Scans
from dvbench.gpu.variants import OURS, PLAIN, TWO_PASS, Variants
from dvbench.profile.cell import Cell
from dvbench.profile.counters import count
from dvbench.profile.isolate import IsolatedFailure
from models.dynamicvis import DynamicVis, DynamicVisConfig
from models.scan import BACKENDS, selective_scan
from models.zoo import build
from reports.record import MEASURES, Measure, Record, Status
from tests.oracles.two_pass import two_pass_forward

HERE = environment("cpu")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(run_module, "environment", lambda device: HERE | {"device": device})
    return Run(REHEARSAL, "cpu", "fp32", tmp_path / "out", lambda _: None, time.monotonic() + 1000)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# -- steps


def test_a_step_that_fails_is_noted_and_the_next_is_taken(run: Run) -> None:
    taken: list[str] = []

    def fail(_: Run) -> None:
        raise RuntimeError("no such kernel\nand more")

    steps = [Step("broken", 60, fail), Step("good", 60, lambda _: taken.append("good"))]
    take(steps, run, lambda run: taken.append(f"after {run.outcomes[-1].step}"))
    assert taken == ["after broken", "good", "after good"]
    assert [o.reason for o in run.outcomes] == ["RuntimeError: no such kernel", ""]


def test_a_step_that_hangs_is_stopped_and_the_next_is_taken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LEAST_S", 0.0)
    done: list[str] = []
    steps = [Step("hangs", 0.2, lambda _: time.sleep(60)), Step("good", 60, lambda _: done.append("good"))]
    take(steps, run, lambda _: None)
    assert done == ["good"]
    assert run.outcomes[0].reason == "stopped after 0 s: the same command goes on from here"


def test_a_step_that_swallows_its_time_limit_is_stopped_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LEAST_S", 0.0)
    cleaned: list[str] = []

    def stubborn(_: Run) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # as Python does in the callback of a weak reference
            time.sleep(60)
        try:
            time.sleep(60)
        finally:
            time.sleep(2 * run_module.AGAIN_S)  # cleaning up is not interrupted again
            cleaned.append("up")

    take([Step("stubborn", 0.2, stubborn)], run, lambda _: None)
    assert run.outcomes[0].reason.startswith("stopped after")
    assert run.outcomes[0].seconds < 30
    assert cleaned == ["up"]


def test_when_the_time_is_over_the_rest_is_left_for_the_next_call(run: Run) -> None:
    run.deadline = time.monotonic() + run_module.RESERVE_S
    done: list[str] = []
    take([Step("late", 60, lambda _: done.append("late"))], run, lambda _: None)
    assert done == []
    assert run.outcomes[0].reason == "no time left: the same command goes on from here"


def test_ctrl_c_is_not_taken_for_a_step_that_is_over(run: Run) -> None:
    def interrupt(_: Run) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take([Step("interrupted", 60, interrupt)], run, lambda _: None)


def test_what_is_settled_is_not_measured_again_and_what_failed_is(run: Run) -> None:
    calls: list[str] = []

    def measure(name: str, failure: IsolatedFailure | None = None) -> Mapping[str, Measure]:
        calls.append(name)
        if failure:
            raise failure
        return {"forward_error": Measure(1e-7, "1", "measured")}

    for _ in range(2):
        run.keep("scan errors", {"backend": "good"}, partial(measure, "good"))
        run.keep("scan errors", {"backend": "big"}, partial(measure, "big", IsolatedFailure("big", "oom", "no memory")))
        run.keep(
            "scan errors", {"backend": "bad"}, partial(measure, "bad", IsolatedFailure("bad", "crashed", "SIGSEGV"))
        )
    assert calls == ["good", "big", "bad", "bad"]
    found = {r.cell["backend"]: (r.status, r.reason) for r in run.part("scan errors")}
    assert found == {
        "good": (Status.OK, ""),
        "big": (Status.OOM, "no memory"),
        "bad": (Status.CRASHED, "SIGSEGV"),
    }


def test_a_rehearsal_is_marked_in_its_records_and_never_mistaken_for_the_run(run: Run) -> None:
    run.keep("scan errors", {"backend": "cpu"}, dict)
    assert [r.cell["scale"] for r in run.part("scan errors")] == ["rehearsal"]
    run.scale = FULL
    assert run.part("scan errors") == []


def test_the_shapes_are_those_of_the_model_at_2048() -> None:
    config = DynamicVisConfig()
    expected = []
    for stage, (width, keep) in enumerate(zip(config.widths, config.keep, strict=True)):
        rows = 2048 // 4 // 2**stage
        expected.append((rows * rows // keep + rows, 2 * width))
    assert FULL.shapes == tuple(expected)
    assert FULL.states == config.states


# -- races


def test_contenders_take_turns_and_one_that_fails_leaves_the_others_racing() -> None:
    order: list[str] = []

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")

    contenders = {"a": lambda: order.append("a"), "broken": fail, "b": lambda: order.append("b")}
    samples, failed = race(contenders, "cpu", rounds=3, least_s=0.0)
    assert order[-6:] == ["a", "b"] * 3
    assert {name: len(ms) for name, ms in samples.items()} == {"a": 3, "b": 3}
    assert failed == {"broken": "OutOfMemoryError: CUDA out of memory. Tried to allocate"}


def test_a_sample_of_fast_calls_holds_many_and_counts_one() -> None:
    calls: list[None] = []
    samples, _ = race({"fast": lambda: calls.append(None)}, "cpu", rounds=2, least_s=0.005)
    assert len(calls) > 100
    assert max(samples["fast"]) < 5  # ms a call, not a sample


# -- scans


def test_scans_that_are_right_have_small_errors_both_ways() -> None:
    scans = Scans("cpu", 16)
    assert "cpu" in scans.backends()
    assert "reference" not in scans.backends()
    for reverse in (False, True):
        errors = scans.errors("cpu", 45, 20, reverse, True)
        assert errors.keys() == {"forward", "backward"}
        assert max(errors.values()) < 1e-5


def test_a_scan_that_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = BACKENDS["cpu"]

    def off(*arguments: Any) -> list[Tensor | None]:
        found = right.differentiate(*arguments)
        return [*found[:2], None if found[2] is None else 1.5 * found[2], *found[3:]]

    wrong = replace(right, scan=lambda *arguments: 1.25 * right.scan(*arguments), differentiate=off)
    monkeypatch.setitem(BACKENDS, "cpu", wrong)
    errors = Scans("cpu", 16).errors("cpu", 45, 20, False, True)
    assert errors == {"forward": pytest.approx(0.25, rel=1e-3), "backward": pytest.approx(0.5, rel=1e-3)}


@pytest.mark.parametrize("backward", [False, True])
def test_scans_are_timed_both_ways(backward: bool) -> None:
    samples, failed = Scans("cpu", 16).times(["cpu"], 10, 8, "bf16", backward, 2, 0.0)
    assert failed == {}
    assert len(samples["cpu"]) == 2


# -- the published graph


def backbone() -> DynamicVis:
    torch.manual_seed(0)
    config = DynamicVisConfig(widths=(24, 48, 96, 192), depths=(1, 1, 2, 1), image_size=64, scan="reference")
    model = DynamicVis(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate.weight", "out_proj.weight")):
                parameter.mul_(4)
    return model


@torch.no_grad()
def test_the_opponent_is_the_published_function_on_the_same_weights() -> None:
    model = backbone()
    opponent = published(model, "reference")
    image = torch.randn(2, 3, 64, 96)
    assert [p is q for p, q in zip(model.parameters(), opponent.parameters(), strict=True)].count(False) == 0
    for result, expected in zip(opponent(image), two_pass_forward(model, image, "reference"), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    mixers = [m for m in opponent.modules() if isinstance(m, TwoPassMixer)]
    assert len(mixers) == 5
    assert not any(isinstance(m, TwoPassMixer) for m in model.modules())


def inner(
    xz: Tensor, conv: Tensor, conv_bias: Tensor, x_proj: Tensor, dt_proj: Tensor, out_proj: Tensor, out_bias: None,
    A: Tensor, B: None, C: None, D: Tensor, *, delta_bias: Tensor, delta_softplus: bool,
) -> Tensor:  # fmt: skip
    """As mamba-ssm documents `mamba_inner_fn`: xz is (batch, 2 inner, length), the result (batch, length, width)."""
    assert delta_softplus
    assert (B, C, out_bias) == (None, None, None)
    x, z = xz.chunk(2, dim=1)
    u = F.silu(F.conv1d(x, conv, conv_bias, padding=conv.shape[2] - 1, groups=conv.shape[0])[..., : x.shape[2]])
    rank, states = dt_proj.shape[1], A.shape[1]
    dt, b, c = F.linear(u.transpose(1, 2), x_proj).split([rank, states, states], dim=-1)
    delta = F.linear(dt, dt_proj)
    y = selective_scan(u.transpose(1, 2), delta, A, b, c, D, z.transpose(1, 2), delta_bias, backend="reference")
    return F.linear(y, out_proj)


@torch.no_grad()
def test_the_opponent_hands_mamba_ssm_what_its_function_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_module, "fused_mamba", lambda: inner)
    model, image = backbone(), torch.randn(1, 3, 64, 64)
    expected = two_pass_forward(model, image, "reference")
    for result, exact in zip(published(model, "mamba_ssm")(image), expected, strict=True):
        torch.testing.assert_close(result, exact, rtol=1e-4, atol=1e-5)


def test_ours_needs_less_memory_than_the_published_graph_and_no_more_than_two_percent_of_eager_vit() -> None:
    def live(make: Any) -> int:
        return count(make, 2048).live_bytes

    ours = live(partial(build, "dynamicvis_b"))
    assert ours < live(lambda: published(build("dynamicvis_b"), "auto"))
    assert ours <= 0.02 * live(partial(build, "vit_b16", attention="eager"))


def test_variants_compute_the_same() -> None:
    variants = Variants("dynamicvis_t", 64, "fp32", "cpu")
    names = variants.names()
    assert names[:2] == [OURS, PLAIN]
    assert TWO_PASS + "cpu" in names
    assert max(variants.error(name) for name in names) < 1e-5
    assert all(variants.peak(name) > 2**20 for name in names)
    samples, failed = variants.times(names, 2, 0.0)
    assert samples.keys() == set(names)
    assert failed == {}


# -- the summary


def kept(run: Run, part: str, cell: dict[str, Any], **measures: Measure) -> None:
    run.keep(part, cell, lambda: measures)


def ms(*samples: float) -> Measure:
    return Measure(samples[0], "ms", "measured", samples)


def goal(run: Run, what: str) -> list[str]:
    (row,) = [row for row in summary.goals(run).rows if what in row[0]]
    return row[1:]


@pytest.mark.parametrize(
    ("triton", "found", "verdict"), [((0.6, 0.9, 0.7), "0.7", "met"), ((0.9, 0.9, 0.6), "0.9", "MISSED")]
)
def test_the_scan_goal_is_the_median_of_the_pairs(
    run: Run, triton: tuple[float, ...], found: str, verdict: str
) -> None:
    cell = {"length": 40, "channels": 48, "dtype": "bf16", "way": "forward"}
    kept(run, "scan times", cell, triton=ms(*triton), mamba_ssm=ms(1.0, 1.0, 1.0))
    assert goal(run, "scan forward, 40 x 48, bf16") == ["at most 0.8", found, verdict]


def test_without_mamba_ssm_no_ratio_is_claimed(run: Run) -> None:
    cell = {"length": 40, "channels": 48, "dtype": "fp32", "way": "backward"}
    kept(run, "scan times", cell, triton=ms(1.0))
    assert goal(run, "scan backward, 40 x 48, fp32") == [
        "at most 1",
        "",
        "not run: both triton and mamba-ssm have to run",
    ]
    assert goal(run, "two-pass graph on mamba-ssm") == ["at most 0.5", "", "not run: mamba-ssm has to run"]


def test_the_worst_error_counts_and_a_failure_is_a_missed_goal(run: Run) -> None:
    assert goal(run, "scans, forward")[1:] == ["", "not run"]
    cell = {"backend": "triton", "length": 40, "channels": 48, "direction": "forward"}
    kept(run, "scan errors", cell, forward_error=Measure(1e-7, "1", "measured"))
    assert goal(run, "scans, forward")[1:] == ["1e-07 (triton, 40 steps)", "met"]
    kept(run, "scan errors", cell | {"length": 70}, forward_error=Measure(3e-2, "1", "measured"))
    assert goal(run, "scans, forward")[1:] == ["3e-02 (triton, 70 steps)", "MISSED"]


def test_a_scan_that_crashed_is_a_missed_goal_however_small_the_other_errors(run: Run) -> None:
    cell = {"backend": "triton", "length": 40, "channels": 48, "direction": "forward"}
    kept(run, "scan errors", cell, forward_error=Measure(1e-7, "1", "measured"))

    def crash() -> dict[str, Measure]:
        raise IsolatedFailure("scans", "crashed", "ended by SIGSEGV in errors")

    run.keep("scan errors", cell | {"length": 70}, crash)
    assert goal(run, "scans, forward")[1:] == ["1e-07 (triton, 40 steps); 1 failed", "MISSED"]
    assert ["triton", "70", "48", "forward", "crashed", "crashed"] in summary.errors(run).rows


def profiled(model: str, attention: str, latency: tuple[float, ...], peak: float) -> Record:
    cell = Cell(model, 64, device="cuda", attention=attention)
    return Record(
        cell=cell.as_dict(),
        identity=f"{abs(hash((model, latency))):016x}",
        status=Status.OK,
        reason="",
        measures={"latency_ms": ms(*latency), "cuda_allocated_peak_bytes": Measure(peak, "B", "measured")},
        environment=HERE,
        created="2026-01-02T03:04:05+00:00",
        command="dvbench gpu",
        group="a",
    )


def test_the_model_goals_come_from_the_table_cells(run: Run) -> None:
    run.ledger.write(profiled("dynamicvis_b", "none", (3.0, 5.0, 3.0), 520.0))
    run.ledger.write(profiled("vit_b16", "eager", (100.0, 100.0, 100.0), 25_000.0))
    assert goal(run, "latency at 64 px") == ["at most 0.04", "0.03", "met"]
    assert goal(run, "peak memory at 64 px") == ["at most 0.02", "0.0208", "MISSED"]


def test_a_rehearsal_says_so_on_top_and_the_archive_holds_everything(run: Run) -> None:
    kept(run, "scan errors", {"backend": "cpu", "length": 1, "channels": 1, "direction": "forward"})
    text, archive = summary.write(run)
    text, archive = summary.write(run)
    assert summary.REHEARSED in text.read_text()
    with tarfile.open(archive) as packed:
        names = packed.getnames()
    assert "out/summary.md" in names
    assert sum(name.startswith("out/records/") for name in names) == 1
    assert not any(name.endswith(summary.ARCHIVE) for name in names)
    run.scale = FULL
    assert summary.REHEARSED not in summary.write(run)[0].read_text()


# -- dvbench gpu


def test_without_a_gpu_one_line_names_the_rehearsal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["gpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "dvbench: torch sees no CUDA device: 'dvbench gpu --rehearse' takes the same way on this CPU, tiny"


def test_a_step_that_fails_gives_exit_code_one_and_keeps_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Run) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(steps_module, "steps", lambda _: [Step("broken", 60, broken)])
    assert cli.main(["gpu", "--rehearse", "--out", str(tmp_path)]) == 1
    assert "dvbench: broken: OutOfMemoryError: CUDA out of memory" in capsys.readouterr().err
    assert "| broken |" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / summary.ARCHIVE).is_file()


@pytest.mark.slow
def test_a_rehearsal_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        steps_module, "draw", lambda _: None
    )  # counts all models at all sizes; tested where it is drawn
    assert cli.main(["gpu", "--rehearse", "--minutes", "30", "--out", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} >= {"summary.md", "doctor.md", "records", summary.ARCHIVE}
    records = [Record.from_json(p.read_text(), str(p)) for p in (tmp_path / "records").glob("*.json")]
    assert {r.cell.get("part") for r in records} == {None, "scan errors", "scan times", "variant", "variant times"}
    assert [r.reason for r in records if r.status != Status.OK] == []
    cells = [r for r in records if "part" not in r.cell]
    assert all("peak_flops" in r.measures and r.measures.keys() <= MEASURES.keys() for r in cells)


def test_it_needs_no_package_that_an_image_with_torch_may_lack() -> None:
    lacking = (
        "rasterio torchgeo fvcore faster_coco_eval geopandas shapely segmentation_models_pytorch pydantic lightning"
    )
    code = f"""
import sys
class Lacking:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {lacking.split()!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Lacking())
import dvbench.cli, dvbench.gpu.steps, dvbench.gpu.summary
from dvbench.data.scene import default_scene, load_scene
load_scene(default_scene(), 32)
"""
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=300)  # noqa: S603


# -- another machine's records


def test_tables_are_drawn_from_another_machines_records(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.ledger.write(profiled("dynamicvis_b", "none", (3.0, 3.0, 3.0), 520.0))
    code = cli.main(["report", "figure20", "--records", str(run.ledger.folder), "--out", str(tmp_path / "here")])
    assert code == 0
    assert (tmp_path / "here" / "figure20.png").is_file()
    assert not (tmp_path / "here" / "records").exists()
    capsys.readouterr()


def test_where_nothing_was_measured_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "table14", "--records", str(tmp_path / "nvidia-h200"), "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nvidia-h200 holds no records: measure on that machine and copy them there, see docs/gpu.md" in line
