"""Necks: from a backbone's maps to five maps of one width."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from models.backbone import Backbone
from tasks.initial import xavier

STRIDES = (4, 8, 16, 32, 64)
"""Side of a cell of each map of a neck, in pixels of the image."""


class FPN(nn.Module):
    """Feature pyramid network (arXiv 1612.03144) as the authors configure it: biases, no norm, no activation.

    Args:
        channels: of the backbone's maps, from fine to coarse.
        width: channels of every output.
        levels: number of outputs; those beyond the backbone's are every second cell of the one before.
    """

    def __init__(self, channels: Sequence[int], width: int = 256, levels: int = 5) -> None:
        super().__init__()
        self.extra = levels - len(channels)
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        xavier(self)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn maps (batch, channels[i], h_i, w_i) into maps (batch, width, h_i, w_i), and the coarser ones."""
        current = [layer(each) for layer, each in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(current) - 1)):
            current[i] = current[i] + F.interpolate(current[i + 1], size=current[i].shape[-2:], mode="nearest")
        outputs = [layer(each) for layer, each in zip(self.output, current, strict=True)]
        for _ in range(self.extra):
            outputs.append(F.max_pool2d(outputs[-1], 1, stride=2))
        return outputs


class PlainPyramid(nn.Module):
    """Simple feature pyramid (arXiv 2203.16527, section 3) for a backbone with one map at stride 16 or 8.

    The maps at the other strides of 4 to 32 are made from that one by transposed convolutions and poolings.

    Args:
        channels: of the backbone's map.
        stride: of the backbone's map.
        width: channels of every output.
        levels: number of outputs.
    """

    def __init__(self, channels: int, stride: int = 16, width: int = 256, levels: int = 5) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        doubled = nn.ConvTranspose2d(channels, half, 2, 2)
        scales: list[nn.Module] = [doubled, nn.Identity(), nn.MaxPool2d(2, 2)]
        if stride == 16:
            widths = (quarter, half, channels, channels)
            finer = (nn.GroupNorm(1, half), nn.GELU(), nn.ConvTranspose2d(half, quarter, 2, 2))
            scales.insert(0, nn.Sequential(nn.ConvTranspose2d(channels, half, 2, 2), *finer))
        else:
            widths = (half, channels, channels, channels)
            scales.append(nn.MaxPool2d(4, 4))
        self.scales = nn.ModuleList(scales)
        self.pyramid = FPN(widths, width, levels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn one map (batch, channels, h, w) into maps of `width` channels at strides 4, 8, 16, ..."""
        (single,) = maps
        outputs: list[Tensor] = self.pyramid([scale(single) for scale in self.scales])
        return outputs


def pyramid(backbone: Backbone, width: int = 256, levels: int = 5) -> nn.Module:
    """Return the neck that suits a backbone; its outputs have strides 4, 8, 16, 32 and, for five levels, 64.

    Raises:
        ValueError: the backbone has neither four maps at strides 4 to 32 nor one at stride 16 or 8.
    """
    if tuple(backbone.strides) == STRIDES[:4]:
        return FPN(backbone.channels, width, levels)
    if tuple(backbone.strides) in ((16,), (8,)):
        return PlainPyramid(backbone.channels[0], backbone.strides[0], width, levels)
    raise ValueError(f"no pyramid for strides {tuple(backbone.strides)}: use 4, 8, 16, 32 together, or 16 or 8 alone")
