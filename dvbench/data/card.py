"""A dataset in words and numbers: what it holds, who split it, where it comes from, how it lies on disk."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

RGB = ("red", "green", "blue")
TRUE_COLOUR = ("B04", "B03", "B02")  # the same of Sentinel-2
BYTE = (0.0, 255.0)  # value range of 8-bit imagery, which is never divided
BYTE_UNITS = "8-bit grey values"
IGNORE = 255  # mask value of pixels that neither train nor score


class Task(StrEnum):
    """What a dataset is labelled for; it decides the keys of a sample.

    Every sample holds "image", float32 (C, H, W), and:

    ==============  ===================================================================================================
    classification  "label" int64 ()
    detection       "bbox_xyxy" float32 (N, 4) in px, "label" int64 (N,) from 1, as 0 is the background; N may be 0
    instance        as detection, and "mask" uint8 (N, H, W), 0 or 1
    semantic        "mask" int64 (H, W), class or 255 where pixels are to be ignored
    change          "mask" as semantic; "image" is (2, C, H, W), before and after
    region          "bbox_xyxy" float32 (N, 4) in px, "label" int64 (N,) from 0
    retrieval       "label" int64 (), or (K,) of 0 and 1 where an image has several labels
    ==============  ===================================================================================================
    """

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    INSTANCE = "instance"
    SEMANTIC = "semantic"
    CHANGE = "change"
    REGION = "region"
    RETRIEVAL = "retrieval"


@dataclass(frozen=True)
class Split:
    """One part of a dataset.

    Attributes:
        name: "train", "val" or "test".
        count: How many there are of what `Card.counted` names.
        made_by: Who decided what belongs to it.
        file: Path below the dataset's folder of the authors' public list, or None where there is none.
        sha256: SHA-256 of that list.
        is_public: Whether it is known what belongs to it, and not only how much.
    """

    name: str
    count: int
    made_by: str
    file: str | None = None
    sha256: str | None = None
    is_public: bool = True


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        name: Path below the dataset's folder under which it is kept, such as "train.zip".
        url: Where a program can fetch it, or None where only a person can.
        md5: Published MD5, or None.
        sha256: Published SHA-256, or None.
        bytes: Published size, or None.
    """

    name: str
    url: str | None = None
    md5: str | None = None
    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Card:
    """Everything that can be said of a dataset without opening it.

    Attributes:
        name: Key in the catalog and name of the dataset's folder.
        title: Name in the literature.
        task: What it is labelled for.
        classes: Name of each label; position is the label, so cards of detection sets start with "background".
        bands: Names of the channels, in their order in a sample.
        value_range: Lowest and highest value that can occur in an image.
        units: What the values are.
        gsd: Finest and coarsest ground sampling distance in metres, or None where it is not stated.
        image_size: Height and width in px of every sample, or None where they vary.
        splits: The paper's splits.
        source: Web page of the dataset.
        archives: Files to download.
        licence: Terms of use, as far as they are stated.
        citation: DOI or arXiv link to cite.
        layout: Tree below the dataset's folder, as text.
        required: Glob patterns below the dataset's folder, each of which finds something where the dataset is there.
        notes: What a user has to know; figures that nobody has checked are named here.
        obtain: What to do, step by step, to get the dataset.
        counted: What `Split.count` counts.
        packed: Files below the folder that stand for `required` where the dataset was packed into shards.
    """

    name: str
    title: str
    task: Task
    classes: tuple[str, ...]
    bands: tuple[str, ...]
    value_range: tuple[float, float]
    units: str
    gsd: tuple[float, float] | None
    image_size: tuple[int, int] | None
    splits: tuple[Split, ...]
    source: str
    archives: tuple[Archive, ...]
    licence: str
    citation: str
    layout: str
    required: tuple[str, ...]
    notes: tuple[str, ...]
    obtain: tuple[str, ...]
    counted: str = "images"
    packed: tuple[str, ...] = ()

    @property
    def colours(self) -> tuple[str, str, str]:
        """Names of the bands that are seen as red, green and blue."""
        return RGB if self.bands == RGB else TRUE_COLOUR

    def split(self, name: str) -> Split:
        """One split.

        Args:
            name: Such as "train".

        Returns:
            The split of that name.

        Raises:
            UnknownSplitError: The dataset has none of that name.
        """
        for split in self.splits:
            if split.name == name:
                return split
        names = ", ".join(split.name for split in self.splits)
        raise UnknownSplitError(f"split '{name}' is not in {self.name}; choose one of {names}")

    def is_in(self, root: Path) -> bool:
        """Whether a folder holds the dataset, as far as `required` can tell."""
        return not self.missing(root)

    def missing(self, root: Path) -> list[str]:
        """Return the patterns of `required` that find nothing in a folder; none where it holds shards."""
        if self.packed and all((root / name).is_file() for name in self.packed):
            return []
        return [pattern for pattern in self.required if next(root.glob(pattern), None) is None]


class UnknownSplitError(ValueError):
    """A dataset has no split of that name; the message is one line that lists those it has."""
