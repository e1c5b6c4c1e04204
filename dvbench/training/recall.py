"""Do the kept tokens lie on the targets? The recall of the selection, stage by stage."""

import torch
from torch import Tensor

from dvbench.training.batches import Source
from models.dynamicvis import DynamicVis, Route, Routes
from reports.record import Measure
from tasks.task import Task

DATASET, TARGET = "synthetic_small_targets", 1  # whose masks are of small targets, and their class


def recalled(route: Route, masks: Tensor) -> Tensor:
    """Return the share of each image's targets that the tokens kept by a block show.

    A token counts by how many of the targets' pixels lie in its patch, so that one which shows a corner of a target
    weighs less than one that is full of it. A random selection recalls, on average, the share of tokens that it keeps.

    Args:
        route: what a block kept of a batch.
        masks: bool (batch, height, width), where an image shows a target; sides are multiples of the grid's.

    Returns:
        float32 (batch,), from 0 to 1; NaN where an image shows no target.
    """
    rows, columns = route.grid
    batch, height, width = masks.shape
    shown = masks.float().reshape(batch, rows, height // rows, columns, width // columns).sum(dim=(2, 4))
    weights = shown.flatten(1).to(route.kept.device)
    return weights.gather(1, route.kept).sum(dim=1) / weights.sum(dim=1)


@torch.inference_mode()
def recall_measures(task: Task, source: Source, images_at_once: int, *, suffix: str = "") -> dict[str, Measure]:
    """Return the recall of the selection on the test split, the mean over images and over the blocks of a stage.

    Args:
        task: trained or not; the selection is that of eval mode, without noise.
        source: its data.
        images_at_once: images in a forward pass.
        suffix: added to the names of the recalls.

    Returns:
        `recall_stage1` to `recall_stage4`, and `kept_stage1` and so on, the share of tokens kept, which is the recall
        of random selection. None of a stage without selection, of another model, or of other data.
    """
    if source.protocol.dataset != DATASET or not isinstance(task.backbone, DynamicVis):
        return {}
    device = next(task.parameters()).device
    found: dict[str, list[Tensor]] = {}
    for batch in source.test(source.protocol.test_split, images_at_once):
        routes: Routes = []
        task.eval().backbone(batch["image"].to(device), routes)
        masks = batch["mask"] == TARGET
        for stage, blocks in enumerate(routes, start=1):
            for route in blocks:
                found.setdefault(f"recall_stage{stage}{suffix}", []).append(recalled(route, masks).cpu())
                share = route.kept.shape[1] / route.importance.shape[1]
                found.setdefault(f"kept_stage{stage}", []).append(torch.tensor([share]))
    return {name: Measure(float(torch.cat(values).nanmean()), "1", "measured") for name, values in found.items()}
