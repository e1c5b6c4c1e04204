"""fMoW in tar shards: what is written is what streams back, and damage is skipped aloud, never silently."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from dvbench.data import shards
from dvbench.data.archives import UnsafeNameError
from dvbench.data.folders.fmow import Entry
from dvbench.data.pixels import PixelError
from dvbench.data.shards import ShardError, Shards, ShardWarning, write_shards

COUNT = 10


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Ten images of 40x30 px; the i-th has a box that starts at x = i."""
    made = []
    for number in range(COUNT):
        key = f"train/zoo/zoo_{number}/zoo_{number}_0_rgb.jpg"
        image = tmp_path / "fmow" / key
        image.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image)
        box = {"ID": 1, "category": "zoo", "box": [number, 2, 8, 6]}
        image.with_suffix(".json").write_text(json.dumps({"bounding_boxes": [box]}))
        made.append(Entry(key, image, image.with_suffix(".json")))
    return made


@pytest.fixture
def folder(tmp_path: Path, entries: list[Entry]) -> Path:
    write_shards(entries, tmp_path / "pretrain_list", shards=3)
    return tmp_path / "pretrain_list"


def numbers(samples: Any) -> list[int]:
    """Which images came, told by their boxes."""
    return [int(sample["bbox_xyxy"][0, 0]) for sample in samples]


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


# Writing


def test_layout_is_that_of_webdataset(folder: Path, entries: list[Entry]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["00000.tar", "00001.tar", "00002.tar", "meta.json"]
    assert json.loads((folder / "meta.json").read_text()) == {"num_samples": COUNT, "num_shards": 3}
    with tarfile.open(folder / "00000.tar") as shard:
        names = shard.getnames()
        content = shard.extractfile(names[0])
        assert content is not None
        assert content.read(4) == b"\x89PNG"
        regions = shard.extractfile(names[1])
        assert regions is not None
        assert json.loads(regions.read()).keys() == {"gt_bboxes", "gt_bboxes_labels"}
    assert {name.removesuffix(".jpg").removesuffix(".json") for name in names} <= {entry.key for entry in entries}
    assert [name[-8:] for name in names[:2]] == [".jpg.jpg", "jpg.json"]


def test_images_are_shuffled_by_the_seed_and_split_evenly(tmp_path: Path, entries: list[Entry]) -> None:
    def packed(seed: int) -> list[bytes]:
        write_shards(entries, tmp_path / str(seed), shards=3, seed=seed)
        return [path.read_bytes() for path in sorted((tmp_path / str(seed)).glob("*.tar"))]

    first = packed(0)
    assert packed(0) == first
    assert packed(1) != first
    assert numbers(Shards(tmp_path / "0")) != list(range(COUNT))
    with tarfile.open(tmp_path / "0/00000.tar") as shard:
        assert len(shard.getnames()) == 2 * 4


def test_large_images_shrink_with_their_boxes(
    tmp_path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "LONGEST_SIDE", 20)
    write_shards(entries[4:5], tmp_path / "small", shards=1)
    (sample,) = Shards(tmp_path / "small")
    assert sample["image"].shape == (3, 15, 20)
    assert sample["bbox_xyxy"].tolist() == [[2, 1, 6, 4]]


def test_entries_are_left_out_by_the_rule_that_is_asked_for(tmp_path: Path, entries: list[Entry]) -> None:
    boxes = [{"ID": -1, "category": "dam", "box": [1, 2, 8, 6]}]
    boxes += [{"ID": 1, "category": "zoo", "box": [2, 2, 8, 6], "raw_location": ""}]
    entries[0].annotation.write_text(json.dumps({"bounding_boxes": boxes}))
    for rule, left in (("context", [2]), ("raw_location", [1])):
        write_shards(entries[:1], tmp_path / rule, shards=1, left_out=rule)
        assert numbers(Shards(tmp_path / rule)) == left


def test_unfinished_writing_leaves_no_meta_and_no_half_shard(tmp_path: Path, entries: list[Entry]) -> None:
    write_shards(entries, tmp_path / "out", shards=2)
    entries[0].image.write_bytes(b"no image")
    with pytest.raises(PixelError, match=r"zoo_0_0_rgb\.jpg is no intact image"):
        write_shards(entries, tmp_path / "out", shards=2)
    assert not list((tmp_path / "out").glob(".*.part"))
    with pytest.raises(ShardError, match=r"no readable meta\.json"):
        Shards(tmp_path / "out")


@pytest.mark.parametrize("count", [0, COUNT + 1])
def test_number_of_shards_must_fit(tmp_path: Path, entries: list[Entry], count: int) -> None:
    with pytest.raises(ShardError, match=f"10 images do not fill {count} shards"):
        write_shards(entries, tmp_path / "out", shards=count)


# Streaming


def test_every_image_comes_once(folder: Path, entries: list[Entry]) -> None:
    dataset = Shards(folder)
    samples = list(dataset)
    assert len(dataset) == COUNT
    assert sorted(numbers(samples)) == list(range(COUNT))
    sample = next(sample for sample in samples if sample["bbox_xyxy"][0, 0] == 7)
    with Image.open(entries[7].image) as stored:
        expected = torch.from_numpy(np.array(stored)).permute(2, 0, 1).float()
    assert torch.equal(sample["image"], expected)
    assert sample["bbox_xyxy"].tolist() == [[7, 2, 15, 8]]
    assert (sample["label"].tolist(), sample["label"].dtype) == ([0], torch.int64)
    assert dataset.skipped == 0


def test_transforms(folder: Path) -> None:
    assert all(sample["seen"] for sample in Shards(folder, lambda sample: {**sample, "seen": True}))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_share_the_shards_without_repeating(folder: Path, workers: int) -> None:
    loader = DataLoader(Shards(folder), batch_size=None, num_workers=workers)
    assert sorted(numbers(loader)) == list(range(COUNT))


def test_processes_share_the_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    seen = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        seen += numbers(Shards(folder))
    assert sorted(seen) == list(range(COUNT))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(ShardError, match="3 shards for 4 processes; write more shards"):
        list(Shards(folder))


def test_shuffling_follows_the_seed_and_changes_between_epochs(folder: Path) -> None:
    def epochs(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        dataset = Shards(folder, buffer=4)
        return [numbers(dataset) for _ in range(2)]

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second
    assert epochs(0) == [first, second]
    assert epochs(1) != [first, second]


# Damage


def damaged(folder: Path) -> Path:
    return folder / "00001.tar"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.75])
