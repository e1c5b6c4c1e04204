"""The roofline: how much of a device's speed and bandwidth a model reaches, and each kind of its ops.

Work is counted (see `dvbench.profile.counters` and `traffic`), time is measured, and so are the ceilings, on the same
device in the same run: a data sheet's are reached by nobody.
"""

import os
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from dvbench.profile.clock import synchronizer, time_once
from dvbench.profile.counters import Counts
from reports.record import KINDS, Measure, Record
from reports.roofline import Point, Roof
from reports.table import Table

TRIES = 5
CAPTION = (
    "Stars: whole models; hollow: kinds of ops. Work is counted, time and ceilings were measured in the same run. What "
    "lies above the slope had its data in a cache."
)
MATMUL = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"}
_SIDE = {"cuda": 8192, "cpu": 2048}  # of the matrices: 10 ms or more on either
_LENGTH = {"cuda": 2**27, "cpu": 2**25}  # of the triad's vectors: far beyond any cache


def kind_of(op: str) -> str:
    """Return the kind of an op by its name, such as `aten.mm` or `aten::mm`; see `reports.record.KINDS`."""
    name = op.replace("::", ".").split(".")[1]
    if name in MATMUL:
        return "matmul"
    if "scaled_dot_product" in name or "attention" in name:
        return "attention"
    if "selective_scan" in name:
        return "scan"
    return "convolution" if "conv" in name or name.startswith("addcmul") else "elementwise"


def work_by_kind(counts: Counts) -> dict[str, Measure]:
    """Return the FLOPs and bytes of each kind of op that a model has."""
    flops, moved = _by_kind(counts.flops), _by_kind(counts.bytes_moved)
    return {
        **{f"{kind}_flops": Measure(int(flops[kind]), "FLOP", "counted") for kind in KINDS if moved[kind]},
        **{f"{kind}_bytes": Measure(int(moved[kind]), "B", "counted") for kind in KINDS if moved[kind]},
    }


def seconds_by_kind(call: Callable[[], object], device: str) -> dict[str, float]:
    """Profile one call and return the seconds of each kind of op that took any.

    Args:
        call: what is profiled; warm.
        device: a torch device. On a GPU the time of the kernels counts, on a CPU that of the ops themselves.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells every machine without a GPU about it
    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        call()
        synchronizer(device)()
    spent = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
        for event in profiler.key_averages()
        if event.device_type.name == "CPU" and "::" in event.key  # not a kernel, whose time its op has as well
    }
    return {kind: seconds for kind, seconds in _by_kind(spent).items() if seconds > 0}


def ceilings(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Measure the ceilings of a device: FLOP/s of a large matrix product and B/s of a large triad, the best of five.

    Args:
        device: a torch device.
        dtype: of the operands; random numbers, because a GPU multiplies zeros faster than it can anything else.
    """
    kind = torch.device(device).type
    side, length = _SIDE[kind], _LENGTH[kind]
    matrix = torch.randn(side, side, device=device).to(dtype)
    product_s = _best(lambda: matrix @ matrix, device)
    a, b, c = (torch.ones(length, device=device, dtype=dtype) for _ in range(3))
    triad_s = _best(lambda: torch.add(b, c, alpha=2.0, out=a), device)
    return 2 * side**3 / product_s, 3 * a.nbytes / triad_s


def roofline_table(records: Sequence[Record]) -> Table:
    """Return one row for each model and one for each kind of its ops: work, time, and what is reached of the device."""
    body = []
    for record in records:
        if "peak_flops" not in record.measures:
            continue
        body.append([_label(record), "all", *_row(record, "", "latency_ms")])
        body += [["", kind, *_row(record, kind, f"{kind}_ms")] for kind in KINDS if f"{kind}_ms" in record.measures]
    columns = ["Model", "ops", "GFLOP", "GB moved", "FLOP/B", "ms", "TFLOP/s", "GB/s", "of peak FLOP/s", "of peak B/s"]
    notes = [
        "GFLOP and GB: counted; GB: every operand of an op read once, every result written once.",
        "ms: all: the steady state's median; by kind: the ops' own time in one forward pass under torch's profiler.",
        "of peak B/s: above 100 % the data came from a cache, which the ceiling of the memory does not know.",
        *(f"elementwise: {KINDS['elementwise']}; its additions and multiplications are not counted." for _ in body[:1]),
        *(f"ceilings: {roof.label}." for roof in roofs(records)),
    ]
    return Table("Roofline", columns, body, notes)


def roofs(records: Sequence[Record]) -> list[Roof]:
    """Return the ceilings that were measured, one of a device and dtype: the highest, since load only lowers them."""
    found: dict[str, Roof] = {}
    for record in records:
        if "peak_flops" in record.measures:
            name = f"{record.hardware}, {record.cell['dtype']}"
            flops, bandwidth = _value(record, "peak_flops"), _value(record, "peak_bandwidth")
            old = found.get(name, Roof(name, flops, bandwidth))
            found[name] = Roof(name, max(flops, old.flops), max(bandwidth, old.bandwidth))
    return list(found.values())


def points(records: Sequence[Record]) -> list[Point]:
    """Return a point for each model as a whole, and one for each kind of its ops that has counted FLOPs."""
    found = []
    for record in records:
        if "peak_flops" not in record.measures or "latency_ms" not in record.measures:
            continue
        for kind in ("", *KINDS):
            flops, moved, ms = _work(record, kind, f"{kind}_ms" if kind else "latency_ms")
            if flops and moved and ms:
                found.append(Point(_label(record), kind or "all", flops / moved, 1e3 * flops / ms))
    return found


def _label(record: Record) -> str:
    attention = record.cell["attention"]
    switch = "" if attention == "none" else f" ({attention})"
    return f"{record.cell['model']}{switch}, {record.cell['resolution']} px"


def _row(record: Record, kind: str, time: str) -> list[str]:
    flops, moved, ms = _work(record, kind, time)
    speed, rate = (1e3 * flops / ms, 1e3 * moved / ms) if ms else (0.0, 0.0)
    return [
        f"{flops / 1e9:.3g}",
        f"{moved / 1e9:.3g}",
        f"{flops / moved:.3g}" if moved else "",
        f"{ms:.3g}" if ms else "",
        f"{speed / 1e12:.3g}",
        f"{rate / 1e9:.3g}",
        f"{speed / _value(record, 'peak_flops'):.0%}",
        f"{rate / _value(record, 'peak_bandwidth'):.0%}",
    ]


def _work(record: Record, kind: str, time: str) -> tuple[float, float, float]:
    """FLOPs, bytes and milliseconds of a kind of op; of all of them if `kind` is empty."""
    names = (f"{kind}_flops", f"{kind}_bytes") if kind else ("flops", "bytes_moved")
    flops, moved, ms = (_value(record, name) for name in (*names, time))
    return flops, moved, ms


def _value(record: Record, name: str) -> float:
    measure = record.measures.get(name)
    return float(measure.value or 0) if measure else 0.0


def _by_kind(numbers: Mapping[str, float]) -> dict[str, float]:
    found = dict.fromkeys(KINDS, 0.0)
    for op, number in numbers.items():
        found[kind_of(op)] += number
    return found


def _best(call: Callable[[], object], device: str) -> float:
    call()
    return min(time_once(call, synchronizer(device)) for _ in range(TRIES))
