"""The kinds of outcomes: which arrays each holds, and what may stand in them."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from reports.outcome_scores import Arrays, Scorer, average_precision, dense, macro, retrieval

RAGGED = ("samples", "detections")  # axes of which each image has as many as "counts" says
MOST = float(np.finfo(np.float64).max)


class Field(NamedTuple):
    """What an array of a kind may be.

    Attributes:
        types: Letters of NumPy's kinds of dtypes.
        axes: Name of each axis; axes of one name are of one length.
        low: Least value.
        high: Largest value.
        below: Name of an axis, or of an array of one number, which all values are below.
    """

    types: str
    axes: tuple[str, ...] = ()
    low: float = 0
    high: float = MOST
    below: str = ""


class Kind(NamedTuple):
    """One kind of outcomes.

    Attributes:
        fields: Name of each array -> what it may be.
        scorer: Prepares arrays to be scored.
    """

    fields: Mapping[str, Field]
    scorer: Callable[[Arrays], Scorer]

    def flaws(self, arrays: Arrays, images: int) -> Iterator[str]:
        """Say in a few words each what of the arrays cannot be, as far as those before let it be told."""
        for name in sorted(self.fields.keys() - arrays.keys()):
            yield f"lacks the array {name}"
        for name in sorted(arrays.keys() - self.fields.keys()):
            yield f"has an unknown array {name}"
        sizes = {"images": images}
        for name, field in self.fields.items():
            array = arrays[name]
            if array.dtype.kind not in field.types or array.ndim != len(field.axes):
                yield f"has {name} as {array.dtype} of {array.ndim} axes"
            for axis, length in zip(field.axes, array.shape, strict=True):
                if sizes.setdefault(axis, length) != length:
                    yield f"has {length} {axis} in {name} instead of {sizes[axis]}"
        for name, field in self.fields.items():
            array, high = arrays[name], field.high
            if field.below:
                high = (sizes[field.below] if field.below in sizes else int(arrays[field.below])) - 1
            numbers = array.dtype.kind in "iuf" and array.size
            if numbers and not (field.low <= float(array.min()) and float(array.max()) <= high):  # which NaN fails
                yield f"has values in {name} that are no numbers, or not from {field.low:g} to {high:g}"
        for axis in RAGGED:
            if axis in sizes and sizes[axis] != arrays["counts"].sum():
                yield f"counts {arrays['counts'].sum()} {axis} but has {sizes[axis]}"


KINDS: Mapping[str, Kind] = {
    "macro": Kind(
        {
            "classes": Field("iu", low=1),
            "counts": Field("iu", ("images",)),
            "predicted": Field("iu", ("samples",), below="classes"),
            "true": Field("iu", ("samples",), below="classes"),
        },
        macro,
    ),
    "dense": Kind(
        {
            "counts": Field("iu", ("images", "right, predicted, true", "classes")),
            "target": Field("iu", below="classes"),
            "mean": Field("b"),
        },
        dense,
    ),
    "average_precision": Kind(
        {
            "forms": Field("U", ("forms",)),
            "areas": Field("U", ("areas",)),
            "overlaps": Field("f", ("overlaps",), high=1),
            "counts": Field("iu", ("images",)),
            "truths": Field("iu", ("images", "classes", "areas")),
            "labels": Field("iu", ("detections",), below="classes"),
            "scores": Field("f", ("detections",), low=-MOST),
            "matches": Field("i", ("forms", "areas", "overlaps", "detections"), low=-1, high=1),
        },
        average_precision,
    ),
    "retrieval": Kind(
        {"names": Field("U", ("names",)), "precisions": Field("f", ("images", "names"), high=1)}, retrieval
    ),
}
"""Name of a kind, as `Scores.kind` has it -> what it is."""
