"""The datasets that TorchGeo lacks, read from tiny copies in the layout in which they are published."""

import csv
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset

from dvbench.data.archives import UnsafeNameError
from dvbench.data.card import UnknownSplitError
from dvbench.data.coco import CocoError
from dvbench.data.folders import (
    AID,
    SSDD,
    WHUCD,
    FMoW,
    ForestNet,
    IncompleteDatasetError,
    LEVIRShip,
    MassachusettsRoads,
    WHUBuilding,
)
from dvbench.data.folders.base import FolderDataset
from dvbench.data.folders.fmow import FMoWError, read_regions
from dvbench.data.folders.forestnet import ForestNetError
from dvbench.data.pixels import PixelError

SIDE = 24


def pixels(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path: Path, array: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def label(value: int = 255) -> NDArray[np.uint8]:
    """A label with a foreground of 6x5 pixels."""
    array = np.zeros((SIDE, SIDE), np.uint8)
    array[4:9, 10:16] = value
    return array


def save_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# One tiny copy of each dataset


def make_aid(root: Path) -> None:
    for place, number in (("Port", 1), ("Port", 336), ("Beach", 1), ("Beach", 2)):
        save(root / "AID" / place / f"{place.lower()}_{number}.jpg", pixels(number))


def coco(image: str, first_id: int) -> dict[str, Any]:
    entry = {"image_id": 3, "category_id": 1, "bbox": [2, 3, 8, 6], "area": 63, "iscrowd": 0}
    outline = {"segmentation": [[2, 3, 10, 3, 10, 9, 2, 9]]}
    return {
        "images": [
            {"id": 3, "file_name": image.format(1), "width": SIDE, "height": SIDE},
            {"id": 4, "file_name": image.format(2), "width": SIDE, "height": SIDE},
        ],
        "annotations": [
            {"id": first_id, **entry, **outline},
            {"id": first_id + 1, **entry, **outline, "bbox": [0, 0, SIDE, SIDE], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": "ship"}],
    }


def make_levir_ship(root: Path) -> None:
    for split in ("train", "val", "test"):
        save_json(root / "annotations" / f"instances_{split}2017.json", coco("ship_{}.png", first_id=0))
        for number in (1, 2):
            save(root / "images" / f"{split}2017" / f"ship_{number}.png", pixels(number))


def make_ssdd(root: Path) -> None:
    for split, first in (("train", 1), ("val", 0)):
        save_json(root / "annotations" / f"SSDD_instances_{split}.json", coco("00000{}.jpg", first))
    for number in (1, 2):
        grey = pixels(number)[..., :1].repeat(3, axis=2)
        save(root / "imgs" / f"00000{number}.jpg", grey)


def make_massachusetts_roads(root: Path) -> None:
    for split in ("train", "val", "test"):
        save(root / "tiff" / split / "10078675_15.tiff", pixels(1))
        save(root / "tiff" / f"{split}_labels" / "10078675_15.tif", label())


def make_whu_building(root: Path) -> None:
    for split in ("train", "val", "test"):
        save(root / split / "image" / "0.tif", pixels(1))
        save(root / split / "label" / "0.tif", label() > 0)


def make_whu_cd(root: Path) -> None:
    for number, split in enumerate(("train", "val", "test")):
        name = f"whucd_{number}.png"
        save(root / "A" / name, pixels(number))
        save(root / "B" / name, pixels(number + 10))
        save(root / "label" / name, label())
        (root / "list").mkdir(exist_ok=True)
        (root / "list" / f"{split}.txt").write_text(f"{name}\r\n\r\n")


def make_forestnet(root: Path) -> None:
    folder = root / "deep/downloads/ForestNetDataset"
    rows = [("Oil palm plantation", "Plantation"), ("Fish pond", "Other")]
    for split in ("train", "val", "test"):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["", "label", "merged_label", "latitude", "longitude", "year", "example_path"])
            for number, (fine, merged) in enumerate(rows):
                example = f"examples/{split}_{number}"
                table.writerow([number, fine, merged, 0.5, 101.4, 2012, example])
                save(folder / example / "images/visible/composite.png", pixels(number))


def make_fmow(root: Path) -> None:
    def add(images: str, annotations: str, kind: str, boxes: object) -> None:
        name = Path(images).name
        save(root / images / f"{name}_0_{kind}.jpg", pixels(1, 32))
        save_json(root / annotations / f"{Path(annotations).name}_0_{kind}.json", {"gsd": 0.5, "bounding_boxes": boxes})

    zoo = {"ID": 7, "category": "zoo", "box": [3, 4, 10, 12]}
    context = {"ID": -1, "category": "zoo", "box": [0, 0, 32, 32]}
    false = {"ID": 8, "category": "false_detection", "box": [1, 1, 20, 5]}
    for kind in ("rgb", "msrgb"):
        add("train/zoo/zoo_0", "train/zoo/zoo_0", kind, [zoo, false])
        add("val/zoo/zoo_1", "val/zoo/zoo_1", kind, zoo)
        for number in range(4):
            add(f"test/000001{number}", f"test_gt/zoo/zoo_{number}", kind, [context, zoo])
    add("seq/0000020", "seq_gt/zoo/zoo_0", "rgb", [])
    rows = [{"input": f"test_gt/zoo/zoo_{number}", "output": f"test/000001{number}"} for number in range(4)]
    save_json(root / "test_gt_mapping.json", rows)
    save_json(root / "seq_gt_mapping.json", [{"input": "seq_gt/zoo/zoo_0", "output": "seq/0000020"}])


Made = tuple[Callable[[Path], None], type[FolderDataset]]
ALL: dict[str, Made] = {
    "aid": (make_aid, AID),
    "levir_ship": (make_levir_ship, LEVIRShip),
    "ssdd": (make_ssdd, SSDD),
    "massachusetts_roads": (make_massachusetts_roads, MassachusettsRoads),
    "whu_building": (make_whu_building, WHUBuilding),
    "whu_cd": (make_whu_cd, WHUCD),
    "forestnet": (make_forestnet, ForestNet),
    "fmow": (make_fmow, FMoW),
}
EVERY = pytest.mark.parametrize("name", ALL)


def opened(name: str, root: Path, split: str = "train", **options: Any) -> FolderDataset:
    make, kind = ALL[name]
    make(root)
    return kind(root, split, **options)


# What all have in common


@EVERY
def test_every_split_is_read(tmp_path: Path, name: str) -> None:
    make, kind = ALL[name]
    make(tmp_path)
    for split in kind.card.splits:
        dataset = kind(str(tmp_path), split.name)
        assert isinstance(dataset, NonGeoDataset)
        assert len(dataset) > 0
        for index in range(len(dataset)):
            image = dataset[index]["image"]
            assert image.dtype == torch.float32
            assert 1 < image.max() <= 255
        with pytest.raises(IndexError):
            dataset[len(dataset)]


@EVERY
def test_missing_root_and_unknown_split(tmp_path: Path, name: str) -> None:
    kind = ALL[name][1]
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        kind(tmp_path / "nowhere")
    with pytest.raises(UnknownSplitError, match="choose one of train"):
        kind(tmp_path, "trian")


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("aid", "AID/Port/port_1.jpg"),
        ("levir_ship", "images/train2017/ship_2.png"),
        ("ssdd", "imgs/000001.jpg"),
        ("massachusetts_roads", "tiff/train/10078675_15.tiff"),
        ("whu_building", "train/label/0.tif"),
        ("whu_cd", "B/whucd_0.png"),
        ("forestnet", "deep/downloads/ForestNetDataset/examples/train_1/images/visible/composite.png"),
        ("fmow", "train/zoo/zoo_0/zoo_0_0_msrgb.jpg"),
    ],
)
def test_missing_file_of_a_partial_download_is_named(tmp_path: Path, name: str, gone: str) -> None:
    make, kind = ALL[name]
    make(tmp_path)
    if name == "aid":
        (tmp_path / "train.txt").write_text("Port/port_1.jpg\n")
        (tmp_path / "val.txt").write_text("Port/port_336.jpg\n")
    (tmp_path / gone).unlink()
    with pytest.raises(IncompleteDatasetError, match=r"lacks 1 files, the first is .*; finish the download") as caught:
        kind(tmp_path)
    assert str(tmp_path / gone) in str(caught.value)


