"""What came of each test image of a run: kept beside its record, aligned with other runs, scored on any resampling."""

import contextlib
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from reports.ledger import Ledger, write_atomically
from reports.outcome_kinds import KINDS
from reports.outcome_scores import Scorer
from reports.record import JSON, Record

BATCH = 100  # resamples scored at a time, which bounds the memory


class OutcomesError(ValueError):
    """Outcomes that cannot be read, or compared; the message is one line."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What came of each test image.

    Attributes:
        kind: Which arrays there are and how they are scored, a key of `KINDS`.
        images: Name of each image, the same for every run over it; of retrieval, the queries.
        arrays: What came of them, as `KINDS` describes.

    Raises:
        OutcomesError: The arrays are not those of the kind or do not fit together, or a name occurs twice.
    """

    kind: str
    images: NDArray[np.str_]
    arrays: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        if flaw := self._flaw():
            raise OutcomesError(f"outcomes of {self.kind}: {flaw}")

    def score(self, indices: NDArray[np.int64]) -> dict[str, float]:
        """Score the images with these positions.

        Args:
            indices: (n,), repeats allowed, in any order.

        Returns:
            Name -> score in percent, NaN where there is none, named as the record's measures.
        """
        return {name: float(values[0]) for name, values in self.scores(indices[None]).items()}

    def scores(self, draws: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Score many resamplings at once.

        Args:
            draws: (resamples, n), each row as `score` takes it.

        Returns:
            Name -> scores in percent, (resamples,).
        """
        count = len(self.images)
        parts = []
        for some in np.split(draws, range(BATCH, len(draws), BATCH)):
            cells = some + count * np.arange(len(some))[:, None]
            weights = np.bincount(cells.ravel(), minlength=count * len(some)).reshape(len(some), count)
            parts.append(self._scorer(np.ascontiguousarray(weights.T, dtype=np.float64)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def intervals(self, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Return the bootstrap interval of each score: 2.5th and 97.5th percentile over resamplings of the images.

        Resamples without a score are left out; without any that has one the interval is (NaN, NaN).
        """
        count = len(self.images)
        scores = self.scores(np.random.default_rng(seed).integers(count, size=(resamples, count)))
        found = {}
        for name, values in scores.items():
            known = values[~np.isnan(values)]
            low, high = np.quantile(known, (0.025, 0.975)).tolist() if len(known) else (math.nan, math.nan)
            found[name] = (low, high)
        return found

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `keep` wrote. Nothing in the file is run.

        Raises:
            OutcomesError: The file is missing, damaged, or not one of ours.
        """
        return cls._parse(_bytes(path), path)

    @classmethod
    def of(cls, record: Record, folder: Path) -> Self:
        """Read the outcomes that a record names.

        Args:
            record: Of a run.
            folder: Where the record lies.

        Raises:
            OutcomesError: The record names none, or the file is missing, damaged, or not the one that it means.
        """
        told = record.basis.get("outcomes")
        if not isinstance(told, Mapping) or not {"file", "sha256"} <= told.keys():
            raise OutcomesError(f"record {record.identity[:12]} in {folder} has no outcomes; run it again with --fresh")
        path = folder / Path(str(told["file"])).name
        data = _bytes(path)
        if hashlib.sha256(data).hexdigest() != told["sha256"]:
            raise OutcomesError(f"{path} is not what record {record.identity[:12]} means; run it again with --fresh")
        return cls._parse(data, path)

    def to_bytes(self) -> bytes:
        """The outcomes as an .npz file, the same bytes for equal outcomes."""
        buffer = io.BytesIO()
        arrays = {"kind": np.array(self.kind), "images": self.images, **self.arrays}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def _parse(cls, data: bytes, path: Path) -> Self:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored}
            return cls(str(arrays.pop("kind")), arrays.pop("images"), arrays)
        except Exception as error:  # numpy and zipfile name a damaged file in many ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OutcomesError(f"{path} holds no outcomes ({reason}); run it again with --fresh") from error

    @cached_property
    def _scorer(self) -> Scorer:
        return KINDS[self.kind].scorer(self.arrays)

    def _flaw(self) -> str:
        if self.kind not in KINDS:
            return f"no kind of that name, there are {', '.join(KINDS)}"
        if self.images.ndim != 1 or self.images.dtype.kind != "U" or not len(self.images):
            return "has no names of images"
        if len(names := np.unique(self.images)) < len(self.images):
            return f"names {len(self.images) - len(names)} images twice"
        return next(KINDS[self.kind].flaws(self.arrays, len(self.images)), "")


def keep(outcomes: Outcomes, record: Record, ledger: Ledger) -> Record:
    """Write a record with its outcomes beside it, in place of earlier ones of the same identity.

    An interruption leaves the earlier record with its outcomes, or the new one with its own: the file is named by its
    content, and written before the record that names it.

    Returns:
        The record as written. Its basis holds under "outcomes" the "file", its "sha256" and the number of "images".

    Raises:
        RecordError: The record holds a value that JSON does not have.
        LedgerError: The folder cannot be written, or the disk is full.
    """
    data = outcomes.to_bytes()
    digest, stem = hashlib.sha256(data).hexdigest(), ledger.path(record).stem
    path = write_atomically(ledger.folder / f"{stem}-{digest[:8]}.npz", data)
    told: dict[str, JSON] = {"file": path.name, "sha256": digest, "images": len(outcomes.images)}
    record = replace(record, basis={**record.basis, "outcomes": told})
    ledger.write(record)
    for earlier in set(ledger.folder.glob(f"{stem}-*.npz")) - {path}:
        with contextlib.suppress(OSError):
            earlier.unlink()
    return record


def align(first: Outcomes, second: Outcomes) -> NDArray[np.int64]:
    """Find the images of one run in another, of whatever order.

    Returns:
        Position in `second` of each image of `first`: images `i` of `first` are images `align(first, second)[i]` of
        `second`.

    Raises:
        OutcomesError: The two were not tested on the same images.
    """
    order = np.argsort(second.images)
    apart = np.setxor1d(first.images, second.images)
    if len(apart):
        raise OutcomesError(
            f"the runs were tested on different images: {len(apart)} are in one of them only, such as {apart[0]}; "
            "compare runs over the same test images"
        )
    return order[np.searchsorted(second.images, first.images, sorter=order)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutcomesError(f"{path} cannot be read ({error.strerror}); run it again with --fresh") from error
