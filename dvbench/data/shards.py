"""fMoW as tar shards: images and regions by position, read where they lie, without unpacking.

The layout is that of WebDataset and of DynamicVis: `00000.tar`, `00001.tar`... and `meta.json`; each image is a pair of
members `<key>.jpg` and `<key>.json`, where the key is the path of the image, its own `.jpg` included. `index.npy` says
where each lies; it is made at the first opening of shards that came without it.
"""

import hashlib
import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvbench.data.archives import check_member
from dvbench.data.watch import SILENT, Watch
from reports.ledger import LedgerError, write_atomically

META, INDEX = "meta.json", "index.npy"
BUFFER = 5000  # places by which an image moves at most from those of its shard, as the released reader's buffer
OPEN_FILES = 32
FIELDS = ("key", "shard", "image", "image_bytes", "regions", "regions_bytes")

Row = NDArray[Any]
"""Of the index: key, number of the shard, and where image and regions lie in it and how long they are, in bytes."""


class ShardError(ValueError):
    """Shards cannot be written or read; the message is one line that says which, why and what to do."""


class ShardWarning(UserWarning):
    """Part of a shard is damaged and was skipped."""


class Shards:
    """Images and regions of a folder of shards, by position; sorted by key, as the files are from which they come.

    A shard whose size is not the one that was written is left out, with a warning.

    Attributes:
        folder: Where they lie.
        meta: What `meta.json` says.
        skipped: Number of images that damaged shards take with them.
    """

    def __init__(self, folder: Path) -> None:
        """Open a folder of shards.

        Raises:
            ShardError: The folder is missing, unfinished or lacks shards.
            UnsafeNameError: A shard has a member that would climb out of a folder, or a link.
        """
        self.folder = folder
        self.paths = sorted(folder.glob("[0-9]*.tar"))
        try:
            self.meta: Mapping[str, Any] = json.loads((folder / META).read_bytes())
            images, shards = int(self.meta["num_samples"]), int(self.meta["num_shards"])
            sizes = [int(told["bytes"]) for told in self.meta.get("shards", ())]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ShardError(f"{folder} has no readable {META}, so it is no finished folder of shards") from error
        if len(self.paths) != shards:
            raise ShardError(f"{folder} has {len(self.paths)} shards of {shards}; copy the missing ones")
        self._rows = _index(folder, self.paths)
        damaged = [n for n, size in enumerate(sizes) if self.paths[n].stat().st_size != size]
        if damaged:
            self._rows = self._rows[~np.isin(self._rows["shard"], damaged)]
            named = ", ".join(self.paths[n].name for n in damaged)
            told = f"of another size than was written: {named}; {images - len(self._rows):,} images are left out"
            warnings.warn(f"{folder}: {told}; dvbench data verify says more", ShardWarning, stacklevel=2)
        self.skipped = max(0, images - len(self._rows))

    def __len__(self) -> int:
        """Number of images, without those of damaged shards."""
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[bytes, bytes]:
        """Return an image as it was encoded, and its regions as JSON."""
        row = self._rows[index]
        path = self.paths[row["shard"]]
        return _read(path, row["image"], row["image_bytes"]), _read(path, row["regions"], row["regions_bytes"])

    def key(self, index: int) -> str:
        """Return the path that an image had below the dataset's folder."""
        return bytes(self._rows["key"][index]).decode()

    def path(self, index: int) -> Path:
        """Return the shard that an image lies in."""
        return self.paths[int(self._rows["shard"][index])]

    def order(self, generator: torch.Generator) -> Tensor:
        """Draw an order of all positions that reads shard after shard, mixed among `BUFFER` neighbours.

        Args:
            generator: Decides it alone.

        Returns:
            int64 (images,), each position once.
        """
        count = len(self)
        rank = torch.randperm(len(self.paths), generator=generator)
        shard = rank[torch.from_numpy(self._rows["shard"].astype(np.int64))]
        within = torch.rand(count, generator=generator, dtype=torch.float64)
        sequence = (shard + within).argsort()
        moved = torch.arange(count) + BUFFER * torch.rand(count, generator=generator, dtype=torch.float64)
        return sequence[moved.argsort()]

    def flaws(self, watch: Watch = SILENT) -> Iterator[str]:
        """Compare each shard with the hash that was taken when it was written; one line for each that differs."""
        mend = "delete it and run dvbench data shards again, which writes what is missing"
        for path, told in zip(watch.items(self.paths, self.folder.name), self.meta.get("shards", ()), strict=False):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != told["sha256"]:
                    yield f"{path} is damaged: {told['samples']:,} images; {mend}"


