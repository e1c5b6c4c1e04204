"""Predictions beside truth, confusion, curves and embeddings: figures 8 to 19 of the paper, from plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from reports.plot import PlotError

Array = NDArray[Any]
HIT, FALSE, MISSED = "#009E73", "#D55E00", "#F0E442"  # Okabe and Ito: told apart by colour-blind eyes
FOUND = 0.5  # overlap from which a box counts as found
SIDE = 2.6  # inches of a panel


@dataclass(frozen=True)
class Example:
    """One image with its truth and what models found.

    Attributes:
        image: uint8 (H, W, 3), or (2, H, W, 3) before and after.
        truth: arrays by name: `boxes` (N, 4), `labels` (N), `mask` (H, W) or (N, H, W), `label` ().
        found: the same by model, with `scores` (N).
    """

    image: Array
    truth: Mapping[str, Array]
    found: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)


def match(boxes: Array, scores: Array, labels: Array, true: Array, true_labels: Array) -> tuple[Array, Array]:
    """Pair detections with truth, best scores first, each true box once.

    Returns:
        Whether each detection is right, and whether each true box was found; bool.
    """
    right, taken = np.zeros(len(boxes), bool), np.zeros(len(true), bool)
    for i in np.argsort(-scores, kind="stable"):
        overlaps = np.where(taken | (true_labels != labels[i]), 0, _overlaps(boxes[i], true))
        if len(true) and overlaps.max() >= FOUND:
            right[i] = taken[overlaps.argmax()] = True
    return right, taken


def detections(examples: Sequence[Example], *, title: str, least_score: float = 0.3) -> Figure:
    """Draw truth and each model's boxes: right, false and missed ones in their colours (figures 11 to 13)."""
    figure, grid = _panels(examples, title, first="truth")
    for row, example in zip(grid, examples, strict=True):
        for axes in row:
            axes.imshow(example.image)
        true, labels = example.truth["boxes"], example.truth["labels"]
        _draw_boxes(row[0], true, HIT)
        for axes, found in zip(row[1:], example.found.values(), strict=True):
            sure = found["scores"] >= least_score
            boxes, scores, kinds = (found[key][sure] for key in ("boxes", "scores", "labels"))
            right, taken = match(boxes, scores, kinds, true, labels)
            if "masks" in found:
                _tint(axes, found["masks"][sure][right], HIT)
                _tint(axes, found["masks"][sure][~right], FALSE)
            _draw_boxes(axes, true[~taken], MISSED, dashed=True)
            _draw_boxes(axes, boxes[~right], FALSE)
            _draw_boxes(axes, boxes[right], HIT)
    note = f"right: overlap of at least {FOUND}; scores of at least {least_score}"
    return _with_legend(figure, {"right": HIT, "false": FALSE, "missed": MISSED}, note)


def masks(examples: Sequence[Example], *, title: str, classes: Sequence[str]) -> Figure:
    """Draw maps: hits, false alarms and misses of class 1 where there are two, else each class in a colour."""
    dates = 2 if examples and examples[0].image.ndim == 4 else 1
    figure, grid = _panels(examples, title, first="before" if dates == 2 else "image", more=("after",)[: dates - 1])
    palette = np.vstack([[0, 0, 0], _colours(len(classes) - 1)]) if len(classes) > 2 else np.zeros((2, 3))
    for row, example in zip(grid, examples, strict=True):
        for axes, date in zip(row, example.image if dates == 2 else [example.image], strict=False):
            axes.imshow(date)
        true = example.truth["mask"]
        for axes, found in zip(row[dates:], example.found.values(), strict=True):
            axes.imshow(_confused(true, found["logits"]) if len(classes) == 2 else palette[found["logits"]])
        if len(classes) > 2:
            row[0].imshow(palette[np.where(true == 255, 0, true)], alpha=0.45)
    if len(classes) == 2:
        return _with_legend(
            figure, {f"{classes[1]}, right": "white", "false": FALSE, "missed": "#0072B2"}, "grey: ignored"
        )
    shown = {name: tuple(colour) for name, colour in zip(classes, palette, strict=True)}
    return _with_legend(figure, shown, "first column: the truth over the image")


