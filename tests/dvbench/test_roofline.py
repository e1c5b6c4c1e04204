"""Bytes by hand, kinds of ops by name, and the table's and plot's numbers from records made by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dvbench import cli
from dvbench.profile import roofline
from dvbench.profile.cell import Cell
from dvbench.profile.counters import count
from dvbench.profile.roofline import (
    ceilings,
    kind_of,
    points,
    roofline_table,
    roofs,
    seconds_by_kind,
    work_by_kind,
)
from models.zoo import build_classifier
from reports.record import MEASURES, Measure, Record, Status
from reports.roofline import Roof

FLOAT = 4
SIDE = 32
PIXELS = 3 * SIDE**2  # of one image


class OneOp(nn.Module):
    """A model of one function."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.function(image)  # type: ignore[operator]
        return out


def moved(function: object) -> int:
    return sum(count(lambda: OneOp(function), SIDE).bytes_moved.values())


def index_of(image: Tensor) -> Tensor:
    return torch.zeros(1, 3, SIDE, 5, dtype=torch.long, device=image.device)


# -- bytes


def test_a_view_moves_nothing() -> None:
    assert moved(lambda image: image.flatten(2).transpose(1, 2)[:, ::2]) == 0


def test_a_sum_reads_both_and_writes_one() -> None:
    assert moved(lambda image: image + image) == 3 * PIXELS * FLOAT


def test_in_place_reads_and_writes_the_same_memory() -> None:
    assert moved(lambda image: image.mul_(2)) == 2 * PIXELS * FLOAT


def test_what_is_expanded_is_read_once() -> None:
    # One number a channel is read, the image is read and written.
    one = moved(lambda image: image.mul_(image[:, :, :1, :1]))
    full = moved(lambda image: image.mul_(image[:, :, :1, :1].expand_as(image)))
    assert one == (2 * PIXELS + 3) * FLOAT
    assert full == 3 * PIXELS * FLOAT  # at most the memory that lies behind it


def test_a_gather_reads_no_more_than_it_returns() -> None:
    picked = 3 * SIDE * 5
    fill = picked * 8  # the zeros of the index are written once
    assert moved(lambda image: image.gather(3, index_of(image))) == fill + picked * (8 + 2 * FLOAT)


def test_a_scatter_touches_no_more_than_it_adds() -> None:
    added = 3 * SIDE * 5
    fill = added * 8
    # index, what is added, and the places it is added to, read and written
    assert moved(lambda image: image.scatter_add_(3, index_of(image), image[..., :5])) == fill + added * (8 + 3 * FLOAT)


def test_a_product_reads_both_operands_and_writes_the_result() -> None:
    counts = count(lambda: nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 10)), SIDE)
    assert counts.bytes_moved["aten.addmm"] == (PIXELS + PIXELS * 10 + 10 + 10) * FLOAT
    assert counts.bytes_moved["aten.addmm"] == sum(counts.bytes_moved.values())


def test_the_scan_reads_its_inputs_and_writes_its_output() -> None:
    counts = count(lambda: build_classifier("dynamicvis_t", keep=(0, 0, 0, 0)), 64)
    expected = 0
    for width, depth, steps in ((24, 1, 256), (48, 1, 64), (96, 2, 16), (192, 1, 4)):
        inner, states = 2 * width, 16
        sequences = steps * (4 * inner + 2 * states)  # u, delta, z, the output; B and C
        vectors = inner * (states + 2)  # A; D and the bias of delta
        expected += 2 * depth * (sequences + vectors) * FLOAT
    assert counts.bytes_moved["dvbench.selective_scan"] == expected


# -- kinds


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("aten.addmm", "matmul"),
        ("aten::bmm", "matmul"),
        ("aten.convolution", "convolution"),
        ("aten::cudnn_convolution", "convolution"),
        ("aten.addcmul_", "convolution"),
        ("aten._scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::_efficient_attention_forward", "attention"),
        ("dvbench::selective_scan", "scan"),
        ("aten.native_layer_norm", "elementwise"),
        ("dvbench::gather_norm", "elementwise"),
    ],
)
def test_kinds_by_name(op: str, kind: str) -> None:
    assert kind_of(op) == kind


@pytest.mark.parametrize("model", ["dynamicvis_t", "vit_b16", "resnet18"])
def test_kinds_add_up_to_the_whole(model: str) -> None:
    counts = count(lambda: build_classifier(model), 64)
    work = work_by_kind(counts)
    for quantity, total in (("flops", counts.total_flops), ("bytes", sum(counts.bytes_moved.values()))):
        assert sum(m.value or 0 for name, m in work.items() if name.endswith(quantity)) == total
    assert work.keys() <= MEASURES.keys()
    assert work["elementwise_flops"].value == 0


