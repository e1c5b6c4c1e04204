"""Windows over a raster, and a trained task's predictions on them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import torch
from torch import Tensor
from torch.nn import functional as F

from dvbench.data.transforms import BYTE_STATISTICS
from dvbench.predict.raster import Raster
from tasks.task import Prediction, Task


@dataclass(frozen=True)
class View:
    """One window of an image: its top left corner and its size, in pixels of the image."""

    top: int
    left: int
    height: int
    width: int


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where windows begin along an axis: evenly spread, flush with both ends, overlapping at least as asked.

    Args:
        length: pixels along the axis; a shorter one than `side` gets one window, which exceeds it.
        side: pixels of a window.
        overlap: least share of a window that the next one sees too, in [0, 1).
    """
    if length <= side:
        return [0]
    count = -int(-(length - side) // max(1, int(side * (1 - overlap)))) + 1
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def grid(size: tuple[int, int], side: int, overlap: float) -> list[View]:
    """Return the windows over an image of `size` (height, width), row by row."""
    height, width = size
    corners = product(starts(height, side, overlap), starts(width, side, overlap))
    return [View(top, left, side, side) for top, left in corners]


def predictions(
    task: Task,
    rasters: Sequence[Raster],
    views: list[View],
    batch_size: int,
    count: Callable[[list[View]], Iterator[View]],
) -> Iterator[tuple[View, Prediction]]:
    """Predict window by window.

    Args:
        task: trained, in eval mode, on the device that computes.
        rasters: the image, or the images before and after.
        views: which windows.
        batch_size: windows in a forward pass.
        count: passes the windows on, and may show progress.

    Yields:
        Each window with what is found in it, in pixels of the window, on the CPU.
    """
    counted = count(views)
    while some := list(islice(counted, batch_size)):
        images = torch.stack([_input(task, rasters, view) for view in some]).to(task.device)
        sizes = torch.tensor([(view.height, view.width) for view in some])
        with torch.inference_mode():
            found = task.predict({"image": images, "size": sizes})
        for view, prediction in zip(some, found, strict=True):
            yield view, {name: value.cpu() for name, value in prediction.items()}


def _input(task: Task, rasters: Sequence[Raster], view: View) -> Tensor:
    """Read a window at the size and in the units that the network was trained with."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in BYTE_STATISTICS)
    pixels = [torch.from_numpy(raster.read(view.top, view.left, view.height, view.width)).float() for raster in rasters]
    side = task.protocol.image_size
    images = torch.stack(pixels)
    if images.shape[-2:] != (side, side):
        images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)
    images = (images - mean) / deviation
    return images if len(rasters) > 1 else images[0]
