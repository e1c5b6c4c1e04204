"""What a score rests on, for its record: data, weights, batch, epochs; as they were, not as they were asked for."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dvbench.data.provenance import provenance
from dvbench.training.batches import Source
from dvbench.training.run_cell import RunCell, deciding_code
from models.sources import sha256
from models.weights_report import WeightsReport
from reports.record import JSON
from tasks.files import BEST, LOG
from tasks.fit import Compute

OFFICIAL = "hf://KyanChen/DynamicVis/"  # where the authors publish their weights
#: Other published weights that rows of the paper start from, by the SHA-256 digits that their file names carry.
PUBLISHED = {"c867db91": "torchvision ViT-B/16, ImageNet-1k"}


def rests_on(
    cell: RunCell,
    source: Source,
    compute: Compute,
    weights: WeightsReport | None,
    embedded: Mapping[str, str] | None,
    folder: Path,
) -> dict[str, JSON]:
    """Return the basis of a record.

    Args:
        cell: what was run.
        source: its data.
        compute: what it computed on.
        weights: what became of each key of the weights; None without any.
        embedded: what is known of the file that embeddings of classes started from; None without one.
        folder: of the run, with its log.
    """
    chosen = source.protocol
    at_once = compute.images_at_once(chosen)
    return {
        "data": provenance(chosen.dataset).as_dict(),
        "weights": None if weights is None else _start(cell, weights),
        "embeddings": embedded,
        "precision": chosen.precision,
        "batch": at_once * compute.accumulation(chosen),
        "at_once": at_once // compute.world,
        "devices": compute.world,
        "epochs": epochs_in(folder / LOG),
        "checkpoint": checkpoint_of(folder),
        "code": deciding_code(),
    }


def epochs_in(log: Path) -> int | None:
    """Count the epochs that a log tells; None where nothing was trained."""
    return len(pd.read_csv(log)) if log.is_file() else None


def checkpoint_of(folder: Path) -> str | None:
    """Return the SHA-256 of the checkpoint that a run has left, by which runs that start from it are known."""
    best = folder / BEST
    return sha256(best) if best.is_file() else None


def _start(cell: RunCell, weights: WeightsReport) -> Mapping[str, JSON]:
    """Tell which weights a run started from."""
    published = any(weights.sha256.startswith(digits) for digits in PUBLISHED)
    return {
        **weights.as_dict(),
        "name": Path(cell.weights).name,
        "kind": "authors" if published or cell.weights.startswith(OFFICIAL) else "unknown",
        "used": len(weights.used),
        "missing": [key for key in weights.missing if key.startswith("backbone.")],
        "unexpected": list(weights.unexpected),
    }
