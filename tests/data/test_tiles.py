"""Large rasters are cut window by window, once; work that was killed goes on with the same result."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from dvbench.data.tiles import GRIDS, Grid, Tile, TileError, tile

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SMALL = Grid(16, 16, "drop")
LIMIT = 500  # MB that tiling a pair of 8,000 x 8,000 px may take

# Tiles in a process of its own, and says how much memory it took at most.
CUT = """
import sys
from pathlib import Path
from dvbench.data.tiles import GRIDS, tile
root = Path(sys.argv[1])
tile({name: root / f"{name}.tif" for name in ("A", "B", "label")}, root / sys.argv[2], "city", GRIDS["whu_cd"])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def write(path: Path, bands: NDArray[np.generic]) -> Path:
    """Write (count, H, W)."""
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, tiled=False
    ) as file:
        file.write(bands)
    return path


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def layers(root: Path, width: int = 40, height: int = 34) -> dict[str, Path]:
    change = (noise(width, height, 2)[:1] > 127).astype(np.uint8) * 255
    return {
        "A": write(root / "A.tif", noise(width, height, 0)),
        "B": write(root / "B.tif", noise(width, height, 1)),
        "label": write(root / "label.tif", change),
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


# Where tiles lie


@pytest.mark.parametrize(
    ("grid", "length", "starts"),
    [
        (Grid(256, 256, "drop"), 600, (0, 256)),
        (Grid(256, 256, "flush"), 600, (0, 256, 344)),
        (Grid(256, 128, "flush"), 600, (0, 128, 256, 344)),
        (Grid(256, 128, "flush"), 512, (0, 128, 256)),
        (Grid(256, 256, "flush"), 256, (0,)),
        (Grid(256, 256, "drop"), 255, ()),
    ],
)
def test_starts(grid: Grid, length: int, starts: tuple[int, ...]) -> None:
    assert grid.starts(length) == starts


def test_whu_cd_gives_the_number_of_tiles_that_fit() -> None:
    assert len(GRIDS["whu_cd"].tiles(32_507, 15_354)) == 126 * 59


def test_oscd_overlaps_as_the_paper_says_or_as_the_released_tool_does() -> None:
    assert GRIDS["oscd"].starts(600) == (0, 128, 256, 344)
    assert GRIDS["oscd_released"].starts(600) == (0, 256, 344)


# What they hold


def test_tiles_are_the_windows_of_each_layer(tmp_path: Path) -> None:
    sources = layers(tmp_path)
    names = tile(sources, tmp_path / "tiles", "city", SMALL)
    assert names == [f"city_{x}_{y}_{x + 16}_{y + 16}.png" for y in (0, 16) for x in (0, 16)]
    for layer, path in sources.items():
        assert sorted(names) == sorted(found.name for found in (tmp_path / "tiles" / layer).iterdir())
        with rasterio.open(path) as raster:
            expected = raster.read(window=Window(16, 0, 16, 16))
        assert np.array_equal(np.atleast_3d(pixels(tmp_path / "tiles" / layer / names[1])).transpose(2, 0, 1), expected)


@pytest.mark.parametrize(("count", "dtype"), [(4, np.uint8), (1, np.uint16), (3, np.uint16)])
def test_bands_and_depth_are_kept(tmp_path: Path, count: int, dtype: type[np.generic]) -> None:
    stored = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (count, 16, 16)).astype(dtype)  # type: ignore[type-var]
    (name,) = tile({"A": write(tmp_path / "A.tif", stored)}, tmp_path / "tiles", "city", SMALL)
    with rasterio.open(tmp_path / "tiles/A" / name) as raster:
        assert np.array_equal(raster.read(), stored)


def test_raster_smaller_than_a_tile_is_enlarged_and_labels_stay_classes(tmp_path: Path) -> None:
    names = tile(layers(tmp_path, width=40, height=8), tmp_path / "tiles", "city", Grid(16, 16, "flush"))
    assert [name.split("_")[1] for name in names] == ["0", "16", "32", "48", "64"]
    assert pixels(tmp_path / "tiles/A" / names[0]).shape == (16, 16, 3)
    assert set(np.unique(pixels(tmp_path / "tiles/label" / names[0]))) == {0, 255}
    with rasterio.open(tmp_path / "label.tif") as raster:
        expected = raster.read(1, window=Window(8, 0, 8, 8)).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(pixels(tmp_path / "tiles/label" / names[1]), expected)


def test_manifest_says_what_was_cut(tmp_path: Path) -> None:
    names = tile(layers(tmp_path), tmp_path / "tiles", "city", SMALL)
    manifest = json.loads((tmp_path / "tiles/city.tiles.json").read_text())
    assert manifest["grid"] == {"size": 16, "stride": 16, "edge": "drop"}
    assert manifest["raster"] == {"width": 40, "height": 34}
    assert manifest["tiles"] == names
    assert manifest["sources"]["A"]["bytes"] == (tmp_path / "A.tif").stat().st_size
    assert len(manifest["sources"]["A"]["sha256"]) == 64


def test_several_rasters_share_a_folder(tmp_path: Path) -> None:
    sources = layers(tmp_path)
    for city in ("paris", "pisa"):
        tile(sources, tmp_path / "tiles", city, SMALL)
    assert len(list((tmp_path / "tiles/A").iterdir())) == 8


# Killed and started again


