"""Scene classification (section 4.3.1): the pooled feature, a norm, a linear layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from tasks.initial import normal
from tasks.metrics import MacroScores
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options


class Classification(Task):
    """One class an image. Loss: cross-entropy, with soft labels where images were mixed."""

    LOSSES = ("classification",)

    def configure_network(self) -> None:
        """Build the classifier."""
        read_options(Options, self.protocol.head, self.protocol, "head")
        width = self.backbone.channels[-1]
        self.norm = nn.LayerNorm(width, eps=1e-6) if self.backbone.pooled_norm else nn.Identity()
        self.linear = nn.Linear(width, len(self.problem.classes))
        normal(self.linear, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, height, width)."""
        logits: Tensor = self.linear(self.norm(self.backbone.pooled(image)))
        return logits.float()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy."""
        return {"classification": F.cross_entropy(self(batch["image"]), batch["label"])}

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return the "logits" of each image."""
        return [{"logits": logits} for logits in self(batch["image"])]

    def configure_scores(self) -> Scores:
        """Make the macro scores."""
        return MacroScores(len(self.problem.classes))
