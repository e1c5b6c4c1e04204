"""The convolutional and attention baselines, from timm."""

from typing import Any

from torch import Tensor, nn

from models.backbone import Backbone

ATTENTIONS = ("sdpa", "eager")


def set_attention(model: nn.Module, attention: str) -> None:
    """Make every attention layer fused (`sdpa`) or spelled out (`eager`: the whole score matrix is kept).

    The layers compute the same; the eager one is what the paper measured (its memory at 2048 x 2048 shows it), the
    fused one what a user runs today.

    Raises:
        ValueError: an unknown name.
    """
    if attention not in ATTENTIONS:
        raise ValueError(f"unknown attention '{attention}': choose from {', '.join(ATTENTIONS)}")
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", attention == "sdpa")  # noqa: B010 (no attribute that nn.Module declares)


def _create(name: str, **options: Any) -> Any:
    import timm  # noqa: PLC0415 (takes seconds, which models that do not need it should not wait for)

    return timm.create_model(name, pretrained=False, **options)


class TimmPyramid(Backbone):
    """A timm network with several levels: ResNet or Swin.

    Args:
        name: in timm.
        attention: see `set_attention`.
        options: more arguments of the timm model.
    """

    def __init__(self, name: str, *, attention: str = "sdpa", **options: Any) -> None:
        super().__init__()
        self.body = _create(name, features_only=True, out_indices=(-4, -3, -2, -1), **options)
        self.channels = tuple(self.body.feature_info.channels())
        self.strides = tuple(self.body.feature_info.reduction())
        self.channels_last = self.body.output_fmt == "NHWC"
        set_attention(self, attention)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute four feature maps at strides 4 to 32; see `Backbone.forward`."""
        self.check(image)
        maps = self.body(image)
        return tuple(m.permute(0, 3, 1, 2) if self.channels_last else m for m in maps)


class TimmPlain(Backbone):
    """A plain timm vision transformer (ViT, DeiT): one map at stride 16.

    The feature map leaves the class token out; `pooled` is the class token, which the published classifiers see.

    Args:
        name: in timm.
        image_size: side in pixels for which the positional embedding is made; other sizes resize it bicubically.
        attention: see `set_attention`.
    """

    strides = (16,)

    def __init__(self, name: str, *, image_size: int = 512, attention: str = "sdpa") -> None:
        super().__init__()
        self.body = _create(name, num_classes=0, img_size=image_size, dynamic_img_size=True)
        self.channels = (self.body.embed_dim,)
        set_attention(self, attention)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute one feature map at stride 16, the class token left out; see `Backbone.forward`."""
        tokens = self._tokens(image)[:, 1:]
        rows, columns = image.shape[2] // 16, image.shape[3] // 16
        return (tokens.transpose(1, 2).unflatten(2, (rows, columns)),)

    def pooled(self, image: Tensor) -> Tensor:
        """Return the class token after the last norm, (batch, width)."""
        return self._tokens(image)[:, 0]

    def _tokens(self, image: Tensor) -> Tensor:
        """Compute all tokens after the last norm, the class token first."""
        self.check(image)
        tokens: Tensor = self.body.forward_features(image)
        return tokens
