"""Any image file becomes a square RGB scene, says what was done to it, and fails in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from dvbench.data import scene
from dvbench.data.scene import SceneError, default_scene, load_scene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def write_tiff(path: Path, bands: NDArray[np.generic], **profile: object) -> Path:
    """Write (count, H, W) as a TIFF."""
    count, height, width = bands.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=bands.dtype, **profile
    ) as file:
        file.write(bands)
    return path


def flat_bands(count: int) -> NDArray[np.uint8]:
    """Bands of 32x32 pixels; every pixel of band b is 10 b."""
    return np.repeat(np.arange(10, 10 * count + 1, 10, dtype=np.uint8), 32 * 32).reshape(count, 32, 32)


def write_picture(path: Path, mode: str = "RGB") -> Path:
    Image.fromarray(PICTURE).convert(mode).save(path)
    return path


# What comes out


def test_embedded_scene_at_its_own_size_is_the_stored_image() -> None:
    loaded = load_scene(default_scene(), 2048)
    with Image.open(default_scene()) as stored:
        assert np.array_equal(loaded.image, np.asarray(stored))
    assert (loaded.source, loaded.note) == ("scene_2048.jpg", "pixels as stored")


def test_embedded_scene_is_found_without_importing_torchgeo() -> None:
    code = "import sys, dvbench.data.scene as s; print(s.default_scene().is_file(), 'torchgeo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["True", "False"]


def test_tensor_is_normalised_in_units_of_0_to_255(tmp_path: Path) -> None:
    tensor = load_scene(write_tiff(tmp_path / "flat.tif", flat_bands(3)), 32).tensor
    assert (tensor.shape, tensor.dtype) == ((1, 3, 32, 32), torch.float32)
    expected = [(10 - 123.675) / 58.395, (20 - 116.28) / 57.12, (30 - 103.53) / 57.375]
    torch.testing.assert_close(tensor.mean(dim=(0, 2, 3)), torch.tensor(expected))


# Fit


def test_resize_is_bicubic_over_the_whole_image(tmp_path: Path) -> None:
    loaded = load_scene(write_picture(tmp_path / "a.png"), 32)
    expected = Image.fromarray(PICTURE).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(loaded.image, np.asarray(expected))
    assert loaded.note == "resized (bicubic) from 80x60"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "tiff_by_content.png"])
def test_crop_takes_the_pixels_of_the_centre(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.png":
        write_picture(path)
    else:
        write_tiff(path, PICTURE.transpose(2, 0, 1))
    loaded = load_scene(path, 32, fit="crop")
    assert np.array_equal(loaded.image, PICTURE[14:46, 24:56])
    assert loaded.note == "cropped from the centre of 80x60"


def test_tiff_resize_keeps_what_pillow_would_see(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(PICTURE).resize((8, 6)).resize((160, 120), Image.Resampling.BICUBIC))
    loaded = load_scene(write_tiff(tmp_path / "a.tif", smooth.transpose(2, 0, 1)), 40)
    expected = Image.fromarray(smooth).resize((40, 40), Image.Resampling.BICUBIC)
    assert np.abs(loaded.image.astype(int) - np.asarray(expected)).max() <= 3


def test_crop_of_a_raster_larger_than_memory_reads_only_its_window(tmp_path: Path) -> None:
    path, side = tmp_path / "huge.tif", 200_000  # 120 GB, stored sparse
    options = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True, "bigtiff": "yes"}
    with rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", **options) as file:
        file.write(np.full((3, 32, 32), 7, np.uint8), window=Window(side // 2 - 16, side // 2 - 16, 32, 32))
    assert (load_scene(path, 32, fit="crop").image == 7).all()


def test_picture_above_pillows_limit_is_read_and_the_limit_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_scene(path, 32).image.shape == (32, 32, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


# Bands


@pytest.mark.parametrize(
    ("count", "shown", "note"),
    [
        (1, (10, 10, 10), "grey repeated 3 times"),
        (3, (10, 20, 30), "pixels as stored"),
        (4, (10, 20, 30), "bands 1,2,3 of 4, the fourth (alpha or near infrared) left out"),
        (13, (40, 30, 20), "bands 4,3,2 of 13, read as Sentinel-2 L1C"),
    ],
)
def test_bands_shown_by_default(tmp_path: Path, count: int, shown: tuple[int, ...], note: str) -> None:
    path = write_tiff(tmp_path / "a.tif", flat_bands(count), photometric="minisblack", alpha="no")
    loaded = load_scene(path, 32)
    assert tuple(loaded.image[0, 0]) == shown
    assert loaded.note == note


def test_bands_can_be_chosen(tmp_path: Path) -> None:
    loaded = load_scene(write_tiff(tmp_path / "a.tif", flat_bands(5)), 32, bands=(5, 1, 1))
    assert tuple(loaded.image[0, 0]) == (50, 10, 10)
    assert loaded.note == "bands 5,1,1 of 5"


@pytest.mark.parametrize("count", [2, 5, 12])
def test_other_band_counts_ask_which_to_show(tmp_path: Path, count: int) -> None:
    with pytest.raises(SceneError, match=f"has {count} bands .*--bands R,G,B"):
        load_scene(write_tiff(tmp_path / "a.tif", flat_bands(count)), 32)


@pytest.mark.parametrize("bands", [(0, 1, 2), (1, 2, 5), (-1, 1, 1)])
def test_bands_out_of_range(tmp_path: Path, bands: tuple[int, int, int]) -> None:
    with pytest.raises(SceneError, match="is out of range; name three of 1 to 4"):
        load_scene(write_tiff(tmp_path / "a.tif", flat_bands(4)), 32, bands=bands)


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("P", "mode P converted to RGB"),
        ("1", "mode 1 converted to L; grey repeated 3 times"),
        ("L", "grey repeated 3 times"),
        ("RGBA", "bands 1,2,3 of 4, the fourth (alpha or near infrared) left out"),
    ],
)
def test_modes_of_pictures(tmp_path: Path, mode: str, note: str) -> None:
    path = write_picture(tmp_path / "a.png", mode)
    loaded = load_scene(path, 60, fit="crop")
    with Image.open(path) as stored:
        assert np.array_equal(loaded.image, np.asarray(stored.convert("RGB"))[:, 10:70])
    assert loaded.note == f"{note}; cropped from the centre of 80x60"


# Values


@pytest.mark.parametrize(("driver", "name"), [("GTiff", "a.tif"), ("PNG", "a.png")])
@pytest.mark.parametrize("count", [1, 3])
def test_16_bits_are_stretched_from_the_2nd_to_the_98th_percentile(
    tmp_path: Path, driver: str, name: str, count: int
) -> None:
    ramp = np.tile(np.arange(1024, dtype=np.uint16).reshape(32, 32) + 3000, (count, 1, 1))
    with rasterio.open(tmp_path / name, "w", driver=driver, width=32, height=32, count=count, dtype="uint16") as file:
        file.write(ramp)
    loaded = load_scene(tmp_path / name, 32)
    low, high = np.percentile(ramp, (2, 98))
    expected = ((ramp[0] - low) / (high - low)).clip(0, 1) * 255
    np.testing.assert_allclose(loaded.image[..., 0], expected, atol=0.7)
    assert "uint16 stretched from 3020 to 4003 (2nd to 98th percentile)" in loaded.note


def test_one_stretch_for_all_bands_keeps_their_order(tmp_path: Path) -> None:
    bands = flat_bands(3).astype(np.float32) + np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32)
    red, green, blue = load_scene(write_tiff(tmp_path / "a.tif", bands), 32).image.mean(axis=(0, 1))
    assert red < green < blue


@pytest.mark.parametrize("missing", [np.nan, np.inf, -9999.0])
def test_missing_values_are_black_and_do_not_move_the_stretch(tmp_path: Path, missing: float) -> None:
    bands = np.tile(np.linspace(100, 200, 1024, dtype=np.float32).reshape(32, 32), (3, 1, 1))
    bands[:, 8:16] = missing
    loaded = load_scene(write_tiff(tmp_path / "a.tif", bands, nodata=-9999.0), 32)
    assert (loaded.image[8:16] == 0).all()
    assert loaded.image[31, 31, 0] == 255
    assert 120 < loaded.image[17, 0, 0] < 160  # about half way, as without the gap


def test_constant_image_is_black_not_nan(tmp_path: Path) -> None:
    loaded = load_scene(write_tiff(tmp_path / "a.tif", np.full((3, 32, 32), 500, np.uint16)), 32)
    assert (loaded.image == 0).all()
    assert torch.isfinite(loaded.tensor).all()


# Errors


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("share", [0.0, 0.005, 0.5, 0.9])
def test_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    write_tiff(path, PICTURE.transpose(2, 0, 1)) if name == "a.tif" else write_picture(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SceneError, match="cannot be read") as caught:
        load_scene(path, 32)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_named_as_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("not an image")
    with pytest.raises(SceneError, match="cannot identify image file"):
        load_scene(path, 32)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"nowhere\.png is missing"):
        load_scene(tmp_path / "nowhere.png", 32)
    with pytest.raises(SceneError, match="is a folder"):
        load_scene(tmp_path, 32)


@pytest.mark.parametrize("resolution", [0, -32])
def test_resolution_must_be_positive(resolution: int) -> None:
    with pytest.raises(SceneError, match=f"resolution {resolution} "):
        load_scene(default_scene(), resolution)


def test_crop_larger_than_the_image(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="80x60 pixels, too few to crop 64x64"):
        load_scene(write_picture(tmp_path / "a.png"), 64, fit="crop")


def test_picture_too_large_to_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "MAX_PIXELS", 80 * 60 - 1)
    with pytest.raises(SceneError, match="convert it to GeoTIFF"):
        load_scene(write_picture(tmp_path / "a.png"), 32)


def test_tiffs_that_hold_no_brightness(tmp_path: Path) -> None:
    palette = write_tiff(tmp_path / "palette.tif", flat_bands(1), photometric="palette")
    with rasterio.open(palette, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0), 10: (255, 0, 0)})
    with pytest.raises(SceneError, match="palette indices"):
        load_scene(palette, 32)
    with pytest.raises(SceneError, match="complex numbers"):
        load_scene(write_tiff(tmp_path / "complex.tif", np.ones((1, 32, 32), np.complex64)), 32)
    with pytest.raises(SceneError, match="no valid pixel"):
        load_scene(write_tiff(tmp_path / "empty.tif", np.full((3, 32, 32), np.nan, np.float32)), 32)
