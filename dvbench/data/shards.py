"""fMoW as tar shards, which stream from a disk or a mount on which a million files would crawl.

The layout is that of WebDataset and of DynamicVis: `00000.tar`, `00001.tar`... and `meta.json`; each image is a pair of
members `<key>.jpg` and `<key>.json`, where the key is the path of the image, its own `.jpg` included.
"""

import io
import json
import os
import tarfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from dvbench.data.archives import check_member
from dvbench.data.folders.base import Sample, Transforms
from dvbench.data.folders.fmow import Entry, FMoWError, LeftOut, Regions, read_regions, regions_as_tensors
from dvbench.data.pixels import PixelError, decode_rgb

SHARDS = 128
LONGEST_SIDE = 1024  # px; larger images are made smaller


class ShardError(ValueError):
    """Shards cannot be written or read; the message is one line that says which, why and what to do."""


class ShardWarning(UserWarning):
    """Part of a shard is damaged and was skipped."""


def write_shards(
    entries: Sequence[Entry], folder: Path, shards: int = SHARDS, seed: int = 0, left_out: LeftOut = "context"
) -> None:
    """Pack images and their regions, shuffled, into shards of equal size.

    Images are stored as PNG, whatever the names say, and shrunk with their boxes so that no side exceeds 1024 px.

    Args:
        entries: What to pack, such as `FMoW(...).entries`.
        folder: Where to; `meta.json` is written last, so a folder without it is unfinished.
        shards: Number of files.
        seed: Decides the order.
        left_out: Which entries of an annotation are no objects; "raw_location" as the authors packed.

    Raises:
        ShardError: There are fewer images than shards.
        PixelError: An image is damaged.
        FMoWError: An annotation is damaged.
    """
    if not 1 <= shards <= len(entries):
        raise ShardError(f"{len(entries)} images do not fill {shards} shards; ask for fewer")
    folder.mkdir(parents=True, exist_ok=True)
    meta = folder / "meta.json"
    meta.unlink(missing_ok=True)
    order = np.argsort(np.random.PCG64(seed).random_raw(len(entries)), kind="stable")
    for number, members in enumerate(np.array_split(order, shards)):
        _write_shard([entries[index] for index in members], folder / f"{number:05d}.tar", left_out)
    part = folder / ".meta.json.part"
    part.write_text(json.dumps({"num_samples": len(entries), "num_shards": shards}), encoding="utf-8")
    os.replace(part, meta)


def _write_shard(entries: Sequence[Entry], path: Path, left_out: LeftOut) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(part, "w") as shard:
            for entry in entries:
                image, regions = _packed(entry, left_out)
                _add(shard, f"{entry.key}.jpg", image)
                _add(shard, f"{entry.key}.json", json.dumps(regions).encode())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _packed(entry: Entry, left_out: LeftOut) -> tuple[bytes, dict[str, Any]]:
    regions = read_regions(entry.annotation, left_out)
    try:
        with Image.open(entry.image) as stored:
            image = stored.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise PixelError(f"{entry.image} is no intact image; download it again") from error
    width, height = image.size
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    if scale < 1:
        image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    factors = (image.width / width, image.height / height) * 2
    boxes = [[value * factor for value, factor in zip(box, factors, strict=True)] for box in regions.boxes]
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue(), {"gt_bboxes": boxes, "gt_bboxes_labels": list(regions.names)}


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


class Record(NamedTuple):
    """One image as it lies in a shard: where it was found, the encoded image, and its regions as JSON."""

    name: str
    image: bytes
    annotation: bytes


