"""BIT (arXiv 2103.00208): few tokens of each date look at each other, and are written back to the pixels."""

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, TOKENS, HEADS = 32, 4, 8  # channels of a pixel and of a token; tokens of a date; heads of attention
HEAD_WIDTH = 64
ENCODER_DEPTH, DECODER_DEPTH = 1, 8


class Attention(nn.Module):
    """Attention of tokens to others (equations 2 to 4), its scores scaled by the width of a token, not of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, HEADS * HEAD_WIDTH, bias=False) for _ in range(3))
        self.out = nn.Linear(HEADS * HEAD_WIDTH, WIDTH)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Return one vector for each of the tokens (batch, n, width), from others (batch, m, width)."""
        query, key, value = (
            layer(each).unflatten(-1, (HEADS, HEAD_WIDTH)).transpose(1, 2)
            for layer, each in ((self.query, tokens), (self.key, others), (self.value, others))
        )
        found = F.scaled_dot_product_attention(query, key, value, scale=WIDTH**-0.5)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """A layer of encoder or decoder: attention, then an MLP, each on normalised tokens and added to them.

    In the decoder pixels attend to tokens, and one norm serves both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tensor, others: Tensor | None = None) -> Tensor:
        """Return tokens (batch, n, width), having attended to others, or to themselves without any."""
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed if others is None else self.norm(others))
        mixed: Tensor = tokens + self.mlp(tokens)
        return mixed


class BIT(nn.Module):
    """Bitemporal image transformer on ResNet-18 up to its third stage, at stride 8 (section III).

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet18", features_only=True, out_indices=(3,))
        first = self.backbone.get_submodule("layer3.0")
        for layer in ("conv1", "downsample.0"):  # the third stage keeps the size of the second
            first.get_submodule(layer).stride = (1, 1)  # type: ignore[assignment]
        self.project = nn.Conv2d(256, WIDTH, 3, padding=1)
        self.tokenizer = nn.Conv2d(WIDTH, TOKENS, 1, bias=False)
        self.position = nn.Parameter(torch.randn(1, 2 * TOKENS, WIDTH))
        self.encoder = nn.ModuleList(Layer() for _ in range(ENCODER_DEPTH))
        self.decoder = nn.ModuleList(Layer() for _ in range(DECODER_DEPTH))
        self.classify = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
            nn.Conv2d(WIDTH, classes, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (batch, classes, height, width) of pairs (batch, 2, 3, height, width)."""
        maps = [self.features(date) for date in image.unbind(1)]
        tokens = torch.cat([self.tokens(each) for each in maps], dim=1) + self.position
        for layer in self.encoder:
            tokens = layer(tokens)
        before, after = (self.decoded(*each) for each in zip(maps, tokens.chunk(2, dim=1), strict=True))
        apart = F.interpolate((before - after).abs(), scale_factor=4.0, mode="bilinear")
        logits: Tensor = self.classify(apart)
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Return the pixels' features (batch, width, height / 4, width / 4) of one date."""
        projected: Tensor = self.project(F.interpolate(self.backbone(image)[0], scale_factor=2.0))
        return projected

    def tokens(self, features: Tensor) -> Tensor:
        """Return the tokens (batch, tokens, width) of one date: means of its pixels by learned maps (equation 1)."""
        shares: Tensor = self.tokenizer(features).flatten(2).softmax(dim=-1)
        return shares @ features.flatten(2).transpose(1, 2)

    def decoded(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return the features of one date, each pixel having attended to the date's tokens."""
        pixels = features.flatten(2).transpose(1, 2)
        for layer in self.decoder:
            pixels = layer(pixels, tokens)
        decoded: Tensor = pixels.transpose(1, 2).unflatten(-1, features.shape[-2:])
        return decoded