def classified(examples: Sequence[Example], *, title: str, classes: Sequence[str]) -> Figure:
    """Draw images, or the boxes on them, with the class that each model gives, right or wrong."""
    figure, grid = _panels(examples, title, first="truth")
    for row, example in zip(grid, examples, strict=True):
        for axes in row:
            axes.imshow(example.image)
        label = np.atleast_1d(example.truth["labels"])
        boxes = example.truth.get("boxes")
        _name_regions(row[0], boxes, [classes[i] for i in label], ["black"] * len(label))
        for axes, found in zip(row[1:], example.found.values(), strict=True):
            guess = np.atleast_2d(found["logits"]).argmax(-1) if len(label) else label
            colours = [HIT if a == b else FALSE for a, b in zip(guess, label, strict=True)]
            _name_regions(axes, boxes, [classes[i] for i in guess], colours)
    return _with_legend(figure, {"right": HIT, "wrong": FALSE}, "")


def confusion(matrices: Mapping[str, Array], classes: Sequence[str], *, title: str) -> Figure:
    """Draw confusion matrices, rows (the truth) in percent (figures 8 and 9)."""
    if not matrices:
        raise PlotError("no confusion matrix to draw: run the models first")
    side = max(4.0, 0.32 * len(classes) + 1.5)
    figure = Figure(figsize=(side * len(matrices), side + 0.4), layout="constrained")
    for axes, (name, matrix) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True):
        shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.set_title(name)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        for i, j in np.argwhere(shares >= 1) if len(classes) <= 30 else ():
            colour = "white" if shares[i, j] > 60 else "black"
            axes.text(j, i, f"{shares[i, j]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(picture, ax=figure.axes, shrink=0.7, label="% of the true class")
    _entitle(figure, title)
    return figure


def curves(logs: Mapping[str, pd.DataFrame], *, metric: str, title: str) -> Figure:
    """Draw loss and a score against the step, a line a run by its name (figure 10)."""
    if not logs:
        raise PlotError("no training log to draw: run the models first")
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, log), colour in zip(logs.items(), _colours(len(logs)), strict=True):
        left.plot(log["step"], log["train/loss"], color=colour, label=name)
        scored = log.dropna(subset=[f"val/{metric}"])
        right.plot(scored["step"], scored[f"val/{metric}"], color=colour, marker="o", markersize=4, label=name)
    left.set(xlabel="step", ylabel="training loss")
    right.set(xlabel="step", ylabel=f"{metric} on the validation split (%)", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    _entitle(figure, title)
    return figure


def embedding_map(embeddings: Mapping[str, tuple[Array, Array]], classes: Sequence[str], *, title: str) -> Figure:
    """Draw embeddings in the plane by t-SNE, a colour a class (figure 19).

    Args:
        embeddings: by model, (n, d) and labels (n).
        classes: names of the labels.
        title: of the figure.

    Raises:
        PlotError: there are fewer than 10 of them.
    """
    from sklearn.manifold import TSNE  # noqa: PLC0415 (seconds)

    if not embeddings or min(len(labels) for _, labels in embeddings.values()) < 10:
        raise PlotError("t-SNE needs at least 10 embeddings: run retrieval on more images")
    figure = Figure(figsize=(4 * len(embeddings) + 1.6, 4), layout="constrained")
    colours = _colours(len(classes))
    panels = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for axes, (name, (values, labels)) in zip(panels, embeddings.items(), strict=True):
        plane = TSNE(perplexity=min(30, len(labels) / 4), init="pca", random_state=0).fit_transform(values)
        axes.scatter(*plane.T, c=colours[labels], s=16)
        axes.set(title=name, xticks=[], yticks=[])
    dots = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=name)
        for name, colour in zip(classes, colours, strict=True)
    ]
    figure.legend(handles=dots, loc="outside right center", frameon=False, fontsize=8)
    _entitle(figure, title)
    return figure


