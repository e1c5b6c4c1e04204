"""A finished run, opened again."""

import json
from pathlib import Path

from dvbench.training.batches import Source
from dvbench.training.execute import build_task
from dvbench.training.run_cell import RunCell
from tasks.files import MARK
from tasks.fit import load_best
from tasks.task import Task


class CheckpointError(ValueError):
    """A checkpoint that cannot be opened; the message is one line."""


def load_cell(checkpoint: Path) -> RunCell:
    """Return the cell whose run left a checkpoint behind.

    Raises:
        CheckpointError: it is not one of ours, or lies apart from its run.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint} is {'a folder' if checkpoint.is_dir() else 'missing'}; give a checkpoint")
    mark = checkpoint.parent / MARK
    try:
        told = json.loads(mark.read_text(encoding="utf-8"))["cell"]
        return RunCell(**{name: told[name] for name in RunCell.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint}: {mark.name} beside it is missing or damaged; give a checkpoint in the folder of its run"
        ) from error


def load_trained(checkpoint: Path) -> Task:
    """Build the task of a run and put the weights of its checkpoint into it.

    Raises:
        CheckpointError: the checkpoint is damaged, or not one of ours.
    """
    cell = load_cell(checkpoint).unstarted
    task, _ = build_task(cell, Source(cell.load_protocol(), cell.seed))
    try:
        load_best(task, checkpoint)
    except Exception as error:  # torch names a damaged file in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{checkpoint} cannot be loaded ({reason}); train again") from error
    return task
