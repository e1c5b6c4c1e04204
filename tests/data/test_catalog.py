"""The catalog: what every card must say, the published figures, and how a dataset is found and opened by name."""

import string
import subprocess
import sys
from pathlib import Path

import pytest
from torchgeo import datasets

from dvbench.data import catalog
from dvbench.data.card import Card, Task, UnknownSplitError
from dvbench.data.catalog import CATALOG, MissingDatasetError, UnknownDatasetError
from dvbench.data.make import make

CARDS = [entry.card for entry in CATALOG.values()]
PAPER = {  # protocols as published, in images, pairs or cities
    "uc_merced": (21, [1470, 630]),
    "aid": (30, [5000, 5000]),
    "levir_ship": (2, [2320, 788, 788]),
    "nwpu_vhr10": (11, [520, 130]),
    "ssdd": (2, [928, 232]),
    "massachusetts_roads": (2, [1108, 14, 49]),
    "whu_building": (2, [4736, 1036, 2416]),
    "levir_cd": (2, [445, 64, 128]),
    "whu_cd": (2, [5947, 743, 744]),
    "oscd": (2, [14, 10]),
    "fmow": (63, [1_027_691, 20_000]),
    "bigearthnet": (43, [269_695, 123_723, 125_866]),
    "forestnet": (12, [1616, 473, 668]),
}
UNVERIFIED = PAPER.keys() - {"levir_ship"}


def test_the_catalog_holds_the_paper_the_sample_and_one_synthetic_set_per_task() -> None:
    synthetic = [*(f"synthetic_{task}" for task in Task), "synthetic_small_targets"]
    assert list(CATALOG) == [*PAPER, "neon_trees", *synthetic]
    assert all(entry.card.name == name for name, entry in CATALOG.items())


@pytest.mark.parametrize("name", PAPER)
def test_published_classes_and_counts(name: str) -> None:
    card = CATALOG[name].card
    assert (len(card.classes), [split.count for split in card.splits]) == PAPER[name]


