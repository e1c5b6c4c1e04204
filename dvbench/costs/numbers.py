"""Tables 13 and 14 number by number: each that the paper prints beside ours, with the verdict and its record."""

from collections.abc import Iterator, Mapping

from dvbench.costs.found import Found
from dvbench.paper.cost_rows import Ours, Row, name, printed, rows
from dvbench.profile.cell import Cell
from dvbench.profile.sweep import counts_of
from reports.compare import Comparison, compare
from reports.record import Status

MIB = 2**20
MEMORY_TOLERANCE = 0.05  # counted tensors against a measured peak, which also holds library workspace
COUNT_TOLERANCE = 0.01  # tools differ in which small ops they count
PARAMETER_TOLERANCE = 0.001
COUNTED = "counted"  # on the meta device: needs no record
OTHER_HARDWARE = "other hardware than the paper's"

Line = Mapping[str, str]


def compared(number: int, found: Found) -> list[Comparison]:
    """Return table 13 or 14 number by number, in the order of its rows."""
    made: list[Comparison] = []
    lines = printed(number)
    for row, model in rows(number).items():
        if (row, 512) not in lines:
            continue  # a row of ours
        made += [parameters(row, model, lines[row, 512]), flops(row, model, lines[row, 512])]
        for side in (side for other, side in lines if other == row):
            made += _measured(number, found, row, side, lines[row, side])
    return made


def parameters(row: Row, model: Ours, line: Line) -> Comparison:
    """Compare parameters in millions."""
    ours = counts_of(cell(model, 512)).parameters / 1e6
    return _counted(name(row), "parameters (M)", line.get("params_m", ""), ours, PARAMETER_TOLERANCE)


def flops(row: Row, model: Ours, line: Line) -> Comparison:
    """Compare FLOPs at 512 px in 10^9, counted by the paper's convention."""
    ours = counts_of(cell(model, 512)).paper_flops / 1e9
    return _counted(name(row), "FLOPs (G)", line.get("flops_g", ""), ours, COUNT_TOLERANCE)


def memory(row: Row, side: int, line: Line, live: float) -> Comparison:
    """Compare live bytes with the paper's memory, both in MiB."""
    label = f"{name(row)}, {side} px"
    return _counted(label, "memory (MiB)", line.get("memory_mb", ""), live / MIB, MEMORY_TOLERANCE)


def live_bytes(found: Found, model: Ours, side: int) -> float:
    """Return the live bytes of a model, from its record or counted now."""
    return found.value(model, side, "live_bytes") or counts_of(cell(model, side)).live_bytes


def cell(model: Ours, side: int) -> Cell:
    """Return the cell of one of our models, to be counted."""
    return Cell(model[0], side, attention=model[1]).settled()


def _measured(number: int, found: Found, row: Row, side: int, line: Line) -> Iterator[Comparison]:
    model = rows(number)[row]
    if number == 13:
        yield _timed(
            found, name(row), (model, side), "throughput (img/s)", line, ("throughput_samples_per_s", "throughput")
        )
        yield _timed(found, name(row), (model, side), "largest batch", line, ("max_batch_size", "max_batch_size"))
        return
    label = f"{name(row)}, {side} px"
    if line["oom"] != "true":
        yield memory(row, side, line, live_bytes(found, model, side))
        yield _timed(found, label, (model, side), "latency (ms)", line, ("latency_ms", "latency_ms"))


def _timed(
    found: Found, row: str, key: tuple[Ours, int], column: str, line: Line, names: tuple[str, str]
) -> Comparison:
    record = found.get(*key)
    ran = record is not None and record.status == Status.OK
    reason = OTHER_HARDWARE if ran else f"{record.status}: {record.reason}" if record else "not measured here"
    value = found.value(*key, names[1]) if ran else None
    source = record.identity[:12] if record else ""
    return compare(row, column, line[names[0]], value, tolerance=0, comparable=False, reason=reason, source=source)


def _counted(row: str, column: str, theirs: str, ours: float, tolerance: float) -> Comparison:
    return compare(row, column, theirs, ours, tolerance=tolerance, comparable=True, reason="", source=COUNTED)