def test_truncated_shard_is_skipped_with_a_warning_and_a_count(folder: Path, share: float) -> None:
    path = damaged(folder)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    dataset = Shards(folder)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged .*: what follows in it is skipped"):
        seen = numbers(dataset)
    assert dataset.skipped == 1
    assert COUNT - 3 <= len(set(seen)) == len(seen) < COUNT


def test_header_broken_in_the_middle_is_not_taken_for_the_end(folder: Path) -> None:
    path = damaged(folder)
    with tarfile.open(path) as shard:
        offset = shard.getmembers()[2].offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    dataset = Shards(folder)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged"):
        assert len(numbers(dataset)) == COUNT - 2
    assert dataset.skipped == 1


def test_file_that_is_no_tar_is_skipped(folder: Path) -> None:
    damaged(folder).write_text("<html>404</html>" * 100)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged"):
        assert len(numbers(Shards(folder))) == COUNT - 3


@pytest.mark.parametrize(
    ("image", "regions", "message"),
    [
        (b"no image", b'{"gt_bboxes": [], "gt_bboxes_labels": []}', r"00001\.tar: a is no intact JPEG or PNG"),
        (b"", b"{", r"00001\.tar: a has no readable regions"),
        (b"", b'{"gt_bboxes": [[1, 2]], "gt_bboxes_labels": ["zoo"]}', r"a has no readable regions"),
        (b"", b'{"gt_bboxes": [[1, 2, 3, 4]], "gt_bboxes_labels": ["igloo"]}', r"a has the class 'igloo'"),
        (b"", None, r"00001\.tar: a lacks its image or its regions and is skipped"),
    ],
)
def test_damaged_image_is_skipped_and_the_rest_read(
    folder: Path, image: bytes, regions: bytes | None, message: str
) -> None:
    intact = io.BytesIO()
    Image.new("RGB", (4, 4)).save(intact, "PNG")
    good = b'{"gt_bboxes": [[99, 0, 2, 2]], "gt_bboxes_labels": ["zoo"]}'
    with tarfile.open(damaged(folder), "w") as shard:
        add(shard, "a.jpg", image or intact.getvalue())
        if regions is not None:
            add(shard, "a.json", regions)
        add(shard, "b.jpg", intact.getvalue())
        add(shard, "b.json", good)
    dataset = Shards(folder)
    with pytest.warns(ShardWarning, match=message):
        seen = numbers(dataset)
    assert dataset.skipped == 1
    assert seen.count(99) == 1
    assert len(seen) == COUNT - 3 + 1


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "..\\a.jpg"])
def test_member_that_climbs_out_is_refused(folder: Path, name: str) -> None:
    with tarfile.open(damaged(folder), "w") as shard:
        add(shard, name, b"")
    with pytest.raises(UnsafeNameError, match=r"00001\.tar names"):
        list(Shards(folder))


def test_link_in_a_shard_is_refused(folder: Path) -> None:
    link = tarfile.TarInfo("a.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(damaged(folder), "w") as shard:
        shard.addfile(link)
    with pytest.raises(UnsafeNameError, match=r"holds the link or device a.jpg"):
        list(Shards(folder))


def test_missing_folder_and_missing_shard(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ShardError, match=r"nowhere has no readable meta\.json"):
        Shards(tmp_path / "nowhere")
    damaged(folder).unlink()
    with pytest.raises(ShardError, match="has 2 shards of 3; copy the missing ones"):
        Shards(folder)
