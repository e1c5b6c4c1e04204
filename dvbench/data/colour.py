"""Colour changes that torchvision lacks or does in another way than the mm* libraries."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dvbench.data.geometry import BYTE_MEAN
from dvbench.data.transforms import Sample, UnitsError

Range = tuple[float, float]


@dataclass(frozen=True)
class Distortion:
    """One draw of `PhotometricDistortion`; the defaults change nothing."""

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = True

    def __call__(self, image: Tensor) -> Tensor:
        """Change an image, uint8 (3, H, W)."""
        values = (image / 255 + self.brightness).clamp_(0, 1)
        if self.contrast_first:
            values = (values * self.contrast).clamp_(0, 1)
        if self.saturation != 1:
            values = _saturated(values, self.saturation)
        if self.hue:
            values = F.adjust_hue(values, self.hue)
        if not self.contrast_first:
            values = (values * self.contrast).clamp_(0, 1)
        return values.mul_(255).round_().to(torch.uint8)


def _saturated(values: Tensor, factor: float) -> Tensor:
    """Scale the saturation of the HSV model, whose hue and value stay: the distances to the largest band are scaled."""
    low, high = values.aminmax(dim=0)
    most = high / (high - low).clamp_(min=1e-6)  # the factor that takes the saturation to 1
    return high - (high - values) * most.clamp_(max=factor)


class PhotometricDistortion(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Change brightness, contrast, saturation and hue as mmseg does, each with probability 0.5, each date on its own.

    torchvision's RandomPhotometricDistort is another one: it multiplies the brightness, pulls contrast towards the mean
    and swaps channels.

    Args:
        brightness: Largest shift, of 255.
        contrast: Factor of the values.
        saturation: Factor of the saturation.
        hue: Largest shift, of 180 for the full circle.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(
        self,
        brightness: float = 32,
        contrast: Range = (0.5, 1.5),
        saturation: Range = (0.5, 1.5),
        hue: float = 18,
    ) -> None:
        super().__init__()
        self.ranges: dict[str, Range] = {
            "brightness": (-brightness / 255, brightness / 255),
            "contrast": contrast,
            "saturation": saturation,
            "hue": (-hue / 180, hue / 180),
        }

    def make_params(self, flat_inputs: list[Any]) -> dict[str, list[Distortion]]:
        """Draw once for each date."""
        dates = flat_inputs[0].shape[:-3].numel()
        return {"distortions": [self._draw() for _ in range(dates)]}

    def _draw(self) -> Distortion:
        drawn = {name: float(torch.empty(()).uniform_(*bounds)) for name, bounds in self.ranges.items() if _coin()}
        return Distortion(**drawn, contrast_first=_coin())

    def transform(self, inpt: Any, params: dict[str, list[Distortion]]) -> Any:
        """Distort each date."""
        dates = _bytes(inpt).reshape(-1, *inpt.shape[-3:])
        distorted = [distort(date) for date, distort in zip(dates, params["distortions"], strict=True)]
        return tv_tensors.wrap(torch.stack(distorted).reshape(inpt.shape), like=inpt)


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _bytes(image: Tensor) -> Tensor:
    if image.dtype != torch.uint8 or image.shape[-3] != 3:
        raise UnitsError(f"colours change in 8-bit RGB only, not in {image.dtype} {tuple(image.shape)}")
    return image.as_subclass(Tensor)


class AutoAugment(nn.Module):
    """AutoAugment with the 25 sub-policies found on ImageNet (Cubuk et al. 2019), bicubic, filled with the mean.

    It works through Pillow, as torchvision does not rotate and shear tensors bicubically.
    """

    def __init__(self) -> None:
        super().__init__()
        self.policy = v2.AutoAugment(interpolation=v2.InterpolationMode.BICUBIC, fill=list(BYTE_MEAN))

    def forward(self, sample: Sample) -> Sample:
        """Change "image"."""
        return sample | {"image": F.to_image(self.policy(F.to_pil_image(_bytes(sample["image"]))))}
