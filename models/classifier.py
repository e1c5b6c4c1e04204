"""A backbone with a linear classifier on its pooled feature: the form in which papers count parameters."""

from torch import Tensor, nn

from models.backbone import Backbone


class Classifier(nn.Module):
    """The backbone's pooled feature, a LayerNorm where the backbone asks for one, a linear layer.

    Args:
        backbone: gives the pooled feature.
        classes: number of logits, >= 1.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        width = backbone.channels[-1]
        self.backbone = backbone
        self.norm = nn.LayerNorm(width, eps=1e-6) if backbone.pooled_norm else nn.Identity()
        self.linear = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, height, width)."""
        logits: Tensor = self.linear(self.norm(self.backbone.pooled(image)))
        return logits
