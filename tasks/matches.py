"""What the evaluator of average precision made of every detection, image by image."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray


def matches(run: Any) -> dict[str, NDArray[Any]]:
    """Read an evaluation.

    Args:
        run: of faster-coco-eval, evaluated with `separate_eval`.

    Returns:
        "counts", int64 (images,): how many detections count. Of these, image by image, in an image by class, and then
        from the highest score on: "labels", int64 (detections,); "scores", float32 (detections,); and "matches", int8
        (areas, overlaps, detections), 1 where a detection is right, 0 where it is wrong, -1 where it is ignored.
        "truths", int64 (images, classes, areas): objects that are not ignored, by label.
    """
    asked = run.params
    labels, ranges, images = asked.catIds, len(asked.areaRng), len(asked.imgIds)
    # The evaluator tells its matches through its support of pickle only: object of each detection, 0 for none, by
    # overlap; detection of each object; scores; which objects are ignored; which detections are, by overlap; pairs.
    told = [each.__getstate__() for each in run._evalImgs_cpp]  # by class, area range and image
    truths = np.zeros((images, max(labels) + 1, ranges), dtype=np.int64)
    counts, scores, found = np.zeros((images, len(labels)), dtype=np.int64), [], []
    for i, c in product(range(images), range(len(labels))):
        by_range = [told[(c * ranges + a) * images + i] for a in range(ranges)]
        truths[i, labels[c]] = [len(ignored) - sum(ignored) for _, _, _, ignored, _, _ in by_range]
        counts[i, c] = len(by_range[0][2])
        scores += by_range[0][2]
        states = [np.where(ignored, -1, np.array(matched) > 0) for matched, _, _, _, ignored, _ in by_range]
        found.append(np.stack(states).astype(np.int8).reshape(ranges, len(asked.iouThrs), counts[i, c]))
    return {
        "counts": counts.sum(1),
        "labels": np.repeat(np.tile(labels, images), counts.ravel()),
        "scores": np.array(scores, dtype=np.float32),  # what networks give
        "matches": np.concatenate(found, axis=2),
        "truths": truths,
    }
