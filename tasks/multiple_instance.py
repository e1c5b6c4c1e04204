"""The losses of region-level pretraining (section 3.4): cross-entropy, and matching regions with class embeddings.

Both are of the regions of all processes. Data parallel training averages gradients over processes, and that average is
the gradient of the same loss in one process, however the regions are spread.
"""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

SMOOTHING = 0.1


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy with smoothed labels, averaged over regions; 0 without regions.

    Of several processes, each returns its part, so that the mean over processes is that over all regions.

    Args:
        logits: (regions, classes).
        labels: (regions).
    """
    counts = _counts(labels)
    regions_a_process = sum(counts) / len(counts)
    total = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING, reduction="sum")
    return total / (regions_a_process or 1)


def matching_loss(features: Tensor, embeddings: Tensor, log_scale: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of two terms that pull regions and the embeddings of their classes together; 0 without regions.

    With similarity s = exp(log_scale) cos(region, class): for each region the cross-entropy over classes; and for each
    class in the batch -log of the sum, over its regions, of the softmax over all regions. Every process returns the
    loss of all regions.

    Args:
        features: (regions, d).
        embeddings: (classes, d).
        log_scale: ().
        labels: (regions).
    """
    counts = _counts(labels)
    features, labels = _gathered(features, counts), _gathered(labels, counts)
    if not len(labels):
        return (features.sum() + embeddings.sum() + log_scale) * 0
    similarity = log_scale.exp() * F.normalize(features, dim=1) @ F.normalize(embeddings, dim=1).T
    by_region = F.cross_entropy(similarity, labels)
    present = labels.unique()
    chosen = labels[:, None] == present
    share = similarity[:, present].log_softmax(0)
    by_class = -share.masked_fill(~chosen, -torch.inf).logsumexp(0).mean()
    return (by_region + by_class) / 2


def _counts(labels: Tensor) -> list[int]:
    """Return how many regions each process has."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [len(labels)]
    counts = [torch.zeros(1, dtype=torch.int64, device=labels.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, torch.tensor([len(labels)], device=labels.device))
    return [int(count) for count in counts]


def _gathered(mine: Tensor, counts: list[int]) -> Tensor:
    """Return the rows of all processes.

    Those of the others carry no gradient here, so that of ours is multiplied by the number of processes, by which the
    average over processes divides it.
    """
    if len(counts) == 1:
        return mine
    padded = torch.cat([mine.detach(), mine.new_zeros(max(counts) - len(mine), *mine.shape[1:])])
    rows = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(rows, padded)
    parts = [row[:count] for row, count in zip(rows, counts, strict=True)]
    own = mine.clone()
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * len(counts))
    parts[distributed.get_rank()] = own
    return torch.cat(parts)
