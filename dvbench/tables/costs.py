"""Tables 1, 13 and 14."""

from collections.abc import Mapping
from functools import cache

import torch

from dvbench import paper
from dvbench.paper.cost_rows import Ours, Row, name, printed, rows
from dvbench.profile.counters import batch_within
from dvbench.profile.sweep import counts_of
from dvbench.tables.cost_numbers import (
    COUNT_TOLERANCE,
    MEMORY_TOLERANCE,
    MIB,
    cell,
    flops,
    live_bytes,
    memory,
    parameters,
)
from dvbench.tables.found import Found
from models.dynamicvis import DynamicVis, Stage
from models.zoo import build
from reports.compare import Verdict
from reports.record import Record, Status
from reports.stats import summarise
from reports.table import Table

PAPER_GPU = 48 * 10**9  # bytes of the NVIDIA L20 of table 13
REFERENCES: tuple[Row, ...] = (("ViT-B", ""), ("ResNet101", ""))
NOT_PRINTED = "not in the paper"
OWN_ROWS = (
    "* not in the paper's table: ViT-B as a user runs it today, and the other Mamba backbones, of which the paper "
    "gives accuracy only (table 2)."
)
RATIOS = ["of ViT-B, paper | ours", "of ResNet101, paper | ours"]
GROWTH = "of half the side, paper | ours"

Printed = Mapping[tuple[Row, int], Mapping[str, str]]
Named = tuple[str, Table]
"""A file stem and the table that goes there."""


def table1() -> list[Named]:
    """Table 1: the layout of both backbones, read off the modules as built, beside the paper's."""
    body = []
    for model, line in zip(("dynamicvis_b", "dynamicvis_l"), paper.table(1).to_dict("records"), strict=True):
        with torch.device("meta"):
            backbone = build(model)
        assert isinstance(backbone, DynamicVis)
        for number, (stage, keep) in enumerate(zip(backbone.stages, backbone.config.keep, strict=True), start=1):
            assert isinstance(stage, Stage)
            ours = {
                "layers": str(len(stage.blocks)),
                "dim": str(stage.merge.out_channels),
                "reduction_ratio": f"{keep - 1}/{keep}" if keep > 1 else "0",
                "patch_size": str(stage.merge.kernel_size[0]),
                "stride": str(stage.merge.stride[0]),
            }
            theirs = {key: line[f"{key}_stage{number}"] for key in ours}
            pairs = [f"{theirs[key]} | {ours[key]}" for key in ours]
            verdict = Verdict.REPRODUCED if ours == theirs else Verdict.DIFFERS
            body.append([line["version"], str(number), *pairs, verdict])
    headings = ("layers", "dim", "reduction ratio", "patch size", "stride")
    columns = ["Version", "Stage", *(f"{heading}, paper | ours" for heading in headings), "verdict"]
    note = "Ours: read off the modules that `models.zoo.build` makes. Paper: arXiv 2503.16426v1, table 1."
    return [("table1", Table("Table 1: layout of the DynamicVis backbones", columns, body, [note]))]


def table13(found: Found) -> list[Named]:
    """Table 13: largest batch, parameters, FLOPs and throughput at 512 x 512."""
    theirs = printed(13)
    models = rows(13)
    body = []
    for row, model in models.items():
        line = theirs.get((row, 512), {})
        shares = [
            _pair(
                _quotient(theirs, row, reference, 512, 512, "throughput_samples_per_s"),
                # Throughput is the inverse of latency, whose samples can be paired.
                _text(found.ratio("latency_ms", (models[reference], 512), (model, 512))),
            )
            for reference in REFERENCES
        ]
        record = found.get(model, 512)
        largest = record.measures.get("max_batch_size") if record else None
        body.append(
            [
                name(row),
                line.get("max_batch_size", ""),
                str(_batch_within(PAPER_GPU, model)),
                f"{largest.value} ({largest.how})" if largest else "",
                line.get("throughput_samples_per_s", ""),
                _digits(found.value(model, 512, "throughput")),
                *shares,
                _verdict(record),
            ]
        )
    columns = [
        "Model",
        "largest batch, paper",
        "in 48 GB by live bytes (predicted)",
        "largest batch here",
        "paper (img/s)",
        "ours (img/s)",
        *RATIOS,
        "verdict",
    ]
    notes = [
        found.stamp,
        "Paper: arXiv 2503.16426v1, table 13, NVIDIA L20 48 GB; at which batch it took the throughput is not stated.",
        "Images per second of different hardware and batches are not comparable; the ratios show what carries over.",
        OWN_ROWS,
        "By live bytes: the largest batch whose tensors, counted exactly, fit 48 GB; no library workspace included.",
    ]
    return [
        ("table13_cost", _cost_table(13, found)),
        ("table13", Table("Table 13: batch and throughput at 512 x 512", columns, body, notes)),
    ]