@EVERY
def test_transforms_and_plot(tmp_path: Path, name: str) -> None:
    dataset = opened(name, tmp_path, transforms=lambda sample: {**sample, "seen": True})
    assert dataset[0]["seen"]
    figure = dataset.plot(dataset[0], suptitle="a sample")
    assert isinstance(figure, Figure)
    figure.canvas.draw()


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"aid"}))
def test_hidden_files_of_macos_do_not_count(tmp_path: Path, name: str) -> None:
    make, kind = ALL[name]
    make(tmp_path)
    before = len(kind(tmp_path))
    for path in list(tmp_path.rglob("*.*")):
        if path.is_file():
            path.with_name(f"._{path.name}").write_bytes(b"resource fork")
    assert len(kind(tmp_path)) == before


@EVERY
def test_symlink_loops_do_not_hang(tmp_path: Path, name: str) -> None:
    make, kind = ALL[name]
    make(tmp_path)
    before = len(kind(tmp_path))
    for folder in [path for path in tmp_path.rglob("*") if path.is_dir()]:
        (folder / "loop").symlink_to(tmp_path, target_is_directory=True)
        (folder / "self").symlink_to(folder / "self")
    assert len(kind(tmp_path)) == before


# One by one


def test_aid_labels_follow_the_order_of_the_lists(tmp_path: Path) -> None:
    train, test = opened("aid", tmp_path), AID(tmp_path, "test")
    assert sorted(int(dataset[i]["label"]) for dataset in (train, test) for i in range(2)) == [0, 0, 29, 29]
    assert train.classes[0] == "Port"
    assert train.classes[29] == "Beach"


