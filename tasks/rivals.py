"""Rivals as tasks: a whole network in place of backbone, neck and head; losses, scores and windows are the task's."""

from torch import Tensor

from tasks.change_detection import ChangeDetection
from tasks.dense import cross_entropy
from tasks.semantic_segmentation import SemanticSegmentation, resized
from tasks.task import Batch, Task


class RivalSegmentation(SemanticSegmentation):
    """Semantic segmentation by a rival. Loss: cross-entropy."""

    def configure_network(self) -> None:
        """Read the weights of the classes; the network is whole."""
        self.class_weights = self.head_options().class_weights

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of images (batch, 3, height, width)."""
        return resized(self.backbone(image)[0], image)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        return {"decode": cross_entropy(self(batch["image"]), batch["mask"], self.class_weights)}


class RivalChange(ChangeDetection):
    """Change detection by a rival. Losses: those of the task."""

    def configure_network(self) -> None:
        """Read the weights of the classes; the network is whole."""
        self.class_weights = self.head_options().class_weights

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of pairs (batch, 2, 3, height, width), before and after."""
        return resized(self.backbone(image)[0], image)


RIVAL_TASKS: dict[str, type[Task]] = {"semantic_segmentation": RivalSegmentation, "change_detection": RivalChange}
