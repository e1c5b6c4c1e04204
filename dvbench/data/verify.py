"""Check a dataset on disk: what is missing, damaged, miscounted or not what its card says, and how to mend it."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.archives import ArchiveError, UnsafeNameError
from dvbench.data.card import Card
from dvbench.data.catalog import MissingDatasetError, dataset, entry, folder, split_report
from dvbench.data.coco import CocoError
from dvbench.data.download import mismatch
from dvbench.data.folders.base import IncompleteDatasetError
from dvbench.data.folders.fmow import FMoWError
from dvbench.data.folders.forestnet import ForestNetError
from dvbench.data.make import MARK
from dvbench.data.names import image_of
from dvbench.data.pixels import PixelError
from dvbench.data.shards import ShardError
from dvbench.data.splits import SplitError, lists_of_names
from dvbench.data.tiles import TileError
from dvbench.data.watch import SILENT, Watch

# What the readers raise with one line that names the file and the mend.
FAULTS = (
    ArchiveError,
    CocoError,
    FMoWError,
    ForestNetError,
    IncompleteDatasetError,
    MissingDatasetError,
    PixelError,
    ShardError,
    SplitError,
    TileError,
    UnsafeNameError,
)


@dataclass(frozen=True)
class Labels:
    """Where the label files of a dataset lie, and the sets of values of which each file keeps to one."""

    pattern: str
    values: tuple[frozenset[int], ...] = (frozenset({0, 255}), frozenset({0, 1}))


_LABELS: Mapping[str, Labels] = {
    "massachusetts_roads": Labels("tiff/*_labels/*.tif"),
    "whu_building": Labels("*/label/*.tif"),
    "levir_cd": Labels("**/label/*.png"),
    "whu_cd": Labels("label/*.png"),
    "oscd": Labels("Onera*Labels/*/cm/*-cm.tif", (frozenset({1, 2}),)),
}


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        opened: Split -> number of samples that were opened.
        made_by: Who made the splits; or that all of it is synthetic.
        problems: One line each: the file, what is wrong with it, how to mend it.
        doubts: Those of the problems that the published dataset does not have: files of another size, number or
            checksum, and files that cannot be read. The others may be its own, or are of lists of names.
        intact: Names of the archives in the folder that have their published checksum.
    """

    opened: Mapping[str, int]
    made_by: str
    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    intact: tuple[str, ...]


class _Problem(NamedTuple):
    line: str
    is_doubt: bool = True


def verify(name: str, root: Path | None = None, watch: Watch = SILENT) -> Report:
    """Look for the files, compare checksums where they are published, open every sample and every label file.

    Counts, sizes and checksums are not compared where `dvbench.data.make` wrote the dataset.

    Args:
        name: Key in the catalog.
        root: The dataset's folder, by default as the catalog says.
        watch: Sees the progress.

    Returns:
        What was found.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        MissingDatasetError: Its folder is not there.
    """
    card, place = entry(name).card, folder(name, root)
    if not place.is_dir():
        raise MissingDatasetError(f"{name} is not in {place}: dvbench data info {name} says how to get it")
    inspection = _Inspection(card, place, watch)
    problems = tuple(dict.fromkeys(inspection.problems()))  # one annotation file may serve several splits
    return Report(
        opened=inspection.opened,
        made_by=inspection.made_by(),
        problems=tuple(problem.line for problem in problems),
        doubts=tuple(problem.line for problem in problems if problem.is_doubt),
        intact=tuple(inspection.intact),
    )


