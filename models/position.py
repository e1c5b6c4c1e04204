"""Learned positions for a square grid of tokens, at any size."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PositionalEmbedding(nn.Module):
    """Learned positions for one image size, resized bicubically for others (arXiv 2503.16426v1, section 3.1).

    Released code of this family resizes only when a checkpoint is loaded; here any size runs at any time.

    Args:
        side: rows, and columns, of the grid that the positions are made for.
        width: channels of a token.
    """

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.zeros(1, side * side, width))

    def forward(self, tokens: Tensor, grid: tuple[int, int], *, overwrite: bool = False) -> Tensor:
        """Add positions to tokens (batch, rows x columns, width), in place if `overwrite`, without gradients only."""
        unchanged = grid == (self.side, self.side)
        positions = self.weight if unchanged else resize_position(self.weight, grid).to(tokens.dtype)
        return tokens.add_(positions) if overwrite else tokens + positions


def resize_position(embedding: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a positional embedding of a square grid bicubically.

    Args:
        embedding: (1, side x side, width).
        grid: rows and columns wanted.

    Returns:
        (1, rows x columns, width), in at least float32.
    """
    side = math.isqrt(embedding.shape[1])
    exact = embedding if embedding.dtype == torch.float64 else embedding.float()
    square = exact.transpose(1, 2).reshape(1, -1, side, side)
    resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)
