"""The runs that a table or figure asks for, at full scale or reduced, and why some of its rows are not among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dvbench.accuracy.rows import Benchmark, Ours, benchmarks, printed
from dvbench.run.cell import RunCell, Scale
from dvbench.run.plan import cell, choose_scale
from tasks import protocol


@dataclass(frozen=True)
class Wish:
    """How a table is run.

    Attributes:
        scale: `auto`, `full` or `smoke`.
        variant: of the protocols.
        seeds: number of seeds a row.
        weights: pretrained weights by model.
        rows: part of the names of the rows that are run; all if empty.
        changes: keys of the protocols that are replaced.
    """

    scale: str = "auto"
    variant: str = "released"
    seeds: int = 1
    weights: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    changes: Mapping[str, object] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether a row is run."""
        return not self.rows or any(part.lower() in name.lower() for part in self.rows)


def wanted(table: int, wish: Wish, only: str = "") -> tuple[list[RunCell], list[str]]:
    """Return the runs of a table, or of one of its protocols, each once, and how each dataset is run."""
    cells: dict[RunCell, None] = {}
    told = []
    for benchmark in benchmarks(table):
        if only and benchmark.protocol != only:
            continue
        scale, why = choose_scale(wish.scale, benchmark.protocol)
        told.append(f"{benchmark.protocol}: {why}")
        found = _full(benchmark, wish) if scale == "full" else _smoke(benchmark, wish)
        cells |= dict.fromkeys(found)
    return list(cells), told


def row_cell(benchmark: Benchmark, ours: Ours, wish: Wish, seed: int) -> RunCell | None:
    """Return the run of a row at full scale; None where its pretrained weights were not given."""
    weights = wish.weights.get(ours.model, "") if ours.pretrained else ""
    if ours.pretrained and not weights:
        return None
    changes = {**wish.changes, **ours.changes}
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
    for name, _, ours in printed(benchmark.table):
        for seed in range(wish.seeds) if ours and wish.wants(name) else ():
            assert ours is not None
            if made := row_cell(benchmark, ours, wish, seed):
                yield made


def _smoke(benchmark: Benchmark, wish: Wish) -> Iterator[RunCell]:
    chosen = protocol.load(stand_in(benchmark))
    scale: Scale = "smoke"
    for model in chosen.models:
        for seed in range(wish.seeds) if wish.wants(model) else ():
            yield cell(model, benchmark.protocol, scale, seed=seed, changes=wish.changes)
