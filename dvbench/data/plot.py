"""Draw a sample of any task: images side by side, boxes and outlines on top, masks beside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

_COLOURS = ("#000000", "#ffd400", "#00a2ff", "#ff4d6d", "#3ddc84", "#c77dff", "#ff9f1c", "#2ec4b6")
_IGNORED = "#808080"
_PANEL = 4.0  # side of one panel, in inches


def draw(
    sample: dict[str, Any], classes: Sequence[str], show_titles: bool = True, suptitle: str | None = None
) -> Figure:
    """Draw a sample.

    Args:
        sample: As a dataset of this package returns it, 8-bit RGB. "prediction", shaped like the target, is drawn too
            where it is an image class or a mask.
        classes: Name of each label.
        show_titles: Whether to name the panels.
        suptitle: Title of the figure.

    Returns:
        The figure, which is known to no window and needs no closing.
    """
    dates = sample["image"] if sample["image"].ndim == 4 else sample["image"][None]
    maps = {key: sample[key] for key in ("mask", "prediction") if key in sample and sample[key].ndim == 2}
    titles = ["before", "after"] if len(dates) == 2 else [_caption(sample, classes)]
    panels = len(dates) + len(maps)
    figure = Figure(figsize=(_PANEL * panels, _PANEL), layout="constrained")
    axes: list[Axes] = list(figure.subplots(ncols=panels, squeeze=False)[0])
    for axis, image in zip(axes, dates, strict=False):
        height, width = image.shape[1:]  # the first pixel spans 0 to 1, as boxes count
        axis.imshow(image.permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy(), extent=(0, width, height, 0))
        _draw_objects(axis, sample, classes)
    for axis, mask in zip(axes[len(dates) :], maps.values(), strict=True):
        _draw_mask(axis, mask, len(classes))
    for axis, title in zip(axes, [*titles, *maps], strict=True):
        axis.set_axis_off()
        if show_titles:
            axis.set_title(title)
    if suptitle is not None:
        figure.suptitle(suptitle)
    return figure


def _caption(sample: dict[str, Any], classes: Sequence[str]) -> str:
    label = sample.get("label")
    if "bbox_xyxy" in sample:
        return f"objects: {len(sample['bbox_xyxy'])}"
    if label is None:
        return "image"
    if label.ndim == 1:
        return ", ".join(classes[i] for i in label.nonzero().flatten().tolist())
    predicted = f"\npredicted: {classes[int(sample['prediction'])]}" if "prediction" in sample else ""
    return classes[int(label)] + predicted


def _draw_objects(axis: Axes, sample: dict[str, Any], classes: Sequence[str]) -> None:
    if "bbox_xyxy" not in sample:
        return
    masks: Tensor | list[None] = sample.get("mask", [None] * len(sample["label"]))
    for box, label, mask in zip(sample["bbox_xyxy"].tolist(), sample["label"].tolist(), masks, strict=True):
        left, top, right, bottom = box
        colour = _COLOURS[1 + label % (len(_COLOURS) - 1)]
        axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour))
        axis.text(left, top, classes[label], color=colour, size=7, verticalalignment="bottom", clip_on=True)
        if mask is not None and mask.any():
            rows, columns = (np.arange(side) + 0.5 for side in mask.shape)
            axis.contour(columns, rows, mask.numpy(), levels=[0.5], colors=[colour], linewidths=1)


def _draw_mask(axis: Axes, mask: Tensor, classes: int) -> None:
    colours = [_COLOURS[i % len(_COLOURS)] for i in range(classes)]
    shown = np.where(mask.numpy() < classes, mask.numpy(), classes)  # 255, to be ignored, becomes one colour more
    axis.imshow(shown, cmap=ListedColormap([*colours, _IGNORED]), vmin=0, vmax=classes, interpolation="nearest")
