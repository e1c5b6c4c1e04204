"""Macro precision, recall and F1 over classes, as table 2 defines them."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from tasks.task import Batch, Prediction, Scores


class MacroScores(Scores):
    """Precision, recall and F1 of each class, then their plain means, and accuracy; in percent.

    A class's precision is TP / predicted and its recall TP / true, denominators at least 1. Macro F1 is the mean of
    the classes' F1, which differs from the F1 of the means.

    Args:
        classes: number of classes.
    """

    kind = "macro"
    predicted: list[Tensor]
    true: list[Tensor]
    counts: list[Tensor]

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        for name in ("predicted", "true", "counts"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predictions: list[Prediction], batch: Batch) -> None:
        """Take in logits (classes) of an image, or (N, classes) of its regions, and the labels."""
        super().update(predictions, batch)
        for found, label in zip(predictions, batch["label"], strict=True):
            self.predicted.append(found["logits"].argmax(-1).reshape(-1).cpu())
            self.true.append(label.reshape(-1).cpu())
            self.counts.append(torch.tensor([label.numel()]))

    def __len__(self) -> int:
        """Number of images taken in."""
        return len(dim_zero_cat(self.counts)) if len(self.counts) else 0

    def score(self, images: Tensor | None = None) -> dict[str, float]:
        """Return the scores; see `Scores.score`."""
        matrix = self.confusion(images).double()
        hits = matrix.diagonal()
        precision = hits / matrix.sum(0).clamp(min=1)
        recall = hits / matrix.sum(1).clamp(min=1)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
        means = {"precision": precision.mean(), "recall": recall.mean(), "f1": f1.mean()}
        means["accuracy"] = hits.sum() / matrix.sum().clamp(min=1)
        return {name: 100 * float(value) for name, value in means.items()}

    def outcomes(self) -> dict[str, NDArray[Any]]:
        """Return "predicted" and "true", int64 (samples,), "counts" of them by image, and the number of "classes"."""
        order = torch.from_numpy(self.order())
        predicted, true, counts = (dim_zero_cat(state).cpu() for state in (self.predicted, self.true, self.counts))
        samples = _samples(counts, order)
        found = {"index": dim_zero_cat(self.index).cpu()[order], "classes": torch.tensor(self.classes)}
        found |= {"counts": counts[order], "predicted": predicted[samples], "true": true[samples]}
        return {name: values.numpy() for name, values in found.items()}

    def confusion(self, images: Tensor | None = None) -> Tensor:
        """Return how many samples of a class (rows) were predicted as which (columns), int64 (classes, classes)."""
        predicted, true = dim_zero_cat(self.predicted).cpu(), dim_zero_cat(self.true).cpu()
        if images is not None:
            samples = _samples(dim_zero_cat(self.counts).cpu(), images)
            predicted, true = predicted[samples], true[samples]
        pairs = true.long() * self.classes + predicted
        return pairs.bincount(minlength=self.classes**2).reshape(self.classes, self.classes)


def _samples(counts: Tensor, images: Tensor) -> Tensor:
    """Return the positions of the samples of some images, where each image has so many, one image after the other."""
    starts = counts.cumsum(0) - counts
    chosen = torch.repeat_interleave(torch.arange(len(images)), counts[images])
    within = torch.arange(len(chosen)) - (counts[images].cumsum(0) - counts[images])[chosen]
    return starts[images][chosen] + within
