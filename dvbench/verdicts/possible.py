"""Which numbers of a record cannot be: out of range, or in contradiction to each other or to the machine."""

import math
from collections.abc import Iterator
from statistics import median

from dvbench.verdicts.said import is_training
from reports.record import KINDS, MEASURES, Measure, Record, Status

COUNTS = ("1", "%")  # units of what may be zero
SHARES = {f"{kind}_flops" for kind in KINDS}  # and so may these: a kind of op may compute nothing
UNITS = ("%", "s", *(unit for unit, _ in MEASURES.values()))
LARGEST = 1e30  # nothing that is measured comes near
CLOSE = 1e-6  # relative


def values(record: Record) -> Iterator[str]:
    """Tell which numbers are of no unit of theirs, or out of range."""
    if record.status == Status.OK and not record.measures:
        yield "ended ok and holds no number"
    if record.status != Status.OK and not record.reason:
        yield f"ended '{record.status}' and does not say why"
    for name, measure in record.measures.items():
        yield from (f"{name} {flaw}" for flaw in _flaws(name, measure))


def _flaws(name: str, measure: Measure) -> Iterator[str]:
    unit = MEASURES[name][0] if name in MEASURES else measure.unit
    if measure.unit != unit or unit not in UNITS:
        yield f"is in '{measure.unit}': no unit of its"
    told = [*measure.samples, *([] if measure.value is None else [measure.value])]
    numbers = [*told, *(measure.interval or ())]
    if not all(number < LARGEST for number in numbers):
        yield "is no number that can be measured"
    elif any(number < 0 for number in numbers):
        yield "is negative"
    elif unit == "%" and any(number > 100 for number in numbers):
        yield "is above 100 %"
    elif 0 in told and unit not in COUNTS and name not in SHARES:
        yield "is zero"
    if measure.interval and measure.value is not None:
        low, high = measure.interval
        away = max(low - measure.value, measure.value - high)
        if low > high:
            yield "has an interval that ends before it begins"
        elif away > high - low + CLOSE:  # a little away it may lie: scores over few images shrink when resampled
            yield "lies further from its interval than that is wide"


def latency(record: Record) -> Iterator[str]:
    """Tell how latency and throughput of a cell contradict each other or the samples."""
    if record.status != Status.OK or is_training(record) or "part" in record.cell:
        return
    once, throughput = (record.measures.get(name) for name in ("latency_ms", "throughput"))
    if not (once and once.value and throughput and throughput.value):
        yield "ended ok without latency_ms or throughput"
        return
    if not (once.samples and close(once.value, median(once.samples))):
        yield "latency_ms is not the median of its samples"
    images = 1e3 * _number(record.cell.get("batch")) / once.value
    if not close(throughput.value, images):
        yield f"throughput is not what batch and latency give, {images:.4g} img/s"


def memory(record: Record) -> Iterator[str]:
    """Tell which peaks are more than the machine has."""
    own = "gpu_memory_bytes" if record.environment.get("gpu") else "ram_bytes"
    for start, holds in (("cuda_", "gpu_memory_bytes"), ("resident_", "ram_bytes"), ("peak_bytes", own)):
        room = _number(record.environment.get(holds))
        for name, measure in record.measures.items():
            if name.startswith(start) and (measure.value or 0) > room:
                yield f"{name} is more than the {holds} of the machine"


def close(one: float, other: float) -> bool:
    """Whether two numbers are the same but for rounding."""
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def _number(told: object) -> float:
    """Return a number; NaN, which is above and below none, for anything else: that it is none is told elsewhere."""
    return told if isinstance(told, int | float) else math.nan