def test_time_goes_to_the_kind_that_takes_it() -> None:
    matrix, vector = torch.randn(400, 400), torch.randn(10)

    def call() -> None:
        for _ in range(10):
            matrix @ matrix
        vector.exp()

    times = seconds_by_kind(call, "cpu")
    assert times["matmul"] > times["elementwise"] > 0
    assert times.keys() == {"matmul", "elementwise"}


def test_ceilings_are_those_of_what_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_SIDE", {"cpu": 64})
    monkeypatch.setattr(roofline, "_LENGTH", {"cpu": 1000})
    monkeypatch.setattr(roofline, "time_once", lambda call, _: call() is None or 1e-3)
    flops, bandwidth = ceilings("cpu", torch.float32)
    assert flops == pytest.approx(2 * 64**3 / 1e-3)
    assert bandwidth == pytest.approx(3 * 1000 * FLOAT / 1e-3)


# -- table and plot


def record(model: str = "vit_b16", *, peak: float = 4e12, **values: float) -> Record:
    units = {name: MEASURES[name][0] for name in values}
    return Record(
        cell=Cell(model, 512, attention="sdpa").as_dict(),
        identity="0123456789ab",
        status=Status.OK,
        reason="",
        measures={name: Measure(value, units[name], "measured") for name, value in values.items()}
        | {"peak_flops": Measure(peak, "FLOP/s", "measured"), "peak_bandwidth": Measure(1e12, "B/s", "measured")},
        environment={"hardware": "Some GPU"},
        created="2026-01-02T03:04:05+00:00",
        command="dvbench profile",
        group="a",
    )


# 20 GFLOP and 4 GB in 10 ms: 2 TFLOP/s and 400 GB/s, half and 40 % of the ceilings.
WHOLE = {"flops": 20e9, "bytes_moved": 4e9, "latency_ms": 10.0}
SCAN = {"scan_flops": 2e9, "scan_bytes": 1e9, "scan_ms": 4.0}


def test_the_table_says_what_share_of_the_ceilings_is_reached() -> None:
    table = roofline_table([record(**WHOLE, **SCAN)])
    whole, scan = table.rows
    assert whole == ["vit_b16 (sdpa), 512 px", "all", "20", "4", "5", "10", "2", "400", "50%", "40%"]
    assert scan == ["", "scan", "2", "1", "2", "4", "0.5", "250", "12%", "25%"]
    assert any("Some GPU, fp32: 4 TFLOP/s, 1e+03 GB/s" in note for note in table.notes)


def test_points_are_work_a_byte_and_work_a_second() -> None:
    whole, scan = points([record(**WHOLE, **SCAN, elementwise_bytes=1e9, elementwise_ms=1.0)])
    assert (whole.kind, whole.intensity, whole.speed) == ("all", 5.0, 2e12)
    assert (scan.kind, scan.intensity, scan.speed) == ("scan", 2.0, 5e11)


def test_the_highest_ceiling_of_a_device_counts() -> None:
    assert roofs([record(peak=3e12), record(peak=4e12)]) == [Roof("Some GPU, fp32", 4e12, 1e12)]


def test_records_without_a_roofline_are_left_out() -> None:
    bare = record(**WHOLE)
    bare = Record(**{**bare.__dict__, "measures": {"latency_ms": bare.measures["latency_ms"]}})
    assert roofline_table([bare]).rows == []
    assert points([bare]) == []
    assert roofs([bare]) == []


# -- dvbench profile --roofline


def test_nothing_can_be_timed_in_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--roofline", "--dry-run"]) == 2
    assert "--roofline times what it counts: leave out --dry-run" in capsys.readouterr().err


def test_a_roofline_that_is_measured_for_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["profile", "--model", "dynamicvis_t", "--res", "64", "--repeat", "3", "--roofline", "--device", "cpu"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Roofline" in out
    for kind in ("matmul", "convolution", "scan", "elementwise"):
        assert kind in out
    assert {p.name for p in tmp_path.glob("roofline.*")} == {
        f"roofline.{e}" for e in ("md", "tex", "csv", "png", "svg", "pdf")
    }
    (path,) = (tmp_path / "records").glob("*.json")
    kept = Record.from_json(path.read_text(), str(path))
    assert kept.measures["peak_flops"].how == kept.measures["scan_ms"].how == "measured"
    assert kept.measures["scan_bytes"].how == "counted"
    assert {name: m.unit for name, m in kept.measures.items()} == {n: MEASURES[n][0] for n in kept.measures}