class _Inspection:
    """One look at a dataset, which remembers what it has opened."""

    def __init__(self, card: Card, place: Path, watch: Watch) -> None:
        self.opened: dict[str, int] = {}
        self.intact: list[str] = []
        self._card, self._place, self._watch = card, place, watch
        self._is_made = (place / MARK).exists()
        self._split_of: dict[object, str] = {}  # image -> split it was first met in

    def made_by(self) -> str:
        if self._is_made:
            return f"dvbench data make; {MARK} says so"
        try:
            return split_report(self._card.name, self._place).made_by
        except (SplitError, UnsafeNameError):  # the problems tell it
            return "not to be told"

    def problems(self) -> Iterator[_Problem]:
        missing = self._card.missing(self._place)
        for pattern in missing:
            line = f"{self._place / pattern} is missing; finish the download (dvbench data info {self._card.name})"
            yield _Problem(line)
        if not self._is_made:
            yield from self._checksums()
        yield from self._label_values()
        for split in self._card.splits:
            try:
                yield from self._split(split.name, split.count)
            except FAULTS as error:
                yield _Problem(str(error))
            except DatasetNotFoundError:
                if not missing:  # else it has been said
                    yield _Problem(f"{self._place} lacks the split '{split.name}'; finish the download")
            except (OSError, ValueError) as error:
                what = f"split '{split.name}' cannot be opened ({_first_line(error)})"
                yield _Problem(f"{self._place}: {what}; get it anew")

    def _checksums(self) -> Iterator[_Problem]:
        lists = lists_of_names(self._card)
        for archive in self._card.archives:
            path = self._place / archive.name
            if not path.is_file() or not (archive.sha256 or archive.md5):
                continue
            if flaw := mismatch(archive, path, self._watch):
                line = f"{path} {flaw}; fetch it anew (dvbench data download {self._card.name})"
                yield _Problem(line, is_doubt=archive.name not in lists)
            else:
                self.intact.append(archive.name)

    def _label_values(self) -> Iterator[_Problem]:
        labels = _LABELS.get(self._card.name)
        if labels is None:
            return
        for path in self._watch.items(sorted(self._place.glob(labels.pattern)), "label files"):
            try:
                with Image.open(path) as image:
                    values = set(np.unique(np.asarray(image)).tolist())
            except (OSError, SyntaxError, EOFError):  # opening the sample tells it
                continue
            if not any(values <= allowed for allowed in labels.values):
                expected = " or ".join(str(sorted(allowed)) for allowed in labels.values)
                yield _Problem(f"{path} has the values {_shortened(sorted(values))}, not {expected}; get it anew")

    def _split(self, split: str, published: int) -> Iterator[_Problem]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the findings tell it
            opened: Any = dataset(self._card.name, split, self._place)
        for finding in getattr(opened, "findings", ()):
            yield _Problem(f"{finding}; correct the file or get it anew", is_doubt=False)
        if hasattr(opened, "flaws"):
            yield from map(_Problem, opened.flaws(self._watch))
        names = [_names(opened, index) for index in range(len(opened))]
        count = len({image for image, _ in names})
        if count == 0 or (count != published and not self._is_made):
            what = f"{count:,} {self._card.counted} in the split '{split}', {published:,} were published"
            yield _Problem(f"{self._place} has {what}; finish the download, or check the lists")
        for index, files in zip(self._watch.items(range(len(opened)), split), names, strict=True):
            yield from self._sample(opened, index, split, files)
        self.opened[split] = len(opened)

    def _sample(self, opened: Any, index: int, split: str, files: tuple[object, object]) -> Iterator[_Problem]:
        image, labels = files
        if (first := self._split_of.setdefault(image, split)) != split:
            line = f"{image} is in the split '{first}' and in '{split}'; take it out of one of the lists"
            yield _Problem(line, is_doubt=False)
        try:
            sample = opened[index]
        except FAULTS as error:
            yield _Problem(str(error))
        except (OSError, ValueError) as error:
            yield _Problem(f"{image} cannot be read ({_first_line(error)}); get it anew")
        else:
            yield from self._flaws(sample, image, labels)

    def _flaws(self, sample: dict[str, Any], image: object, labels: object) -> Iterator[_Problem]:
        height, width = sample["image"].shape[-2:]
        expected = self._card.image_size
        if expected not in (None, (height, width)) and not self._is_made:
            size = f"{width}x{height} px instead of {expected[1]}x{expected[0]}"
            yield _Problem(f"{image} has {size}; get the original")
        for left, top, right, bottom in sample.get("bbox_xyxy", ()):
            if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                box = ", ".join(f"{float(value):g}" for value in (left, top, right, bottom))
                line = f"{labels} has the box {box} in an image of {width}x{height} px; correct its annotation"
                yield _Problem(line, is_doubt=False)


def _names(opened: Any, index: int) -> tuple[object, object]:
    """The files of a sample's image, by which splits are compared, and of its labels; its number where none is read."""
    sources = opened.sources(index)
    if not sources:
        nameless = f"sample {index} of the split '{opened.split}'"
        return nameless, nameless
    return image_of(opened, index), sources[-1]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _shortened(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:5]))
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
