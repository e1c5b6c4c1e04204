"""Verify names each thing that is wrong with its file and the mend, once, and nothing where all is well."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dvbench.data.catalog import CATALOG, MissingDatasetError, UnknownDatasetError
from dvbench.data.make import MARK, make
from dvbench.data.verify import verify
from dvbench.data.watch import Watch

ONERA = "Onera Satellite Change Detection dataset"


def made(name: str, tmp_path: Path, count: int = 1) -> Path:
    make(name, tmp_path / name, count)
    return tmp_path / name


def problem(name: str, root: Path) -> str:
    """The only problem."""
    (line,) = verify(name, root).problems
    assert "\n" not in line
    return line


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "name", ["levir_ship", "ssdd", "whu_building", "whu_cd", "oscd", "fmow", "bigearthnet", "forestnet"]
)
def test_a_whole_dataset_has_no_problems(name: str, tmp_path: Path) -> None:
    report = verify(name, made(name, tmp_path))
    assert report.problems == ()
    assert set(report.opened) == {split.name for split in CATALOG[name].card.splits}
    assert all(report.opened.values())
    assert "dvbench data make" in report.made_by


def test_the_embedded_sample_is_whole() -> None:
    report = verify("neon_trees")
    assert report.problems == ()
    assert report.opened == {"train": 12, "val": 4, "test": 6}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ssdd", "imgs/000001.jpg"),
        ("whu_building", "train/image/0.tif"),
        ("whu_building", "val/label/0.tif"),
        ("whu_cd", "B/whucd_00001.png"),
        ("whu_cd", "label/whucd_00002.png"),
    ],
)
def test_a_truncated_file(name: str, file: str, tmp_path: Path) -> None:
    root = made(name, tmp_path)
    truncate(root / file)
    assert problem(name, root).startswith(str(root / file))
    assert "download it again" in problem(name, root)


def test_a_truncated_picture_of_a_city(tmp_path: Path) -> None:
    root = made("oscd", tmp_path)
    picture = next(root.glob(f"{ONERA} - Images/*/pair/img1.png"))
    truncate(picture)
    assert any(str(picture) in line for line in verify("oscd", root).problems)


def test_a_missing_split_file(tmp_path: Path) -> None:
    root = made("whu_cd", tmp_path)
    (root / "list" / "val.txt").unlink()
    line = f"{root / 'list' / 'val.txt'} is missing; finish the download (dvbench data info whu_cd)"
    assert problem("whu_cd", root) == line


def test_a_missing_list_beside_the_other(tmp_path: Path) -> None:
    root = made("ssdd", tmp_path)
    (root / "annotations" / "SSDD_instances_val.json").unlink()
    assert any("SSDD_instances_val.json is missing" in line for line in verify("ssdd", root).problems)


def test_a_missing_list_of_names_beside_the_other(tmp_path: Path) -> None:
    root = made("uc_merced", tmp_path)
    (root / "val.txt").write_text("harbor/harbor00.tif\n")
    line = f"{root / 'train.txt'} is missing beside {root / 'val.txt'}: dvbench data download uc_merced, or remove both"
    assert problem("uc_merced", root) == line


def test_missing_images(tmp_path: Path) -> None:
    root = made("whu_cd", tmp_path, 2)
    (root / "A" / "whucd_00000.png").unlink()
    assert f"lacks 1 files, the first is {root / 'A' / 'whucd_00000.png'}" in problem("whu_cd", root)


def test_wrong_checksums_and_counts_of_what_was_published(tmp_path: Path) -> None:
    root = made("ssdd", tmp_path)
    (root / MARK).unlink()
    problems = verify("ssdd", root).problems
    path = root / "annotations" / "SSDD_instances_train.json"
    pinned = CATALOG["ssdd"].card.split("train").sha256
    (wrong,) = (line for line in problems if line.startswith(str(path)))
    assert wrong.endswith(f"instead of {pinned}; fetch it anew (dvbench data download ssdd)")
    assert (
        f"{root} has 1 images in the split 'train', 928 were published; finish the download, or check the lists"
        in problems
    )


def test_cities_are_counted_not_tiles(tmp_path: Path) -> None:
    root = made("oscd", tmp_path)
    (root / MARK).unlink()
    assert any("1 cities in the split 'train', 14 were published" in line for line in verify("oscd", root).problems)


@pytest.mark.parametrize(
    ("name", "file", "values", "told"),
    [
        ("whu_cd", "label/whucd_00000.png", (0, 7, 255), "has the values 0, 7, 255, not [0, 255] or [0, 1]"),
        ("whu_building", "test/label/0.tif", (0, 1, 2), "has the values 0, 1, 2, not [0, 255] or [0, 1]"),
        (
            "oscd",
            f"{ONERA} - Train Labels/aguasclaras/cm/aguasclaras-cm.tif",
            (0, 1),
            "has the values 0, 1, not [1, 2]",
        ),
    ],
)
def test_a_mask_with_an_unknown_value(name: str, file: str, values: Sequence[int], told: str, tmp_path: Path) -> None:
    root = made(name, tmp_path)
    with Image.open(root / file) as stored:
        pixels = np.zeros((stored.height, stored.width), dtype=np.uint8)
    pixels[:, : len(values)] = values
    pixels[:, len(values) :] = values[-1]
    Image.fromarray(pixels).save(root / file)
    assert problem(name, root) == f"{root / file} {told}; get it anew"


def test_a_box_outside_its_image(tmp_path: Path) -> None:
    root = made("levir_ship", tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [500, 10, 40, 20]
    path.write_text(json.dumps(content))
    line = problem("levir_ship", root)
    assert line.startswith(
        f"{path} annotation 0: box [500, 10, 40, 20] in GF1_WFV1_train_0.png of 512x512 px sticks out"
    )
    assert line.endswith("; correct the file or get it anew")


def test_a_region_outside_its_image(tmp_path: Path) -> None:
    root = made("fmow", tmp_path, 2)
    path = next((root / "train").rglob("*_rgb.json"))
    content: Any = json.loads(path.read_text())
    content["bounding_boxes"][0]["box"] = [-5, 0, 20, 20]
    path.write_text(json.dumps(content))
    assert problem("fmow", root).startswith(f"{path} has the box -5, 0, 15, 20 in an image of")


def test_an_image_of_another_size(tmp_path: Path) -> None:
    root = made("whu_building", tmp_path)
    (root / MARK).unlink()
    for kind in ("image", "label"):
        path = root / "train" / kind / "0.tif"
        with Image.open(path) as stored:
            stored.crop((0, 0, 300, 200)).save(path)
    line = f"{root / 'train/image/0.tif'} has 300x200 px instead of 512x512; get the original"
    assert line in verify("whu_building", root).problems


def test_an_image_in_two_splits(tmp_path: Path) -> None:
    root = made("whu_cd", tmp_path)
    (root / "list" / "test.txt").write_text("whucd_00000.png\n")
    assert "A/whucd_00000.png is in the split 'train' and in 'test'" in problem("whu_cd", root)


def test_an_annotation_that_is_no_json_is_told_once(tmp_path: Path) -> None:
    root = made("nwpu_vhr10", tmp_path, 5)
    path = root / "NWPU VHR-10 dataset" / "annotations.json"
    path.write_text("{")
    assert problem("nwpu_vhr10", root).startswith(f"{path} is not a JSON file")


def test_an_empty_list(tmp_path: Path) -> None:
    root = made("bigearthnet", tmp_path)
    (root / "bigearthnet-train.csv").write_bytes(b"")
    assert "has 0 images in the split 'train', 269,695 were published" in problem("bigearthnet", root)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    root = made("whu_cd", tmp_path)
    (root / "list" / "train.txt").write_bytes(b"\xff\xfe")
    assert f"{root}: split 'train' cannot be opened" in problem("whu_cd", root)


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(MissingDatasetError, match=r"aid is not in .*: dvbench data info aid says how to get it"):
        verify("aid", tmp_path / "nowhere")


def test_an_empty_folder_lacks_everything_once(tmp_path: Path) -> None:
    problems = verify("whu_cd", tmp_path).problems
    assert len(problems) == len(CATALOG["whu_cd"].card.required)
    assert all("is missing" in line for line in problems)


def test_unknown_dataset() -> None:
    with pytest.raises(UnknownDatasetError):
        verify("levir")


def test_progress_is_shown(tmp_path: Path) -> None:
    class Seen(Watch):
        passed: list[tuple[str, int]] = []

        def items(self, items: Sequence[Any], what: str) -> Iterator[Any]:
            self.passed.append((what, len(items)))
            yield from items

    verify("whu_cd", made("whu_cd", tmp_path), Seen())
    assert Seen.passed == [("label files", 3), ("train", 1), ("val", 1), ("test", 1)]
