"""The losses of region-level pretraining (section 3.4): cross-entropy, and matching regions with class embeddings."""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

SMOOTHING = 0.1


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy with smoothed labels, averaged over regions; 0 without regions.

    Args:
        logits: (regions, classes).
        labels: (regions).
    """
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="sum") / max(1, len(labels))


def matching_loss(features: Tensor, embeddings: Tensor, log_scale: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of two terms that pull regions and the embeddings of their classes together; 0 without regions.

    With similarity s = exp(log_scale) cos(region, class): for each region the cross-entropy over classes; and for each
    class in the batch -log of the sum, over its regions, of the softmax over all regions. Regions of all processes
    count; gradients flow through those of this one.

    Args:
        features: (regions, d).
        embeddings: (classes, d).
        log_scale: ().
        labels: (regions).
    """
    features, labels = _gathered(features), _gathered(labels)
    if not len(labels):
        return (features.sum() + embeddings.sum() + log_scale) * 0
    similarity = log_scale.exp() * F.normalize(features, dim=1) @ F.normalize(embeddings, dim=1).T
    by_region = F.cross_entropy(similarity, labels)
    present = labels.unique()
    chosen = labels[:, None] == present
    share = similarity[:, present].log_softmax(0)
    by_class = -share.masked_fill(~chosen, -torch.inf).logsumexp(0).mean()
    return (by_region + by_class) / 2


def _gathered(mine: Tensor) -> Tensor:
    """Return the rows of all processes; those of the others carry no gradient."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mine
    world, rank = distributed.get_world_size(), distributed.get_rank()
    counts = [torch.zeros(1, dtype=torch.int64, device=mine.device) for _ in range(world)]
    distributed.all_gather(counts, torch.tensor([len(mine)], device=mine.device))
    longest = max(int(count) for count in counts)
    padded = torch.cat([mine.detach(), mine.new_zeros(longest - len(mine), *mine.shape[1:])])
    rows = [torch.empty_like(padded) for _ in range(world)]
    distributed.all_gather(rows, padded)
    parts = [row[: int(count)] for row, count in zip(rows, counts, strict=True)]
    parts[rank] = mine
    return torch.cat(parts)