def retrieval_sheet(sheets: Sequence[tuple[Array, str, Array, Array]], *, title: str) -> Figure:
    """Draw each query with its nearest images, framed by whether they share a label (figure 18).

    Args:
        sheets: query (H, W, 3), its label's name, nearest images (k, H, W, 3), whether they are relevant (k).
        title: of the figure.
    """
    if not sheets:
        raise PlotError("no query to draw: run retrieval first")
    columns = 1 + max(len(images) for _, _, images, _ in sheets)
    figure = Figure(figsize=(1.3 * columns, 1.5 * len(sheets) + 0.8), layout="constrained")
    grid = figure.subplots(len(sheets), columns, squeeze=False)
    for row, (query, name, images, relevant) in zip(grid, sheets, strict=True):
        row[0].imshow(query)
        row[0].set_title(name, fontsize=8)
        for axes, image, right in zip(row[1:], images, relevant, strict=False):
            axes.imshow(image)
            for spine in axes.spines.values():
                spine.set(color=HIT if right else FALSE, linewidth=3)
        for axes in row:
            axes.set(xticks=[], yticks=[])
    grid[0][1].set_title("nearest first", fontsize=8)
    _entitle(figure, title)
    return _with_legend(figure, {"shares a label": HIT, "does not": FALSE}, "")


def _entitle(figure: Figure, title: str) -> None:
    """Set a title in as many lines as the figure's width asks for."""
    letters = 11 * figure.get_figwidth()  # of an inch, about
    figure.suptitle(fill(title[:1].upper() + title[1:], int(letters)))


def _panels(
    examples: Sequence[Example], title: str, *, first: str, more: Sequence[str] = ()
) -> tuple[Figure, list[list[Axes]]]:
    if not examples:
        raise PlotError("no example to draw: run the models first")
    headings = [first, *more, *examples[0].found]
    figure = Figure(figsize=(SIDE * len(headings), SIDE * len(examples) + 0.9), layout="constrained")
    grid = figure.subplots(len(examples), len(headings), squeeze=False)
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    _entitle(figure, title)
    return figure, [list(row) for row in grid]


def _with_legend(figure: Figure, colours: Mapping[str, Any], note: str) -> Figure:
    patches = [Patch(facecolor=colour, edgecolor="black", label=name) for name, colour in colours.items()]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=min(6, len(patches)), frameon=False, title=note or None
    )
    return figure


def _draw_boxes(axes: Axes, boxes: Array, colour: str, *, dashed: bool = False) -> None:
    for left, top, right, bottom in boxes:
        outline = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.3)
        outline.set_linestyle("--" if dashed else "-")
        axes.add_patch(outline)


def _tint(axes: Axes, shapes: Array, colour: str) -> None:
    if len(shapes):
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        layer = np.zeros((*shapes.shape[1:], 4))
        layer[shapes.any(0)] = (red, green, blue, 0.4)
        axes.imshow(layer)


def _confused(true: Array, found: Array) -> Array:
    """Colour hits white, false alarms orange, misses blue, what is ignored grey."""
    picture = np.zeros((*true.shape, 3))
    picture[(true == 1) & (found == 1)] = 1
    picture[(true == 0) & (found == 1)] = np.array((0xD5, 0x5E, 0x00)) / 255
    picture[(true == 1) & (found != 1)] = np.array((0x00, 0x72, 0xB2)) / 255
    picture[true == 255] = 0.5
    return picture


def _name_regions(axes: Axes, boxes: Array | None, names: Sequence[str], colours: Sequence[str]) -> None:
    if boxes is None:
        axes.set_xlabel(names[0], color=colours[0], fontweight="bold")
        return
    for (left, top, right, bottom), name, colour in zip(boxes, names, colours, strict=True):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.5))
        axes.text(left, top, name, fontsize=6, color="white", backgroundcolor=colour, clip_on=True)


def _colours(count: int) -> Array:
    from matplotlib import colormaps  # noqa: PLC0415

    return colormaps["tab20" if count > 10 else "tab10"](np.arange(count) % 20)[:, :3]


def _overlaps(box: Array, others: Array) -> Array:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = sides.clip(min=0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - common
    overlaps: Array = common / np.maximum(union, 1e-9)
    return overlaps
