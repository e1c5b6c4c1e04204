"""Region classification (section 4.3.7, table 11), which is also the task of pretraining: a class for each box."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.embeddings import OPTION, RANDOM, read
from tasks.groie import LEVELS, Attention, GRoIE
from tasks.initial import normal
from tasks.metrics import MacroScores
from tasks.multiple_instance import label_loss, matching_loss
from tasks.necks import pyramid
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options

SIDE = 7
TEMPERATURE = 0.07


class RegionOptions(Options):
    """Options of the head.

    Attributes:
        width: channels of the pyramid, of a region, and of the embedding of a class.
        attention: of the extractor, see `tasks.groie.Attention`.
        embeddings: what those of the classes start from: `random` as released, or `text:FILE` as in the paper, with a
            file that `tasks.embeddings.read` takes.
    """

    width: int = 256
    attention: Attention = "released"
    embeddings: str = Field(RANDOM, pattern=OPTION)


class RegionClassification(Task):
    """A class for each given box. Losses: `ce`, and `mil`, which matches regions with embeddings of the classes."""

    HeadOptions = RegionOptions
    LOSSES = ("ce", "mil")

    def configure_network(self) -> None:
        """Build pyramid, extractor, classifier and the embeddings of the classes."""
        chosen = read_options(RegionOptions, self.protocol.head, self.protocol, "head")
        width, classes = chosen.width, len(self.problem.classes)
        self.neck = pyramid(self.backbone, width)
        self.roi = GRoIE(SIDE, width, chosen.attention)
        self.linear = nn.Linear(width, classes)
        normal(self.linear, std=0.01)
        self.embeddings = nn.Embedding(classes, width)  # drawn in any case, so that seeds mean the same with a file
        if chosen.embeddings != RANDOM:
            start = read(chosen.embeddings, self.problem.classes, width)
            self.embeddings.weight.data.copy_(start.rows)
            self.embedded = start.about
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def forward(self, image: Tensor, boxes: list[Tensor]) -> Tensor:
        """Return features (regions, width) of the boxes of all images, image by image."""
        features: Tensor = self.roi(self.neck(self.backbone(image)), boxes)
        return features.mean(dim=(2, 3)).float()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy and matching loss."""
        labels = torch.cat(batch["label"])
        features = self(batch["image"], batch["bbox_xyxy"])
        matched = matching_loss(features, self.embeddings.weight, self.logit_scale, labels)
        return {"ce": label_loss(self.linear(features), labels), "mil": matched}

    def layers(self, image: Tensor) -> None:
        """Run the layers, one region an image; see `Task.layers`."""
        maps = self.neck(self.backbone(image))
        view = maps[0].new_zeros(len(image), maps[0].shape[1], SIDE, SIDE)
        self.linear(self.roi.fuse([view] * LEVELS).mean(dim=(2, 3)))

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return the "logits" (N, classes) of each image's boxes, which are an input here."""
        logits = self.linear(self(batch["image"], batch["bbox_xyxy"]))
        return [{"logits": some} for some in logits.split([len(boxes) for boxes in batch["bbox_xyxy"]])]

    def configure_scores(self) -> Scores:
        """Make the macro scores over regions."""
        return MacroScores(len(self.problem.classes))
