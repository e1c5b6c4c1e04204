"""What every model promises."""

from abc import abstractmethod

from torch import Tensor, nn


class InputError(ValueError):
    """An image tensor does not suit the model; the message names its shape and what would suit."""


class Backbone(nn.Module):
    """Images in, a pyramid of feature maps out.

    Attributes:
        channels: channels of each feature map, from fine to coarse.
        strides: side of one cell of each feature map, in pixels of the image.
        divisor: both sides of an image have to be divisible by it.
        pooled_norm: whether its classifier puts a LayerNorm (eps 1e-6) on the pooled feature.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    divisor: int = 32
    pooled_norm: bool = False

    @abstractmethod
    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of a batch of images.

        Args:
            image: (batch, 3, height, width), RGB, normalised; batch >= 1.

        Returns:
            One map a level, (batch, channels[i], height / strides[i], width / strides[i]).

        Raises:
            InputError: the shape does not suit the model.
        """

    def pooled(self, image: Tensor) -> Tensor:
        """Return one vector an image, (batch, channels[-1]), for a classifier: here the mean of the last map."""
        return self(image)[-1].mean(dim=(2, 3))  # type: ignore[no-any-return]

    def check(self, image: Tensor) -> None:
        """Raise InputError unless `image` is a non-empty RGB batch with sides divisible by `divisor`."""
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise InputError(f"image batch has shape {shape}, expected (batch >= 1, 3, height, width)")
        if shape[2] % self.divisor or shape[3] % self.divisor:
            raise InputError(f"image is {shape[2]} x {shape[3]} pixels: both sides must be divisible by {self.divisor}")
