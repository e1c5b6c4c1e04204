"""The files that a dataset's splits are made from, what is in them, and the one hash that stands for all of it."""

import hashlib
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from dvbench.data.catalog import dataset, entry
from dvbench.data.make.source import SIGNATURE
from dvbench.data.names import image_of
from dvbench.data.watch import SILENT, Watch

_THREADS = 4  # disks and networks answer several readers faster than one, and hashing leaves Python's lock alone
_AT_A_TIME = 32  # files handed to a thread
_CHUNK = 2**24  # bytes read at a time: shards are larger than memory should hold several times
_SIGNATURE = SIGNATURE.encode()


@dataclass(frozen=True)
class Listing:
    """What the splits of a dataset are made from. Names are paths below its folder, with forward slashes.

    Attributes:
        members: Split -> names by which its samples are told apart, sorted: of images, or of what else the card counts.
        files: Names of all files that are read, sorted: images, labels, annotations and lists.
    """

    members: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """What was in a file.

    Attributes:
        bytes: Its size.
        sha256: Of its bytes.
        crc32: Of its bytes, as zip archives list it.
        is_drawn: Whether it says that `dvbench data make` wrote it.
    """

    bytes: int
    sha256: str
    crc32: int
    is_drawn: bool


def listing(name: str, root: Path) -> Listing:
    """Open every split of a dataset and list what it is made from.

    Args:
        name: Key in the catalog.
        root: The dataset's folder.

    Raises:
        MissingDatasetError, DatasetNotFoundError, SplitError and what else `dataset` raises.
    """
    card = entry(name).card
    files = {split.file for split in card.splits if split.file and (root / split.file).is_file()}
    members = {}
    for split in card.splits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # verify tells it
            opened: Any = dataset(name, split.name, root)
        firsts = set()
        for index in range(len(opened)):
            names = [path.relative_to(root).as_posix() for path in opened.sources(index)]
            if names:
                firsts.add(image_of(opened, index).relative_to(root).as_posix())
            files.update(names)
        members[split.name] = tuple(sorted(firsts))
    return Listing(members, tuple(sorted(files)))


def read(root: Path, names: Sequence[str], watch: Watch = SILENT) -> dict[str, Content]:
    """Read files from the first to the last byte, several at a time.

    Args:
        root: Folder that the names are relative to.
        names: Which files.
        watch: Sees the progress.

    Returns:
        Name -> what is in the file.

    Raises:
        OSError: A file cannot be read.
    """
    with ThreadPool(_THREADS) as threads:
        contents = threads.imap(_read, (root / name for name in names), chunksize=_AT_A_TIME)
        return dict(zip(watch.items(names, "fingerprint"), contents, strict=True))


def fingerprint(sha256: Mapping[str, str]) -> str:
    """One hash over names and contents: SHA-256 of what `sha256sum` prints for the files, sorted by name.

    Args:
        sha256: Name of each file -> SHA-256 of its bytes.
    """
    return hashlib.sha256("".join(f"{sha256[name]}  {name}\n" for name in sorted(sha256)).encode()).hexdigest()


def _read(path: Path) -> Content:
    size, crc32, is_drawn, last = 0, 0, False, b""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            digest.update(chunk)
            is_drawn = is_drawn or _SIGNATURE in last + chunk
            last = chunk[-len(_SIGNATURE) :]
    return Content(size, digest.hexdigest(), crc32, is_drawn)
