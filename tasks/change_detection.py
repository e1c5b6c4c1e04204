"""Change detection (section 4.3.5): one backbone on both dates, fused level by level, decoded to a mask."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.dense import PixelHeadOptions, PixelTask, classifier, conv, cross_entropy, dice
from tasks.initial import kaiming
from tasks.necks import STRIDES, pyramid
from tasks.task import Batch


class ChangeOptions(PixelHeadOptions):
    """Channels of the pyramid and of the decoder."""

    width: Annotated[int, Field(ge=8)] = 256


class ChangeDecoder(nn.Module):
    """From fused maps to logits: a UNet from the coarsest map up, then an MLP over all its maps.

    Args:
        width: channels of the maps, and inside.
        classes: number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        steps = range(len(STRIDES) - 1)
        self.rise = nn.ModuleList(conv(width, width, 1) for _ in steps)
        self.merge = nn.ModuleList(nn.Sequential(conv(2 * width, width, 3), conv(width, width, 3)) for _ in steps)
        self.project = nn.ModuleList(conv(width, width, 1) for _ in STRIDES)
        self.fuse = conv(len(STRIDES) * width, width, 1)
        self.classify = classifier(width, classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits (batch, classes, h, w) at the size of the finest map."""
        decoded = [maps[-1]]
        for skip, rise, merge in zip(reversed(maps[:-1]), self.rise, self.merge, strict=True):
            decoded.append(merge(torch.cat([rise(_resized(decoded[-1], skip)), skip], dim=1)))
        projected = [_resized(layer(each), maps[0]) for layer, each in zip(self.project, decoded, strict=True)]
        logits: Tensor = self.classify(self.fuse(torch.cat(projected, dim=1)))
        return logits


class ChangeDetection(PixelTask):
    """Changed or not for each pixel of a pair of images. Losses: cross-entropy and Dice."""

    HeadOptions = ChangeOptions
    ALIGN_CORNERS = False
    LOSSES = ("ce", "dice")

    def configure_network(self) -> None:
        """Build the pyramid, the fusion of the dates and the decoder."""
        width = self.head_options(ChangeOptions).width
        self.neck = pyramid(self.backbone, width)
        kaiming(self.neck)  # the pyramid's own start is never reached inside open-cd's SequentialNeck
        self.fuse = nn.ModuleList(
            # Unlike `conv`, with a bias and torch's initial weights: the authors' fusion is no ConvModule.
            nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
            for _ in STRIDES
        )
        self.decoder = ChangeDecoder(width, len(self.problem.classes))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of pairs (batch, 2, 3, height, width), before and after."""
        before, after = (self.neck(self.backbone(date)) for date in image.unbind(1))
        triples = zip(self.fuse, before, after, strict=True)
        fused = [layer(torch.cat([first, second], dim=1)) for layer, first, second in triples]
        return _resized(self.decoder(fused), image)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and Dice."""
        logits = self(batch["image"])
        return {"ce": cross_entropy(logits, batch["mask"], self.class_weights), "dice": dice(logits, batch["mask"])}


def _resized(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, size=like.shape[-2:], mode="bilinear", align_corners=False)
