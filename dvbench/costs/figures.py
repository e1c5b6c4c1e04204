"""Figures 20 and 21."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from dvbench.costs.found import Found
from dvbench.costs.numbers import MIB, cell
from dvbench.paper.cost_rows import RESOLUTIONS, Ours, name, printed, rows
from dvbench.profile.sweep import counts_of
from reports.plot import Series, resolution_plot
from reports.record import Status

STAR = "* not in the paper."


def figure20(found: Found) -> Figure:
    """Figure 20: latency over resolution, as far as it was measured."""
    return resolution_plot(
        [*paper_series("latency_ms"), *latency(found)],
        ylabel="Latency, batch 1 (ms)",
        title="Latency over input size (figure 20)",
        caption=f"{found.stamp} Paper: arXiv 2503.16426v1, table 14, GPU not stated. {STAR}",
    )


def figure21() -> Figure:
    """Figure 21: memory over resolution. Ours is counted, and so known at every resolution on any machine."""
    return resolution_plot(
        [*paper_series("memory_mb"), *counted_memory()],
        ylabel="Memory, batch 1 (MiB)",
        title="Memory over input size (figure 21)",
        caption="Ours: live bytes, weights included, fp32, counted exactly on the meta device, nothing was run. "
        f"Paper: arXiv 2503.16426v1, table 14, measured, GPU not stated. {STAR}",
    )


def latency(found: Found) -> list[Series]:
    """Return measured latency by model, and where it ran out of memory."""
    series = []
    for row, model in rows(14).items():
        series.append(_series(name(row), found.resolutions, partial(found.value, model, name="latency_ms")))
        for status, predicted in ((Status.OOM, False), (Status.OOM_PREDICTED, True)):
            oom = [s for s in found.resolutions if (r := found.get(model, s)) and r.status == status]
            if oom:
                series.append(Series(name(row), [], [], oom=list(oom), predicted=predicted))
    return series


def counted_memory() -> list[Series]:
    """Return live bytes by model, at every resolution of the paper, in MiB."""
    return [_series(name(row), RESOLUTIONS, partial(_live_mib, model)) for row, model in rows(14).items()]


def measured_memory(found: Found) -> list[Series]:
    """Return the peak that was measured, by model, in MiB."""
    key = "resident_peak_bytes" if found.cpu else "cuda_allocated_peak_bytes"
    return [_series(name(row), found.resolutions, partial(_mib, found, key, model)) for row, model in rows(14).items()]


def paper_series(column: str) -> Iterator[Series]:
    """Yield a column of the paper's table 14 by model."""
    lines = printed(14)
    for row in dict.fromkeys(row for row, _ in lines):
        sides = {side: lines[row, side] for side in RESOLUTIONS}
        points = [(side, float(line[column])) for side, line in sides.items() if line[column]]
        oom = [side for side, line in sides.items() if line["oom"] == "true"]
        yield Series(name(row), [x for x, _ in points], [y for _, y in points], kind="paper", oom=list(oom))


def _mib(found: Found, key: str, model: Ours, side: int) -> float | None:
    value = found.value(model, side, key)
    return None if value is None else value / MIB


def _live_mib(model: Ours, side: int) -> float:
    return counts_of(cell(model, side)).live_bytes / MIB


def _series(label: str, sides: Sequence[int], value: Callable[[int], float | None]) -> Series:
    points = [(side, y) for side in sides if (y := value(side)) is not None and y > 0]
    return Series(label, [x for x, _ in points], [y for _, y in points])
