"""Records as the table that `dvbench profile` prints."""

from collections.abc import Sequence

from reports.record import Measure, Record, Status
from reports.stats import summarise
from reports.table import Table

MIB = 2**20


def summary(records: Sequence[Record]) -> Table:
    """Return one row a record: speed, memory and cost, each under the name that says how it was obtained."""
    columns = [
        "Model",
        "px",
        "latency p50 (ms)",
        "min - p90",
        "n",
        "img/s",
        "peak here (MiB)",
        "live (MiB)",
        "params (M)",
        "GMACs",
        "status",
    ]
    notes = [
        "latency: steady state, models of one size timed in turn; noisy: interquartile range above 25 % of the median.",
        "peak here: weights and what one forward pass added, measured; live: tensors that exist at one time, counted.",
        *(f"{_label(r)} at {r.cell['resolution']} px: {r.status}: {r.reason}." for r in records if r.reason),
    ]
    largest = [r for r in records if "max_batch_size" in r.measures]
    notes += [f"{_label(r)}: largest batch {_largest(r.measures['max_batch_size'])}." for r in largest]
    ok = next((r for r in records if r.status == Status.OK), records[0])
    here = ok.environment
    caption = (
        f"{here['hardware']}, {here['threads']} threads, torch {here['torch']}, {ok.cell['dtype']}, batch "
        f"{ok.cell['batch']}, input {ok.cell['image']}, random weights (seed {ok.cell['seed']})."
    )
    return Table("Profile", columns, [_row(record) for record in records], notes, caption)


def counts(records: Sequence[Record]) -> Table:
    """Return the exact counts of cells that were not run, one row each."""
    names = ("parameters", "macs", "flops", "paper_flops")
    columns = [
        "Model",
        "px",
        "params (M)",
        "GMACs",
        "GFLOPs",
        "paper's FLOPs (G)",
        "live (MiB)",
        "tokens kept by stage",
    ]
    body = []
    for record in records:
        params, *work = (record.measures[name].value or 0 for name in names)
        kept = record.measures.get("tokens_kept")
        body.append(
            [
                _label(record),
                str(record.cell["resolution"]),
                f"{params / 1e6:.2f}",
                *(f"{number / 1e9:.2f}" for number in work),
                _mib(record.measures.get("live_bytes")),
                kept.note.removeprefix("by stage: ") if kept else "",
            ]
        )
    note = (
        "Counted on the meta device: exact, nothing was run. The paper's FLOPs are multiply-adds of its two-pass graph."
    )
    return Table("Counts of one forward pass", columns, body, [note])


def _row(record: Record) -> list[str]:
    latency = record.measures.get("latency_ms")
    timed = summarise(latency.samples) if latency else None
    throughput = record.measures.get("throughput")
    peak = record.measures.get("cuda_allocated_peak_bytes") or record.measures.get("resident_peak_bytes")
    return [
        _label(record),
        str(record.cell["resolution"]),
        f"{timed.p50:.1f}" if timed else "",
        f"{timed.minimum:.1f} - {timed.p90:.1f}" if timed else "",
        f"{timed.n}{' noisy' if timed.noisy else ''}" if timed else "",
        f"{throughput.value:.3g}" if throughput else "",
        _mib(peak),
        _mib(record.measures.get("live_bytes")),
        f"{(record.measures['parameters'].value or 0) / 1e6:.2f}",
        f"{(record.measures['macs'].value or 0) / 1e9:.2f}",
        record.status,
    ]


def _label(record: Record) -> str:
    attention = record.cell["attention"]
    return str(record.cell["model"]) if attention == "none" else f"{record.cell['model']} ({attention})"


def _mib(measure: Measure | None) -> str:
    return "" if measure is None or measure.value is None else f"{measure.value / MIB:.1f}"


def _largest(measure: Measure) -> str:
    return f"{measure.value} images ({measure.how}{', ' + measure.note if measure.note else ''})"
