"""fMoW into tar shards: what is written, what an interruption leaves, and what is refused."""

import json
import tarfile
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dvbench import cli
from dvbench.data import packing
from dvbench.data.folders.fmow import Entry, FMoW
from dvbench.data.pixels import PixelError
from dvbench.data.shards import INDEX, META, ShardError, Shards
from tests.data.packed import COUNT, numbers

pytestmark = pytest.mark.usefixtures("in_this_process")


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
    monkeypatch.setattr(packing, "LONGEST_SIDE", 21)
    packing.pack(entries[4:5], tmp_path / "pretrain_list", shards=1)
    sample = FMoW(tmp_path, "train")[0]
    with Image.open(entries[4].image) as stored:
        expected = stored.resize((21, 16), Image.Resampling.BILINEAR)  # of 40 x 30
    assert torch.equal(sample["image"], torch.from_numpy(np.array(expected)).permute(2, 0, 1).float())
    across, down = 21 / 40, 16 / 30  # whole pixels, so not quite the same
    torch.testing.assert_close(sample["bbox_xyxy"], torch.tensor([[4 * across, 2 * down, 12 * across, 8 * down]]))


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


def test_shards_whose_packing_nobody_tells_are_not_taken_over(folder: Path, entries: list[Entry]) -> None:
    (folder / META).unlink()
    with pytest.raises(ShardError, match=r"holds shards of another packing \(other num_samples, .*listing\)"):
        packing.pack(entries, folder, shards=3)


def test_a_killed_process_is_one_line(tmp_path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> Future[None]:
        raise BrokenProcessPool("a child process terminated abruptly")

    monkeypatch.setattr(packing, "_shard", killed)
    with pytest.raises(ShardError, match="out was killed: run it again, with fewer --workers"):
        packing.pack(entries, tmp_path / "out", shards=3)


def test_only_fmow_is_packed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "shards", "uc_merced"]) == 2
    assert "uc_merced is read as it lies; only fmow is packed into shards" in capsys.readouterr().err
