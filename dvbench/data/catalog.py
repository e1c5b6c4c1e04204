"""The one list of datasets: name -> what it is and how to open it.

Importing this module is cheap: torch and TorchGeo are imported when a dataset is opened.
"""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvbench.data.card import Card
from dvbench.data.cards.change import LEVIR_CD, OSCD, WHU_CD
from dvbench.data.cards.classification import AID, UC_MERCED
from dvbench.data.cards.detection import LEVIR_SHIP, NEON_TREES
from dvbench.data.cards.instance import NWPU_VHR10, SSDD
from dvbench.data.cards.region import FMOW
from dvbench.data.cards.retrieval import BIGEARTHNET, FORESTNET
from dvbench.data.cards.semantic import MASSACHUSETTS_ROADS, WHU_BUILDING
from dvbench.data.cards.synthetic import SMALL_TARGETS, SYNTHETIC
from dvbench.data.splits import Membership, membership

if TYPE_CHECKING:
    from torchgeo.datasets import NonGeoDataset

STAND_IN = "SYNTHETIC.txt"  # marks a folder that `dvbench data make` wrote
Load = Callable[..., "NonGeoDataset"]


class UnknownDatasetError(ValueError):
    """No dataset of that name is in the catalog; the message is one line that says which come close."""


class MissingDatasetError(FileNotFoundError):
    """The folder of a dataset is not there; the message is one line that says where it should be."""


@dataclass(frozen=True)
class Entry:
    """A dataset in the catalog.

    Attributes:
        card: The dataset in words and numbers.
        load: Opens a split: takes the dataset's folder, the name of the split and further arguments by name, such as
            `transforms`.
        home: Where it lies when it comes with the package, else None.
    """

    card: Card
    load: Load
    home: Path | None = None


def _reader(place: str) -> Load:
    """The class at a place such as "dvbench.data.geo:UCMerced", imported when it is first called."""

    def load(root: Path, split: str, **options: Any) -> "NonGeoDataset":
        module, name = place.split(":")
        opened: NonGeoDataset = getattr(import_module(module), name)(root, split, **options)
        return opened

    return load


def _painter(name: str, *first: str) -> Load:
    """A class of synthetic scenes, which need no folder, with its first arguments."""

    def load(_: Path, split: str, **options: Any) -> "NonGeoDataset":
        scenes = getattr(import_module("dvbench.data.synthetic.dataset"), name)
        opened: NonGeoDataset = scenes(*first, split, **options)
        return opened

    return load


_HERE = Path(__file__).parent
_ENTRIES = (
    Entry(UC_MERCED, _reader("dvbench.data.geo:UCMerced")),
    Entry(AID, _reader("dvbench.data.folders:AID")),
    Entry(LEVIR_SHIP, _reader("dvbench.data.folders:LEVIRShip")),
    Entry(NWPU_VHR10, _reader("dvbench.data.geo:NWPUVHR10")),
    Entry(SSDD, _reader("dvbench.data.folders:SSDD")),
    Entry(MASSACHUSETTS_ROADS, _reader("dvbench.data.folders:MassachusettsRoads")),
    Entry(WHU_BUILDING, _reader("dvbench.data.folders:WHUBuilding")),
    Entry(LEVIR_CD, _reader("dvbench.data.geo:LEVIRCD")),
    Entry(WHU_CD, _reader("dvbench.data.folders:WHUCD")),
    Entry(OSCD, _reader("dvbench.data.geo:OSCD")),
    Entry(FMOW, _reader("dvbench.data.folders:FMoW")),
    Entry(BIGEARTHNET, _reader("dvbench.data.geo:BigEarthNet")),
    Entry(FORESTNET, _reader("dvbench.data.folders:ForestNet")),
    Entry(NEON_TREES, _reader("dvbench.data.samples:NeonTrees"), home=_HERE / "neon_trees"),
    *(Entry(card, _painter("Synthetic", card.task), home=_HERE / "synthetic") for card in SYNTHETIC),
    Entry(SMALL_TARGETS, _painter("SmallTargets"), home=_HERE / "synthetic"),
)
CATALOG: dict[str, Entry] = {entry.card.name: entry for entry in _ENTRIES}


def data_root() -> Path:
    """Folder of all datasets: the environment variable DVBENCH_DATA, else `data` in the current folder."""
    return Path(os.environ.get("DVBENCH_DATA") or "data")


def entry(name: str) -> Entry:
    """Look a dataset up.

    Args:
        name: Key in the catalog.

    Raises:
        UnknownDatasetError: There is none of that name.
    """
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG) or CATALOG
    raise UnknownDatasetError(f"unknown dataset '{name}': use {', '.join(near)}")


def folder(name: str, root: Path | None = None) -> Path:
    """Where a dataset lies, or should lie.

    Args:
        name: Key in the catalog.
        root: The dataset's folder, if the user named one.

    Returns:
        `root`; else the folder in the package, if it comes with it; else the folder of its name in `data_root()`.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
    """
    return root or entry(name).home or data_root() / name


def is_found(name: str, root: Path | None = None) -> bool:
    """Whether a dataset is on disk, as far as a glance can tell. Arguments and errors as `folder`."""
    return entry(name).card.is_in(folder(name, root))


def dataset(name: str, split: str, root: Path | None = None, **options: Any) -> "NonGeoDataset":
    """Open one split of a dataset.

    Args:
        name: Key in the catalog.
        split: Name of one of the card's splits.
        root: The dataset's folder, by default as `folder` says.
        options: Further arguments of the dataset's class by name, such as `transforms` (a function from sample to
            sample) or `num_classes=19` of BigEarthNet.

    Returns:
        The split, whose samples are as `Task` describes them for the card's task.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        UnknownSplitError: It has no split of that name.
        MissingDatasetError: Its folder is not there.
        DatasetNotFoundError: Its folder lacks files.
        SplitError: Its lists of images cannot be used.
    """
    found, place = entry(name), folder(name, root)
    found.card.split(split)
    if not place.is_dir():
        raise MissingDatasetError(f"{name} is not in {place}: dvbench data info {name} says how to get it")
    return found.load(place, split, **options)


def split_report(name: str, root: Path | None = None) -> Membership:
    """Tell which lists decide the splits of a dataset as it lies on disk, for a record. Arguments as `folder`.

    Returns:
        Who made the splits, and the hash of each; without names and hashes where the files themselves are sorted into
        splits.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        SplitError: The lists cannot be used.
    """
    card, place = entry(name).card, folder(name, root)
    found = membership(card, place)
    if (place / STAND_IN).is_file():
        return replace(found, made_by=f"synthetic scenes in the layout of {card.title}, not the dataset")
    return found
