"""Table 13."""

from functools import cache

from dvbench.costs.counts import cost_table
from dvbench.costs.found import Found
from dvbench.costs.numbers import MIB, cell
from dvbench.costs.shared import OWN_ROWS, RATIOS, REFERENCES, digits, pair, quotient, text, verdict
from dvbench.paper.cost_rows import Ours, name, printed, rows
from dvbench.profile.counters import batch_within
from dvbench.profile.sweep import counts_of
from reports.table import Named, Table

TOOL = "tools_DynamicVis/tools_analyse/get_throughput.py"  # of KyanChen/DynamicVis at 0bfe96f
PAPER_GPU = 48 * 10**9  # bytes of the NVIDIA L20 of table 13


def table13(found: Found) -> list[Named]:
    """Table 13: largest batch, parameters, FLOPs and throughput at 512 x 512."""
    theirs = printed(13)
    models = rows(13)
    body = []
    for row, model in models.items():
        line = theirs.get((row, 512), {})
        shares = [
            pair(
                quotient(theirs, row, reference, 512, 512, "throughput_samples_per_s"),
                # Throughput is the inverse of latency, whose samples can be paired.
                text(found.ratio("latency_ms", (models[reference], 512), (model, 512))),
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
                digits(found.value(model, 512, "throughput")),
                *shares,
                verdict(record),
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
        "Paper: arXiv 2503.16426v1, table 13, NVIDIA L20 48 GB; where its search for the batch began is not stated.",
        "Images per second of different hardware and batches are not comparable; the ratios show what carries over.",
        OWN_ROWS,
        "By live bytes: the largest batch whose tensors, counted exactly, fit 48 GB; no library workspace included.",
    ]
    return [
        ("table13_cost", cost_table(13, found)),
        ("table13", Table("Table 13: batch and throughput at 512 x 512", columns, body, notes)),
        ("table13_recipe", _recipe_table(found)),
    ]


def _recipe_table(found: Found) -> Table:
    """Throughput and memory by the authors' recipe, so that a gap splits into the recipe and the rest."""
    theirs, memories = printed(13), printed(14)
    models = rows(13)
    vit = REFERENCES[0]
    body = []
    for row, model in models.items():
        record = found.get(model, 512)
        taken = record.measures.get("recipe_throughput") if record else None
        rate, ours = (found.value(model, 512, measure) for measure in ("recipe_throughput", "throughput"))
        paper_ratio = quotient(theirs, row, vit, 512, 512, "throughput_samples_per_s")
        recipe_ratio, our_ratio = (
            _of(found, measure, model, models[vit]) for measure in ("recipe_throughput", "throughput")
        )
        peak = found.value(model, 512, "recipe_peak_bytes")
        body.append(
            [
                name(row),
                theirs.get((row, 512), {}).get("throughput_samples_per_s", ""),
                digits(rate),
                taken.note if taken else "",
                digits(ours),
                digits(paper_ratio),
                digits(recipe_ratio),
                digits(our_ratio),
                digits(recipe_ratio / our_ratio if recipe_ratio and our_ratio else None),
                digits(paper_ratio / recipe_ratio if paper_ratio and recipe_ratio else None),
                memories.get((row, 512), {}).get("memory_mb", ""),
                f"{peak / MIB:.2f}" if peak else "",
            ]
        )
    columns = [
        "Model",
        "paper (img/s)",
        "their recipe here (img/s)",
        "at",
        "ours, batch 1 (img/s)",
        "of ViT-B, paper",
        "their recipe",
        "ours",
        "the recipe's part",
        "the rest",
        "memory, paper (MB)",
        "their reading here (MB)",
    ]
    notes = [
        found.stamp,
        f"Their recipe, as {TOOL} has it: the pooled feature without the classifier, of random images; ten passes, "
        "then the mean of twenty, at the largest batch. Memory is torch's peak after the first pass, never reset.",
        "The tool's search starts from a batch that its user writes into it, and goes down by four; where the paper's "
        "started is not known.",
        "The ratios to ViT-B divide as paper / ours = the recipe's part x the rest: what the way of measuring "
        "explains, and what is left for graph, libraries and hardware.",
        "Taken on a GPU only, by dvbench reproduce table13 or dvbench profile --max-batch.",
        OWN_ROWS,
        "Paper: arXiv 2503.16426v1, tables 13 and 14.",
    ]
    return Table("Table 13 by its authors' recipe, 512 x 512", columns, body, notes)


def _of(found: Found, measure: str, model: Ours, reference: Ours) -> float | None:
    above, below = (found.value(one, 512, measure) for one in (model, reference))
    return above / below if above and below else None


@cache
def _batch_within(room: int, model: Ours) -> int:
    return batch_within(room, lambda batch: counts_of(cell(model, 512), batch).live_bytes)
