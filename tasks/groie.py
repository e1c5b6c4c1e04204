"""GRoIE: features of a region from all levels of a pyramid (arXiv 2004.13665), as DynamicVis configures it."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from tasks.initial import caffe2_xavier, kaiming
from tasks.necks import STRIDES

Attention = Literal["released", "clean"]
"""How a cell is asked about its distance along y. `clean`: with its own query. `released`: with that of the cell whose
x and y are swapped, since mmcv's `generalized_attention.py` (2.2.0) overwrites the queries with their transpose before
the term of y. The authors trained with it, so their weights need it."""

HEADS = 6
WAVELENGTH = 1000.0
LEVELS = 4  # the fifth map is for proposals only


class GRoIE(nn.Module):
    """Each level's view of a region through one convolution, summed, then attention by relative position.

    Args:
        side: of the square that a region becomes, in cells.
        width: channels of the maps.
        attention: see `Attention`.

    Attributes:
        attention: may be set at any time.
    """

    def __init__(self, side: int, width: int = 256, attention: Attention = "released") -> None:
        super().__init__()
        self.side = side
        self.attention = attention
        self.heads = HEADS if width >= 64 else 2
        self.depth = width // self.heads
        inner = self.heads * self.depth
        self.pre = nn.Conv2d(width, width, 5, padding=2)
        self.query = nn.Conv2d(width, inner, 1, bias=False)
        self.value = nn.Conv2d(width, inner, 1, bias=False)
        self.geometry_x = nn.Linear(width // 2, inner, bias=False)
        self.geometry_y = nn.Linear(width // 2, inner, bias=False)
        self.project = nn.Conv2d(inner, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        caffe2_xavier(self)
        kaiming(self.pre)

    def forward(self, maps: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """Extract the features of regions.

        Args:
            maps: at strides 4, 8, 16, 32 (and coarser, left aside), (batch, width, h_i, w_i).
            boxes: of each image, (N_i, 4), xyxy in px.

        Returns:
            (regions, width, side, side), image by image.
        """
        views = (
            roi_align(current.float(), [box.float() for box in boxes], self.side, 1 / stride, 2, aligned=True)
            for current, stride in zip(maps[:LEVELS], STRIDES, strict=False)
        )
        return self.fuse(list(views))

    def fuse(self, views: Sequence[Tensor]) -> Tensor:
        """Make one view (regions, width, side, side) of those of all levels, which are of the same shape."""
        fused: Tensor = torch.stack([F.relu(self.pre(view)) for view in views]).sum(0)
        return fused + self.gamma * self._attend(fused)

    def _attend(self, fused: Tensor) -> Tensor:
        """Let each cell look at every second cell, by what it holds and how far away that is."""
        side = fused.shape[-1]
        queries = self.query(fused).unflatten(1, (self.heads, self.depth)).permute(0, 1, 3, 4, 2)
        values = self.value(fused[..., ::2, ::2]).unflatten(1, (self.heads, self.depth)).flatten(3)
        offsets = torch.arange(side, device=fused.device)[:, None] - torch.arange(0, side, 2, device=fused.device)
        encoded = _encode(offsets.to(fused.dtype), self.geometry_x.in_features)
        x, y = (layer(encoded).unflatten(-1, (self.heads, self.depth)) for layer in (self.geometry_x, self.geometry_y))
        across = torch.einsum("nhyxd,xkhd->nhyxk", queries, x / math.sqrt(2))
        asked = queries.transpose(2, 3) if self.attention == "released" else queries
        along = torch.einsum("nhyxd,ykhd->nhyxk", asked, y / math.sqrt(2))
        energy = along[..., :, None] + across[..., None, :]
        weights = energy.flatten(-2).softmax(-1).flatten(2, 3)
        seen = torch.einsum("nhqk,nhdk->nhdq", weights, values)
        attended: Tensor = self.project(seen.flatten(1, 2).unflatten(-1, (side, side)))
        return attended


def _encode(offsets: Tensor, width: int) -> Tensor:
    """Return sines and cosines of cell offsets, (..., width), at wavelengths up to 1000."""
    rates = WAVELENGTH ** (-torch.arange(width // 2).to(offsets) / (width // 2))
    angles = offsets[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
