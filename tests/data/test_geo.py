"""TorchGeo's datasets read tiny copies in the published layout, with the paper's splits and one sample per task."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from rasterio import Affine
from torchgeo import datasets
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset
from torchvision.ops import masks_to_boxes

from dvbench.data import catalog
from dvbench.data.card import Card, Task, UnknownSplitError
from dvbench.data.cards.retrieval import BIGEARTHNET
from dvbench.data.geo import LEVIRCD, NWPUVHR10, OSCD, BigEarthNet, UCMerced
from dvbench.data.make import make
from dvbench.data.pixels import PixelError
from dvbench.data.splits import OURS, SplitError

ONERA = "Onera Satellite Change Detection dataset"
NWPU = "NWPU VHR-10 dataset"


def picture(path: Path, height: int, width: int, seed: int = 0) -> Path:
    """Write an RGB picture of noise, whose first pixel is (200, 100, 0)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[0, 0] = (200, 100, 0)
    Image.fromarray(pixels).save(path)
    return path


def label(path: Path, values: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


@pytest.fixture
def uc_merced(tmp_path: Path) -> Path:
    for name in ("airplane", "harbor", "river"):
        for number in range(10):
            side = 25 if (name, number) == ("river", 0) else 26  # as a few of the real ones, not quite the same size
            picture(tmp_path / f"UCMerced_LandUse/Images/{name}/{name}{number:02}.tif", side, 26)
    return tmp_path


@pytest.fixture
def nwpu(tmp_path: Path) -> Path:
    """Ten images of 30x40 px with two objects each, the second one in two parts; image ids are file numbers less 1."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(1, 11):
        picture(tmp_path / NWPU / "positive image set" / f"{number:03}.jpg", 30, 40, number)
        images.append({"id": number - 1, "file_name": f"{number:03}.jpg", "height": 30, "width": 40})
        shapes: list[tuple[int, list[int], list[list[int]]]] = [
            (1, [2, 3, 10, 6], [[2, 3, 12, 3, 12, 9, 2, 9]]),
            (10, [20, 10, 12, 8], [[20, 10, 24, 10, 24, 18, 20, 18], [28, 10, 32, 10, 32, 18, 28, 18]]),
        ]
        for category, bbox, parts in shapes:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number - 1,
                    "category_id": category,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "segmentation": parts,
                    "iscrowd": 0,
                }
            )
    names = NWPUVHR10.card.classes[1:]
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / NWPU / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def levir_cd(root: Path, packing: str) -> Path:
    """Pairs of 20x24 px as the authors pack them, or as TorchGeo unpacks them; the upper left quarter has changed."""
    changed = np.zeros((20, 24))
    changed[:10, :12] = 255
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        folder = root / split if packing == "authors" else root
        for number in range(1, count + 1):
            picture(folder / "A" / f"{split}_{number}.png", 20, 24, 1)
            picture(folder / "B" / f"{split}_{number}.png", 20, 24, 2)
            label(folder / "label" / f"{split}_{number}.png", changed)
    return root


@pytest.fixture
def oscd(tmp_path: Path) -> Path:
    """Two cities of 300x600 px to train on and one to test; the leftmost 100 px have changed."""
    for kind, cities in (("Train", ("paris", "rennes")), ("Test", ("rio",))):
        for city in cities:
            for date in (1, 2):
                picture(tmp_path / f"{ONERA} - Images" / city / "pair" / f"img{date}.png", 300, 600, date)
            values = np.ones((300, 600))
            values[:, :100] = 2
            label(tmp_path / f"{ONERA} - {kind} Labels" / city / "cm" / f"{city}-cm.tif", values)
    return tmp_path


@pytest.fixture
def bigearthnet(tmp_path: Path) -> Path:
    sides = {"B01": 20, "B05": 60, "B06": 60, "B07": 60, "B8A": 60, "B09": 20, "B11": 60, "B12": 60}
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        patches = [f"S2A_MSIL2A_2017_{split}_{number}" for number in range(count)]
        rows = "".join(f"{patch},S1A_{patch}\n" for patch in patches)
        (tmp_path / f"bigearthnet-{split}.csv").write_text(rows, encoding="utf-8")
        for patch in patches:
            folder = tmp_path / "BigEarthNet-v1.0" / patch
            folder.mkdir(parents=True)
            for number, band in enumerate(BIGEARTHNET.bands, start=1):
                side = sides.get(band, 120)
                values = np.full((1, side, side), 1000 * number, dtype=np.uint16)
                place = {"crs": "EPSG:32633", "transform": Affine.scale(1200 / side, -1200 / side)}
                profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint16", **place}
                with rasterio.open(folder / f"{patch}_{band}.tif", "w", **profile) as file:
                    file.write(values)
            labels = {"labels": ["Airports", "Sea and ocean", "Estuaries"]}
            (folder / f"{patch}_labels_metadata.json").write_text(json.dumps(labels), encoding="utf-8")
    return tmp_path


def names(paths: Iterable[Path]) -> set[str]:
    return {path.name for path in paths}


class TestUCMerced:
    def test_is_torchgeos(self, uc_merced: Path) -> None:
        assert isinstance(UCMerced(uc_merced), datasets.UCMerced)

    def test_takes_seven_of_ten_from_each_class_without_lists(self, uc_merced: Path) -> None:
        train, test = UCMerced(uc_merced, "train"), UCMerced(uc_merced, "test")
        assert (len(train), len(test)) == (21, 9)
        assert not names(path for path, _ in train.files) & names(path for path, _ in test.files)
        assert catalog.split_report("uc_merced", uc_merced).made_by == OURS

    def test_samples(self, uc_merced: Path) -> None:
        for split in ("train", "test"):
            dataset = catalog.dataset("uc_merced", split, uc_merced)
            for sample in (dataset[index] for index in range(len(dataset))):
                assert (sample["image"].shape, sample["image"].dtype) == ((3, 256, 256), torch.float32)
                assert 1 < sample["image"].max() <= 255
                assert (sample["label"].shape, sample["label"].dtype) == ((), torch.int64)
                assert sample["label"].item() in {0, 16, 17}  # harbor, airplane, river in the order of the paper

    def test_uses_the_lists_in_the_folder(self, uc_merced: Path) -> None:
        (uc_merced / "train.txt").write_text("river/river03.tif\nharbor/harbor01.tif\n", encoding="utf-8")
        (uc_merced / "val.txt").write_text("airplane/airplane00.tif\n", encoding="utf-8")
        train = UCMerced(uc_merced, "train")
        assert [train[index]["label"].item() for index in range(len(train))] == [17, 0]
        assert len(UCMerced(uc_merced, "test")) == 1

    def test_names_what_a_list_asks_for_in_vain(self, uc_merced: Path) -> None:
        (uc_merced / "train.txt").write_text("river/river99.tif\n", encoding="utf-8")
        (uc_merced / "val.txt").write_text("airplane/airplane00.tif\n", encoding="utf-8")
        with pytest.raises(DatasetNotFoundError, match=r"lacks 1 files, the first is .*river99.tif"):
            UCMerced(uc_merced, "train")

    def test_channels_are_red_green_blue(self, uc_merced: Path) -> None:
        Image.new("RGB", (256, 256), (200, 100, 0)).save(UCMerced(uc_merced).files[0][0])
        assert UCMerced(uc_merced)[0]["image"][:, 5, 5].tolist() == [200, 100, 0]


class TestNWPUVHR10:
    def test_is_torchgeos(self, nwpu: Path) -> None:
        assert isinstance(NWPUVHR10(nwpu), datasets.VHR10)

    def test_takes_eight_of_ten_without_lists(self, nwpu: Path) -> None:
        train, test = NWPUVHR10(nwpu, "train"), NWPUVHR10(nwpu, "test")
        assert (len(train), len(test)) == (8, 2)
        assert not {image.name for image in train.images} & {image.name for image in test.images}

    def test_samples(self, nwpu: Path) -> None:
        for split in ("train", "test"):
            dataset = catalog.dataset("nwpu_vhr10", split, nwpu)
            for sample in (dataset[index] for index in range(len(dataset))):
                assert (sample["image"].shape, sample["image"].dtype) == ((3, 30, 40), torch.float32)
                assert 1 < sample["image"].max() <= 255
                assert (sample["bbox_xyxy"].dtype, sample["label"].dtype) == (torch.float32, torch.int64)
                assert (sample["mask"].shape, sample["mask"].dtype) == ((2, 30, 40), torch.uint8)
                assert sample["label"].tolist() == [1, 10]

    def test_masks_fill_their_boxes_in_all_parts(self, nwpu: Path) -> None:
        sample = NWPUVHR10(nwpu)[0]
        assert sample["bbox_xyxy"].tolist() == [[2, 3, 12, 9], [20, 10, 32, 18]]
        expected = torch.zeros(2, 30, 40, dtype=torch.uint8)
        expected[0, 3:9, 2:12] = 1
        expected[1, 10:18, 20:24] = 1
        expected[1, 10:18, 28:32] = 1
        assert torch.equal(sample["mask"], expected)

    def test_annotation_ids_start_at_1(self, nwpu: Path) -> None:
        found = {instance.id for image in NWPUVHR10(nwpu).images for instance in image.instances}
        assert min(found) >= 1

    def test_uses_the_lists_in_the_folder(self, nwpu: Path) -> None:
        self._write_lists(nwpu, {"train": ["010.jpg", "002.jpg"], "val": ["005.jpg"]})
        assert [image.name for image in NWPUVHR10(nwpu, "train").images] == ["010.jpg", "002.jpg"]
        assert [image.name for image in NWPUVHR10(nwpu, "test").images] == ["005.jpg"]

    def test_names_what_a_list_asks_for_in_vain(self, nwpu: Path) -> None:
        self._write_lists(nwpu, {"train": ["651.jpg"], "val": ["005.jpg"]})
        with pytest.raises(SplitError, match=r"651.jpg of split 'train' is not in .*annotations.json"):
            NWPUVHR10(nwpu, "train")

    @staticmethod
    def _write_lists(root: Path, lists: dict[str, list[str]]) -> None:
        (root / "annotations").mkdir()
        for split, files in lists.items():
            content = {"images": [{"file_name": name} for name in files]}
            (root / "annotations" / f"NWPU_instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")


class TestLEVIRCD:
    @pytest.mark.parametrize("packing", ["authors", "torchgeo"])
    def test_counts_of_either_packing(self, tmp_path: Path, packing: str) -> None:
        root = levir_cd(tmp_path, packing)
        assert [len(LEVIRCD(root, split)) for split in ("train", "val", "test")] == [3, 1, 2]
        assert isinstance(LEVIRCD(root), datasets.LEVIRCD)

    def test_samples(self, tmp_path: Path) -> None:
        sample = catalog.dataset("levir_cd", "val", levir_cd(tmp_path, "authors"))[0]
        assert (sample["image"].shape, sample["image"].dtype) == ((2, 3, 20, 24), torch.float32)
        assert sample["image"][:, :, 0, 0].tolist() == [[200, 100, 0]] * 2
        assert not torch.equal(sample["image"][0], sample["image"][1])
        expected = torch.zeros(20, 24, dtype=torch.int64)
        expected[:10, :12] = 1
        assert torch.equal(sample["mask"], expected)

    def test_pairs_belong_together_where_a_file_is_missing(self, tmp_path: Path) -> None:
        (levir_cd(tmp_path, "torchgeo") / "B" / "train_2.png").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"lacks 1 files, the first is .*B/train_2.png"):
            LEVIRCD(tmp_path)


class TestOSCD:
    def test_cities_are_cut_as_the_paper_says(self, oscd: Path) -> None:
        train = OSCD(oscd, "train")
        assert train.names[:3] == ["paris_0_0_256_256.png", "paris_128_0_384_256.png", "paris_256_0_512_256.png"]
        assert (len(train), len(OSCD(oscd, "test"))) == (2 * 8, 8)
        assert isinstance(train, datasets.OSCD)

    def test_cities_are_cut_as_the_released_tool_does(self, oscd: Path) -> None:
        dataset = catalog.dataset("oscd", "test", oscd, grid="oscd_released")
        assert isinstance(dataset, OSCD)
        assert [tuple(map(int, name.split("_")[1:3])) for name in dataset.names] == [
            (left, top) for top in (0, 44) for left in (0, 256, 344)
        ]

    def test_samples(self, oscd: Path) -> None:
        dataset = catalog.dataset("oscd", "train", oscd)
        for sample in (dataset[index] for index in range(len(dataset))):
            assert (sample["image"].shape, sample["image"].dtype) == ((2, 3, 256, 256), torch.float32)
            assert (sample["mask"].shape, sample["mask"].dtype) == ((256, 256), torch.int64)
        first = dataset[0]
        assert first["image"][:, :, 0, 0].tolist() == [[200, 100, 0]] * 2
        assert first["mask"][:, :100].min() == 1
        assert first["mask"][:, 100:].max() == 0

    def test_a_tile_is_its_window_of_the_city(self, oscd: Path) -> None:
        dataset = OSCD(oscd, "test")
        with Image.open(oscd / f"{ONERA} - Images" / "rio" / "pair" / "img2.png") as image:
            city = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        left, top, right, bottom = map(int, dataset.names[-1].removesuffix(".png").split("_")[1:])
        assert torch.equal(dataset[len(dataset) - 1]["image"][1], city[:, top:bottom, left:right].float())

    def test_tiles_can_go_elsewhere(self, oscd: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        cache = tmp_path_factory.mktemp("tiles")
        OSCD(oscd, "test", cache=cache)
        assert not (oscd / "tiles").exists()
        assert len(list(cache.glob("oscd/A/rio_*.png"))) == 8

    def test_a_city_without_a_picture(self, oscd: Path) -> None:
        (oscd / f"{ONERA} - Images" / "rio" / "pair" / "img2.png").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"lacks 1 files, the first is .*rio/pair/img2.png"):
            OSCD(oscd, "test")


class TestBigEarthNet:
    def test_counts(self, bigearthnet: Path) -> None:
        assert [len(BigEarthNet(bigearthnet, split)) for split in ("train", "val", "test")] == [2, 1, 1]
        assert isinstance(BigEarthNet(bigearthnet), datasets.BigEarthNet)

    def test_samples(self, bigearthnet: Path) -> None:
        sample = catalog.dataset("bigearthnet", "train", bigearthnet)[0]
        assert (sample["image"].shape, sample["image"].dtype) == ((12, 120, 120), torch.float32)
        assert sample["image"].mean(dim=(1, 2)).tolist() == [1000 * number for number in range(1, 13)]
        assert (sample["label"].shape, sample["label"].dtype) == ((43,), torch.int64)
        assert sample["label"].nonzero().flatten().tolist() == [5, 41, 42]

    def test_19_classes(self, bigearthnet: Path) -> None:
        dataset = catalog.dataset("bigearthnet", "val", bigearthnet, num_classes=19)
        assert isinstance(dataset, BigEarthNet)
        label = dataset[0]["label"]
        assert [dataset.classes[index] for index in label.nonzero().flatten().tolist()] == ["Marine waters"]
        assert len(dataset.classes) == len(label) == 19

    def test_a_missing_band_does_not_shift_the_others(self, bigearthnet: Path) -> None:
        next(bigearthnet.glob("*/*_val_0/*_B03.tif")).unlink()
        with pytest.raises(PixelError, match=r"_val_0 has 11 of 12 bands"):
            BigEarthNet(bigearthnet, "val")[0]

    def test_a_missing_label_is_no_index_error(self, bigearthnet: Path) -> None:
        next(bigearthnet.glob("*/*_val_0/*.json")).unlink()
        with pytest.raises(PixelError, match=r"or no label file; unpack it again"):
            BigEarthNet(bigearthnet, "val")[0]

    def test_a_truncated_band(self, bigearthnet: Path) -> None:
        path = next(bigearthnet.glob("*/*_val_0/*_B03.tif"))
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(PixelError, match=r"_val_0 has a damaged band or an unknown label"):
            BigEarthNet(bigearthnet, "val")[0]

    def test_plot(self, bigearthnet: Path) -> None:
        dataset = BigEarthNet(bigearthnet)
        assert "Airports" in dataset.plot(dataset[0]).axes[0].get_title()


def check(card: Card, sample: dict[str, torch.Tensor]) -> None:
    """Check what a sample of the card's task promises."""
    image = sample["image"]
    dates = (2,) if card.task is Task.CHANGE else ()
    assert image.shape[:-2] == (*dates, len(card.bands))
    assert image.dtype == torch.float32
    assert card.value_range[0] <= image.min()
    assert 1 < image.max() <= card.value_range[1]
    assert card.image_size is None or image.shape[-2:] == card.image_size
    if card.task is Task.CHANGE:
        assert (sample["mask"].dtype, sample["mask"].shape) == (torch.int64, image.shape[-2:])
        assert set(sample["mask"].unique().tolist()) <= {0, 1}
        return
    assert sample["label"].dtype == torch.int64
    if card.task is Task.INSTANCE:
        assert sample["mask"].shape == (len(sample["label"]), *image.shape[-2:])
        assert torch.equal(masks_to_boxes(sample["mask"]) + torch.tensor([0, 0, 1, 1]), sample["bbox_xyxy"])
        assert set(sample["label"].tolist()) <= set(range(1, len(card.classes)))
    elif card.task is Task.RETRIEVAL:
        assert set(sample["label"].tolist()) == {0, 1}
        assert sample["label"].shape == (len(card.classes),)
    else:
        assert sample["label"].item() in range(len(card.classes))


@pytest.mark.parametrize(
    ("name", "made", "counts"),
    [
        ("uc_merced", 2, [21, 21]),
        ("nwpu_vhr10", 3, [2, 1]),
        ("oscd", 1, [4, 4]),
        ("bigearthnet", 1, [1, 1, 1]),
        pytest.param("levir_cd", 1, [1, 1, 1], marks=pytest.mark.slow),  # draws six pictures of 1024x1024
    ],
)
def test_synthetic_scenes_in_the_published_layout(tmp_path: Path, name: str, made: int, counts: list[int]) -> None:
    root = tmp_path / name
    make(name, root, made)
    card = catalog.CATALOG[name].card
    splits = [catalog.dataset(name, split.name, root) for split in card.splits]
    assert [len(split) for split in splits] == counts
    samples = [split[index] for split in splits for index in range(len(split))]
    for sample in samples:
        check(card, sample)
    pictures = {sample["image"].numpy().tobytes() for sample in samples}
    assert len(pictures) == len(samples)  # no picture is in two splits


Opener = Callable[..., NonGeoDataset]


@pytest.mark.parametrize("opener", [UCMerced, NWPUVHR10, LEVIRCD, OSCD, BigEarthNet])
class TestEach:
    def test_empty_folder(self, tmp_path: Path, opener: Opener) -> None:
        with pytest.raises(DatasetNotFoundError, match=tmp_path.name):
            opener(tmp_path)

    def test_unknown_split(self, tmp_path: Path, opener: Opener) -> None:
        with pytest.raises(UnknownSplitError, match="split 'dev' is not in"):
            opener(tmp_path, "dev")


def test_transforms_are_applied(tmp_path: Path) -> None:
    dataset = LEVIRCD(
        levir_cd(tmp_path, "authors"), transforms=lambda sample: {**sample, "image": sample["image"] / 255}
    )
    assert dataset[0]["image"].max() <= 1


def test_plots(nwpu: Path) -> None:
    dataset = NWPUVHR10(nwpu)
    figure = dataset.plot(dataset[0], suptitle="one of ten")
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "one of ten"
