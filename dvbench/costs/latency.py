"""Table 14."""

from collections.abc import Mapping

from dvbench.costs.counts import cost_table
from dvbench.costs.found import Found
from dvbench.costs.numbers import MEMORY_TOLERANCE, MIB, live_bytes, memory
from dvbench.costs.shared import (
    NOT_PRINTED,
    OWN_ROWS,
    RATIOS,
    REFERENCES,
    Printed,
    digits,
    pair,
    percent,
    quotient,
    text,
    verdict,
)
from dvbench.paper.cost_rows import Row, name, printed, rows
from reports.record import Status
from reports.stats import summarise
from reports.table import Named, Table

GROWTH = "of half the side, paper | ours"


def table14(found: Found) -> list[Named]:
    """Table 14: latency and memory against input size, with ratios to ViT and ResNet and growth from size to size."""
    return [
        ("table14_cost", cost_table(14, found)),
        ("table14_memory", _memory_table(found)),
        ("table14", _latency_table(found)),
    ]


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
                    digits(summary.p50) if summary else record.status if record else "",
                    f"{summary.n}{', noisy' if summary.noisy else ''}" if summary else "",
                    *_ratios(found, theirs, row, side, "latency_ms", "latency_ms"),
                    verdict(record),
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
            compared = memory(row, side, line, live)
            body.append(
                [
                    name(row),
                    str(side),
                    _printed_or_oom(line, "memory_mb"),
                    f"{live / MIB:.2f}",
                    percent(compared.relative),
                    compared.verdict if line else NOT_PRINTED,
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
    pairs = [((reference, side), quotient(theirs, row, reference, side, side, column)) for reference in REFERENCES]
    pairs.append(((row, side // 2), quotient(theirs, row, row, side, side // 2, column)))
    return [
        pair(paper_ratio, text(found.ratio(measure, (models[row], side), (models[other], other_side))))
        for (other, other_side), paper_ratio in pairs
    ]


def _reasons(found: Found) -> list[str]:
    return [
        f"{record.cell['model']} ({record.cell['attention']}) at {side} px: {record.status}: {record.reason}."
        for (_, side), record in found.records.items()
        if record.status != Status.OK
    ]


def _printed_or_oom(line: Mapping[str, str] | None, column: str) -> str:
    if not line:
        return ""
    return "OOM" if line.get("oom") == "true" else line[column]