def table14(found: Found) -> list[Named]:
    """Table 14: latency and memory against input size, with ratios to ViT and ResNet and growth from size to size."""
    return [
        ("table14_cost", _cost_table(14, found)),
        ("table14_memory", _memory_table(found)),
        ("table14", _latency_table(found)),
    ]


def _cost_table(number: int, found: Found) -> Table:
    theirs = printed(number)
    body = []
    for row, model in rows(number).items():
        counts = counts_of(cell(model, 512))
        line = theirs.get((row, 512), {})
        params, cost = parameters(row, model, line), flops(row, model, line)
        body.append(
            [
                name(row),
                line.get("params_m", ""),
                f"{counts.parameters / 1e6:.2f}",
                params.verdict if line else NOT_PRINTED,
                line.get("flops_g", ""),
                f"{counts.paper_flops / 1e9:.2f}",
                _percent(cost.relative),
                cost.verdict if line else NOT_PRINTED,
                f"{counts.macs / 1e9:.2f}",
                _fvcore(found.get(model, 512)),
            ]
        )
    columns = [
        "Model",
        "params, paper (M)",
        "ours (M)",
        "verdict",
        "FLOPs, paper (G)",
        "ours, its convention (G)",
        "difference",
        "verdict",
        "MACs run (G)",
        "fvcore MACs (G)",
    ]
    notes = [
        "Counted exactly on the meta device, classifier included: 1000 classes for ResNet and ViT, 30 for the others.",
        "Its convention: fvcore's total, multiply-adds of the published two-pass graph with norms and without fused "
        f"attention. Reproduced within {COUNT_TOLERANCE:.0%}.",
        "ViT-B: the paper's 87.76 is ours without the 19.37 G of attention products, which fvcore does not see when "
        "attention is fused; its ViT-L figure includes them.",
        "MACs run: matrix products, convolutions and scans that our model executes; each counts as two FLOPs. fvcore's "
        "figure is an independent count of the same, where a record at 512 px holds it.",
        "DynamicVis† has no gates, as the paper's parameters show; the released files without selection have them.",
        OWN_ROWS,
        f"Paper: arXiv 2503.16426v1, table {number}.",
    ]
    return Table(f"Table {number}: parameters and FLOPs at 512 x 512", columns, body, notes)


def _latency_table(found: Found) -> Table:
    theirs = printed(14)
    body = []
    for row, model in rows(14).items():
        for side in _sides(found, theirs, row):
            record = found.get(model, side)
            measure = record.measures.get("latency_ms") if record else None
            summary = summarise(measure.samples) if measure else None
            body.append(
                [
                    name(row),
                    str(side),
                    _printed_or_oom(theirs.get((row, side)), "latency_ms"),
                    _digits(summary.p50) if summary else record.status if record else "",
                    f"{summary.n}{', noisy' if summary.noisy else ''}" if summary else "",
                    *_ratios(found, theirs, row, side, "latency_ms", "latency_ms"),
                    _verdict(record),
                ]
            )
    columns = ["Model", "px", "paper (ms)", "ours (ms)", "n", *RATIOS, GROWTH, "verdict"]
    notes = [
        found.stamp,
        "Paper: arXiv 2503.16426v1, table 14, batch 1; which GPU is not stated.",
        "Ours: median of n samples; the models of a resolution are timed in turn and ratios are medians of pairs (~ "
        "marks a quotient of medians). noisy: interquartile range above 25 % of the median.",
        "ViT-B is eager as in the paper. Milliseconds of different hardware are not comparable; ratios and growth show "
        "what carries over.",
        OWN_ROWS,
        "not run: no finished record here; dvbench reproduce table14 --res R measures at R px. On a CPU it measures "
        "other Mamba backbones up to 512 px only; dvbench profile --model rsmamba_b --res 1024 adds a size.",
        *_reasons(found),
    ]
    return Table("Table 14: latency by input size", columns, body, notes)


