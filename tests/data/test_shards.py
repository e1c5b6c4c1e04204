"""fMoW in tar shards: what is packed is what is read back, image by image, and damage is named and counted."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dvbench import cli
from dvbench.data import packing
from dvbench.data.archives import UnsafeNameError
from dvbench.data.card import Task
from dvbench.data.catalog import is_found
from dvbench.data.folders.fmow import Entry, FMoW, FMoWError
from dvbench.data.loaders import Part, loader
from dvbench.data.make import make
from dvbench.data.pixels import PixelError
from dvbench.data.provenance import verified
from dvbench.data.shards import INDEX, META, ShardError, Shards, ShardWarning
from dvbench.data.verify import verify

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
    """Three shards of them, where the dataset has its train split."""
    packing.pack(entries, tmp_path / "packed/pretrain_list", shards=3)
    return tmp_path / "packed/pretrain_list"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write in this process: starting others takes longer than all else."""

    class Inline:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> "Inline":
            return self

        def __exit__(self, *_: object) -> None: ...
        def shutdown(self, **_: object) -> None: ...
        def submit(self, call: object, *arguments: object) -> "Done":
            return Done(call(*arguments))  # type: ignore[operator]

    class Done:
        def __init__(self, value: object) -> None:
            self.value = value

        def result(self) -> object:
            return self.value

    monkeypatch.setattr(packing, "ProcessPoolExecutor", Inline)


def numbers(samples: FMoW) -> list[int]:
    """Which images there are, told by their boxes."""
    return [int(samples[index]["bbox_xyxy"][0, 0]) for index in range(len(samples))]


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def opened(folder: Path) -> FMoW:
    return FMoW(folder.parent, "train")


# Packing


def test_layout_is_that_of_webdataset(folder: Path, entries: list[Entry]) -> None:
    names = ["00000.tar", "00001.tar", "00002.tar", INDEX, META]
    assert sorted(path.name for path in folder.iterdir()) == names
    told = json.loads((folder / META).read_text())
    assert (told["num_samples"], told["num_shards"]) == (COUNT, 3)
    assert [shard["samples"] for shard in told["shards"]] == [4, 3, 3]
    with tarfile.open(folder / "00000.tar") as shard:
        members = shard.getnames()
        regions = shard.extractfile(members[1])
        assert regions is not None
        assert json.loads(regions.read()).keys() == {"gt_bboxes", "gt_bboxes_labels"}
    assert {name.removesuffix(".jpg").removesuffix(".json") for name in members} <= {entry.key for entry in entries}
    assert [name[-8:] for name in members[:2]] == [".jpg.jpg", "jpg.json"]


def test_images_are_shuffled_by_the_seed(tmp_path: Path, entries: list[Entry]) -> None:
    def packed(name: str, seed: int) -> list[bytes]:
        packing.pack(entries, tmp_path / name, shards=3, seed=seed)
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("*.tar"))]

    first = packed("a", 0)
    assert packed("b", 0) == first
    assert packed("c", 1) != first


def test_an_image_that_is_small_enough_stays_the_file_that_it_was(folder: Path, entries: list[Entry]) -> None:
    image, _ = Shards(folder)[7]
    assert image == entries[7].image.read_bytes()


def test_large_images_shrink_with_their_boxes(
    tmp_path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LONGEST_SIDE", 20)
    packing.pack(entries[4:5], tmp_path / "pretrain_list", shards=1)
    sample = FMoW(tmp_path, "train")[0]
    with Image.open(entries[4].image) as stored:
        expected = stored.resize((20, 15), Image.Resampling.BILINEAR)
    assert torch.equal(sample["image"], torch.from_numpy(np.array(expected)).permute(2, 0, 1).float())
    assert sample["bbox_xyxy"].tolist() == [[2, 1, 6, 4]]


def test_entries_are_left_out_by_the_rule_that_is_asked_for(tmp_path: Path, entries: list[Entry]) -> None:
    boxes = [{"ID": -1, "category": "dam", "box": [1, 2, 8, 6]}]
    boxes += [{"ID": 1, "category": "zoo", "box": [2, 2, 8, 6], "raw_location": ""}]
    entries[0].annotation.write_text(json.dumps({"bounding_boxes": boxes}))
    for rule, left in (("context", [2]), ("raw_location", [1])):
        packing.pack(entries[:1], tmp_path / rule / "pretrain_list", shards=1, left_out=rule)
        assert numbers(FMoW(tmp_path / rule, "train")) == left
    with pytest.raises(ShardError, match=r"by the rule raw_location, not context; dvbench data shards fmow --left-out"):
        FMoW(tmp_path / "raw_location", "train", left_out="context")


def test_what_is_finished_stays_after_an_interruption(tmp_path: Path, entries: list[Entry]) -> None:
    packing.pack(entries, tmp_path / "whole", shards=3)
    stored = entries[0].image.read_bytes()
    entries[0].image.write_bytes(b"no image")
    with pytest.raises(PixelError, match=r"zoo_0_0_rgb\.jpg is no intact image"):
        packing.pack(entries, tmp_path / "out", shards=3)
    assert not list((tmp_path / "out").glob(".*.part"))
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert done
    assert len(done) < 3
    with pytest.raises(ShardError, match=r"no readable meta\.json"):
        Shards(tmp_path / "out")
    entries[0].image.write_bytes(stored)
    packing.pack(entries, tmp_path / "out", shards=3)
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in done} == done
    for path in sorted((tmp_path / "whole").iterdir()):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_another_packing_is_not_mixed_in(folder: Path, entries: list[Entry]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ShardError, match=r"holds shards of another packing \(other seed\)"):
        packing.pack(entries, folder, shards=3, seed=1)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("count", [0, COUNT + 1])
