"""Rivals that a well-kept library has, behind one contract: images in, logits out.

All start from random weights. The libraries take seconds to import, so that happens when a network is built.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Named(nn.Module):
    """A network of torchvision, of whose named outputs one is meant."""

    def __init__(self, network: nn.Module, output: str = "out") -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of images (batch, 3, height, width)."""
        logits: Tensor = self.network(image)[self.output]
        return logits


class Stacked(nn.Module):
    """A network that takes both dates as the channels of one image (early fusion)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of pairs (batch, 2, 3, height, width)."""
        logits: Tensor = self.network(image.flatten(1, 2))
        return logits


class ChangeStar(nn.Module):
    """ChangeStar on FarSeg, trained and read in one order of the dates.

    Its single logit is that of "changed"; "unchanged" has 0, so that a softmax over both is its sigmoid.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        from torchgeo.models import ChangeStarFarSeg  # noqa: PLC0415

        whole = ChangeStarFarSeg(encoder, classes=1, backbone_pretrained=False)
        self.features, self.change = whole.dense_feature_extractor, whole.changemixin
        self.features.get_submodule("backbone").fc = nn.Identity()  # of ImageNet's classes, which nothing reads

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, 2, height, width) of pairs (batch, 2, 3, height, width)."""
        maps = self.features(image.flatten(0, 1)).unflatten(0, image.shape[:2])
        changed: Tensor = self.change(maps)[0]
        return torch.cat([torch.zeros_like(changed), changed], dim=1)


def smp(architecture: str, encoder: str, classes: int, **options: Any) -> nn.Module:
    """Build a network of segmentation_models_pytorch."""
    import segmentation_models_pytorch  # noqa: PLC0415

    made: nn.Module = getattr(segmentation_models_pytorch, architecture)(
        encoder, encoder_weights=None, classes=classes, **options
    )
    return made


def torchvision(name: str, classes: int, *, auxiliary: bool = False) -> nn.Module:
    """Build a network for segmentation of torchvision; its auxiliary head is not trained, and only counted."""
    from torchvision.models import get_model  # noqa: PLC0415

    options = {"weights": None, "weights_backbone": None, "aux_loss": auxiliary}
    return Named(get_model(name, num_classes=classes, **options))


def early_fusion(encoder: str, classes: int) -> nn.Module:
    """Build a U-Net on both dates as six channels."""
    return Stacked(smp("Unet", encoder, classes, in_channels=6))


def siamese_difference(encoder: str, classes: int) -> nn.Module:
    """Build a U-Net whose encoder sees each date, and whose decoder sees their differences."""
    from torchgeo.models import FCSiamDiff  # noqa: PLC0415

    made: nn.Module = FCSiamDiff(encoder, encoder_weights=None, classes=classes)
    return made


def changestar(encoder: str, classes: int) -> nn.Module:
    """Build ChangeStar for two classes.

    Raises:
        ValueError: another number of classes.
    """
    if classes != 2:
        raise ValueError(f"ChangeStar tells changed from unchanged, not {classes} classes")
    return ChangeStar(encoder)


def changevit(encoder: str, classes: int) -> nn.Module:
    """Build ChangeViT on a plain ViT of timm."""
    from torchgeo.models import ChangeViT  # noqa: PLC0415

    made: nn.Module = ChangeViT(encoder, num_classes=classes)
    return made
