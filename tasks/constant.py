"""What can be reached without looking: the best prediction that is the same for everything."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tasks.task import Batch, Prediction, Task


def constant_score(task: Task, batches: Iterable[Batch], metric: str) -> float:
    """Return the highest score of any constant prediction, over all classes.

    Args:
        task: of classification, region classification, segmentation or change.
        batches: of the test split.
        metric: name of the score.
    """
    classes = len(task.problem.classes)
    scores = [task.configure_scores() for _ in range(classes)]
    for batch in batches:
        for label, each in enumerate(scores):
            logits = torch.zeros(classes)
            logits[label] = 1
            each.update(_everywhere(task, batch, logits), batch)
    return max(each.score()[metric] for each in scores)


def _everywhere(task: Task, batch: Batch, logits: Tensor) -> list[Prediction]:
    match task.protocol.task:
        case "classification":
            return [{"logits": logits} for _ in batch["label"]]
        case "region_classification":
            return [{"logits": logits.expand(len(labels), -1)} for labels in batch["label"]]
        case _:
            return [{"logits": logits[:, None, None].expand(-1, *mask.shape)} for mask in batch["mask"]]
