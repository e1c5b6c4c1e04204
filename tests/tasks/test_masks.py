"""Masks as mmdet 3.2.0 learns and pastes them: aligned to the pixel, at boxes that are not rounded.

`crop_and_resize` of mmdet/structures/mask/structures.py, and `_do_paste_mask` of fcn_mask_head.py.
"""

import math

import pytest
import torch
from torch import Tensor

from tasks.masks import MaskHead, mask_loss, mask_targets, paste

SIDE = 64


def ship(length: int, left: float = 9, top: float = 13) -> tuple[Tensor, Tensor]:
    """An oval of `length` x `length` / 2 px whose pixels fill its box: its mask, and the box around it, one of each."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    wide, high = length / 2, length / 4
    mask = ((x - left - wide) / wide) ** 2 + ((y - top - high) / high) ** 2 < 1
    rows, columns = mask.nonzero(as_tuple=True)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return mask[None], torch.stack(corners)[None].float()


def overlap(one: Tensor, other: Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(("length", "reachable"), [(8, 1), (16, 1), (32, 0.98)])
def test_a_mask_learned_perfectly_comes_back(length: int, reachable: float) -> None:
    """The best that a head of 28 x 28 cells can reach with the true box; torchvision's ways reach 0.68, 0.81, 0.92."""
    mask, box = ship(length)
    perfect = mask_targets(mask.to(torch.uint8), box, torch.tensor([0]))
    assert overlap(paste(perfect, box, (SIDE, SIDE)), mask) >= reachable


def test_targets_are_the_mean_of_a_cell_rounded() -> None:
    """Of a box of 28 px, from 4 to 32, what is left of 18 is covered: 14 cells of 1 px each, and none in between."""
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, :18] = 1
    targets = mask_targets(mask, torch.tensor([[4.0, 4, 32, 32]]), torch.tensor([0]))
    assert targets.shape == (1, 28, 28)
    assert targets[0].tolist() == [[1.0] * 14 + [0.0] * 14] * 28


def test_a_cell_that_is_half_covered_counts_and_one_of_a_quarter_does_not() -> None:
    """Cells of 2 px from 4 px on, a square up to 17 px: six are covered, the seventh by half, by less in its corner."""
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :17, :17] = 1
    (targets,) = mask_targets(mask, torch.tensor([[4.0, 4, 60, 60]]), torch.tensor([0]))
    assert targets.sum(1).tolist() == [7] * 6 + [6] + [0] * 21


def test_a_region_is_held_against_the_truth_that_it_stands_for() -> None:
    masks = torch.stack([torch.zeros(SIDE, SIDE), torch.ones(SIDE, SIDE)]).to(torch.uint8)
    box = torch.tensor([[8.0, 8, 20, 20]])
    targets = mask_targets(masks, box.repeat(3, 1), torch.tensor([1, 0, 1]))
    assert targets.mean(dim=(1, 2)).tolist() == [1, 0, 1]
    assert mask_targets(masks, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).shape == (0, 28, 28)


def test_a_region_that_sticks_out_is_clipped_first() -> None:
    """Clipped to 0 to 14 px, of which the left 7 are covered: half of the cells. Unclipped it would be a quarter."""
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, :7] = 1
    targets = mask_targets(mask, torch.tensor([[-14.0, 0, 14, 14]]), torch.tensor([0]))
    assert targets[0].sum(1).tolist() == [14] * 28


def test_a_full_mask_is_pasted_where_at_least_half_a_pixel_lies_in_its_box() -> None:
    """Pixel centres at 10.5 to 13.5 lie inside 10.4 to 13.9; beyond the border a mask fades within half a cell."""
    drawn = paste(torch.ones(1, 28, 28), torch.tensor([[10.4, 20.6, 13.9, 24.4]]), (SIDE, SIDE))
    rows, columns = drawn[0].nonzero(as_tuple=True)
    assert (rows.unique().tolist(), columns.unique().tolist()) == ([21, 22, 23], [10, 11, 12, 13])


def test_masks_that_stick_out_are_cut_and_empty_ones_draw_nothing() -> None:
    boxes = torch.tensor([[-5.0, -3, 4, 2], [60, 60, 80, 90], [70, 70, 90, 90], [-20, 3, -4, 9], [7, 7, 7, 20]])
    drawn = paste(torch.ones(5, 28, 28), boxes, (SIDE, 62))
    assert drawn.shape == (5, SIDE, 62)
    assert drawn.flatten(1).sum(1).tolist() == [4 * 2, 2 * 4, 0, 0, 0]
    assert drawn[0, :2, :4].all()


def test_pasting_interpolates_between_cells() -> None:
    """A mask that rises from 0 to 1 over its columns reaches a half in its middle, wherever the box lies."""
    rising = torch.linspace(0, 1, 28).expand(1, 28, 28)
    drawn = paste(rising, torch.tensor([[10.0, 10, 38, 20]]), (SIDE, SIDE))[0]
    assert drawn[12].nonzero().flatten().tolist() == list(range(24, 38))
    moved = paste(rising, torch.tensor([[10.7, 10, 38.7, 20]]), (SIDE, SIDE))[0]
    assert moved[12].nonzero()[0].item() == 25


def value(mask: Tensor, box: Tensor, row: int, column: int) -> float:
    """A mask between the centres of its cells, at the centre of a pixel; 0 outside of them."""
    left, top, right, bottom = box.tolist()
    x, y = (column + 0.5 - left) / (right - left) * 28 - 0.5, (row + 0.5 - top) / (bottom - top) * 28 - 0.5
    corners = [(i, j) for i in (math.floor(y), math.floor(y) + 1) for j in (math.floor(x), math.floor(x) + 1)]
    return sum(
        float(mask[i, j]) * (1 - abs(y - i)) * (1 - abs(x - j)) for i, j in corners if 0 <= i < 28 and 0 <= j < 28
    )


def test_each_pixel_takes_the_value_at_its_centre() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[2.3, 1.7, 9.1, 6.4], [-3.2, 4.9, 17.6, 40.1]], dtype=torch.float64)
    masks = torch.rand(2, 28, 28, dtype=torch.float64)
    for mask, box, drawn in zip(masks, boxes, paste(masks, boxes, (24, 20)), strict=True):
        expected = [[value(mask, box, row, column) >= 0.5 for column in range(20)] for row in range(24)]
        assert drawn.tolist() == expected


def test_an_undecided_mask_costs_log_2_and_none_costs_nothing() -> None:
    """loss_mask: CrossEntropyLoss with use_mask, the mean over all cells of all regions."""
    assert mask_loss(torch.zeros(3, 28, 28), torch.rand(3, 28, 28).round()).item() == pytest.approx(math.log(2))
    assert mask_loss(torch.zeros(0, 28, 28), torch.zeros(0, 28, 28)) == 0


def test_each_region_gets_the_mask_of_its_class() -> None:
    head, regions = MaskHead(8, 4), torch.randn(3, 8, 14, 14)
    every = head.masks(head.enlarge(head.convolutions(regions)))
    chosen = head(regions, torch.tensor([3, 1, 2]))
    for one, all_of_them, channel in zip(chosen, every, (2, 0, 1), strict=True):
        torch.testing.assert_close(one, all_of_them[channel])
    assert chosen.shape == (3, 28, 28)