def test_aid_uses_the_lists_that_lie_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("Beach\\beach_2.jpg\r\n")
    (tmp_path / "val.txt").write_text("Port/port_336.jpg\nPort/port_1.jpg\n")
    dataset = opened("aid", tmp_path)
    assert [int(dataset[i]["label"]) for i in range(len(dataset))] == [29]
    assert [path.name for path, _ in AID(tmp_path, "test").files] == ["port_336.jpg", "port_1.jpg"]


def test_aid_refuses_a_list_that_climbs_out(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(f"../{split}.jpg\n")
    with pytest.raises(ValueError, match=r"\.\./train\.jpg"):
        opened("aid", tmp_path)


def test_levir_ship_has_boxes_and_keeps_images_without_ships(tmp_path: Path) -> None:
    dataset = opened("levir_ship", tmp_path, "test")
    sample, empty = dataset[0], dataset[1]
    assert set(sample) == {"image", "bbox_xyxy", "label", "area", "crowd"}
    assert sample["bbox_xyxy"].tolist() == [[2, 3, 10, 9]]
    assert sample["label"].tolist() == [1]
    assert sample["area"].tolist() == [63]  # (8 + 1)(6 + 1), as LEVIR-Ship counts
    assert {key: value.tolist() for key, value in sample["crowd"].items()} == {
        "bbox_xyxy": [[0, 0, SIDE, SIDE]],
        "label": [1],
        "area": [63],
    }
    assert (empty["bbox_xyxy"].shape, empty["label"].dtype) == ((0, 4), torch.int64)
    ship = dataset.images[0].instances[0]  # type: ignore[attr-defined]
    assert (ship.id, ship.area) == (1, 63)


def test_ssdd_masks_sit_in_their_boxes(tmp_path: Path) -> None:
    sample = opened("ssdd", tmp_path, "test")[0]
    assert (sample["mask"].shape, sample["mask"].dtype) == ((1, SIDE, SIDE), torch.uint8)
    rows, columns = sample["mask"][0].nonzero(as_tuple=True)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert sample["bbox_xyxy"][0].tolist() == corners
    assert torch.equal(sample["crowd"]["mask"], sample["mask"])  # both have the same outline
    assert torch.equal(sample["image"][0], sample["image"][2])


def test_annotation_of_another_size_than_its_image(tmp_path: Path) -> None:
    dataset = opened("ssdd", tmp_path)
    save(tmp_path / "imgs/000001.jpg", pixels(0, 12))
    with pytest.raises(CocoError, match=r"000001\.jpg has 12x12 pixels, its annotation 24x24"):
        dataset[0]


@pytest.mark.parametrize("name", ["massachusetts_roads", "whu_building", "whu_cd"])
def test_masks_are_classes_whatever_the_encoding(tmp_path: Path, name: str) -> None:
    mask = opened(name, tmp_path, "val")[0]["mask"]
    assert (mask.shape, mask.dtype) == ((SIDE, SIDE), torch.int64)
    assert np.array_equal(mask.numpy(), label(1))


@pytest.mark.parametrize("name", ["massachusetts_roads", "whu_building", "whu_cd"])
def test_mask_of_another_size_is_named(tmp_path: Path, name: str) -> None:
    dataset = opened(name, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and "label" in path.parent.name:
            save(path, label()[:20])
    with pytest.raises(PixelError, match=r"has 24x20 pixels and its image 24x24"):
        dataset[0]


@pytest.mark.parametrize("name", ["massachusetts_roads", "whu_building"])
def test_image_without_label_is_named(tmp_path: Path, name: str) -> None:
    make, kind = ALL[name]
    make(tmp_path)
    image = next(path for path in tmp_path.rglob("*.tif*") if "train" in path.parts)
    shutil.copy(image, image.with_name(f"extra{image.suffix}"))
    with pytest.raises(IncompleteDatasetError, match=r"lacks 1 files, the first is .*extra\.tif"):
        kind(tmp_path)


def test_whu_cd_stacks_before_and_after(tmp_path: Path) -> None:
    sample = opened("whu_cd", tmp_path)[0]
    assert sample["image"].shape == (2, 3, SIDE, SIDE)
    for date, seed in zip(sample["image"], (0, 10), strict=True):
        assert torch.equal(date, torch.from_numpy(pixels(seed)).permute(2, 0, 1).float())


def test_whu_cd_list_may_be_of_windows_but_not_climb_out(tmp_path: Path) -> None:
    make_whu_cd(tmp_path)
    for layer in ("A", "B", "label"):
        (tmp_path / layer / "part").mkdir()
        shutil.copy(tmp_path / layer / "whucd_0.png", tmp_path / layer / "part/x.png")
    (tmp_path / "list/train.txt").write_text("part\\x.png\n")
    assert len(WHUCD(tmp_path)) == 1
    (tmp_path / "list/train.txt").write_text("..\\x.png\n")
    with pytest.raises(UnsafeNameError, match=r"train\.txt names"):
        WHUCD(tmp_path)


def test_forestnet_has_12_classes_or_4(tmp_path: Path) -> None:
    fine = opened("forestnet", tmp_path)
    merged = ForestNet(tmp_path, num_classes=4)
    assert [int(fine[i]["label"]) for i in range(2)] == [0, 8]
    assert [int(merged[i]["label"]) for i in range(2)] == [0, 3]
    assert merged.classes == ("Plantation", "Grassland shrubland", "Smallholder agriculture", "Other")
    assert len(fine.classes) == 12


def test_forestnet_is_unpacked_when_only_the_archive_is_there(tmp_path: Path) -> None:
    make_forestnet(tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "ForestNetDataset.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "made"))
    assert len(ForestNet(tmp_path)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,example_path\nFish pond,a\n", None),
        ("label,path\nFish pond,a\n", "lacks rows, or the column example_path or label"),
        ("label,example_path\n", "lacks rows"),
        ("label,example_path\nFishpond,a\n", "has the label 'Fishpond'; expected are Oil palm plantation"),
    ],
)
def test_forestnet_table(tmp_path: Path, content: str, message: str | None) -> None:
    save(tmp_path / "a/images/visible/composite.png", pixels(0))
    (tmp_path / "train.csv").write_text(content)
    if message is None:
        assert len(ForestNet(tmp_path)) == 1
        return
    with pytest.raises(ForestNetError, match=message):
        ForestNet(tmp_path)


def test_fmow_joins_the_anonymous_images_with_their_labels(tmp_path: Path) -> None:
    train, test = opened("fmow", tmp_path), FMoW(tmp_path, "test")
    keys = {entry.key for dataset in (train, test) for entry in dataset.entries}  # type: ignore[attr-defined]
    assert len(train) + len(test) == len(keys) == 2 + 2 + 8 + 1
    assert len(test) == 2  # 20,000 of 106,946, rounded up
    assert all(entry.key.startswith("test/") for entry in test.entries)
    assert "test/0000011/0000011_0_msrgb.jpg" in keys


def test_fmow_draw_is_the_same_every_time(tmp_path: Path) -> None:
    opened("fmow", tmp_path)
    first, second = (FMoW(tmp_path, "test").entries for _ in range(2))
    assert first == second


def test_fmow_boxes_and_labels(tmp_path: Path) -> None:
    dataset = opened("fmow", tmp_path)
    by_key = {entry.key: dataset[i] for i, entry in enumerate(dataset.entries)}  # type: ignore[attr-defined]
    sample = by_key["train/zoo/zoo_0/zoo_0_0_rgb.jpg"]
    assert sample["bbox_xyxy"].tolist() == [[3, 4, 13, 16], [1, 1, 21, 6]]
    assert sample["label"].tolist() == [0, 62]  # zoo comes first, false_detection last
    assert len(by_key["val/zoo/zoo_1/zoo_1_0_rgb.jpg"]["label"]) == 1  # stored without a list
    assert by_key["seq/0000020/0000020_0_rgb.jpg"]["bbox_xyxy"].shape == (0, 4)
    assert FMoW(tmp_path, "test")[0]["label"].tolist() == [0]  # the entry with ID -1 marks no object


def test_fmow_entries_that_are_no_objects_follow_one_of_two_rules(tmp_path: Path) -> None:
    """The tool that packs fMoW for DynamicVis skips `'raw_location' in box`; other readers skip the ID -1."""
    entry = {"category": "zoo", "box": [1, 2, 3, 4]}
    boxes = [entry | {"ID": 1}, entry | {"ID": -1, "category": "dam"}, entry | {"ID": 2, "raw_location": "POLYGON"}]
    path = save_json(tmp_path / "a.json", {"bounding_boxes": boxes})
    assert read_regions(path).names == read_regions(path, "context").names == ("zoo", "zoo")
    assert read_regions(path, "raw_location").names == ("zoo", "dam")
    make_fmow(tmp_path)
    assert FMoW(tmp_path, "test", left_out="raw_location")[0]["label"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no annotation of fMoW"),
        ("{}", "is no annotation of fMoW"),
        ('{"bounding_boxes": [{"ID": 1, "category": "zoo", "box": [1, 2]}]}', "is no annotation of fMoW"),
        ('{"bounding_boxes": [{"ID": 1, "category": "igloo", "box": [1, 2, 3, 4]}]}', "has the class 'igloo'"),
    ],
)
def test_fmow_damaged_annotation_is_named(tmp_path: Path, content: str, message: str) -> None:
    dataset = opened("fmow", tmp_path)
    for path in tmp_path.rglob("zoo_*.json"):
        path.write_text(content)
    with pytest.raises(FMoWError, match=message):
        dataset[0]


def test_fmow_mapping_that_is_missing_damaged_or_climbs_out(tmp_path: Path) -> None:
    make_fmow(tmp_path)
    mapping = tmp_path / "test_gt_mapping.json"
    mapping.write_text('[{"input": "../../x", "output": "test/1"}]')
    with pytest.raises(UnsafeNameError, match="test_gt_mapping"):
        FMoW(tmp_path)
    mapping.write_text("{")
    with pytest.raises(FMoWError, match="is no list of input and output folders"):
        FMoW(tmp_path)
    mapping.unlink()
    with pytest.raises(IncompleteDatasetError, match="test_gt_mapping"):
        FMoW(tmp_path)


def test_nothing_warns_about_an_intact_dataset(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ALL:
            dataset = opened(name, tmp_path / name)
            assert dataset[0]["image"].ndim >= 3