class Shards(IterableDataset[Sample]):
    """Regions of fMoW, streamed from shards.

    Every image comes once an epoch; the released reader draws shards with replacement, also for testing. Shards are
    dealt out to processes and workers. Damaged parts are skipped, each with a warning.

    Attributes:
        skipped: Number of damaged shards and images that this process has skipped so far.
    """

    def __init__(self, folder: str | Path, transforms: Transforms | None = None, buffer: int = 0) -> None:
        """Open a folder of shards.

        Args:
            folder: With `meta.json`.
            transforms: Takes a sample and returns a changed one.
            buffer: Number of encoded images to shuffle among, up to 2 MB each. 0 keeps the order of the files, for
                testing. With more, the order follows PyTorch's seed and changes from epoch to epoch.

        Raises:
            ShardError: The folder is missing or unfinished.
        """
        super().__init__()
        self.folder = Path(folder)
        self.transforms = transforms
        self.buffer = buffer
        self.skipped = 0
        self.paths = sorted(self.folder.glob("[0-9]*.tar"))
        try:
            meta = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
            self._length, shards = int(meta["num_samples"]), int(meta["num_shards"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ShardError(
                f"{self.folder} has no readable meta.json, so it is no finished folder of shards"
            ) from error
        if len(self.paths) != shards:
            raise ShardError(f"{self.folder} has {len(self.paths)} shards of {shards}; copy the missing ones")

    def __len__(self) -> int:
        """Number of images, skipped ones included."""
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        """Stream samples.

        Yields:
            "image": float32 (3, H, W), RGB, 0-255; "bbox_xyxy": float32 (N, 4) in px; "label": int64 (N,), index into
            the classes of `FMoW`. N may be 0.

        Raises:
            UnsafeNameError: A shard has a member that would climb out of a folder, or a link.
            ShardError: There are fewer shards than processes.
        """
        rng = np.random.Generator(np.random.PCG64(_seed()))
        paths = self._mine()
        if self.buffer:
            rng.shuffle(paths)
        records = (record for path in paths for record in self._records(path))
        for record in _shuffled(records, self.buffer, rng):
            try:
                sample = _sample(record)
            except (PixelError, FMoWError) as error:
                self._skip(f"{error}; the image")
                continue
            yield sample if self.transforms is None else self.transforms(sample)

    def _mine(self) -> list[Path]:
        """The shards of this process and worker."""
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if len(self.paths) < ranks:
            raise ShardError(f"{self.folder} has {len(self.paths)} shards for {ranks} processes; write more shards")
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return self.paths[rank::ranks][number::workers]

    def _records(self, path: Path) -> Iterator[Record]:
        """The images of a shard, until its end or the first damage."""
        waiting: dict[str, dict[str, bytes]] = defaultdict(dict)  # members whose partner has not come yet
        try:
            for name, content in _members(path):
                key, _, kind = name.rpartition(".")
                waiting[key][kind] = content
                if {"jpg", "json"} <= waiting[key].keys():
                    pair = waiting.pop(key)
                    yield Record(f"{path}: {key}", pair["jpg"], pair["json"])
            for key in waiting:
                self._skip(f"{path}: {key} lacks its image or its regions and")
        except (tarfile.TarError, OSError) as error:
            self._skip(f"{path} is damaged ({error}): what follows in it")

    def _skip(self, what: str) -> None:
        self.skipped += 1
        warnings.warn(f"{what} is skipped", ShardWarning, stacklevel=3)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member."""
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as shard:
        for member in shard:
            check_member(member, path)
            content = shard.extractfile(member)
            if content is not None:
                yield member.name, content.read()
        file.seek(shard.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError("a header is broken or the end is missing")


def _seed() -> int:
    """Drawn anew each epoch: by the loader for its workers, else here, both from PyTorch's generator."""
    worker = get_worker_info()
    return worker.seed if worker else int(torch.empty((), dtype=torch.int64).random_())


def _shuffled(records: Iterator[Record], buffer: int, rng: np.random.Generator) -> Iterator[Record]:
    """Shuffle among `buffer` records, or keep the order if it is 0."""
    waiting: list[Record] = []
    for record in records:
        if len(waiting) < buffer:
            waiting.append(record)
            continue
        if not waiting:
            yield record
            continue
        chosen = rng.integers(buffer)
        yield waiting[chosen]
        waiting[chosen] = record
    yield from (waiting[index] for index in rng.permutation(len(waiting)))


def _sample(record: Record) -> Sample:
    try:
        stored = json.loads(record.annotation)
        boxes = [tuple(map(float, box)) for box in stored["gt_bboxes"]]
        regions = Regions(tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes), tuple(stored["gt_bboxes_labels"]))
    except (ValueError, KeyError, TypeError) as error:
        raise FMoWError(f"{record.name} has no readable regions ({error})") from error
    return {"image": decode_rgb(record.image, record.name), **regions_as_tensors(regions, record.name)}
