"""The proposal network of the authors' configurations: torchvision's, with mmdet's anchors and assignment."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

ASPECTS = (0.5, 1.0, 2.0)


class Anchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """Anchors of exact sides; torchvision rounds them to whole pixels, which moves those of small objects most."""

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Return boxes around the origin, (aspects x scales, 4); the aspect is height over width."""
        sides = torch.tensor(scales, dtype=dtype, device=device)
        stretch = torch.tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        widths, heights = (sides / stretch).flatten(), (sides * stretch).flatten()
        return torch.stack([-widths, -heights, widths, heights], dim=1) / 2


class Matcher:
    """Which truth each box stands for, as mmdet's `MaxIoUAssigner` decides with `match_low_quality`.

    A box that overlaps a truth by `high` or more stands for the one that it overlaps most. Then each truth takes the
    boxes that overlap it most, whatever they stood for, if that is by `least` or more.

    Args:
        high: overlap from which a box stands for a truth.
        low: overlap below which it is background.
        least: overlap that a truth asks of the boxes that are its best.
    """

    BELOW_LOW_THRESHOLD = -1  # background; torchvision asks for both by these names
    BETWEEN_THRESHOLDS = -2  # neither, not trained on

    def __init__(self, high: float, low: float, least: float) -> None:
        self.high, self.low, self.least = high, low, least

    def __call__(self, overlaps: Tensor) -> Tensor:
        """Return the truth of each box, int64 (boxes), or a negative number as above.

        Args:
            overlaps: of at least one truth with the boxes, (truths, boxes).
        """
        best, matches = overlaps.max(dim=0)
        matches[best < self.high] = self.BETWEEN_THRESHOLDS
        matches[best < self.low] = self.BELOW_LOW_THRESHOLD
        if overlaps.shape[1]:
            for truth, most in enumerate(overlaps.amax(dim=1).tolist()):
                if most >= self.least:
                    matches[overlaps[truth] == most] = truth
        return matches


def proposal_network(width: int, sizes: Sequence[Sequence[int]], keep: tuple[int, int, int]) -> RegionProposalNetwork:
    """Build a region proposal network (section 4.3.3).

    Args:
        width: channels of the maps.
        sizes: of the anchors in px, level by level.
        keep: proposals before suppression a level in training and at test, and after it.
    """
    anchors = Anchors(tuple(map(tuple, sizes)), (ASPECTS,) * len(sizes))
    head = RPNHead(width, anchors.num_anchors_per_location()[0])
    before = {"training": keep[0], "testing": keep[1]}
    after = {"training": keep[2], "testing": keep[2]}
    network = RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, before, after, 0.7)
    network.proposal_matcher = Matcher(0.7, 0.3, least=0.3)
    return network


def image_list(image: Tensor) -> ImageList:
    """Wrap a batch as torchvision's detectors want it."""
    return ImageList(image, [(image.shape[-2], image.shape[-1])] * len(image))


def named(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name maps as torchvision's detectors do; they compute in float32."""
    return {str(i): current.float() for i, current in enumerate(maps)}


def as_targets(boxes: list[Tensor], labels: list[Tensor]) -> list[dict[str, Tensor]]:
    """Pair boxes with labels as torchvision's detectors want them."""
    return [{"boxes": some, "labels": those} for some, those in zip(boxes, labels, strict=True)]
