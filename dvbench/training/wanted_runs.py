"""The runs that a table or figure asks for, at full scale or reduced, and why some of its rows are not among them."""

from collections.abc import Iterator, Sequence

from dvbench.paper import ablation_rows
from dvbench.paper.ablation_rows import Row
from dvbench.paper.score_rows import Benchmark, Ours, benchmarks, printed
from dvbench.training import pretraining_study
from dvbench.training.plan import Wish, cell, choose_scale
from dvbench.training.run_cell import RunCell, Scale
from models.rivals.roster import RIVALS
from tasks import protocol


def wanted(table: int, wish: Wish, only: str = "") -> tuple[list[RunCell], list[str]]:
    """Return the runs of a table, or of one of its protocols, each once, and how each dataset is run."""
    if table in ablation_rows.TABLES:
        asked = "smoke" if only == ablation_rows.REDUCED else wish.scale
        scale, why = choose_scale(asked, ablation_rows.PROTOCOL)
        return list(dict.fromkeys(_ablation(table, wish, scale))), [f"{ablation_rows.PROTOCOL}: {why}"]
    cells: dict[RunCell, None] = {}
    told = []
    for benchmark in benchmarks(table):
        if only and benchmark.protocol != only:
            continue
        scale, why = choose_scale(wish.scale, benchmark.protocol)
        told.append(f"{benchmark.protocol}: {why}")
        if scale == "full":
            found = _full(benchmark, wish)
        elif stand_in(benchmark) == pretraining_study.PRETRAINING:
            found = pretraining_study.first(wish)
        else:
            found = _smoke(benchmark, wish)
        cells |= dict.fromkeys(found)
    return list(cells), told


def row_cell(benchmark: Benchmark, ours: Ours, wish: Wish, seed: int) -> RunCell | None:
    """Return the run of a row at full scale; None where its pretrained weights were not given."""
    weights = wish.weights.get(ours.model, "") if ours.pretrained else ""
    if ours.pretrained and not weights:
        return None
    changes = {**wish.changes, **(ours.changes if wish.rates == "paper" or ours.model not in RIVALS else {})}
    return cell(
        ours.model,
        benchmark.protocol,
        "full",
        variant=wish.variant,
        size=ours.input or "",
        seed=seed,
        weights=weights,
        changes=changes,
    )


def stand_in(benchmark: Benchmark) -> str:
    """Return the protocol that stands in for a dataset in reduced runs."""
    return protocol.load(benchmark.protocol).smoke


def _full(benchmark: Benchmark, wish: Wish) -> Iterator[RunCell]:
    for line in printed(benchmark.table):
        if line.ours and wish.wants(line.name):
            made = [row_cell(benchmark, line.ours, wish, seed) for seed in range(wish.seeds or 1)]
            yield from filter(None, made)


def _smoke(benchmark: Benchmark, wish: Wish) -> Iterator[RunCell]:
    chosen = protocol.load(stand_in(benchmark))
    scale: Scale = "smoke"
    models = [model for model in chosen.models if wish.wants(model)]
    if wish.rows:  # rivals run where they are named
        named = [line.ours.model for line in printed(benchmark.table) if line.ours and wish.wants(line.name)]
        models += [_reduced(model, chosen.models) for model in named]
    for model in dict.fromkeys(models):
        for seed in range(wish.seeds or 1):
            yield cell(model, benchmark.protocol, scale, seed=seed, changes=wish.changes)


def _reduced(model: str, models: Sequence[str]) -> str:
    """Return what stands in for a row's model: a rival for itself, the first small model of its kind for another."""
    if model in RIVALS:
        return model
    kind = model.rstrip("0123456789").partition("_")[0]
    return next((small for small in models if small.startswith(kind)), models[0])


def ablation_cell(row: Row, wish: Wish, scale: Scale, seed: int) -> RunCell:
    """Return the run of a row of tables 15 to 19, at full scale from scratch on AID, or reduced."""
    changes = {**wish.changes, **row.changes}
    if scale == "full":
        place = {"model": ablation_rows.MODEL, "name": ablation_rows.PROTOCOL, "variant": wish.variant}
        return cell(**place, scale=scale, seed=seed, changes=changes, switches=row.switches)
    (model,) = protocol.load(ablation_rows.REDUCED).models
    return cell(model, ablation_rows.REDUCED, scale, seed=seed, changes=changes, switches=row.reduced_switches)


def _ablation(table: int, wish: Wish, scale: Scale) -> Iterator[RunCell]:
    seeds = wish.seeds or (1 if scale == "full" else ablation_rows.SEEDS)
    for row in ablation_rows.rows(table):
        for seed in range(seeds) if wish.wants(row.name) else ():
            yield ablation_cell(row, wish, scale, seed)