def test_finished_tiles_are_not_cut_again_and_missing_ones_are(tmp_path: Path) -> None:
    sources, folder = layers(tmp_path), tmp_path / "tiles"
    names = tile(sources, folder, "city", SMALL)
    before = contents(folder)
    (folder / "B" / names[2]).unlink()
    kept = (folder / "A" / names[0]).stat().st_mtime_ns
    assert tile(sources, folder, "city", SMALL) == names
    assert contents(folder) == before
    assert (folder / "A" / names[0]).stat().st_mtime_ns == kept


def test_interrupted_work_goes_on_with_the_same_result(tmp_path: Path) -> None:
    def stop_after_two(tiles: list[Tile]) -> Iterator[Tile]:
        yield from tiles[:2]
        raise KeyboardInterrupt

    sources = layers(tmp_path)
    tile(sources, tmp_path / "whole", "city", SMALL)
    with pytest.raises(KeyboardInterrupt):
        tile(sources, tmp_path / "tiles", "city", SMALL, stop_after_two)
    assert len(list((tmp_path / "tiles/A").iterdir())) == 2
    (tmp_path / "tiles/A/.city_0_16_16_32.png.part").write_bytes(b"half a tile")
    tile(sources, tmp_path / "tiles", "city", SMALL)
    assert contents(tmp_path / "tiles") == contents(tmp_path / "whole")


def test_failing_disk_leaves_no_half_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        tile(layers(tmp_path), tmp_path / "tiles", "city", SMALL)
    assert not list((tmp_path / "tiles").rglob("*.png"))


def test_progress_can_be_shown(tmp_path: Path) -> None:
    seen: list[Tile] = []

    def track(tiles: list[Tile]) -> Iterable[Tile]:
        seen.extend(tiles)
        return tiles

    tile(layers(tmp_path), tmp_path / "tiles", "city", SMALL, track)
    assert seen[-1] == Tile(left=16, top=16, right=32, bottom=32)


def run_cut(root: Path, folder: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CUT, str(root), folder], stdout=subprocess.PIPE, text=True)  # noqa: S603


def kill_when_there_are(tiles: int, process: subprocess.Popen[str], folder: Path) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until:
        if folder.is_dir() and len(list(folder.glob("*.png"))) >= tiles:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.005)
    process.wait()


def check_kill_and_memory(root: Path, tiles: int) -> int:
    """Cut once without a break and once killed half way; return the peak of memory in MB."""
    whole = run_cut(root, "whole")
    peak = int(whole.communicate()[0])
    killed = run_cut(root, "tiles")
    kill_when_there_are(tiles // 2, killed, root / "tiles/A")
    assert killed.returncode == -signal.SIGKILL
    assert tiles // 2 <= len(list((root / "tiles/A").glob("*.png"))) < tiles
    again = run_cut(root, "tiles")
    again.communicate()
    assert again.returncode == 0
    assert contents(root / "tiles") == contents(root / "whole")
    return peak


def test_killed_process_goes_on_with_the_same_result(tmp_path: Path) -> None:
    layers(tmp_path, width=2600, height=1600)
    check_kill_and_memory(tmp_path, tiles=60)


@pytest.mark.slow
def test_8000_px_pair_stays_below_500_mb_and_survives_a_kill(tmp_path: Path) -> None:
    side = 8000
    for seed, (name, count) in enumerate({"A": 3, "B": 3, "label": 1}.items()):
        rng = np.random.default_rng(seed)
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=side, height=side, count=count, dtype="uint8"
        ) as file:
            for row in range(0, side, 500):
                file.write(rng.integers(0, 256, (count, 500, side), dtype=np.uint8), window=Window(0, row, side, 500))
    assert check_kill_and_memory(tmp_path, tiles=31 * 31) < LIMIT


# What cannot be cut


def test_layers_of_different_sizes(tmp_path: Path) -> None:
    sources = layers(tmp_path) | {"B": write(tmp_path / "other.tif", noise(40, 33))}
    with pytest.raises(TileError, match=r"other\.tif has 40x33 px and .*A\.tif 40x34; align them first"):
        tile(sources, tmp_path / "tiles", "city", SMALL)


@pytest.mark.parametrize(("count", "dtype"), [(13, np.uint16), (3, np.float32)])
def test_bands_that_png_cannot_hold(tmp_path: Path, count: int, dtype: type[np.generic]) -> None:
    path = write(tmp_path / "A.tif", np.ones((count, 16, 16), dtype))
    with pytest.raises(TileError, match=f"A.tif has {count} bands of .*convert it first"):
        tile({"A": path}, tmp_path / "tiles", "city", SMALL)


def test_missing_and_truncated_raster(tmp_path: Path) -> None:
    with pytest.raises(TileError, match=r"gone.tif cannot be cut") as caught:
        tile({"A": tmp_path / "gone.tif"}, tmp_path / "tiles", "city", SMALL)
    assert "\n" not in str(caught.value)
    path = write(tmp_path / "A.tif", noise(64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TileError, match="cannot be cut"):
        tile({"A": path}, tmp_path / "tiles", "city", SMALL)


@pytest.mark.parametrize("what", ["raster", "grid"])
def test_folder_with_tiles_of_something_else_is_refused(tmp_path: Path, what: str) -> None:
    sources = layers(tmp_path)
    tile(sources, tmp_path / "tiles", "city", SMALL)
    if what == "raster":
        write(tmp_path / "A.tif", noise(40, 34, seed=9))
    grid = Grid(16, 8, "drop") if what == "grid" else SMALL
    with pytest.raises(TileError, match=r"city\.tiles\.json tells of tiles from other rasters or another grid"):
        tile(sources, tmp_path / "tiles", "city", grid)
