"""fMoW in tar shards: what was packed is read back image by image, and damage is named and counted."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
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
from dvbench.data.names import sample_names
from dvbench.data.pixels import PixelError
from dvbench.data.provenance import verified
from dvbench.data.shards import INDEX, META, ShardError, Shards, ShardWarning
from dvbench.data.verify import verify
from dvbench.training.batches import Source
from tasks.protocol import load
from tests.data.packed import COUNT, add, numbers

pytestmark = pytest.mark.usefixtures("in_this_process")


def opened(folder: Path) -> FMoW:
    return FMoW(folder.parent, "train")


def test_shards_hold_the_same_samples_in_the_same_places_as_the_files(tmp_path: Path) -> None:
    make("fmow", tmp_path / "tree", 3, 0)
    assert cli.main(["data", "shards", "fmow", "--root", str(tmp_path / "tree"), "--out", str(tmp_path / "tar")]) == 0
    assert is_found("fmow", tmp_path / "tar")
    for split in ("train", "test"):
        files, shards = FMoW(tmp_path / "tree", split), FMoW(tmp_path / "tar", split)
        assert files.shards is None
        assert shards.shards is not None
        assert [shards.shards.key(index) for index in range(len(shards))] == [entry.key for entry in files.entries]
        assert sample_names(shards) == sample_names(files)
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


def test_training_takes_images_in_the_order_of_their_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = opened(folder)
    monkeypatch.setattr(Source, "samples", lambda *_, **__: samples)
    assert Source(load("fmow")).train(4).sampler.order == samples.order  # type: ignore[attr-defined]


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
    with pytest.warns(ShardWarning, match=r"size than was written: 00001\.tar; 3 images are left out"):
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


def test_the_record_of_a_run_counts_what_damaged_shards_lack(tmp_path: Path, entries: list[Entry]) -> None:
    """As images that are missing from the published number, which keeps the run apart from the paper's row."""
    for split, shards in (("pretrain_list", 3), ("test_2w_list", 1)):
        renamed = [replace(entry, key=f"{split}/{entry.key}") for entry in entries]
        packing.pack(renamed, tmp_path / "fmow_tar" / split, shards=shards)
    whole = verified("fmow", tmp_path / "fmow_tar")[1]
    damaged(tmp_path / "fmow_tar/pretrain_list").write_bytes(b"")
    report, short = verified("fmow", tmp_path / "fmow_tar")
    assert (whole.origin, whole.how) == ("incomplete", "images are missing: 1,027,681 of train, 19,990 of test")
    assert (short.origin, short.how) == ("incomplete", "images are missing: 1,027,684 of train, 19,990 of test")
    assert any("00001.tar is damaged: 3 images" in problem for problem in report.problems)
