"""A trained DynamicVis as its authors would have saved it, for their code."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from dvbench.training.trained import CheckpointError, load_cell, load_trained
from dvbench.version import __version__
from models.dynamicvis import DynamicVis
from models.sources import sha256
from models.weight_names import official_name


@dataclass(frozen=True)
class Exported:
    """A checkpoint under official names.

    Attributes:
        model: name in the zoo.
        content: the file, as torch writes it: `state_dict`, tensors alone, and `meta`, texts alone.
        parts: first part of the names -> number of its tensors.
        nameless: our names of the tensors that are not in it, as the authors have none for them.
    """

    model: str
    content: bytes
    parts: Mapping[str, int]
    nameless: list[str]


def in_official_names(checkpoint: Path) -> Exported:
    """Rename a checkpoint's tensors by `models.weight_names`; of a pyramid, as pretraining checkpoints have it.

    Raises:
        CheckpointError: it cannot be opened, or is of another model.
    """
    cell, task = load_cell(checkpoint), load_trained(checkpoint)
    if not isinstance(task.backbone, DynamicVis):
        raise CheckpointError(
            f"{checkpoint} is of {cell.model}: give one of DynamicVis, whose authors' names these are"
        )
    tensors = task.state_dict()
    names = {name: official_name(name) for name in tensors}
    state = {theirs: tensors[name].clone() for name, theirs in names.items() if theirs}
    about = {  # "cfg" as the authors' configurations say it
        "cfg": f"spatial_token_keep_ratios={list(task.backbone.config.keep)}",
        "model": cell.model,
        "task": task.protocol.task,
        "dataset": task.protocol.dataset,
        "source_sha256": sha256(checkpoint),
        "dvbench": __version__,
    }
    content = io.BytesIO()
    torch.save({"state_dict": state, "meta": about}, content)
    parts = Counter(theirs.partition(".")[0] for theirs in state)
    nameless = [name for name, theirs in names.items() if not theirs]
    return Exported(cell.model, content.getvalue(), dict(sorted(parts.items())), nameless)
