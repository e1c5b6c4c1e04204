"""`dvbench predict`: windows cover everything, objects are found once, files lie where the image lies."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from rasterio.transform import from_origin
from torch import Tensor

from dvbench.data.scene import SceneError
from dvbench.predict.dense import strips
from dvbench.predict.job import PredictError, Settings, classify, images, pairs, predict
from dvbench.predict.objects import collect
from dvbench.predict.raster import open_raster
from dvbench.predict.windows import View, grid, starts
from tasks.task import Prediction

CLASSES = ("background", "square")


class Squares:
    """A stand-in for a trained task: finds white squares on black ground, exactly, in each window by itself."""

    device = torch.device("cpu")

    def __init__(self, task: str, side: int = 64) -> None:
        self.protocol = SimpleNamespace(task=task, image_size=side, upsampling="1x", dataset="squares")
        self.problem = SimpleNamespace(classes=CLASSES)

    def predict(self, batch: dict[str, Tensor]) -> list[Prediction]:
        image = batch["image"]
        if image.ndim == 5:
            image = image[:, 1] - image[:, 0]
        return [self._one(white) for white in image[:, 0] > 0.5]

    def _one(self, white: Tensor) -> Prediction:
        from scipy.ndimage import label

        if self.protocol.task in ("semantic_segmentation", "change_detection"):
            return {"logits": torch.stack([~white, white]).float()}
        if self.protocol.task == "classification":
            return {"logits": torch.tensor([0.0, 1.0 if white.any() else -1.0])}
        marks, count = label(white.numpy())
        masks = torch.from_numpy(np.stack([marks == i + 1 for i in range(count)])) if count else torch.zeros(0, 1, 1)
        boxes = torch.tensor(
            [[float(x.min()), float(y.min()), x.max() + 1.0, y.max() + 1.0] for y, x in map(np.nonzero, masks.numpy())]
        ).reshape(-1, 4)
        found = {"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64), "scores": torch.full((count,), 0.9)}
        return found | ({"masks": masks.bool()} if self.protocol.task == "instance_segmentation" else {})


def raster(path: Path, pixels: np.ndarray[Any, Any], **profile: Any) -> Path:
    count, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=pixels.dtype, **profile
    ) as out:
        out.write(pixels)
    return path


def scene(squares: list[tuple[int, int]], size: int = 200, side: int = 12) -> np.ndarray[Any, Any]:
    pixels = np.zeros((3, size, size), np.uint8)
    for top, left in squares:
        pixels[:, top : top + side, left : left + side] = 255
    return pixels


def pass_on(items: list[Any]) -> Iterator[Any]:
    yield from items


SQUARES = [(5, 5), (58, 58), (100, 20), (188, 188), (40, 150)]
PLACED = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}


@given(st.integers(1, 500), st.integers(1, 100), st.floats(0, 0.9))
def test_windows_cover_an_axis_and_overlap_as_asked(length: int, side: int, overlap: float) -> None:
    begins = starts(length, side, overlap)
    assert begins[0] == 0
    assert len(begins) == len(set(begins))
    assert begins[-1] == max(0, length - side)
    for one, following in pairwise(begins):
        assert following - one <= max(1, int(side * (1 - overlap))) + 1


@pytest.mark.parametrize("task", ["detection", "instance_segmentation"])
def test_objects_on_the_edges_of_windows_are_found_once_and_placed_on_the_map(task: str, tmp_path: Path) -> None:
    path = raster(tmp_path / "scene.tif", scene(SQUARES), **PLACED)
    file, picture = predict(Squares(task), (path,), tmp_path / "out", Settings(), pass_on)  # type: ignore[arg-type]
    frame = geopandas.read_file(file)
    assert frame.crs.to_epsg() == 32633
    expected = {(500_000 + left / 2, 5_000_000 - (top + 12) / 2) for top, left in SQUARES}
    assert {(box.minx, box.miny) for box in frame.bounds.itertuples()} == expected
    assert set(frame["class"]) == {"square"}
    assert frame.area.round(6).tolist() == [36.0] * len(SQUARES)
    assert picture.is_file()


def test_a_picture_without_coordinates_gets_pixel_coordinates(tmp_path: Path) -> None:
    path = raster(tmp_path / "plain.tif", scene([(30, 70)]))
    file, _ = predict(Squares("detection"), (path,), tmp_path, Settings(), pass_on)  # type: ignore[arg-type]
    assert geopandas.read_file(file).total_bounds.tolist() == [70, 30, 82, 42]


def test_objects_below_the_score_are_left_out() -> None:
    weak = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.2])}
    assert collect([(View(0, 0, 64, 64), weak)], (64, 64), 0.3) == []
    assert len(collect([(View(0, 0, 64, 64), weak)], (64, 64), 0.1)) == 1


def test_objects_are_cut_at_the_border_and_those_beyond_it_left_out() -> None:
    """A window that is larger than its image is padded, and boxes may reach into the padding or lie there."""
    boxes = torch.tensor([[10.0, 10, 70, 30], [50, 50, 60, 60]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.9, 0.8])}
    assert [one.outline.bounds for one in collect([(View(0, 0, 64, 64), found)], (40, 40), 0.3)] == [(10, 10, 40, 30)]


def test_an_image_without_objects_gives_an_empty_file(tmp_path: Path) -> None:
    path = raster(tmp_path / "empty.tif", scene([]), **PLACED)
    file, _ = predict(Squares("detection"), (path,), tmp_path, Settings(), pass_on)  # type: ignore[arg-type]
    assert json.loads(file.read_text())["features"] == []


@pytest.mark.parametrize("size", [40, 64, 150, 200])
def test_a_class_map_equals_the_truth_and_lies_where_the_image_lies(size: int, tmp_path: Path) -> None:
    pixels = scene([(5, 5), (20, 28)], size)
    path = raster(tmp_path / "scene.tif", pixels, **PLACED)
    file, _ = predict(Squares("semantic_segmentation"), (path,), tmp_path / "o", Settings(), pass_on)  # type: ignore[arg-type]
    with rasterio.open(file) as written:
        assert written.crs.to_epsg() == 32633
        assert written.transform == PLACED["transform"]
        assert written.tags()["classes"] == "0 background, 1 square"
        np.testing.assert_array_equal(written.read(1), pixels[0] // 255)


def test_change_is_found_between_two_dates(tmp_path: Path) -> None:
    before, after = raster(tmp_path / "a.tif", scene([(5, 5)])), raster(tmp_path / "b.tif", scene([(5, 5), (90, 90)]))
    file, _ = predict(Squares("change_detection"), (before, after), tmp_path / "o", Settings(), pass_on)  # type: ignore[arg-type]
    with rasterio.open(file) as written:
        np.testing.assert_array_equal(written.read(1), scene([(90, 90)])[0] // 255)


def test_logits_of_overlapping_windows_are_averaged() -> None:
    views = grid((64, 96), 64, 0.5)
    assert [view.left for view in views] == [0, 32]
    left, right = torch.zeros(2, 64, 64), torch.zeros(2, 64, 64)
    left[1], right[0] = 1.0, 3.0
    ((first, rows),) = strips([(views[0], {"logits": left}), (views[1], {"logits": right})], (64, 96))
    assert first == 0
    assert rows[0].tolist() == [1] * 32 + [0] * 64


def test_a_raster_of_16_bits_is_stretched_by_one_pair_of_limits(tmp_path: Path) -> None:
    pixels = (np.arange(3 * 50 * 50).reshape(3, 50, 50) % 2500).astype(np.uint16) * 4
    path = raster(tmp_path / "scene.tif", pixels)
    with open_raster(path) as opened:
        whole, part = opened.read(0, 0, 50, 50), opened.read(10, 20, 10, 10)
        assert "stretched" in opened.note
    np.testing.assert_array_equal(whole[:, 10:20, 20:30], part)


def test_whole_images_are_classified(tmp_path: Path) -> None:
    for name, squares in (("a.tif", []), ("b.tif", [(9, 9)])):
        raster(tmp_path / name, scene(squares))
    table = classify(Squares("classification"), images(tmp_path), Settings(), pass_on)  # type: ignore[arg-type]
    assert [row[:2] for row in table.rows] == [["a.tif", "background"], ["b.tif", "square"]]


def test_what_cannot_be_predicted_is_named(tmp_path: Path) -> None:
    with pytest.raises(PredictError, match="holds no image"):
        images(tmp_path)
    with pytest.raises(SceneError, match=r"none\.tif is missing"), open_raster(tmp_path / "none.tif"):
        pass
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(SceneError, match="cannot be read"), open_raster(tmp_path / "text.tif"):
        pass
    one, other = raster(tmp_path / "1.tif", scene([])), raster(tmp_path / "2.tif", scene([], 100))
    with pytest.raises(PredictError, match="200 x 200 and 100 x 100"):
        predict(Squares("change_detection"), (one, other), tmp_path, Settings(), pass_on)  # type: ignore[arg-type]
    (tmp_path / "later").mkdir()
    with pytest.raises(PredictError, match="two files or two folders"):
        pairs(one, tmp_path / "later")


def test_an_interrupted_prediction_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = raster(tmp_path / "scene.tif", scene(SQUARES))

    def stop(views: list[View]) -> Iterator[View]:
        yield from views[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(Squares("semantic_segmentation"), (path,), tmp_path / "o", Settings(), stop)  # type: ignore[arg-type]
    assert list((tmp_path / "o").iterdir()) == []
