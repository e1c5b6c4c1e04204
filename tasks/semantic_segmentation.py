"""Semantic segmentation (section 4.3.4): UPerNet on the four levels of a pyramid."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from tasks.dense import DenseOptions, DenseScores, PixelHeadOptions, cross_entropy, slide, to_original
from tasks.necks import pyramid
from tasks.task import Batch, Prediction, Scores, Task, read_options
from tasks.upernet import AuxiliaryHead, UPerNet

AUXILIARY_LEVEL = 2


class SegmentationOptions(PixelHeadOptions):
    """Channels of the pyramid, of UPerNet, and of its auxiliary head."""

    neck_width: Annotated[int, Field(ge=8)] = 256
    width: Annotated[int, Field(ge=8)] = 512
    auxiliary_width: Annotated[int, Field(ge=8)] = 256


class SemanticSegmentation(Task):
    """A class for each pixel. Losses: cross-entropy of the head and of the auxiliary head."""

    HeadOptions = SegmentationOptions
    ScoreOptions = DenseOptions
    LOSSES = ("decode", "auxiliary")

    def configure_network(self) -> None:
        """Build the pyramid and the heads."""
        chosen, classes = self.head_options(), len(self.problem.classes)
        self.class_weights = chosen.class_weights
        self.neck = pyramid(self.backbone, chosen.neck_width, levels=4)
        self.head = UPerNet(chosen.neck_width, chosen.width, classes)
        self.auxiliary = AuxiliaryHead(chosen.neck_width, chosen.auxiliary_width, classes)

    def head_options(self) -> SegmentationOptions:
        """Read the options of the head."""
        chosen = read_options(SegmentationOptions, self.protocol.head, self.protocol, "head")
        chosen.check(len(self.problem.classes), self.protocol)
        return chosen

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of images (batch, 3, height, width)."""
        return resized(self.head(self.neck(self.backbone(image))), image)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return both cross-entropies."""
        maps = self.neck(self.backbone(batch["image"]))
        logits = {"decode": self.head(maps), "auxiliary": self.auxiliary(maps[AUXILIARY_LEVEL])}
        return {
            name: cross_entropy(resized(each, batch["image"]), batch["mask"], self.class_weights)
            for name, each in logits.items()
        }

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return the "logits" of each image at its original size."""
        image = batch["image"]
        logits = slide(self, image, self.protocol.window)
        pairs = zip(logits, batch["size"], strict=True)
        return [
            {"logits": to_original(each, self.extent(size, image), size, align_corners=True)} for each, size in pairs
        ]

    def configure_scores(self) -> Scores:
        """Make the scores."""
        options = read_options(DenseOptions, self.protocol.scores, self.protocol, "scores")
        return DenseScores(len(self.problem.classes), options)


def resized(logits: Tensor, image: Tensor) -> Tensor:
    """Return logits at the size of an image, corners on corners."""
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=True)
