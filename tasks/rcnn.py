"""What follows the proposals of an R-CNN, as mmdet has it and the authors configure it: sampling and the box head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import MultiScaleRoIAlign, batched_nms, box_iou

from tasks.initial import normal, xavier
from tasks.necks import STRIDES
from tasks.proposals import Matcher, named
from tasks.task import Prediction

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
"""What offsets of x, y, width and height are divided by."""
LARGEST = math.log(1000 / 16)  # by which the logarithm of a side may change
POSITIVE = 0.25  # share of the samples that may stand for a truth
match = Matcher(0.5, 0.5, least=0.5)


class Limits(NamedTuple):
    """Which detections are kept.

    Attributes:
        least_score: from which a detection counts.
        overlap: intersection over union above which the worse of two detections of a class goes.
        most: detections that are kept an image.
    """

    least_score: float
    overlap: float
    most: int


@dataclass(frozen=True)
class Samples:
    """Regions of one image that are trained on.

    Attributes:
        boxes: float32 (N, 4).
        labels: int64 (N), 0 for background.
        truths: int64 (N), position of the truth that a region stands for, negative for background.
    """

    boxes: Tensor
    labels: Tensor
    truths: Tensor

    @property
    def positive(self) -> Tensor:
        """Which regions stand for a truth, bool (N)."""
        return self.labels > 0


def sample(proposals: Tensor, boxes: Tensor, labels: Tensor, count: int) -> Samples:
    """Draw regions of an image to train on: at most a quarter that stand for a truth, the rest background.

    Proposals are matched first; the truths, which join them, stand for themselves (mmdet's `add_gt_as_proposals`).

    Args:
        proposals: (P, 4).
        boxes: truths, (T, 4); T may be 0.
        labels: of the truths, (T), from 1.
        count: regions to draw.
    """
    none = labels.new_full((len(proposals),), Matcher.BELOW_LOW_THRESHOLD)
    matched = match(box_iou(boxes, proposals)) if len(boxes) else none
    truths = torch.cat([torch.arange(len(boxes), device=boxes.device), matched])
    regions = torch.cat([boxes, proposals])
    positive = _some((truths >= 0).nonzero()[:, 0], int(count * POSITIVE))
    negative = _some((truths < 0).nonzero()[:, 0], count - len(positive))
    chosen = torch.cat([positive, negative])
    found = torch.cat([labels[truths[positive]], labels.new_zeros(len(negative))])
    return Samples(regions[chosen], found, truths[chosen])


def _some(of: Tensor, most: int) -> Tensor:
    return of[torch.randperm(len(of), device=of.device)[:most]]


class SingleLevel(nn.Module):
    """Features of a region from the one level that suits its size, as in plain R-CNN (arXiv 1612.03144).

    Args:
        side: of the square that a region becomes, in cells.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2)

    def forward(self, maps: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return features (regions, width, side, side); arguments as `GRoIE.forward`."""
        height, width = (STRIDES[0] * side for side in maps[0].shape[-2:])
        features: Tensor = self.pool(named(maps), boxes, [(height, width)] * len(boxes))
        return features


class BoxHead(nn.Module):
    """Two layers over a region, then its class and one box a class (mmdet's Shared2FCBBoxHead).

    Args:
        width: channels of a region.
        side: of a region in cells.
        hidden: of both layers.
        classes: the background included.
    """

    def __init__(self, width: int, side: int, hidden: int, classes: int) -> None:
        super().__init__()
        layers = (nn.Linear(width * side**2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.shared = nn.Sequential(nn.Flatten(), *layers)
        self.classes = nn.Linear(hidden, classes)
        self.boxes = nn.Linear(hidden, 4 * (classes - 1))
        xavier(self.shared)
        normal(self.classes, std=0.01)
        normal(self.boxes, std=0.001)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (regions, classes) and offsets (regions, classes without background, 4)."""
        shared = self.shared(regions)
        return self.classes(shared), self.boxes(shared).unflatten(1, (-1, 4))

    def losses(self, regions: Tensor, samples: list[Samples], boxes: list[Tensor]) -> dict[str, Tensor]:
        """Return cross-entropy and smooth L1 with a bend at 1, both averaged over all regions.

        Args:
            regions: features of the samples, image by image.
            samples: of each image.
            boxes: truths of each image.
        """
        logits, offsets = self(regions)
        labels, positive = (torch.cat([getattr(each, name) for each in samples]) for name in ("labels", "positive"))
        pairs = zip(samples, boxes, strict=True)
        wanted = torch.cat([encode(truth[s.truths[s.positive]], s.boxes[s.positive]) for s, truth in pairs])
        found = offsets[positive, labels[positive] - 1]
        count = max(1, len(labels))
        return {
            "classification": F.cross_entropy(logits, labels, reduction="sum") / count,
            "box": F.smooth_l1_loss(found, wanted, beta=1.0, reduction="sum") / count,
        }

    def detect(
        self, regions: Tensor, proposals: list[Tensor], sides: tuple[int, int], limits: Limits
    ) -> list[Prediction]:
        """Return "boxes", "scores" and "labels" of each image, best first.

        Args:
            regions: features of the proposals, image by image.
            proposals: of each image.
            sides: height and width in px to which boxes are clipped.
            limits: which detections are kept.
        """
        logits, offsets = self(regions)
        border = regions.new_tensor((sides[1], sides[0], sides[1], sides[0]))
        counts = [len(each) for each in proposals]
        results = []
        for some, scores, moves in zip(
            proposals, logits.softmax(1)[:, 1:].split(counts), offsets.split(counts), strict=True
        ):
            boxes = decode(moves, some[:, None]).clamp(min=0).minimum(border)
            where, labels = (scores > limits.least_score).nonzero(as_tuple=True)
            boxes, best = boxes[where, labels], scores[where, labels]
            keep = batched_nms(boxes, best, labels, limits.overlap)[: limits.most]
            results.append({"boxes": boxes[keep], "scores": best[keep], "labels": labels[keep] + 1})
        return results


def encode(boxes: Tensor, proposals: Tensor) -> Tensor:
    """Return the offsets (..., 4) that lead from proposals to boxes (arXiv 1506.01497, equation 2)."""
    sides, wanted = (each[..., 2:] - each[..., :2] for each in (proposals, boxes))
    moved = (boxes[..., :2] + wanted / 2 - proposals[..., :2] - sides / 2) / sides
    return torch.cat([moved, (wanted / sides).log()], dim=-1) / boxes.new_tensor(DEVIATIONS)


def decode(offsets: Tensor, proposals: Tensor) -> Tensor:
    """Return the boxes (..., 4) to which offsets lead from proposals."""
    moved, stretched = (offsets * offsets.new_tensor(DEVIATIONS)).split(2, dim=-1)
    sides = proposals[..., 2:] - proposals[..., :2]
    middle = proposals[..., :2] + sides / 2 + moved * sides
    half = sides * stretched.clamp(-LARGEST, LARGEST).exp() / 2
    return torch.cat([middle - half, middle + half], dim=-1)
