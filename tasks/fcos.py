"""FCOS (arXiv 1904.01355) as the authors configure it for tiny ships: head, targets, losses and decoding."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, generalized_box_iou_loss, sigmoid_focal_loss

from tasks.initial import normal
from tasks.necks import STRIDES
from tasks.task import Prediction
from tasks.torchvision_detectors import DetectorOptions

RANGES = ((0, 20), (16, 40), (32, 80), (64, 160), (128, 1024))
"""Largest distance in px from a point to a side of its box, level by level; they overlap on purpose (section 4.3.2)."""
RADIUS = 1.5  # cells around a box's centre whose points are trained to find it
PRIOR = 0.01  # probability that an untrained classifier gives to every class


class FCOSHead(nn.Module):
    """Two branches of convolutions over all maps: classes; and box with centerness.

    Args:
        classes: without the background.
        width: channels of the maps and of the branches.
        depth: convolutions a branch.
    """

    def __init__(self, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.class_branch, self.box_branch = _branch(width, depth), _branch(width, depth)
        self.classes = nn.Conv2d(width, classes, 3, padding=1)
        self.box = nn.Conv2d(width, 4, 3, padding=1)
        self.centerness = nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        normal(self, std=0.01)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is said of each point of each map, in float32.

        Returns:
            Logits of the classes (batch, points, classes), distances in px to the left, top, right and bottom side of
            the point's box (batch, points, 4), and logits of the centerness (batch, points).
        """
        logits, distances, centerness = [], [], []
        for level, current in enumerate(maps):
            boxed = self.box_branch(current)
            logits.append(_points_last(self.classes(self.class_branch(current))))
            distances.append(_points_last(F.relu(self.scales[level] * self.box(boxed)) * STRIDES[level]))
            centerness.append(_points_last(self.centerness(boxed)).squeeze(-1))
        return torch.cat(logits, 1).float(), torch.cat(distances, 1).float(), torch.cat(centerness, 1).float()


