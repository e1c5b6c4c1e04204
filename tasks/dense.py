"""What semantic segmentation and change detection share: losses, windows, and scores from summed counts."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.utilities import dim_zero_cat

from tasks.initial import kaiming, normal
from tasks.protocol import Positive, Protocol, ProtocolError, Window
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options

IGNORED = 255


class DenseOptions(Options):
    """Which classes are scored.

    Attributes:
        target: the class whose precision, recall, F1 and IoU are taken.
        mean: take the mean over all classes instead.
    """

    target: int = 1
    mean: bool = False


class DenseScores(Scores):
    """Precision, recall, F1 and IoU in percent, from counts over all pixels, not means over images.

    Of one class, or, with `mean`, the means over the classes that occur (`mean_iou`) and the share of pixels that are
    right (`accuracy`). Ignored pixels do not count.

    Args:
        classes: number of classes.
        options: what is scored.
    """

    kind = "dense"
    counts: list[Tensor]

    def __init__(self, classes: int, options: DenseOptions) -> None:
        super().__init__()
        self.classes = classes
        self.options = options
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, predictions: list[Prediction], batch: Batch) -> None:
        """Take in logits (classes, height, width) and masks (height, width) of the same size."""
        super().update(predictions, batch)
        for found, mask in zip(predictions, batch["mask"], strict=True):
            known = mask != IGNORED
            pairs = mask[known].long() * self.classes + found["logits"].argmax(0).to(mask.device)[known]
            matrix = pairs.bincount(minlength=self.classes**2).reshape(1, self.classes, self.classes)
            hits = matrix.diagonal(dim1=1, dim2=2)
            self.counts.append(torch.stack([hits, matrix.sum(1), matrix.sum(2)], dim=1).cpu())

    def __len__(self) -> int:
        """Number of images taken in."""
        return len(dim_zero_cat(self.counts)) if len(self.counts) else 0

    def score(self, images: Tensor | None = None) -> dict[str, float]:
        """Return the scores; see `Scores.score`."""
        counts = dim_zero_cat(self.counts).cpu().double()
        hits, predicted, true = (counts if images is None else counts[images]).sum(0)
        union = predicted + true - hits
        if self.options.mean:
            seen = union > 0
            iou = hits[seen] / union[seen]
            return {"mean_iou": 100 * float(iou.mean()), "accuracy": 100 * float(hits.sum() / true.sum())}
        i = self.options.target
        shares = {
            "precision": hits[i] / predicted[i],
            "recall": hits[i] / true[i],
            "f1": 2 * hits[i] / (predicted[i] + true[i]),
            "iou": hits[i] / union[i],
        }
        # Nothing predicted while there is something to find is a precision of 0, as its other scores say.
        if predicted[i] == 0 and true[i] > 0:
            shares["precision"] = torch.zeros(())
        return {name: 100 * float(value) for name, value in shares.items()}

    def outcomes(self) -> dict[str, NDArray[Any]]:
        """Return "counts" of pixels, int64 (images, 3, classes): right, predicted and true; and what is scored."""
        order = self.order()
        return {
            "index": dim_zero_cat(self.index).cpu().numpy()[order],
            "counts": dim_zero_cat(self.counts).cpu().numpy()[order],
            "target": np.array(self.options.target),
            "mean": np.array(self.options.mean),
        }


class PixelHeadOptions(Options):
    """What heads share that make a class for each pixel.

    Attributes:
        class_weights: what a pixel of each class costs, one number a class; none where all cost the same, as in the
            paper.
    """

    class_weights: tuple[Positive, ...] = ()

    def check(self, classes: int, protocol: Protocol) -> None:
        """Raise ProtocolError where there are weights, but not one a class."""
        if self.class_weights and len(self.class_weights) != classes:
            told = f"{len(self.class_weights)} numbers for {classes} classes"
            raise ProtocolError(f"protocol {protocol.name}: head.class_weights: {told}")


P = TypeVar("P", bound=PixelHeadOptions)


class PixelTask(Task):
    """What both tasks with a class for each pixel share: options, predictions at the original size, scores.

    Attributes:
        ALIGN_CORNERS: of resizing logits, as the authors' head has it.
        class_weights: what a pixel of each class costs; empty where all cost the same.
    """

    ScoreOptions = DenseOptions
    ALIGN_CORNERS: ClassVar[bool]
    class_weights: tuple[float, ...] = ()

    def head_options(self, kind: type[P]) -> P:
        """Read the options of the head, and keep the weights of the classes."""
        chosen = read_options(kind, self.protocol.head, self.protocol, "head")
        chosen.check(len(self.problem.classes), self.protocol)
        self.class_weights = chosen.class_weights
        return chosen

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return the "logits" of each image, or pair, at its original size."""
        image = batch["image"]
        logits = slide(self, image, self.protocol.window)
        return [
            {"logits": to_original(each, self.extent(size, image), size, align_corners=self.ALIGN_CORNERS)}
            for each, size in zip(logits, batch["size"], strict=True)
        ]

    def configure_scores(self) -> Scores:
        """Make the scores."""
        options = read_options(DenseOptions, self.protocol.scores, self.protocol, "scores")
        return DenseScores(len(self.problem.classes), options)


