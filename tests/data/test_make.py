"""Synthetic copies of the published layouts: names, formats and encodings, and that the catalog reads them back."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from torchgeo.datasets import BigEarthNet

from dvbench.data.card import Task
from dvbench.data.catalog import CATALOG, dataset, is_found
from dvbench.data.make import MARK, WRITERS, MakeError, make
from dvbench.data.names import sample_names
from dvbench.data.synthetic import scene

ONERA = "Onera Satellite Change Detection dataset"
COUNT = {"uc_merced": 2, "nwpu_vhr10": 4, "ssdd": 3, "levir_ship": 3, "whu_building": 2, "fmow": 4, "aid": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that gives the folder of a made dataset; each is made once."""
    base = tmp_path_factory.mktemp("made")

    def folder(name: str) -> Path:
        if not (base / name).exists():
            make(name, base / name, COUNT.get(name, 1), seed=7)
        return base / name

    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def test_every_published_dataset_has_a_writer() -> None:
    published = {name for name in CATALOG if not name.startswith("synthetic_") and name != "neon_trees"}
    assert set(WRITERS) == published


@pytest.mark.parametrize("name", WRITERS)
def test_catalog_reads_it_back(name: str, made: Callable[[str], Path]) -> None:
    root, card = made(name), CATALOG[name].card
    assert is_found(name, root)
    for split in card.splits:
        opened = dataset(name, split.name, root)
        assert len(opened) > 0
        sample = opened[0]
        image = sample["image"]
        assert image.shape[-3] == len(card.bands)
        assert card.image_size is None or tuple(image.shape[-2:]) == card.image_size
        assert card.value_range[0] <= image.min() < image.max() <= card.value_range[1]
        if card.task in {Task.SEMANTIC, Task.CHANGE}:
            assert set(sample["mask"].unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_are_named_by_their_files_wherever_the_folder_lies(
    name: str, made: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "there").symlink_to(made(name), target_is_directory=True)
    for split in CATALOG[name].card.splits:
        opened = dataset(name, split.name, made(name))
        found = sample_names(opened)
        assert len(set(found)) == len(opened)
        assert all(one.startswith(f"{split.name}/") for one in found)
        assert found == sample_names(dataset(name, split.name, tmp_path / "there"))
        if name != "oscd":  # whose tiles are of the same file
            stems = {path.stem for path in made(name).rglob("*")}
            assert all(stems & {Path(part).stem for part in Path(one).parts} for one in found)


def test_samples_of_either_packing_have_the_same_names(made: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "test").symlink_to(made("levir_cd"), target_is_directory=True)
    packings = [sample_names(dataset("levir_cd", "test", root)) for root in (made("levir_cd"), tmp_path)]
    assert packings[0] == packings[1] == ["test/test_1.png"]


def test_folder_says_that_it_is_synthetic(made: Callable[[str], Path]) -> None:
    text = (made("whu_building") / MARK).read_text(encoding="utf-8")
    assert text.startswith("This is not whu_building: synthetic scenes in its layout, made with seed 7.")


def test_uc_merced(made: Callable[[str], Path]) -> None:
    folder = made("uc_merced") / "UCMerced_LandUse" / "Images"
    assert names(folder, "harbor/*") == ["harbor/harbor00.tif", "harbor/harbor01.tif"]
    assert len(names(folder, "*")) == 21
    assert Image.open(folder / "river" / "river00.tif").format == "TIFF"


def test_aid(made: Callable[[str], Path]) -> None:
    folder = made("aid") / "AID"
    assert names(folder, "Port/*") == ["Port/port_1.jpg", "Port/port_2.jpg"]
    assert len(names(folder, "*")) == 30


def test_levir_ship(made: Callable[[str], Path]) -> None:
    root = made("levir_ship")
    content = json.loads((root / "annotations" / "instances_val2017.json").read_text(encoding="utf-8"))
    annotations = content["annotations"]
    assert [entry["id"] for entry in annotations] == list(range(len(annotations)))
    assert {entry["category_id"] for entry in annotations} == {1}
    for entry in annotations:
        x, y, w, h = entry["bbox"]
        assert entry["area"] == (w + 1) * (h + 1)
        assert entry["segmentation"] == [[x, y, x + w, y, x + w, y + h, x, y + h]]
    assert len({entry["image_id"] for entry in annotations}) < len(content["images"]) == 3, "one image has no ship"
    assert all((root / "images" / "val2017" / image["file_name"]).is_file() for image in content["images"])


def test_nwpu_vhr10(made: Callable[[str], Path]) -> None:
    folder = made("nwpu_vhr10") / "NWPU VHR-10 dataset"
    assert names(folder, "positive*/*") == [f"positive image set/00{number}.jpg" for number in (1, 2, 3, 4)]
    assert names(folder, "negative*/*") == ["negative image set/001.jpg", "negative image set/002.jpg"]
    content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    assert [(image["id"], image["file_name"]) for image in content["images"]][:2] == [(0, "001.jpg"), (1, "002.jpg")]
    assert [category["id"] for category in content["categories"]] == list(range(1, 11))
    lines = (folder / "ground truth" / "001.txt").read_text(encoding="utf-8").splitlines()
    x, y, w, h = next(entry["bbox"] for entry in content["annotations"] if entry["image_id"] == 0)
    assert lines[0].startswith(f"({x},{y}),({x + w},{y + h}),")


def test_outlines_give_the_masks_of_the_scene(made: Callable[[str], Path]) -> None:
    """SSDD's first train picture is the upper part of the seed's first scene."""
    drawn = scene(7, 0, 500, difficulty=0, object_size=24, scene_class="sea")
    sample = dataset("ssdd", "train", made("ssdd"))[0]
    height = sample["image"].shape[1]
    expected = drawn.instances.masks[:, :height]
    expected = expected[expected.any(axis=(1, 2))]
    assert len(expected) > 0
    assert np.array_equal(sample["mask"].numpy(), expected)
    for mask, box in zip(expected, sample["bbox_xyxy"].tolist(), strict=True):
        y, x = np.nonzero(mask)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_ssdd(made: Callable[[str], Path]) -> None:
    root = made("ssdd")
    assert names(root, "imgs/*")[:2] == ["imgs/000001.jpg", "imgs/000002.jpg"]
    radar = pixels(root / "imgs" / "000001.jpg")
    assert radar.shape[2] == 3
    assert np.ptp(radar.astype(int), axis=2).max() <= 2, "three equal channels"
    first = [
        json.loads((root / "annotations" / f"SSDD_instances_{split}.json").read_text(encoding="utf-8"))["annotations"][
            0
        ]
        for split in ("train", "val")
    ]
    assert [entry["id"] for entry in first] == [1, 0]


def test_massachusetts_roads(made: Callable[[str], Path]) -> None:
    folder = made("massachusetts_roads") / "tiff"
    assert names(folder, "val*/*") == ["val/10078660_15.tiff", "val_labels/10078660_15.tif"]
    label = pixels(folder / "val_labels" / "10078660_15.tif")
    assert (label.shape, set(np.unique(label))) == ((1500, 1500), {0, 255})


def test_whu_building(made: Callable[[str], Path]) -> None:
    root = made("whu_building")
    assert names(root, "test/*/*") == [f"test/{kind}/{number}.tif" for kind in ("image", "label") for number in (0, 1)]
    assert Image.open(root / "test" / "label" / "0.tif").mode == "1", "one bit per pixel"


def test_levir_cd(made: Callable[[str], Path]) -> None:
    root = made("levir_cd")
    assert names(root, "*/train*") == ["A/train_1.png", "B/train_1.png", "label/train_1.png"]
    assert set(np.unique(pixels(root / "label" / "train_1.png"))) == {0, 255}


def test_whu_cd(made: Callable[[str], Path]) -> None:
    root = made("whu_cd")
    lists = [root / "list" / f"{split}.txt" for split in ("train", "val", "test")]
    listed = [name for path in lists for name in path.read_text(encoding="utf-8").split()]
    assert listed == [name.removeprefix("A/") for name in names(root, "A/*")]
    assert names(root, "B/*")[0] == "B/whucd_00000.png"


def test_oscd(made: Callable[[str], Path]) -> None:
    root = made("oscd")
    labels = root / f"{ONERA} - Train Labels" / "aguasclaras" / "cm"
    shown, stored = pixels(labels / "cm.png"), pixels(labels / "aguasclaras-cm.tif")
    assert set(np.unique(shown)) == {0, 255}
    assert np.array_equal(stored == 2, shown == 255)
    assert set(np.unique(stored)) == {1, 2}
    city = root / f"{ONERA} - Images" / "aguasclaras"
    assert names(city, "pair/*") == ["pair/img1.png", "pair/img2.png"]
    assert len(names(city, "imgs_2_rect/*.tif")) == len(names(city, "imgs_1/*_B??.tif")) == 13
    assert (city / "dates.txt").is_file()


def test_fmow(made: Callable[[str], Path]) -> None:
    root = made("fmow")
    labels = sorted(root.glob("train/*/*/*_rgb.json"))
    assert len(labels) == 4
    for label in labels:
        content = json.loads(label.read_text(encoding="utf-8"))
        category = label.parts[-3]
        assert label.name == f"{label.parts[-2]}_0_rgb.json"
        assert {region["category"] for region in content["bounding_boxes"]} == {category}
        with Image.open(label.with_suffix(".jpg")) as picture:
            for x, y, w, h in (region["box"] for region in content["bounding_boxes"]):
                assert 0 <= x < x + w <= picture.width
                assert 0 <= y < y + h <= picture.height
        assert label.with_name(label.name.replace("_rgb", "_msrgb")).is_file()
    for row in json.loads((root / "seq_gt_mapping.json").read_text(encoding="utf-8")):
        assert list((root / row["input"]).glob("*_rgb.json"))
        assert (root / row["output"] / f"{Path(row['output']).name}_0_msrgb.jpg").is_file()


def test_bigearthnet(made: Callable[[str], Path]) -> None:
    root = made("bigearthnet")
    with (root / "bigearthnet-val.csv").open(newline="", encoding="utf-8") as file:
        (patch, _), *_ = csv.reader(file)
    folder = root / "BigEarthNet-v1.0" / patch
    sizes = {}
    for path in folder.glob("*.tif"):
        with rasterio.open(path) as band:
            sizes[path.stem.removeprefix(f"{patch}_")] = (band.width, band.dtypes[0])
    assert len(sizes) == 12
    assert (sizes["B01"], sizes["B02"], sizes["B8A"]) == ((20, "uint16"), (120, "uint16"), (60, "uint16"))
    (labels,) = folder.glob("*.json")
    known = BigEarthNet.class_sets[43]
    assert set(json.loads(labels.read_text(encoding="utf-8"))["labels"]) <= set(known)


def test_forestnet(made: Callable[[str], Path]) -> None:
    folder = made("forestnet") / "deep" / "downloads" / "ForestNetDataset"
    with (folder / "test.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["merged_label"]) == ("Oil palm plantation", "Plantation")
    assert (folder / row["example_path"] / "images" / "visible" / "composite.png").is_file()
    assert np.load(folder / row["example_path"] / "images" / "infrared" / "composite.npy").shape == (332, 332, 3)


def test_same_seed_same_pictures(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        make("whu_cd", tmp_path / folder, 1, seed)
    first, same, other = (pixels(tmp_path / folder / "A" / "whucd_00000.png") for folder in "abc")
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    with pytest.raises(MakeError, match="is not an empty folder, and nothing there is overwritten; name another"):
        make("whu_cd", tmp_path, 1)
    assert names(tmp_path, "**/*") == ["A"]


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "whu_cd").mkdir()
    make("whu_cd", tmp_path / "whu_cd", 1)
    assert is_found("whu_cd", tmp_path / "whu_cd")


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path, *_: object) -> None:
        (folder / "half").mkdir()
        raise OSError("disk full")

    monkeypatch.setitem(WRITERS, "whu_cd", fails)
    with pytest.raises(OSError, match="disk full"):
        make("whu_cd", tmp_path / "whu_cd", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("neon_trees", 1, "'neon_trees' has no layout to imitate; choose one of uc_merced, aid, "),
        ("aid", 0, "0 images are too few for a dataset; ask for 1 or more"),
    ],
)
def test_bad_arguments(name: str, count: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(MakeError, match=message):
        make(name, tmp_path / name, count)