def test_sums_that_were_published() -> None:
    count = {name: sum(counts) for name, (_, counts) in PAPER.items()}
    assert count["levir_ship"] == 3896
    assert count["massachusetts_roads"] == 1171
    assert count["whu_building"] == 8188
    assert count["levir_cd"] == 637
    assert count["whu_cd"] == (32507 // 256) * (15354 // 256)
    assert count["fmow"] == 727_144 + 106_081 + 106_946 + 107_520


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
class TestEveryCard:
    def test_is_filled_in(self, card: Card) -> None:
        for text in (card.title, card.units, card.source, card.licence, card.citation, card.layout):
            assert text.strip()
        assert card.notes
        assert card.obtain
        assert card.bands
        assert all(split.made_by for split in card.splits)

    def test_names_each_class_once(self, card: Card) -> None:
        assert len(set(card.classes)) == len(card.classes) > 1
        assert (card.classes[0] == "background") >= (card.task in {Task.DETECTION, Task.INSTANCE})

    def test_states_ranges_from_low_to_high(self, card: Card) -> None:
        assert card.value_range[0] < card.value_range[1]
        assert card.gsd is None or 0 < card.gsd[0] <= card.gsd[1]

    def test_gives_hashes_as_hex_digits(self, card: Card) -> None:
        pins = [(archive.md5, 32) for archive in card.archives] + [(archive.sha256, 64) for archive in card.archives]
        for pin, length in pins:
            assert pin is None or (len(pin) == length and set(pin) <= set(string.hexdigits.lower()))

    def test_says_where_its_lists_can_be_downloaded(self, card: Card) -> None:
        pinned = {archive.name: archive.sha256 for archive in card.archives if archive.url}
        for split in card.splits:
            assert split.file is None or pinned[split.file] == split.sha256

    def test_says_what_nobody_has_checked(self, card: Card) -> None:
        assert any("Unverified" in note for note in card.notes) == (card.name in UNVERIFIED)


def test_classes_that_torchgeo_names_too() -> None:
    assert list(CATALOG["bigearthnet"].card.classes) == datasets.BigEarthNet.class_sets[43]
    theirs = [name.replace(" ", "_") for name in datasets.VHR10.categories]
    assert [name.replace("ships", "ship") for name in theirs] == list(CATALOG["nwpu_vhr10"].card.classes)


def test_fmow_is_in_reverse_alphabetical_order() -> None:
    classes = CATALOG["fmow"].card.classes
    assert list(classes[:-1]) == sorted(classes[:-1], reverse=True)
    assert (classes[0], classes[61], classes[62]) == ("zoo", "airport", "false_detection")


def test_oscd_and_bigearthnet_are_pinned_as_torchgeo_does() -> None:
    for name, pins in (
        ("oscd", getattr(datasets.OSCD, "md5s", {})),
        ("bigearthnet", {part["filename"]: part["md5"] for part in datasets.BigEarthNet.splits_metadata.values()}),
        ("levir_cd", {part["filename"]: part["md5"] for part in datasets.LEVIRCD.splits.values()}),
    ):
        ours = {archive.name: archive.md5 for archive in CATALOG[name].card.archives}
        assert pins.items() <= ours.items()


def test_looking_at_the_catalog_imports_neither_torch_nor_torchgeo() -> None:
    code = "import sys, dvbench.data.catalog; print({'torch', 'torchgeo', 'pandas', 'rasterio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"


def test_unknown_dataset_names_those_that_come_close() -> None:
    with pytest.raises(UnknownDatasetError, match="unknown dataset 'levir_sip': use levir_ship"):
        catalog.dataset("levir_sip", "train")


def test_unknown_split() -> None:
    with pytest.raises(UnknownSplitError, match="split 'val' is not in aid"):
        catalog.dataset("aid", "val")


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    with pytest.raises(MissingDatasetError, match=f"aid is not in {tmp_path}/aid: dvbench data info aid says"):
        catalog.dataset("aid", "train")


def test_datasets_lie_under_the_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVBENCH_DATA", raising=False)
    assert catalog.folder("aid") == Path("data/aid")
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    assert catalog.folder("aid") == tmp_path / "aid"
    assert catalog.folder("aid", tmp_path / "elsewhere") == tmp_path / "elsewhere"


def test_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    assert not catalog.is_found("aid")
    (tmp_path / "aid" / "AID" / "Port").mkdir(parents=True)
    (tmp_path / "aid" / "AID" / "Port" / "port_1.jpg").touch()
    assert catalog.is_found("aid")


def test_what_comes_with_the_package_is_always_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path))
    assert all(catalog.is_found(name) for name in CATALOG if name not in PAPER)


def test_the_embedded_sample_opens_by_name() -> None:
    card = CATALOG["neon_trees"].card
    opened = catalog.dataset("neon_trees", "val", transforms=lambda sample: {**sample, "seen": True})
    assert len(opened) == card.split("val").count
    assert opened[0]["seen"]


@pytest.mark.parametrize("task", Task)
def test_synthetic_scenes_open_by_name(task: Task) -> None:
    card = CATALOG[f"synthetic_{task}"].card
    opened = catalog.dataset(card.name, "val", size=64)
    assert len(opened) == card.split("val").count
    assert opened[0]["image"].shape[-3:] == (3, 64, 64)


def test_split_report_of_a_dataset_that_is_published_in_splits() -> None:
    report = catalog.split_report("levir_cd")
    assert (report.made_by, report.names, report.sha256) == ("official", {}, {})


def test_split_report_of_a_synthetic_stand_in(tmp_path: Path) -> None:
    make("bigearthnet", tmp_path / "made", 1)
    report = catalog.split_report("bigearthnet", tmp_path / "made")
    assert report.made_by == "synthetic scenes in the layout of BigEarthNet v1 (Sentinel-2), not the dataset"
