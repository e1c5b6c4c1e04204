"""Semantic segmentation (section 4.3.4): UPerNet on the four levels of a pyramid."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasks.dense import PixelHeadOptions, PixelTask, cross_entropy
from tasks.necks import pyramid
from tasks.task import Batch
from tasks.upernet import AuxiliaryHead, UPerNet

AUXILIARY_LEVEL = 2


class SegmentationOptions(PixelHeadOptions):
    """Channels of the pyramid, of UPerNet, and of its auxiliary head."""

    neck_width: Annotated[int, Field(ge=8)] = 256
    width: Annotated[int, Field(ge=8)] = 512
    auxiliary_width: Annotated[int, Field(ge=8)] = 256


class SemanticSegmentation(PixelTask):
    """A class for each pixel. Losses: cross-entropy of the head and of the auxiliary head."""

    HeadOptions = SegmentationOptions
    ALIGN_CORNERS = True
    LOSSES = ("decode", "auxiliary")

    def configure_network(self) -> None:
        """Build the pyramid and the heads."""
        chosen, classes = self.head_options(SegmentationOptions), len(self.problem.classes)
        self.neck = pyramid(self.backbone, chosen.neck_width, levels=4)
        self.head = UPerNet(chosen.neck_width, chosen.width, classes)
        self.auxiliary = AuxiliaryHead(chosen.neck_width, chosen.auxiliary_width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of images (batch, 3, height, width)."""
        return _resized(self.head(self.neck(self.backbone(image))), image)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return both cross-entropies."""
        maps = self.neck(self.backbone(batch["image"]))
        logits = {"decode": self.head(maps), "auxiliary": self.auxiliary(maps[AUXILIARY_LEVEL])}
        return {
            name: cross_entropy(_resized(each, batch["image"]), batch["mask"], self.class_weights)
            for name, each in logits.items()
        }


def _resized(logits: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=True)
