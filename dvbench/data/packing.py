"""fMoW into tar shards, which a disk or a mount reads well on which a million files would crawl; see `shards`."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dvbench.data.folders.fmow import Entry, LeftOut, read_regions
from dvbench.data.pixels import PixelError
from dvbench.data.shards import META, Row, ShardError, in_order, survey, write_index
from dvbench.data.watch import SILENT, Watch
from reports.ledger import write_atomically

SHARDS = 128
LONGEST_SIDE = 1024  # px; larger images are made smaller
PLAN = "plan.json"  # what is being written; there until it is finished


def pack(
    entries: Sequence[Entry],
    folder: Path,
    *,
    shards: int = SHARDS,
    seed: int = 0,
    left_out: LeftOut = "raw_location",
    workers: int = 1,
    watch: Watch = SILENT,
) -> None:
    """Pack images and their regions, shuffled, into shards of equal size.

    An image with a side above 1,024 px is shrunk with its boxes and stored as PNG, whatever its name says; any other
    stays the JPEG that it was. What was written before an interruption is kept.

    Args:
        entries: What to pack, such as `FMoW(...).entries`.
        folder: Where to. The index of all images and `meta.json`, with number of images, bytes and SHA-256 of each
            shard, are written last, so a folder without them is unfinished.
        shards: Number of files.
        seed: Decides the order.
        left_out: Which entries of an annotation are no objects; by default as the authors packed.
        workers: Processes that write at a time.
        watch: Sees the progress.

    Raises:
        ShardError: There are fewer images than shards, two of one name, the folder holds shards of another packing, or
            it cannot be written.
        PixelError: An image is damaged.
        FMoWError: An annotation is damaged.
    """
    if not 1 <= shards <= len(entries):
        raise ShardError(f"{len(entries)} images do not fill {shards} shards; ask for fewer")
    keys = [entry.key for entry in entries]
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise ShardError(f"two images have the name {twice[0]}; rename one")
    plan = {
        "num_samples": len(entries),
        "num_shards": shards,
        "seed": seed,
        "left_out": left_out,
        "longest_side": LONGEST_SIDE,
        "listing": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
    }
    order = np.argsort(np.random.PCG64(seed).random_raw(len(entries)), kind="stable")
    parts = [[entries[index] for index in members] for members in np.array_split(order, shards)]
    try:
        _begin(folder, plan)
        written = _written(parts, folder, left_out, workers, watch)
        write_index(folder, in_order([rows for rows, _ in written]))
        write_atomically(folder / META, json.dumps(plan | {"shards": [told for _, told in written]}).encode())
        (folder / PLAN).unlink()
    except BrokenProcessPool as error:
        raise ShardError(f"a process that packed {folder} was killed: run it again, with fewer --workers") from error
    except OSError as error:
        told = "what is finished stays; free some space and run it again"
        raise ShardError(f"{folder} cannot be written ({error.strerror or error}); {told}") from error


def _begin(folder: Path, plan: dict[str, Any]) -> None:
    """Make the folder this plan's, and refuse one that holds shards of another plan."""
    told = next((path for path in (folder / META, folder / PLAN) if path.is_file()), None)
    try:
        there = json.loads(told.read_bytes()) if told else {}
    except ValueError:
        there = {}
    differing = [key for key, value in plan.items() if there.get(key) != value]
    if differing and (told or next(folder.glob("*.tar"), None)):
        what = f"other {', '.join(differing)}"
        raise ShardError(f"{folder} holds shards of another packing ({what}); choose another folder or empty it")
    write_atomically(folder / PLAN, json.dumps(plan).encode())
    (folder / META).unlink(missing_ok=True)  # last, so that one of the two always tells whose the shards are


def _written(
    parts: Sequence[Sequence[Entry]], folder: Path, left_out: LeftOut, workers: int, watch: Watch
) -> list[tuple[Row, dict[str, Any]]]:
    """Write the shards that are not there, and describe all."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        futures: list[Future[tuple[Row, dict[str, Any]]]] = [
            processes.submit(_shard, part, folder, number, left_out) for number, part in enumerate(parts)
        ]
        try:
            return [future.result() for future in watch.items(futures, "shards")]
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


def _shard(entries: Sequence[Entry], folder: Path, number: int, left_out: LeftOut) -> tuple[Row, dict[str, Any]]:
    """Write one shard unless it is there, and return its rows of the index and what `meta.json` says of it."""
    path = folder / f"{number:05d}.tar"
    if not path.exists():
        _write(entries, path, left_out)
    rows, damage = survey(path, number)
    if damage or len(rows) != len(entries):
        raise ShardError(f"{path} holds {len(rows)} of {len(entries)} images; delete it and run it again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return rows, {"samples": len(rows), "bytes": path.stat().st_size, "sha256": digest}


def _write(entries: Sequence[Entry], path: Path, left_out: LeftOut) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with tarfile.open(part, "w") as shard:
            for entry in entries:
                image, regions = _packed(entry, left_out)
                _add(shard, f"{entry.key}.jpg", image)
                _add(shard, f"{entry.key}.json", json.dumps(regions).encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _packed(entry: Entry, left_out: LeftOut) -> tuple[bytes, dict[str, Any]]:
    regions = read_regions(entry.annotation, left_out)
    try:
        content = entry.image.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            image.load()  # all of it, so that no damage is packed
            if max(width, height) > LONGEST_SIDE:
                content, factors = _shrunk(image)
            else:
                factors = (1.0, 1.0)
    except (OSError, SyntaxError) as error:
        raise PixelError(f"{entry.image} is no intact image; download it again") from error
    boxes = [[value * factor for value, factor in zip(box, factors * 2, strict=True)] for box in regions.boxes]
    return content, {"gt_bboxes": boxes, "gt_bboxes_labels": list(regions.names)}


def _shrunk(image: Image.Image) -> tuple[bytes, tuple[float, float]]:
    """Return an image as PNG with its longest side at the limit, and the factors of its width and height."""
    scale = LONGEST_SIDE / max(image.size)
    width, height = (round(side * scale) for side in image.size)
    encoded = io.BytesIO()
    image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR).save(encoded, "PNG")
    return encoded.getvalue(), (width / image.width, height / image.height)


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