def survey(path: Path, number: int) -> tuple[Row, str]:
    """Find the images of a shard, until its end or the first damage.

    Args:
        path: The shard.
        number: Its number in the folder.

    Returns:
        Its rows of the index, and what is damaged; empty if nothing is.

    Raises:
        UnsafeNameError: It has a member that would climb out of a folder, or a link.
    """
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    damage = ""
    try:
        for member in _members(path):
            key, _, kind = member.name.rpartition(".")
            found.setdefault(key, {})[kind] = member
    except (tarfile.TarError, OSError) as error:
        damage = str(error)
    whole = {key: kinds for key, kinds in found.items() if {"jpg", "json"} <= kinds.keys()}
    if not damage and len(whole) < len(found):
        damage = f"{min(found.keys() - whole.keys())} lacks its image or its regions"
    width = max((len(key.encode()) for key in whole), default=1)
    types = (f"S{width}", "i4", "i8", "i8", "i8", "i8")
    rows = [
        (key.encode(), number, k["jpg"].offset_data, k["jpg"].size, k["json"].offset_data, k["json"].size)
        for key, k in whole.items()
    ]
    return np.array(rows, dtype=list(zip(FIELDS, types, strict=True))), damage


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    size = path.stat().st_size
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
        for member in shard:
            check_member(member, path)
            if member.offset_data + member.size > size:
                raise tarfile.ReadError(f"{member.name} is cut off")
            if member.isfile():
                yield member
        file.seek(shard.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError("a header is broken or the end is missing")


def _index(folder: Path, paths: list[Path]) -> Row:
    """Map the index into memory, which all processes share; make it where it is missing."""
    try:
        rows: Row = np.load(folder / INDEX, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return _made(folder, paths)
    except (OSError, ValueError, EOFError) as error:
        raise ShardError(f"{folder / INDEX} cannot be read ({error}); delete it, and it is made anew") from error
    if rows.dtype.names != FIELDS or (len(rows) and not 0 <= rows["shard"].min() <= rows["shard"].max() < len(paths)):
        raise ShardError(f"{folder / INDEX} is not the index of these shards; delete it, and it is made anew")
    return rows


def _made(folder: Path, paths: list[Path]) -> Row:
    surveys = [survey(path, number) for number, path in enumerate(paths)]
    for path, (_, damage) in zip(paths, surveys, strict=True):
        if damage:
            warnings.warn(f"{path} is damaged ({damage}): what follows in it is skipped", ShardWarning, stacklevel=4)
    rows = in_order([rows for rows, _ in surveys])
    if (twice := rows["key"][1:][rows["key"][1:] == rows["key"][:-1]]).size:
        raise ShardError(f"{folder} has two images of the name {twice[0].decode()}; pack them anew")
    if not any(damage for _, damage in surveys):  # else it would outlive the damage
        with suppress(LedgerError):  # in a folder of somebody else it is made at each opening
            write_index(folder, rows)
    return rows


def in_order(parts: Sequence[Row]) -> Row:
    """Return the rows of all shards, sorted by key."""
    rows: Row = np.concatenate(parts)
    return rows[np.argsort(rows["key"])]


def write_index(folder: Path, rows: Row) -> None:
    """Write the index of a folder.

    Raises:
        LedgerError: The folder cannot be written.
    """
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    write_atomically(folder / INDEX, content.getvalue())


def _read(path: Path, offset: int, size: int) -> bytes:
    content = os.pread(_opened(path).fileno(), int(size), int(offset))
    if len(content) != size:
        raise ShardError(f"{path} is shorter than its index says; dvbench data verify names damaged shards")
    return content


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
