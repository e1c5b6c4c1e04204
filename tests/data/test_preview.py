"""The contact sheet shows each kind of label where it belongs, in the colour that the legend gives it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dvbench.data.card import IGNORE, Card, Task, UnknownSplitError
from dvbench.data.catalog import CATALOG
from dvbench.data.contact import SIDE, Panel, lay_out
from dvbench.data.make import make
from dvbench.data.preview import Key, panels, sheet

GREY = torch.full((3, 64, 64), 100.0)
BOX = torch.tensor([[16.0, 16.0, 32.0, 48.0]])
SCALE = SIDE // 64


def card(name: str) -> Card:
    return CATALOG[name].card


def drawn(sample: dict[str, Any], of: Card) -> list[Panel]:
    return panels(sample, Key(of, [sample]), "#0")


def pixels(panel: Panel) -> NDArray[np.uint8]:
    return np.asarray(panel.picture)


def untouched(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (picture == 100).all(axis=-1)
    return inside


def test_boxes_are_drawn_around_objects_and_do_not_hide_them() -> None:
    (panel,) = drawn({"image": GREY, "bbox_xyxy": BOX, "label": torch.tensor([1])}, card("levir_ship"))
    picture = pixels(panel)
    left, top, right, bottom = (int(value) * SCALE for value in BOX[0])
    assert untouched(picture[top:bottom, left:right]).all()
    colour = Key(card("levir_ship"), [])[1]
    for edge in (picture[top:bottom, left - 1], picture[top:bottom, right], picture[bottom, left:right]):
        assert (edge == colour).all()
    assert panel.caption == "#0: 1 objects"


def test_few_objects_are_named_and_many_are_not() -> None:
    def inked(count: int) -> int:
        sample = {"image": GREY, "bbox_xyxy": BOX.repeat(count, 1), "label": torch.ones(count, dtype=torch.int64)}
        return int((~untouched(pixels(drawn(sample, card("levir_ship"))[0]))).sum())

    assert inked(2) > inked(20) + 300


def test_masks_of_objects_are_tinted_in_place() -> None:
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[0, 16:48, 16:32] = 1
    sample = {"image": GREY, "bbox_xyxy": BOX, "label": torch.tensor([1]), "mask": mask}
    picture = pixels(drawn(sample, card("ssdd"))[0])
    assert not untouched(picture[16 * SCALE : 48 * SCALE, 16 * SCALE : 32 * SCALE]).any()
    assert untouched(picture[40 * SCALE :, 40 * SCALE :]).all()


def test_a_mask_lies_beside_its_image_and_leaves_the_background_as_it_is() -> None:
    mask = torch.zeros(64, 64, dtype=torch.int64)
    mask[:32], mask[60:] = 1, IGNORE
    image, labels = drawn({"image": GREY, "mask": mask}, card("whu_building"))
    assert untouched(pixels(image)).all()
    picture = pixels(labels)
    assert not untouched(picture[: 32 * SCALE]).any()
    assert untouched(picture[32 * SCALE : 60 * SCALE]).all()
    assert len({tuple(picture[row, 0]) for row in (0, 40 * SCALE, 62 * SCALE)}) == 3


def test_dates_lie_side_by_side() -> None:
    image = torch.stack([GREY, GREY + 50])
    shown = drawn({"image": image, "mask": torch.ones(64, 64, dtype=torch.int64)}, card("levir_cd"))
    assert [panel.caption for panel in shown] == ["#0: before", "#0: after", "#0: labels"]
    assert [int(pixels(panel)[0, 0, 0]) for panel in shown[:2]] == [100, 150]


def test_classes_are_named_below() -> None:
    assert drawn({"image": GREY, "label": torch.tensor(3)}, card("uc_merced"))[0].caption == "#0: mediumresidential"
    several = torch.tensor([1, 0, 1] + [0] * 8)
    caption = drawn({"image": GREY, "label": several}, card("synthetic_retrieval"))[0].caption
    assert caption == "#0: ground, field"
    assert drawn({"image": GREY, "label": several * 0}, card("synthetic_retrieval"))[0].caption == "#0: no label"


def test_multispectral_images_are_shown_in_true_colour() -> None:
    image = torch.zeros(12, 64, 64)
    image[3, :, 32:], image[2, :32] = 4000, 4000  # B04 is red, B03 green
    picture = pixels(drawn({"image": image, "label": torch.zeros(43)}, card("bigearthnet"))[0])
    assert picture[-1, -1].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [0, 255, 0]


class TestKey:
    def test_lists_what_is_seen_but_not_the_background(self) -> None:
        sample = {"mask": torch.tensor([[0, 1], [1, IGNORE]])}
        assert [name for name, _ in Key(card("levir_cd"), [sample]).entries] == ["changed", "ignored"]

    def test_gives_few_classes_the_same_colours_on_every_sheet(self) -> None:
        boxes = {"bbox_xyxy": BOX, "label": torch.tensor([5])}
        assert Key(card("synthetic_detection"), [boxes])[5] == Key(card("synthetic_detection"), [])[5]

    def test_gives_many_classes_colours_of_their_own(self) -> None:
        boxes = {"bbox_xyxy": BOX.repeat(3, 1), "label": torch.tensor([2, 14, 26])}
        key = Key(card("fmow"), [boxes])
        assert len({key[label] for label in (2, 14, 26)}) == 3


class TestLayOut:
    def test_puts_as_many_groups_into_a_row_as_fit(self) -> None:
        panel = Panel(Image.new("RGB", (SIDE, SIDE)), "caption")
        single = lay_out("Title", [[panel]] * 5, [])
        pairs = lay_out("Title", [[panel] * 3] * 2, [])
        assert single.width > 4 * SIDE
        assert single.height < 3 * SIDE
        assert 3 * SIDE < pairs.width < 4 * SIDE

    def test_long_captions_and_legends_stay_on_the_page(self) -> None:
        panel = Panel(Image.new("RGB", (SIDE, SIDE)), "caption " * 100)
        page = np.asarray(lay_out("Title", [[panel]], [("a long name of a class", (9, 9, 9))] * 9))
        assert (page[:, -1] == 255).all()
        assert (page[-2:] == 255).all()


def test_samples_are_spread_over_the_split_and_no_more_than_there_are() -> None:
    assert sheet("neon_trees", "val", 2).width == sheet("neon_trees", "test", 2).width
    assert sheet("neon_trees", "val", 99).size == sheet("neon_trees", "val", 4).size


@pytest.mark.parametrize("task", Task)
def test_every_kind_of_label_can_be_drawn(task: Task) -> None:
    assert sheet(f"synthetic_{task}", count=1).width > SIDE


def test_the_same_sheet_comes_again() -> None:
    assert sheet("neon_trees", "val", 1) == sheet("neon_trees", "val", 1)


def test_a_made_dataset_is_called_synthetic(tmp_path: Path) -> None:
    make("ssdd", tmp_path / "ssdd", 1)
    marked = np.asarray(sheet("ssdd", root=tmp_path / "ssdd"))
    (tmp_path / "ssdd" / "SYNTHETIC.txt").unlink()
    plain = np.asarray(sheet("ssdd", root=tmp_path / "ssdd"))
    title = np.s_[:40]
    assert (marked[title] < 128).sum() > (plain[title] < 128).sum()
    assert np.array_equal(marked[40:], plain[40:])


def test_unknown_split() -> None:
    with pytest.raises(UnknownSplitError):
        sheet("neon_trees", "all")