def cross_entropy(logits: Tensor, mask: Tensor, class_weights: Sequence[float] = ()) -> Tensor:
    """Return the cross-entropy (batch, classes, h, w) of masks (batch, h, w), averaged over all pixels.

    Ignored pixels cost nothing but count in the mean, as in the authors' configurations. `class_weights` says how much
    more a pixel of each class costs, none that all cost the same.
    """
    weight = logits.new_tensor(class_weights, dtype=torch.float32) if class_weights else None
    return F.cross_entropy(logits.float(), mask, weight, ignore_index=IGNORED, reduction="none").mean()


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the Dice loss of the authors' change detector.

    Each class is a sigmoid of its own. Over all classes and pixels of an image as one vector, p against target t:
    1 - 2 sum(p t) / (sum(p p) + sum(t t) + 0.002), averaged over images. Ignored pixels have target 0 in all classes.
    """
    share = logits.float().sigmoid().flatten(1)
    known = mask != IGNORED
    hot = F.one_hot(mask.where(known, 0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    target = hot.flatten(1).to(share)
    overlap = (share * target).sum(1)
    return (1 - 2 * overlap / (share.square().sum(1) + target.square().sum(1) + 2e-3)).mean()


def windows(height: int, width: int, window: Window) -> list[tuple[int, int]]:
    """Return the top left corners of windows; the last of each row and column are flush with the border."""

    def starts(length: int) -> list[int]:
        last = max(0, length - window.size)
        return sorted({min(start, last) for start in range(0, last + window.stride, window.stride)})

    return list(product(starts(height), starts(width)))


def slide(forward: Callable[[Tensor], Tensor], image: Tensor, window: Window | None) -> Tensor:
    """Return the logits of images that are larger than a window, averaged where windows overlap.

    Args:
        forward: from images (..., size, size) to logits (batch, classes, size, size).
        image: (..., height, width).
        window: None for one pass.
    """
    height, width = image.shape[-2:]
    if window is None or max(height, width) <= window.size:
        return forward(image)
    total, seen = torch.zeros(()), image.new_zeros(1, 1, height, width)
    for top, left in windows(height, width, window):
        part = (..., slice(top, top + window.size), slice(left, left + window.size))
        logits = forward(image[part])
        if total.ndim == 0:
            total = logits.new_zeros(*logits.shape[:2], height, width)
        total[part] += logits
        seen[part] += 1
    return total / seen


def to_original(logits: Tensor, extent: tuple[int, int], size: Tensor, *, align_corners: bool) -> Tensor:
    """Cut the padding off logits (classes, h, w) and resize them to the original's height and width.

    `align_corners` is that of the head, as in mmseg's `BaseSegmentor.postprocess_result`.
    """
    height, width = (int(side) for side in size)
    inner = logits[None, :, : extent[0], : extent[1]].float()
    return F.interpolate(inner, (height, width), mode="bilinear", align_corners=align_corners)[0]


def conv(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Return a convolution that keeps the size, with batch norm and ReLU (mmcv's ConvModule)."""
    layers = nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )
    kaiming(layers)
    return layers


def classifier(width: int, classes: int) -> nn.Conv2d:
    """Return the layer that makes logits (mmseg's conv_seg)."""
    layer = nn.Conv2d(width, classes, 1)
    normal(layer, std=0.01)
    return layer
