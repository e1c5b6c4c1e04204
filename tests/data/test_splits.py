"""Splits: the authors' lists are recognised and checked; without them ours are drawn by the same rule everywhere."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from dvbench.data.archives import UnsafeNameError
from dvbench.data.card import Card
from dvbench.data.cards.classification import AID, UC_MERCED
from dvbench.data.cards.instance import NWPU_VHR10, SSDD
from dvbench.data.splits import DRAWS, OURS, SplitError, digest, labelled, membership, seeded

# fmt: off
AID_COUNTS = (
    380, 330, 410, 420, 370, 340, 350, 360, 300, 290, 390, 240, 410, 390, 370,
    300, 420, 250, 360, 260, 280, 290, 300, 310, 350, 220, 260, 290, 360, 400,
)
# fmt: on
UC_NAMES = [f"{name}/{name}{number:02}.tif" for name in UC_MERCED.classes for number in range(100)]
AID_NAMES = [
    f"{name}/{name.lower()}_{number}.jpg"
    for name, count in zip(AID.classes, AID_COUNTS, strict=True)
    for number in range(1, count + 1)
]
NWPU_NAMES = [f"{number:03}.jpg" for number in range(1, 651)]


@pytest.mark.parametrize(
    ("card", "names"),
    [(UC_MERCED, UC_NAMES), (AID, AID_NAMES), (NWPU_VHR10, NWPU_NAMES)],
    ids=["uc_merced", "aid", "nwpu_vhr10"],
)
def test_our_draw_has_the_published_sizes(card: Card, names: list[str]) -> None:
    drawn = seeded(names, DRAWS[card.name].share)
    assert {split: len(members) for split, members in drawn.items()} == {s.name: s.count for s in card.splits}
    assert not set(drawn["train"]) & set(drawn["test"])
    assert set(drawn["train"]) | set(drawn["test"]) == set(names)


def test_our_draw_takes_the_same_share_of_each_class() -> None:
    train = seeded(UC_NAMES, 0.7)["train"]
    assert {sum(name.startswith(f"{group}/") for name in train) for group in UC_MERCED.classes} == {70}


def test_our_draw_is_the_same_on_any_machine() -> None:
    assert digest(seeded(UC_NAMES, 0.7)["train"]) == "7705f888fae6b7a7aa7e3148d961cadeec1673d9d5182f9389053bda7fe9b087"
    assert digest(seeded(AID_NAMES, 0.5)["train"]) == "3496333485066072ed87bf291a0dc9a53dd11e282c10c41daaf861aa80c4462e"
    assert (
        digest(seeded(NWPU_NAMES, 0.8)["train"]) == "f3f51641c70a24723c711fc59e7ec2e31cca4cac34961897df2058e2324f47b7"
    )


def test_our_draw_does_not_depend_on_the_order_of_the_files() -> None:
    assert seeded(reversed(UC_NAMES), 0.7) == seeded(UC_NAMES, 0.7)


def write_lists(root: Path, train: str, test: str) -> Path:
    (root / "train.txt").write_text(train, encoding="utf-8")
    (root / "val.txt").write_text(test, encoding="utf-8")
    return root


def test_lists_of_the_authors_are_recognised(tmp_path: Path) -> None:
    write_lists(tmp_path, "river/river00.tif\n", "harbor/harbor07.tif\n")
    pins = {
        split.name: hashlib.sha256((tmp_path / str(split.file)).read_bytes()).hexdigest() for split in UC_MERCED.splits
    }
    card = replace(UC_MERCED, splits=tuple(replace(split, sha256=pins[split.name]) for split in UC_MERCED.splits))
    found = membership(card, tmp_path)
    assert found.names == {"train": ("river/river00.tif",), "test": ("harbor/harbor07.tif",)}
    assert found.made_by.startswith("RSMamba, datainfo/UC/train.txt")
    assert found.sha256 == pins


def test_other_lists_are_used_but_never_passed_off_as_the_authors(tmp_path: Path) -> None:
    found = membership(UC_MERCED, write_lists(tmp_path, "river/river00.tif\n", "river/river01.tif\n"))
    assert found.made_by == "lists that are not the authors'"
    assert found.names["test"] == ("river/river01.tif",)


def test_lists_written_on_windows(tmp_path: Path) -> None:
    found = membership(UC_MERCED, write_lists(tmp_path, "\ufeffriver\\river00.tif\r\n\r\n", "river\\river01.tif\r\n"))
    assert found.names == {"train": ("river/river00.tif",), "test": ("river/river01.tif",)}


def test_without_lists_the_draw_is_ours_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "AID" / "Port"
    folder.mkdir(parents=True)
    for number in range(10):
        (folder / f"port_{number}.jpg").touch()
    found = membership(AID, tmp_path)
    assert found.made_by == OURS
    assert [len(members) for members in found.names.values()] == [5, 5]
    assert found.sha256["train"] == digest(found.names["train"])


def test_coco_files_serve_as_lists(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for split, number in (("train", 1), ("val", 2)):
        content = {"images": [{"id": 0, "file_name": f"00000{number}.jpg"}]}
        (tmp_path / "annotations" / f"SSDD_instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    assert membership(SSDD, tmp_path).names == {"train": ("000001.jpg",), "test": ("000002.jpg",)}


def test_one_list_alone_is_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, "a/1.tif", "a/2.tif")
    (tmp_path / "val.txt").unlink()
    with pytest.raises(SplitError, match=r"val.txt is missing beside .*train.txt: dvbench data download uc_merced"):
        membership(UC_MERCED, tmp_path)


def test_lists_that_hold_the_labels_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"SSDD_instances_train.json is missing, which holds the labels too"):
        membership(SSDD, tmp_path)


@pytest.mark.parametrize(
    ("train", "test", "where"),
    [("a/1.tif", "a/1.tif", "in both train and test"), ("a/1.tif\na/1.tif", "a/2.tif", "twice in .*train.txt")],
)
def test_an_image_belongs_to_one_split_once(tmp_path: Path, train: str, test: str, where: str) -> None:
    with pytest.raises(SplitError, match=f"a/1.tif is {where}"):
        membership(UC_MERCED, write_lists(tmp_path, train, test))


def test_a_list_must_not_climb_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UnsafeNameError, match=r"train.txt names '../secret.tif'"):
        membership(UC_MERCED, write_lists(tmp_path, "../secret.tif", "a/2.tif"))


@pytest.mark.parametrize("content", ["<html>", "{}", '{"images": [1]}', "[]"])
def test_a_broken_list_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / "annotations" / f"SSDD_instances_{split}.json").write_text(content, encoding="utf-8")
    with pytest.raises(SplitError, match=r"SSDD_instances_train.json is no list of images"):
        membership(SSDD, tmp_path)


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    write_lists(tmp_path, "lagoon/lagoon00.tif", "river/river01.tif")
    with pytest.raises(SplitError, match=r"Images/lagoon is no class of UC Merced Land Use"):
        labelled(UC_MERCED, tmp_path, "train")


def test_the_label_is_the_folder(tmp_path: Path) -> None:
    write_lists(tmp_path, "river/river00.tif\nharbor/harbor00.tif", "river/river01.tif")
    assert [label for _, label in labelled(UC_MERCED, tmp_path, "train")] == [17, 0]
