"""Scores of any resampling of a run's test images, from their outcomes.

Names and values are those of `Scores` in the package tasks, which a test of both holds.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Floats: TypeAlias = NDArray[np.float64]
Scorer: TypeAlias = Callable[[Floats], dict[str, Floats]]
"""Takes how often each image was drawn, (images, resamples); returns name -> score in percent, (resamples,)."""

RECALLS = np.linspace(0, 1, 101)  # at which COCO's average precision reads the precision


def macro(arrays: Arrays) -> Scorer:
    """Precision, recall and F1 of each class, then their means, and accuracy."""
    predicted, true, images = arrays["predicted"], arrays["true"], len(arrays["counts"])
    image, shape = np.repeat(np.arange(images), arrays["counts"]), (int(arrays["classes"]), images)
    right = predicted == true
    of_right = _counter(true[right], image[right], shape)
    of_predicted, of_true = _counter(predicted, image, shape), _counter(true, image, shape)

    def score(weights: Floats) -> dict[str, Floats]:
        hits, found, there = of_right @ weights, of_predicted @ weights, of_true @ weights
        precision, recall = hits / np.maximum(found, 1), hits / np.maximum(there, 1)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        means = {"precision": precision.mean(0), "recall": recall.mean(0), "f1": f1.mean(0)}
        means["accuracy"] = hits.sum(0) / np.maximum(there.sum(0), 1)
        return {name: 100 * mean for name, mean in means.items()}

    return score


def dense(arrays: Arrays) -> Scorer:
    """Precision, recall, F1 and IoU of one class, or mean IoU and accuracy, from counts over all pixels."""
    counts, target, mean = arrays["counts"].astype(np.float64), int(arrays["target"]), bool(arrays["mean"])

    def score(weights: Floats) -> dict[str, Floats]:
        hits, predicted, true = np.einsum("ikc,ir->kcr", counts, weights, optimize=True)
        union = predicted + true - hits
        if mean:
            shares = {"mean_iou": _mean(_share(hits, union), 0), "accuracy": _share(hits.sum(0), true.sum(0))}
            return {name: 100 * share for name, share in shares.items()}
        hits, predicted, true, union = hits[target], predicted[target], true[target], union[target]
        shares = {
            "precision": np.where((predicted == 0) & (true > 0), 0.0, _share(hits, predicted)),
            "recall": _share(hits, true),
            "f1": _share(2 * hits, predicted + true),
            "iou": _share(hits, union),
        }
        return {name: 100 * share for name, share in shares.items()}

    return score


def average_precision(arrays: Arrays) -> Scorer:
    """COCO's average precision over overlaps and area ranges, of boxes and masks.

    Detections of equal score are ranked by image, in an image as the evaluator did. Of an image that was drawn twice,
    each of them counts twice before the next is looked at, where the evaluator goes through the image and then through
    its copy. Without equal scores in an image that is the same.
    """
    image = np.repeat(np.arange(len(arrays["counts"])), arrays["counts"])
    curves = []
    for label in range(arrays["truths"].shape[1]):
        (mine,) = np.nonzero(arrays["labels"] == label)
        ranked = mine[np.argsort(-arrays["scores"][mine], kind="stable")]
        curves.append(_curves(image[ranked], arrays["matches"][..., ranked], arrays["truths"][:, label]))
    overlaps = arrays["overlaps"].tolist()
    titles = {"ap": slice(None)} if len(overlaps) > 1 else {}
    titles |= {
        title: slice(overlaps.index(overlap), overlaps.index(overlap) + 1)
        for title, overlap in (("ap50", 0.5), ("ap75", 0.75))
        if overlap in overlaps
    }

    def score(weights: Floats) -> dict[str, Floats]:
        precisions = np.stack([curve(weights) for curve in curves])  # classes, forms, areas, overlaps, resamples
        return {
            f"{form}{title}{area and '_' + area}": 100 * _mean(precisions[:, f, a, some], (0, 1))
            for f, form in enumerate(arrays["forms"].tolist())
            for a, area in enumerate(arrays["areas"].tolist())
            for title, some in titles.items()
        }

    return score


def retrieval(arrays: Arrays) -> Scorer:
    """The mean over queries of the average precision, by representation."""

    def score(weights: Floats) -> dict[str, Floats]:
        means = arrays["precisions"].T @ weights / weights.sum(0)
        return {name: 100 * mean for name, mean in zip(arrays["names"].tolist(), means, strict=True)}

    return score


def _curves(
    image: NDArray[np.int64], matches: NDArray[np.int8], truths: NDArray[np.int64]
) -> Callable[[Floats], Floats]:
    """Prepare the average precision of a class.

    Args:
        image: Of each detection, from the highest score on.
        matches: (forms, areas, overlaps, detections).
        truths: (images, areas).

    Returns:
        From weights (images, resamples) to average precisions (forms, areas, overlaps, resamples), 0 to 1, NaN where no
        object was drawn.
    """
    curves = math.prod(matches.shape[:3])
    states = matches.reshape(curves, len(image))
    hit = states == 1
    ahead = hit.cumsum(1) - hit  # right detections with a higher score
    longest = int(hit.sum(1).max(initial=1))
    shape = (curves * longest, len(truths))

    def counted(which: NDArray[np.bool_]) -> Any:
        curve, rank = np.nonzero(which)
        return _counter(curve * longest + ahead[curve, rank], image[rank], shape)

    # Recall rises, and interpolated precision falls, at right detections only: a point of a curve is one of them, with
    # everything that is ranked between it and the one before.
    of_right, of_all = counted(hit), counted((states >= 0) & (ahead < hit.sum(1, keepdims=True)))

    def precisions(weights: Floats) -> Floats:
        there = np.broadcast_to((truths.T @ weights)[:, None], (*matches.shape[:3], weights.shape[1]))
        objects = there.reshape(curves, 1, -1)
        right, found = ((of @ weights).reshape(curves, longest, -1).cumsum(1) for of in (of_right, of_all))
        precision = right / np.maximum(found, 1)
        interpolated = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, right / np.maximum(objects, 1), side="right")
        newly = np.diff(reached, axis=1, prepend=0)
        average = (interpolated * newly).sum(1) / len(RECALLS)
        return np.where(there > 0, average.reshape(there.shape), np.nan)

    return precisions


def _counter(rows: NDArray[Any], images: NDArray[Any], shape: tuple[int, int]) -> Any:
    """Return the matrix whose product with weights says how many of each row were drawn."""
    return csr_array((np.ones(len(rows)), (rows, images)), shape=shape)


def _share(part: Floats, whole: Floats) -> Floats:
    """Divide; NaN where there is nothing."""
    shares: Floats = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return shares


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Return the mean of what is not NaN; NaN where all is."""
    return _share(np.nansum(values, axis), (~np.isnan(values)).sum(axis).astype(np.float64))
