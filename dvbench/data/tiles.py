"""Cut large rasters into tiles, once, into a folder.

Rasters are read window by window, so their size does not matter. Each tile appears whole or not at all, and a manifest
says what it was cut from: work that was killed goes on where it stopped, with the same result.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import rasterio
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

LABEL = "label"  # layer that holds classes, which are never interpolated
_CACHE = 128  # MB that GDAL may keep of a raster; its default is a share of the machine's memory
_CHUNK = 1 << 20  # bytes hashed at a time
_TYPES = ("uint8", "uint16")  # what PNG can hold


class TileError(ValueError):
    """Rasters cannot be cut; the message is one line that says which, why and what to do."""


@dataclass(frozen=True)
class Tile:
    """Place of one tile, in px of the raster; right and lower border are not included."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Grid:
    """How a raster is cut.

    Attributes:
        size: Side of a tile in px.
        stride: Distance from one tile to the next in px.
        edge: What happens where tiles do not reach the border: "drop" leaves the rest out, "flush" adds tiles that end
            at the border and overlap their neighbours.
    """

    size: int
    stride: int
    edge: Literal["drop", "flush"]

    def starts(self, length: int) -> tuple[int, ...]:
        """First pixel of each tile along a side of `length` px."""
        last = length - self.size
        regular = range(0, last + 1, self.stride)
        missed = self.edge == "flush" and last > 0 and last % self.stride
        return (*regular, last) if missed else tuple(regular)

    def tiles(self, width: int, height: int) -> list[Tile]:
        """All tiles of a raster, row by row."""
        corners = product(self.starts(height), self.starts(width))
        return [Tile(left, top, left + self.size, top + self.size) for top, left in corners]


GRIDS: Mapping[str, Grid] = {
    "whu_cd": Grid(256, 256, "drop"),
    "massachusetts_roads": Grid(1500, 1500, "drop"),
    "oscd": Grid(256, 128, "flush"),  # as the paper says
    "oscd_released": Grid(256, 256, "flush"),  # as the released tool does
}


def tile(
    layers: Mapping[str, Path],
    folder: Path,
    stem: str,
    grid: Grid,
    track: Callable[[list[Tile]], Iterable[Tile]] = iter,
) -> list[str]:
    """Cut rasters that lie on top of each other.

    Rasters that are narrower or lower than a tile are enlarged until the tile fits: bicubic, labels by nearest
    neighbour. Otherwise pixels are copied.

    Args:
        layers: Name -> raster file, such as {"A": before, "B": after, "label": change}.
        folder: Where to. Gets a folder per layer with PNG files of the same names, and `<stem>.tiles.json`.
        stem: First part of the tiles' names, so that several rasters can share a folder.
        grid: How to cut.
        track: Passes the tiles on and shows progress, such as `rich.progress.track`.

    Returns:
        File names of the tiles, the same in each layer.

    Raises:
        TileError: A raster is missing, damaged, of another size than the first, or of a type that PNG cannot hold; or
            the folder has tiles of this stem that were cut from something else.
    """
    with _opened(layers) as rasters:
        width, height = _common_size(layers, rasters)
        scale = max(1.0, grid.size / min(width, height))
        tiles = grid.tiles(int(width * scale), int(height * scale))
        names = [f"{stem}_{place.left}_{place.top}_{place.right}_{place.bottom}.png" for place in tiles]
        manifest = {
            "grid": asdict(grid),
            "raster": {"width": width, "height": height},
            "sources": {layer: _identity(path) for layer, path in layers.items()},
            "tiles": names,
        }
        _claim(folder / f"{stem}.tiles.json", manifest)
        for layer in layers:
            (folder / layer).mkdir(exist_ok=True)
        for place, name in zip(track(tiles), names, strict=True):
            for layer, raster in rasters.items():
                if not (folder / layer / name).exists():
                    _cut(raster, place, scale, folder / layer / name, layer == LABEL)
    return names


@contextmanager
def _opened(layers: Mapping[str, Path]) -> Iterator[dict[str, DatasetReader]]:
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_PAM_ENABLED=False))
        try:
            yield {layer: stack.enter_context(rasterio.open(path)) for layer, path in layers.items()}
        except RasterioError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise TileError(f"{' or '.join(map(str, layers.values()))} cannot be cut ({reason})") from error


def _common_size(layers: Mapping[str, Path], rasters: Mapping[str, DatasetReader]) -> tuple[int, int]:
    sizes = {layer: (raster.width, raster.height) for layer, raster in rasters.items()}
    first = next(iter(sizes))
    for layer, (width, height) in sizes.items():
        if (width, height) != sizes[first]:
            expected = "x".join(map(str, sizes[first]))
            raise TileError(f"{layers[layer]} has {width}x{height} px and {layers[first]} {expected}; align them first")
    for layer, raster in rasters.items():
        if raster.count > 4 or set(raster.dtypes) - set(_TYPES):
            what = f"{raster.count} bands of {raster.dtypes[0]}"
            raise TileError(
                f"{layers[layer]} has {what}; tiles hold up to 4 of {' or '.join(_TYPES)}, convert it first"
            )
    return sizes[first]


def _identity(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _claim(path: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, or make sure that the one found says the same."""
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != manifest:
            raise TileError(
                f"{path} tells of tiles from other rasters or another grid; remove them or name another folder"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    os.replace(part, path)


def _cut(raster: DatasetReader, place: Tile, scale: float, path: Path, is_label: bool) -> None:
    side = place.right - place.left
    pixels = raster.read(
        window=Window(place.left / scale, place.top / scale, side / scale, side / scale),
        out_shape=(raster.count, side, side),
        resampling=Resampling.nearest if is_label else Resampling.cubic,
    )
    part = path.with_name(f".{path.name}.part")
    try:
        with rasterio.open(
            part, "w", driver="PNG", width=side, height=side, count=raster.count, dtype=raster.dtypes[0]
        ) as file:
            file.write(pixels)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
