"""The reduced runs of table 11: what pretraining by either of its losses is worth, to the same task and to others."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dvbench.training.plan import Wish, cell
from dvbench.training.run_cell import RunCell
from tasks import protocol
from tasks.files import BEST

PRETRAINING = "synthetic_region"
#: What is learned afterwards, from as many images and in as many steps whatever the start.
TASKS = ("transfer_classification", "transfer_detection", "transfer_semantic", "transfer_change")
SCRATCH = "scratch"
#: Weight of the matching loss beside cross-entropy, as table 11 has both.
LOSSES = {"CE": 0.0, "MIL": 0.5}
SEEDS = 5
NOT_YET = "not yet"  # in place of a hash, where the weights are still to be made


def first(wish: Wish) -> Iterator[RunCell]:
    """Yield the runs that need no weights: pretraining by each loss, and each task from scratch."""
    for model in protocol.load(PRETRAINING).models:
        for seed in range(wish.seeds or SEEDS):
            for loss, weight in LOSSES.items():
                if wish.wants(f"{model} {loss}"):
                    changes = {**wish.changes, "losses": {"mil": weight}}
                    yield cell(model, PRETRAINING, "smoke", seed=seed, changes=changes)
            if wish.wants(f"{model} {SCRATCH}"):
                yield from (cell(model, name, "smoke", seed=seed, changes=wish.changes) for name in TASKS)


def second(runs: Sequence[RunCell], wish: Wish, out: Path) -> Iterator[RunCell]:
    """Yield each task from the best checkpoint of each pretraining, of the same seed.

    Args:
        runs: what `first` yielded, other runs among them.
        wish: how the table is run.
        out: folder of results; a checkpoint that is not there yet has the hash `NOT_YET`.
    """
    for run in runs:
        if run.protocol != PRETRAINING or run.scale != "smoke":
            continue
        checkpoint = out / "runs" / run.folder() / BEST
        there = checkpoint.is_file()
        for name in TASKS:
            weights = str(checkpoint) if there else ""
            made = cell(run.model, name, "smoke", seed=run.seed, weights=weights, changes=wish.changes)
            yield made if there else replace(made, weights=str(checkpoint), weights_hash=NOT_YET)


def loss_of(changes: str) -> str:
    """Return the loss by which a run was pretrained, told by the changes of its protocol; empty if by another."""
    weight = json.loads(changes).get("losses")
    return next((loss for loss, each in LOSSES.items() if weight == {"mil": each}), "")
