"""UPerNet (arXiv 1807.10221) as the authors configure it: pyramid pooling, fusion of all levels, an auxiliary head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.dense import classifier, conv

POOLS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """The coarsest map with its means over grids of 1, 2, 3 and 6 cells (arXiv 1612.01105).

    Args:
        channels: of the map.
        width: channels of each pooled map and of the output.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), conv(channels, width, 1)) for side in POOLS
        )
        self.fuse = conv(channels + len(POOLS) * width, width, 3)

    def forward(self, coarsest: Tensor) -> Tensor:
        """Return (batch, width, h, w) of a map (batch, channels, h, w)."""
        pooled = [_resized(pool(coarsest), coarsest) for pool in self.pools]
        fused: Tensor = self.fuse(torch.cat([coarsest, *pooled], dim=1))
        return fused


class UPerNet(nn.Module):
    """Logits from four maps of one width.

    Args:
        channels: of the maps.
        width: channels inside.
        classes: number of classes.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.pooling = PyramidPooling(channels, width)
        self.lateral = nn.ModuleList(conv(channels, width, 1) for _ in range(3))
        self.output = nn.ModuleList(conv(width, width, 3) for _ in range(3))
        self.fuse = conv(4 * width, width, 3)
        self.classify = nn.Sequential(nn.Dropout2d(0.1), classifier(width, classes))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits (batch, classes, h, w) at the size of the finest map."""
        current = [layer(each) for layer, each in zip(self.lateral, maps[:3], strict=True)]
        current.append(self.pooling(maps[3]))
        for i in (2, 1, 0):
            current[i] = current[i] + _resized(current[i + 1], current[i])
        outputs = [*(layer(each) for layer, each in zip(self.output, current[:3], strict=True)), current[3]]
        fused = self.fuse(torch.cat([_resized(each, outputs[0]) for each in outputs], dim=1))
        logits: Tensor = self.classify(fused)
        return logits


class AuxiliaryHead(nn.Module):
    """One convolution and a classifier on a single map; trained along, not used at test."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(conv(channels, width, 3), nn.Dropout2d(0.1), classifier(width, classes))

    def forward(self, current: Tensor) -> Tensor:
        """Return logits (batch, classes, h, w) of a map (batch, channels, h, w)."""
        logits: Tensor = self.net(current)
        return logits


def _resized(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, size=like.shape[-2:], mode="bilinear", align_corners=True)
