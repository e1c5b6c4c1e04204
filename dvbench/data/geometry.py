"""Crops and pads that torchvision lacks; they follow the mm* libraries, in which the paper's models were trained."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dvbench.data.card import IGNORE
from dvbench.data.transforms import BYTE_STATISTICS, Sample

BYTE_MEAN = tuple(round(mean) for mean in BYTE_STATISTICS[0])


class RandomCrop(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Crop a window at a random place; a side of the image that is shorter than the window stays whole.

    Args:
        size: Side of the window in px.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Draw the window."""
        canvas = F.get_size(flat_inputs[0])
        height, width = (min(self.size, side) for side in canvas)
        top, left = (
            int(torch.randint(side - kept + 1, ())) for side, kept in zip(canvas, (height, width), strict=True)
        )
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, int]) -> Any:
        """Crop image, boxes or mask."""
        return self._call_kernel(F.crop, inpt, **params)


class ClassRatioCrop(RandomCrop):
    """Crop as `RandomCrop`, but avoid windows that show little else than one class.

    Args:
        size: Side of the window in px.
        share: Draw again while one class takes this share or more of the pixels that are not ignored.
        retries: How often at most; the last window is taken as it is.
    """

    def __init__(self, size: int, share: float = 0.75, retries: int = 10) -> None:
        super().__init__(size)
        self.share = share
        self.retries = retries

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Draw windows until one is mixed enough."""
        mask = next(value for value in flat_inputs if isinstance(value, tv_tensors.Mask))
        window = super().make_params(flat_inputs)
        for _ in range(self.retries):
            if self._mixed(F.crop(mask.as_subclass(Tensor), **window)):
                break
            window = super().make_params(flat_inputs)
        return window

    def _mixed(self, mask: Tensor) -> bool:
        counts = torch.bincount(mask.flatten(), minlength=IGNORE + 1)[:IGNORE]
        return bool(counts.max() < self.share * counts.sum())


class BoxesFromMasks(nn.Module):
    """Give each instance the box around its mask and leave out instances without one; boxes alone stay as they are."""

    def forward(self, sample: Sample) -> Sample:
        """Recompute "bbox_xyxy" from "mask"."""
        if "mask" not in sample:
            return sample
        seen = sample["mask"].flatten(1).any(1).bool()  # of bytes, any() is bytes
        masks = sample["mask"][seen]
        boxes = masks_to_boxes(masks)
        boxes[:, 2:] += 1  # the far edge of the last pixel
        return sample | {
            "bbox_xyxy": tv_tensors.wrap(boxes, like=sample["bbox_xyxy"]),
            "label": sample["label"][seen],
            "mask": tv_tensors.wrap(masks, like=sample["mask"]),
        }


class Pad(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Pad at the right and the bottom to a square.

    Instance masks are padded with 0, semantic masks with 255, to be ignored.

    Args:
        size: Side of the square in px; longer sides stay.
        fill: What images are padded with, one value a band.
    """

    def __init__(self, size: int, fill: float | Sequence[float] = BYTE_MEAN) -> None:
        super().__init__()
        self.size = size
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[int]]:
        """Compute the margins left, top, right and bottom."""
        height, width = F.get_size(flat_inputs[0])
        return {"padding": [0, 0, max(self.size - width, 0), max(self.size - height, 0)]}

    def transform(self, inpt: Any, params: dict[str, list[int]]) -> Any:
        """Pad image, boxes or mask."""
        fill = self.fill
        if isinstance(inpt, tv_tensors.Mask):
            fill = 0 if inpt.ndim == 3 else IGNORE
        return self._call_kernel(F.pad, inpt, fill=fill, **params)
