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
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

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

    def check(self, image: Tensor) -> None:
        """Raise InputError unless `image` is a non-empty RGB batch with sides divisible by 32."""
        shape = tuple(image.shape)
        if len(shape) != 4 or shape[1] != 3 or 0 in shape:
            raise InputError(f"image batch has shape {shape}, expected (batch >= 1, 3, height, width)")
        if shape[2] % 32 or shape[3] % 32:
            raise InputError(f"image is {shape[2]} x {shape[3]} pixels: both sides must be divisible by 32")
