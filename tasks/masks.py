"""The masks of Mask R-CNN as mmdet trains and pastes them: aligned to the pixel, at boxes that are not rounded."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from tasks.initial import kaiming

CONVOLUTIONS = 4
SIDE = 28  # of a mask in cells, twice the region's
THRESHOLD = 0.5


class MaskHead(nn.Module):
    """Convolutions, then a mask a class at twice the region's resolution (mmdet's FCNMaskHead).

    Args:
        width: channels of a region and inside.
        classes: the background included, which has no mask.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        layers = [(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()) for _ in range(CONVOLUTIONS)]
        self.convolutions = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.enlarge = nn.Sequential(nn.ConvTranspose2d(width, width, 2, 2), nn.ReLU())
        self.masks = nn.Conv2d(width, classes - 1, 1)
        kaiming(self)

    def forward(self, regions: Tensor, labels: Tensor) -> Tensor:
        """Return logits (regions, 28, 28) of the masks of regions (regions, width, 14, 14) with labels from 1."""
        masks = self.masks(self.enlarge(self.convolutions(regions)))
        chosen: Tensor = masks[torch.arange(len(labels), device=labels.device), labels - 1]
        return chosen


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of logits (regions, 28, 28), averaged over all cells; 0 without regions."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / max(1, targets.numel())


def mask_targets(masks: Tensor, boxes: Tensor, which: Tensor) -> Tensor:
    """Return what the masks of regions should be, 0 or 1, float32 (regions, 28, 28).

    A cell is 1 where the mean of the mask over it is at least a half.

    Args:
        masks: of the truths, (T, height, width), 0 or 1.
        boxes: of the regions, (regions, 4), xyxy in px.
        which: truth of each region, (regions).
    """
    height, width = masks.shape[-2:]
    inside = boxes.clamp(min=0).minimum(boxes.new_tensor((width, height, width, height)))
    regions = torch.cat([which[:, None].to(inside), inside], dim=1)
    covered = roi_align(masks[:, None].to(boxes.dtype), regions, SIDE, aligned=True)[:, 0]
    targets: Tensor = (covered >= THRESHOLD).float()
    return targets


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw masks into an image: each pixel takes the mask's value at its centre, between cells.

    Args:
        masks: probabilities, (N, 28, 28).
        boxes: where they belong, (N, 4), xyxy in px; may stick out.
        size: height and width of the image.

    Returns:
        bool (N, height, width).
    """
    height, width = size
    drawn = torch.zeros(len(masks), height, width, dtype=torch.bool, device=masks.device)
    for image, mask, box in zip(drawn, masks, boxes, strict=True):
        left, top, right, bottom = box.tolist()
        if left >= right or top >= bottom:
            continue
        rows, columns = _covered(top, bottom, height), _covered(left, right, width)
        y, x = (
            ((torch.arange(*pixels, device=box.device) + 0.5 - low) / (high - low)) * 2 - 1
            for pixels, low, high in ((rows, top, bottom), (columns, left, right))
        )
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(mask)
        seen = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        image[slice(*rows), slice(*columns)] = seen >= THRESHOLD
    return drawn


def _covered(low: float, high: float, side: int) -> tuple[int, int]:
    """Return first and last pixel, the latter not included, that a mask from `low` to `high` may reach."""
    start = min(max(int(low) - 1, 0), side)
    return start, min(max(int(high) + 2, start), side)