def _memory_table(found: Found) -> Table:
    theirs = printed(14)
    body = []
    for row, model in rows(14).items():
        for side in _sides(found, theirs, row):
            record = found.get(model, side)
            line = theirs.get((row, side), {})
            live = live_bytes(found, model, side)
            here = found.value(model, side, "cuda_allocated_peak_bytes" if not found.cpu else "resident_peak_bytes")
            pair = memory(row, side, line, live)
            body.append(
                [
                    name(row),
                    str(side),
                    _printed_or_oom(line, "memory_mb"),
                    f"{live / MIB:.2f}",
                    _percent(pair.relative),
                    pair.verdict if line else NOT_PRINTED,
                    f"{here / MIB:.2f}" if here is not None else record.status if record else "",
                    *_ratios(found, theirs, row, side, "memory_mb", "live_bytes"),
                ]
            )
    columns = ["Model", "px", "paper (MB)", "live (MB)", "difference", "verdict", "peak here (MB)", *RATIOS, GROWTH]
    notes = [
        found.stamp,
        "Paper: arXiv 2503.16426v1, table 14, batch 1; which GPU is not stated; MB is taken as 2^20 bytes.",
        "live: the largest sum of tensors that exist at one time, weights included, counted on the meta device, hence "
        f"the same on every machine; library workspace is not seen. Reproduced within {MEMORY_TOLERANCE:.0%}; the "
        "ratios are those of live bytes.",
        "peak here: weights and what one forward pass added to "
        + ("the resident set of a fresh process" if found.cpu else "torch's allocations")
        + ", measured.",
        OWN_ROWS,
        "DynamicVis below the paper: in_proj and out_proj run once, the published graph runs them for each direction.",
    ]
    return Table("Table 14: memory by input size", columns, body, notes)


def _sides(found: Found, theirs: Printed, row: Row) -> list[int]:
    """Return the sizes at which a row of table 14 is printed or was measured."""
    ours = rows(14)[row]
    return sorted({side for other, side in theirs if other == row} | {side for m, side in found.records if m == ours})


def _ratios(found: Found, theirs: Printed, row: Row, side: int, column: str, measure: str) -> list[str]:
    """Ratios to the two references at the same size, and to the same model at half the size."""
    models = rows(14)
    pairs = [((reference, side), _quotient(theirs, row, reference, side, side, column)) for reference in REFERENCES]
    pairs.append(((row, side // 2), _quotient(theirs, row, row, side, side // 2, column)))
    return [
        _pair(paper_ratio, _text(found.ratio(measure, (models[row], side), (models[other], other_side))))
        for (other, other_side), paper_ratio in pairs
    ]


def _quotient(theirs: Printed, row: Row, other: Row, side: int, other_side: int, column: str) -> float | None:
    above = theirs.get((row, side), {}).get(column, "")
    below = theirs.get((other, other_side), {}).get(column, "")
    return float(above) / float(below) if above and below else None


@cache
def _batch_within(room: int, model: Ours) -> int:
    return batch_within(room, lambda batch: counts_of(cell(model, 512), batch).live_bytes)


def _verdict(record: Record | None) -> str:
    """Absolute speed of other hardware is never comparable; without a measurement the row was not run."""
    return Verdict.NOT_COMPARABLE if record and record.status == Status.OK else Verdict.NOT_RUN


def _reasons(found: Found) -> list[str]:
    return [
        f"{record.cell['model']} ({record.cell['attention']}) at {side} px: {record.status}: {record.reason}."
        for (_, side), record in found.records.items()
        if record.status != Status.OK
    ]


def _fvcore(record: Record | None) -> str:
    measure = record.measures.get("fvcore_macs") if record else None
    return f"{measure.value / 1e9:.2f}" if measure and measure.value is not None else ""


def _printed_or_oom(line: Mapping[str, str] | None, column: str) -> str:
    if not line:
        return ""
    return "OOM" if line.get("oom") == "true" else line[column]


def _pair(theirs: float | None, ours: str) -> str:
    return f"{_digits(theirs) or '·'} | {ours or '·'}" if theirs is not None or ours else ""


def _text(ratio: tuple[float, bool] | None) -> str:
    return "" if ratio is None else f"{'' if ratio[1] else '~'}{_digits(ratio[0])}"


def _percent(relative: float | None) -> str:
    return "" if relative is None else f"{100 * relative:+.1f} %"


def _digits(value: float | None) -> str:
    """Three significant digits, never an exponent."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