def _branch(width: int, depth: int) -> nn.Sequential:
    groups = 32 if width % 32 == 0 else 8
    layers = [(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(groups, width), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(*(layer for three in layers for layer in three))


def _points_last(current: Tensor) -> Tensor:
    return current.flatten(2).transpose(1, 2)


def points(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the centre of each cell in px, (points, 2) as x and y, and its level (points)."""
    centres, levels = [], []
    for level, (current, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        rows, columns = (
            (torch.arange(side, device=current.device) + 0.5) * stride for side in (current.shape[2], current.shape[3])
        )
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten()], dim=1))
        levels.append(torch.full((centres[-1].shape[0],), level, device=current.device))
    return torch.cat(centres), torch.cat(levels)


def targets(centres: Tensor, levels: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Say which box each point has to find: the smallest that its level is for and whose middle it is in.

    Args:
        centres: (points, 2) in px.
        levels: (points).
        boxes: (N, 4), xyxy in px; N may be 0.
        labels: (N), from 1.

    Returns:
        Labels (points), 0 where there is nothing to find, and distances (points, 4) to the box's sides in px.
    """
    found = labels.new_zeros(len(centres))
    distances = centres.new_zeros(len(centres), 4)
    for level in range(len(STRIDES)) if len(boxes) else ():  # one level at a time, since points x boxes are many
        here = (levels == level).nonzero().squeeze(1)
        sides = _distances(centres[here, None], boxes[None])
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        reach = RADIUS * STRIDES[level]
        low = torch.maximum(middle - reach, boxes[:, :2])
        high = torch.minimum(middle + reach, boxes[:, 2:])
        near = _distances(centres[here, None], torch.cat([low, high], 1)[None]).amin(-1) > 0
        least, most = RANGES[level]
        largest = sides.amax(-1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        cost = torch.where(near & (largest >= least) & (largest <= most), area, torch.inf)
        smallest, which = cost.min(1)
        hit = smallest.isfinite()
        found[here[hit]] = labels[which[hit]]
        distances[here[hit]] = sides[hit, which[hit]]
    return found, distances


def _distances(centres: Tensor, boxes: Tensor) -> Tensor:
    return torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=-1)


def centerness_of(distances: Tensor) -> Tensor:
    """Return how central a point is in its box, 1 in its middle and 0 at its sides (equation 3 of FCOS)."""
    left, top, right, bottom = distances.unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    along = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * along).sqrt()


def losses(outputs: tuple[Tensor, Tensor, Tensor], found: Tensor, distances: Tensor) -> dict[str, Tensor]:
    """Return the focal loss, the GIoU loss weighted by centerness, and the centerness loss.

    Args:
        outputs: of `FCOSHead`.
        found: (batch, points), labels of the points, 0 for none.
        distances: (batch, points, 4).
    """
    logits, boxes, centerness = outputs
    positive = found > 0
    count = _mean_over_processes(positive.sum().float()).clamp(min=1)
    classes = F.one_hot(found, logits.shape[-1] + 1)[..., 1:].to(logits)
    focal = sigmoid_focal_loss(logits, classes, alpha=0.25, gamma=2, reduction="sum") / count
    wanted = distances[positive]
    central = centerness_of(wanted)
    giou = generalized_box_iou_loss(_around(boxes[positive]), _around(wanted))
    total = _mean_over_processes(central.sum()).clamp(min=1e-6)
    centred = F.binary_cross_entropy_with_logits(centerness[positive], central, reduction="sum")
    return {"classification": focal, "box": (giou * central).sum() / total, "centerness": centred / count}


def _around(distances: Tensor) -> Tensor:
    """Turn distances into a box around the origin: its overlaps are those of the box around the point."""
    return torch.cat([-distances[:, :2], distances[:, 2:]], dim=1)


def _mean_over_processes(value: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        value = value.clone()
        distributed.all_reduce(value)
        value = value / distributed.get_world_size()
    return value


def decode(
    outputs: tuple[Tensor, Tensor, Tensor],
    centres: Tensor,
    levels: Tensor,
    sides: tuple[int, int],
    options: DetectorOptions,
) -> list[Prediction]:
    """Turn a head's outputs into boxes, image by image.

    Args:
        outputs: of `FCOSHead`.
        centres: of the points, (points, 2).
        levels: of the points, (points).
        sides: height and width in px to which boxes are clipped.
        options: thresholds.

    Returns:
        "boxes", "scores" (class times centerness) and "labels" of each image, best first. What clipping leaves of a
        box has an area.
    """
    limits = torch.tensor((sides[1], sides[0], sides[1], sides[0]), device=centres.device)
    results = []
    for logits, distances, centerness in zip(*outputs, strict=True):
        probability = logits.sigmoid()
        chosen = [
            _best(probability, levels == level, options.least_score, options.candidates)
            for level in range(len(STRIDES))
        ]
        where = torch.cat([points for points, _ in chosen])
        labels = torch.cat([classes for _, classes in chosen])
        scores = probability[where, labels] * centerness[where].sigmoid()
        around = centres[where].repeat(1, 2)
        signs = distances.new_tensor((-1.0, -1.0, 1.0, 1.0))
        boxes = (around + distances[where] * signs).clamp(min=0).minimum(limits)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores, labels = boxes[inside], scores[inside], labels[inside]
        keep = batched_nms(boxes, scores, labels, options.overlap)[: options.most]
        results.append({"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep] + 1})
    return results


def _best(probability: Tensor, here: Tensor, least: float, candidates: int) -> tuple[Tensor, Tensor]:
    """Return points and classes of the best scores on a level, at most so many."""
    above = (probability > least) & here[:, None]
    where, labels = above.nonzero(as_tuple=True)
    best = probability[where, labels].sort(descending=True, stable=True).indices[:candidates]
    return where[best], labels[best]