def test_number_of_shards_must_fit(tmp_path: Path, entries: list[Entry], count: int) -> None:
    with pytest.raises(ShardError, match=f"10 images do not fill {count} shards"):
        packing.pack(entries, tmp_path / "out", shards=count)


def test_two_images_of_one_name_are_refused(tmp_path: Path, entries: list[Entry]) -> None:
    with pytest.raises(ShardError, match=r"two images have the name train/zoo/zoo_0/zoo_0_0_rgb\.jpg"):
        packing.pack([*entries, entries[0]], tmp_path / "out", shards=3)


def test_a_full_disk_is_one_line_and_keeps_what_is_finished(
    tmp_path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_one, calls = packing._add, []

    def full(*given: object) -> None:
        calls.append(given)
        if len(calls) > 12:  # in the second shard
            raise OSError(28, "No space left on device")
        add_one(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "_add", full)
    with pytest.raises(ShardError, match=r"out cannot be written \(No space left on device\); what is finished stays"):
        packing.pack(entries, tmp_path / "out", shards=3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.tar", packing.PLAN]


# Reading


def test_shards_hold_the_same_samples_in_the_same_places_as_the_files(tmp_path: Path) -> None:
    make("fmow", tmp_path / "tree", 3, 0)
    assert cli.main(["data", "shards", "fmow", "--root", str(tmp_path / "tree"), "--out", str(tmp_path / "tar")]) == 0
    assert is_found("fmow", tmp_path / "tar")
    for split in ("train", "test"):
        files, shards = FMoW(tmp_path / "tree", split), FMoW(tmp_path / "tar", split)
        assert files.shards is None
        assert shards.shards is not None
        assert [shards.key(index) for index in range(len(shards))] == [entry.key for entry in files.entries]
        for index in range(len(files)):
            one, other = files[index], shards[index]
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_verifying_shards_says_what_they_are_made_of(tmp_path: Path) -> None:
    make("fmow", tmp_path / "tree", 2, 0)
    assert cli.main(["data", "shards", "fmow", "--root", str(tmp_path / "tree"), "--out", str(tmp_path / "tar")]) == 0
    report, found = verified("fmow", tmp_path / "tar")
    assert report.problems == ()
    assert report.opened == {"train": 15, "test": 1}
    assert found.origin == "drawn"
    tree = verified("fmow", tmp_path / "tree")[1]
    assert found.split == tree.split, "the same images, by name"


def drawn(folder: Path, *, world: int = 1, epoch: int = 0) -> list[list[int]]:
    """Positions that each process gets in an epoch."""
    samples = opened(folder)
    loaders = [
        loader(samples, Task.REGION, 4, seed=0, train=True, workers=0, part=Part(rank, world), order=samples.order)
        for rank in range(world)
    ]
    for one in loaders:
        one.sampler.set_epoch(epoch)
    return [[index for draw in one.sampler for index in draw.indices] for one in loaders]


@pytest.mark.parametrize("world", [1, 2])
def test_each_image_comes_once_an_epoch_over_all_processes(folder: Path, world: int) -> None:
    assert sorted(index for one in drawn(folder, world=world) for index in one) == list(range(COUNT))
    assert drawn(folder, world=world, epoch=1) != drawn(folder, world=world)
    one, *rest = drawn(folder, world=world)
    assert (one, *rest) == tuple(drawn(folder, world=world))


def test_shards_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dvbench.data.shards.BUFFER", 20)
    shards = tmp_path / "many"
    shards.mkdir()
    for number in range(10):
        with tarfile.open(shards / f"{number:05d}.tar", "w") as shard:
            for image in range(100):
                add(shard, f"{number}/{image:03d}.jpg", b"")
                add(shard, f"{number}/{image:03d}.json", b"{}")
    (shards / META).write_text(json.dumps({"num_samples": 1000, "num_shards": 10}))
    order = Shards(shards).order(torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(1000))
    shard = order // 100  # sorted by key, so a hundred positions a shard
    firsts = [int((shard == number).nonzero()[0]) for number in range(10)]
    lasts = [int((shard == number).nonzero()[-1]) for number in range(10)]
    assert all(last - first < 100 + 2 * 20 for first, last in zip(firsts, lasts, strict=True))
    assert torch.unique_consecutive(shard).numel() > 20, "and mixed where they meet"
    assert order[shard == 3].tolist() != sorted(order[shard == 3].tolist())


# Damage


def damaged(folder: Path) -> Path:
    return folder / "00001.tar"


def forget(folder: Path) -> None:
    """Make it a folder as the authors' tool leaves it: no index, and counts alone."""
    (folder / INDEX).unlink()
    (folder / META).write_text(json.dumps({"num_samples": COUNT, "num_shards": 3}))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_shard_is_left_out_with_a_count(folder: Path, share: float) -> None:
    path = damaged(folder)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged, and 3 images are left out"):
        samples = opened(folder)
    assert (len(set(numbers(samples))), samples.shards and samples.shards.skipped) == (COUNT - 3, 3)


def test_a_flipped_bit_is_found_by_its_hash_and_mended_by_packing_again(folder: Path, entries: list[Entry]) -> None:
    path = damaged(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (problem,) = (one for one in verify("fmow", folder.parent).problems if "00001.tar is damaged" in one)
    assert problem.endswith("3 images; delete it and run dvbench data shards again, which writes what is missing")
    path.unlink()
    packing.pack(entries, folder, shards=3)
    assert not list(Shards(folder).flaws())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.75])
def test_shards_of_others_are_read_up_to_the_first_damage(folder: Path, share: float) -> None:
    path = damaged(folder)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    forget(folder)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged .*: what follows in it is skipped"):
        samples = opened(folder)
    assert COUNT - 3 <= len(set(numbers(samples))) == len(samples) < COUNT


def test_a_header_broken_in_the_middle_is_not_taken_for_the_end(folder: Path) -> None:
    path = damaged(folder)
    with tarfile.open(path) as shard:
        offset = shard.getmembers()[2].offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(content)
    forget(folder)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged"):
        assert len(opened(folder)) == COUNT - 2


def test_a_file_that_is_no_tar_is_skipped(folder: Path) -> None:
    damaged(folder).write_text("<html>404</html>" * 100)
    forget(folder)
    with pytest.warns(ShardWarning, match=r"00001\.tar is damaged"):
        assert len(opened(folder)) == COUNT - 3


def test_an_index_of_other_shards_is_refused(folder: Path) -> None:
    np.save(folder / INDEX, np.zeros(3))
    with pytest.raises(
        ShardError, match=r"index\.npy is not the index of these shards; delete it, and it is made anew"
    ):
        Shards(folder)


def replaced(folder: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(damaged(folder), "w") as shard:
        for name, content in members:
            add(shard, name, content)
    forget(folder)


@pytest.mark.parametrize(
    ("image", "regions", "message"),
    [
        (b"no image", b'{"gt_bboxes": [], "gt_bboxes_labels": []}', r"00001\.tar: a is no intact JPEG or PNG"),
        (b"", b"{", r"00001\.tar: a has no readable regions"),
        (b"", b'{"gt_bboxes": [[1, 2]], "gt_bboxes_labels": ["zoo"]}', r"a has no readable regions"),
        (b"", b'{"gt_bboxes": [[1, 2, 3, 4]], "gt_bboxes_labels": ["igloo"]}', r"a has the class 'igloo'"),
    ],
)
def test_a_damaged_image_is_named(folder: Path, image: bytes, regions: bytes, message: str) -> None:
    intact = io.BytesIO()
    Image.new("RGB", (4, 4)).save(intact, "PNG")
    replaced(folder, [("a.jpg", image or intact.getvalue()), ("a.json", regions)])
    with pytest.warns(ShardWarning, match="2 images are left out"):  # of three that the folder should hold
        samples = opened(folder)
    with pytest.raises((PixelError, FMoWError), match=message):
        samples[0]


def test_two_images_of_one_name_in_different_shards_are_refused(folder: Path, entries: list[Entry]) -> None:
    replaced(folder, [(f"{entry.key}.{kind}", b"{}") for entry in entries for kind in ("jpg", "json")])
    with pytest.raises(ShardError, match="two images of the name train/zoo/zoo_"):
        Shards(folder)


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "..\\a.jpg"])
def test_member_that_climbs_out_is_refused(folder: Path, name: str) -> None:
    replaced(folder, [(name, b"")])
    with pytest.raises(UnsafeNameError, match=r"00001\.tar names"):
        Shards(folder)


def test_link_in_a_shard_is_refused(folder: Path) -> None:
    link = tarfile.TarInfo("a.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(damaged(folder), "w") as shard:
        shard.addfile(link)
    forget(folder)
    with pytest.raises(UnsafeNameError, match=r"holds the link or device a.jpg"):
        Shards(folder)


def test_missing_folder_and_missing_shard(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ShardError, match=r"nowhere has no readable meta\.json"):
        Shards(tmp_path / "nowhere")
    damaged(folder).unlink()
    with pytest.raises(ShardError, match="has 2 shards of 3; copy the missing ones"):
        Shards(folder)


def test_only_fmow_is_packed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "shards", "uc_merced"]) == 2
    assert "uc_merced is read as it lies; only fmow is packed into shards" in capsys.readouterr().err
