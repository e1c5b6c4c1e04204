"""Parameters and FLOPs of tables 13 and 14, which need no measurement."""

from dvbench.costs.found import Found
from dvbench.costs.numbers import COUNT_TOLERANCE, cell, flops, parameters
from dvbench.costs.shared import NOT_PRINTED, OWN_ROWS, percent
from dvbench.paper.cost_rows import name, printed, rows
from dvbench.profile.recipe import formatted
from dvbench.profile.sweep import counts_of
from reports.record import Record
from reports.table import Table


def cost_table(number: int, found: Found) -> Table:
    """Return parameters and FLOPs at 512 px for the rows of table 13 or 14."""
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
                formatted(counts.paper_flops),
                percent(cost.relative),
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
        "as its tool writes it",
        "difference",
        "verdict",
        "MACs run (G)",
        "fvcore MACs (G)",
    ]
    notes = [
        "Counted exactly on the meta device, classifier included: 1000 classes for ResNet and ViT, 30 for the others.",
        "Its convention: fvcore's total, multiply-adds of the published two-pass graph with norms and without fused "
        f"attention. Reproduced within {COUNT_TOLERANCE:.0%}.",
        "Its tool: mmengine, which keeps three decimals of a tera beyond 100 G: 362.00 and 151.00 are known to 1 G.",
        "ViT-B: the paper's 87.76 is ours without the 19.37 G of attention products, which fvcore does not see when "
        "attention is fused; its ViT-L figure includes them.",
        "MACs run: matrix products, convolutions and scans that our model executes; each counts as two FLOPs. fvcore's "
        "figure is an independent count of the same, where a record at 512 px holds it.",
        "DynamicVis† has no gates, as the paper's parameters show; the released files without selection have them.",
        OWN_ROWS,
        f"Paper: arXiv 2503.16426v1, table {number}.",
    ]
    return Table(f"Table {number}: parameters and FLOPs at 512 x 512", columns, body, notes)


def _fvcore(record: Record | None) -> str:
    measure = record.measures.get("fvcore_macs") if record else None
    return f"{measure.value / 1e9:.2f}" if measure and measure.value is not None else ""
