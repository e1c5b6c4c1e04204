"""Rivals as tasks: a whole network in place of backbone, neck and head; losses, scores and windows are the task's."""

from torch import Tensor

from tasks.change_detection import ChangeDetection, ChangeOptions
from tasks.dense import PixelTask, cross_entropy
from tasks.semantic_segmentation import SegmentationOptions, SemanticSegmentation
from tasks.task import Batch, Task


class Rival(PixelTask):
    """A task whose backbone, a `models.rivals.roster.Whole`, gives the logits."""

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of images or pairs."""
        logits: Tensor = self.backbone(image)[0]
        return logits


class RivalSegmentation(Rival, SemanticSegmentation):
    """Semantic segmentation by a rival. Loss: cross-entropy."""

    def configure_network(self) -> None:
        """Read the weights of the classes; the network is whole."""
        self.head_options(SegmentationOptions)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        return {"decode": cross_entropy(self(batch["image"]), batch["mask"], self.class_weights)}


class RivalChange(Rival, ChangeDetection):
    """Change detection by a rival. Losses: those of the task."""

    def configure_network(self) -> None:
        """Read the weights of the classes; the network is whole."""
        self.head_options(ChangeOptions)


RIVAL_TASKS: dict[str, type[Task]] = {"semantic_segmentation": RivalSegmentation, "change_detection": RivalChange}
