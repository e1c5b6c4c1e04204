"""Draws which regions of a scene each stage of DynamicVis selects: its own record of the tokens, over the image."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from torch import Tensor

from models.dynamicvis import DynamicVis, Route, Routes
from reports.plot import plain_text

_FADED = 0.18  # what shows through of tokens that no block keeps; fading to white also sets dark objects apart
_HEAT_OPACITY = 0.65


class ShowError(ValueError):
    """A token map cannot be drawn or saved; the message is one line."""


def token_map(scene: NDArray[np.uint8], routes: Sequence[Sequence[Route]], *, title: str, caption: str) -> Figure:
    """Draw one column per stage: above, which tokens are kept; below, how important each token is.

    Above, a patch is the clearer the more of the stage's blocks keep its token, and almost white if none does. Below,
    the colour of a patch is the importance that the stage's last block gives its token, divided by the mean over all
    tokens, 1 / N. The colours span the 2nd to the 98th percentile.

    Args:
        scene: uint8 (R, R, 3), RGB.
        routes: For every stage the routes of its blocks, in order. Of a batch the first image is drawn.
        title: What is shown: model, scene, resolution.
        caption: What a reader must know to judge the picture, above all where the weights come from.

    Raises:
        ShowError: A stage has no route, as in a dense model.
    """
    if not routes or not all(routes):
        raise ShowError("the model does not select tokens in every stage; choose one that does, such as dynamicvis_b")
    figure = Figure(figsize=(4 * len(routes), 9.5), layout=ConstrainedLayoutEngine(h_pad=0.08, compress=True))
    figure.suptitle(title, fontsize=18, fontweight="bold")
    figure.supxlabel(fill(caption, width=38 * len(routes)), fontsize=12, color="0.3")
    above, below = figure.subplots(2, len(routes), squeeze=False)
    for stage, blocks in enumerate(routes):
        above[stage].imshow(kept_tokens(scene, blocks))
        _bare(above[stage])
        above[stage].set_title(f"Stage {stage + 1}: {told(blocks)}", fontsize=11)
        _draw_importance(below[stage], scene, blocks[-1])
    above[0].set_ylabel("tokens kept (clear: by every block)", fontsize=12)
    below[0].set_ylabel("importance in the last block", fontsize=12)
    return figure


def look(model: DynamicVis, tensor: Tensor) -> Routes:
    """Return the routes of an image, of shape (1, 3, R, R), through a model: one list of blocks a stage."""
    routes: Routes = []
    with torch.inference_mode():
        model(tensor, routes)
    return routes


def kept_tokens(scene: NDArray[np.uint8], blocks: Sequence[Route]) -> NDArray[np.uint8]:
    """Return the scene, uint8 (R, R, 3), each patch the clearer the more of a stage's blocks keep its token."""
    share = np.mean([_kept_mask(route) for route in blocks], axis=0)
    clear = _per_pixel(_FADED + (1 - _FADED) * share, len(scene))[..., None]
    shown: NDArray[np.uint8] = (clear * scene + (1 - clear) * 255).astype(np.uint8)
    return shown


def heat(scene: NDArray[np.uint8], route: Route) -> NDArray[np.uint8]:
    """Return the scene in grey under the colours of a block's importance, as `token_map` draws it: uint8 (R, R, 3)."""
    relative, low, high = _relative_importance(route)
    shade = np.clip((_per_pixel(relative, len(scene)) - low) / max(high - low, 1e-12), 0, 1)
    colours = 255 * colormaps["inferno"](shade)[..., :3]
    grey = scene.mean(axis=-1, keepdims=True)
    shown: NDArray[np.uint8] = (_HEAT_OPACITY * colours + (1 - _HEAT_OPACITY) * grey).astype(np.uint8)
    return shown


def told(blocks: Sequence[Route]) -> str:
    """Say how many tokens a stage's last block keeps."""
    tokens, kept = blocks[-1].importance.shape[1], blocks[-1].kept.shape[1]
    return f"keeps {kept} of {tokens} tokens ({100 * kept / tokens:.4g} %)"


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        ShowError: The folder cannot be written to, or the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with plain_text(figure):
            figure.savefig(part, format="png", dpi=120, metadata={"Software": None})
        os.replace(part, path)
    except OSError as error:
        raise ShowError(f"{path} cannot be written ({error.strerror}); free space or choose another place") from error
    finally:
        with suppress(OSError):  # after success there is no part, without a folder there is no place for one
            part.unlink()


def _kept_mask(route: Route) -> NDArray[np.float32]:
    """1 for the tokens that a block keeps, 0 for the others: (rows, columns)."""
    mask = np.zeros(route.importance.shape[1], dtype=np.float32)
    mask[route.kept[0].cpu().numpy()] = 1
    return mask.reshape(route.grid)


def _draw_importance(axes: Axes, scene: NDArray[np.uint8], route: Route) -> None:
    relative, low, high = _relative_importance(route)
    side = len(scene)
    axes.imshow(scene.mean(axis=-1), cmap="gray")
    heat = axes.imshow(_per_pixel(relative, side), cmap="inferno", vmin=low, vmax=high, alpha=_HEAT_OPACITY)
    axes.figure.colorbar(
        heat, ax=axes, location="bottom", extend="both", shrink=0.9, label="importance / mean importance"
    )
    _bare(axes)


def _relative_importance(route: Route) -> tuple[NDArray[np.float32], float, float]:
    """Return importance over its mean, (rows, columns), and its 2nd and 98th percentile."""
    importance = route.importance[0].detach().float().cpu().numpy().reshape(route.grid)
    relative = importance * importance.size
    low, high = np.percentile(relative, (2, 98))
    return relative, float(low), float(high)


def _per_pixel(tokens: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Spread a token map (rows, columns) over side x side pixels, every pixel with the value of its token."""
    position = np.arange(side)
    rows, columns = position * tokens.shape[0] // side, position * tokens.shape[1] // side
    return tokens[np.ix_(rows, columns)]


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
