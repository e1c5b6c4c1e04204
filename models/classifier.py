"""A backbone with a linear classifier on its pooled last map: the form in which papers count parameters."""

from torch import Tensor, nn

from models.backbone import Backbone


class Classifier(nn.Module):
    """Spatial mean of the last feature map, an optional LayerNorm, a linear layer.

    Args:
        backbone: gives the feature maps.
        classes: number of logits, >= 1.
        norm: put a LayerNorm (eps 1e-6) on the pooled feature, as DynamicVis does (arXiv 2503.16426, section 4.3.1).
    """

    def __init__(self, backbone: Backbone, classes: int, *, norm: bool) -> None:
        super().__init__()
        width = backbone.channels[-1]
        self.backbone = backbone
        self.norm = nn.LayerNorm(width, eps=1e-6) if norm else nn.Identity()
        self.linear = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes) of images (batch, 3, height, width)."""
        pooled = self.backbone(image)[-1].mean(dim=(2, 3))
        logits: Tensor = self.linear(self.norm(pooled))
        return logits
