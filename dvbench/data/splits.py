"""Which image belongs to which split: the authors' lists where they lie in the folder, else a seeded draw of ours."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dvbench.data.archives import safe_name
from dvbench.data.card import Card

SEED = 0
MADE_BY = "SPLIT.txt"  # in a dataset's folder: who made its lists, where it was not its publisher
OURS = f"seeded split of ours (PCG64, seed {SEED})"


class SplitError(ValueError):
    """A split cannot be told; the message is one line that says which list is wrong and how to mend it."""


@dataclass(frozen=True)
class Draw:
    """The rule of a seeded split, for datasets whose folders do not tell it.

    Attributes:
        folder: Where the images lie, below the dataset's folder.
        pattern: Which files they are; the share is taken from each of their folders, so from each class.
        share: Part of the images that train.
    """

    folder: str
    pattern: str
    share: float


DRAWS: Mapping[str, Draw] = {
    "uc_merced": Draw("UCMerced_LandUse/Images", "*/*.tif", 0.7),
    "aid": Draw("AID", "*/*.jpg", 0.5),
    "nwpu_vhr10": Draw("NWPU VHR-10 dataset/positive image set", "*.jpg", 0.8),
}


@dataclass(frozen=True)
class Membership:
    """The images of each split, and who says so.

    Attributes:
        names: Split -> names of its images, in the order of the list.
        made_by: Who decided, in words for a record.
        sha256: Split -> SHA-256 of its list; of the sorted names, one a line, where the split is ours.
        is_published: Whether it is the split that the card tells of, as far as lists and notes can say.
    """

    names: Mapping[str, tuple[str, ...]]
    made_by: str
    sha256: Mapping[str, str]
    is_published: bool


def membership(card: Card, root: Path) -> Membership:
    """Tell the splits of a dataset as it lies on disk.

    Args:
        card: The dataset's card.
        root: The dataset's folder.

    Returns:
        The authors' splits where their lists are there, else a seeded one; who made them, without any names, where the
        dataset is published in splits.

    Raises:
        SplitError: A list is missing, cannot be read, or names an image twice.
    """
    lists = {split.name: root / split.file for split in card.splits if split.file}
    if not lists:
        note = root / MADE_BY
        if note.is_file():
            return Membership({}, note.read_text(encoding="utf-8").strip(), {}, is_published=False)
        published = " / ".join(dict.fromkeys(split.made_by for split in card.splits))
        return Membership({}, published, {}, is_published=all(split.is_public for split in card.splits))
    missing = [path for path in lists.values() if not path.is_file()]
    if not missing:
        return _listed(card, lists)
    if len(missing) < len(lists):
        there = next(path for path in lists.values() if path not in missing)
        raise SplitError(f"{missing[0]} is missing beside {there}: dvbench data download {card.name}, or remove both")
    if card.name not in DRAWS:
        raise SplitError(f"{missing[0]} is missing, which holds the labels too: dvbench data download {card.name}")
    return _drawn(root, DRAWS[card.name])


def lists_of_names(card: Card) -> frozenset[str]:
    """The authors' lists of a dataset that hold names and no labels, so that other lists make another split of it."""
    return frozenset(split.file for split in card.splits if split.file and card.name in DRAWS)


def labelled(card: Card, root: Path, split: str) -> list[tuple[Path, int]]:
    """Images of a split and their labels, for datasets with one folder per class.

    Args:
        card: Card of a dataset that `DRAWS` knows.
        root: The dataset's folder.
        split: Name of the split.

    Returns:
        Path and label of each image, in the order of the list. That the files are there is not checked.

    Raises:
        SplitError: As `membership`, or a folder is not named like a class.
    """
    folder = root / DRAWS[card.name].folder
    paths = [folder / name for name in membership(card, root).names[split]]
    if unknown := {path.parent for path in paths if path.parent.name not in card.classes}:
        raise SplitError(f"{min(unknown)} is no class of {card.title}: remove it, or mend the list that names it")
    return [(path, card.classes.index(path.parent.name)) for path in paths]


def seeded(names: Iterable[str], share: float) -> dict[str, tuple[str, ...]]:
    """Draw a train and a test split, the same on any machine.

    Args:
        names: Names with forward slashes; the share is taken from each folder among them.
        share: Part that trains, rounded to whole images in each folder.

    Returns:
        "train" and "test", each sorted.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        folders[str(PurePosixPath(name).parent)].append(name)
    bits = np.random.PCG64(SEED)
    train: list[str] = []
    for members in folders.values():
        # NumPy promises the raw stream for all versions, but not what Generator.permutation makes of it.
        order = np.argsort(bits.random_raw(len(members)), kind="stable")
        train += [members[index] for index in order[: round(share * len(members))]]
    chosen = set(train)
    test = [name for members in folders.values() for name in members if name not in chosen]
    return {"train": tuple(sorted(train)), "test": tuple(test)}


def digest(names: Sequence[str]) -> str:
    """SHA-256 of the sorted names, one a line: the identity of a split that has no list."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def _listed(card: Card, lists: Mapping[str, Path]) -> Membership:
    names = {split: _read(path) for split, path in lists.items()}
    first: dict[str, str] = {}
    for split, members in names.items():
        for name in members:
            if name in first:
                where = f"twice in {lists[split]}" if first[name] == split else f"in both {first[name]} and {split}"
                raise SplitError(f"{name} is {where} of {card.name}: dvbench data download {card.name}")
            first[name] = split
    sha256 = {split: hashlib.sha256(path.read_bytes()).hexdigest() for split, path in lists.items()}
    pinned = all(sha256[split.name] == split.sha256 for split in card.splits)
    made_by = " / ".join(split.made_by for split in card.splits) if pinned else "lists that are not the authors'"
    return Membership(names, made_by, sha256, is_published=pinned)


def _drawn(root: Path, draw: Draw) -> Membership:
    folder = root / draw.folder
    names = seeded((path.relative_to(folder).as_posix() for path in folder.glob(draw.pattern)), draw.share)
    sha256 = {split: digest(members) for split, members in names.items()}
    return Membership(names, OURS, sha256, is_published=False)


def _read(path: Path) -> tuple[str, ...]:
    """Names in a text list, one a line, or in the images of a COCO file."""
    try:
        names = path.read_text(encoding="utf-8-sig").splitlines()
        if path.suffix == ".json":
            names = [image["file_name"] for image in json.loads("".join(names))["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SplitError(f"{path} is no list of images ({error}): remove it and download it again") from error
    return tuple(str(safe_name(name, path)) for name in names if name.strip())
