"""Image and label files of every kind that datasets hold become tensors in one unit, or a one-line error."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from PIL import Image

from dvbench.data.pixels import PixelError, check_same_size, read_mask, read_rgb

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
LABEL = np.random.default_rng(1).random((24, 32)) < 0.5


def write_bands(path: Path, bands: NDArray[np.generic], **options: object) -> Path:
    """Write (count, H, W)."""
    count, height, width = bands.shape
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    with rasterio.open(
        path, "w", driver=driver, width=width, height=height, count=count, dtype=bands.dtype, **options
    ) as file:
        file.write(bands)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.TIF"])
def test_image_is_float_rgb_channels_first_and_never_divided(tmp_path: Path, name: str) -> None:
    Image.fromarray(PICTURE).save(tmp_path / name)
    image = read_rgb(tmp_path / name)
    assert (image.shape, image.dtype) == ((3, 24, 32), torch.float32)
    assert torch.equal(image, torch.from_numpy(PICTURE).permute(2, 0, 1).float())


def test_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as stored:
        expected = np.asarray(stored).transpose(2, 0, 1)
    assert np.abs(read_rgb(tmp_path / "a.jpg").numpy() - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("count", "bands"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (4, (0, 1, 2))])
def test_grey_is_repeated_and_alpha_or_infrared_left_out(
    tmp_path: Path, suffix: str, count: int, bands: tuple[int, ...]
) -> None:
    stored = np.random.default_rng(2).integers(0, 256, (count, 8, 9), dtype=np.uint8)
    path = write_bands(tmp_path / f"a{suffix}", stored)
    assert np.array_equal(read_rgb(path).numpy(), stored[list(bands)])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("count", [1, 3])
def test_16_bits_are_refused_not_rescaled(tmp_path: Path, suffix: str, count: int) -> None:
    path = write_bands(tmp_path / f"a{suffix}", np.full((count, 8, 8), 3000, np.uint16))
    with pytest.raises(PixelError, match=r"has (uint16|16-bit) pixels, not 0-255; convert it"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.7])
def test_truncated_image(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PixelError, match="is no intact") as caught:
        read_rgb(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gone.png", "gone.tif"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(PixelError, match="gone"):
        read_rgb(tmp_path / name)
    with pytest.raises(PixelError, match="gone"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize(
    "stored",
    [
        Image.fromarray(LABEL),  # 1 bit
        Image.fromarray(LABEL.astype(np.uint8)),
        Image.fromarray(LABEL.astype(np.uint8) * 255),
        Image.fromarray(np.where(LABEL, 200, 90).astype(np.uint8)),
        Image.fromarray(np.repeat(LABEL[..., None], 3, axis=2).astype(np.uint8) * 255),
    ],
    ids=["1-bit", "0 and 1", "0 and 255", "either side of 128", "three equal bands"],
)
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_label_encodings_give_0_and_1(tmp_path: Path, stored: Image.Image, name: str) -> None:
    stored.save(tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert (mask.shape, mask.dtype) == ((24, 32), torch.int64)
    assert np.array_equal(mask.numpy(), LABEL)


def test_label_without_foreground_is_all_0(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").sum() == 0


def test_label_of_16_bits_and_truncated_label(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "a.tif", np.full((1, 8, 8), 300, np.uint16))
    with pytest.raises(PixelError, match="labels of more than 8 bits"):
        read_mask(path)
    Image.fromarray(LABEL).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PixelError, match="cannot be read as a label"):
        read_mask(path)


def test_label_of_another_size_names_both() -> None:
    with pytest.raises(PixelError, match=r"b\.png has 5x4 pixels and its image 7x6"):
        check_same_size(torch.zeros(3, 6, 7), torch.zeros(4, 5), Path("b.png"))
