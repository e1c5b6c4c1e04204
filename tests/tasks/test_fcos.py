"""FCOS: which point finds which box, the losses, and decoding as the inverse of the targets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from tasks.fcos import RANGES, FCOSHead, centerness_of, decode, losses, points, targets
from tasks.necks import STRIDES
from tasks.torchvision_detectors import DetectorOptions


def maps(side: int = 128) -> list[torch.Tensor]:
    return [torch.zeros(1, 8, side // stride, side // stride) for stride in STRIDES]


def slow_targets(centre: torch.Tensor, level: int, boxes: torch.Tensor, labels: torch.Tensor) -> int:
    """Label of one point by the rules, box by box."""
    best, found = float("inf"), 0
    x, y = centre.tolist()
    for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
        sides = (x - left, y - top, right - x, bottom - y)
        reach = 1.5 * STRIDES[level]
        near = abs(x - (left + right) / 2) < reach and abs(y - (top + bottom) / 2) < reach and min(sides) > 0
        area = (right - left) * (bottom - top)
        if near and RANGES[level][0] <= max(sides) <= RANGES[level][1] and area < best:
            best, found = area, label
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_targets_follow_the_rules(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 90
    boxes = torch.cat([corners, corners + 3 + torch.rand(count, 2, generator=generator) * 35], 1)
    labels = torch.randint(1, 5, (count,), generator=generator)
    centres, levels = points(maps())
    found, distances = targets(centres, levels, boxes, labels)
    some = torch.randint(len(centres), (200,), generator=generator).tolist() + found.nonzero().flatten().tolist()
    assert [found[i].item() for i in some] == [slow_targets(centres[i], int(levels[i]), boxes, labels) for i in some]
    assert (distances[found > 0] > 0).all()


def perfect(boxes: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found, distances = targets(*points(maps()), boxes, labels)
    logits = torch.full((1, len(found), classes), -9.0)
    logits[0, found > 0, found[found > 0] - 1] = 9.0
    centerness = torch.logit(centerness_of(distances).nan_to_num(0), eps=1e-4)
    return logits, distances[None], centerness[None]


def test_decoding_undoes_the_targets() -> None:
    boxes = torch.tensor([[10.0, 12, 30, 26], [40, 50, 110, 120], [80, 8, 90, 20]])
    labels = torch.tensor([2, 1, 3])
    (found,) = decode(perfect(boxes, labels, 3), *points(maps()), (128, 128), DetectorOptions())
    best = box_iou(boxes, found["boxes"]).max(1)
    assert (best.values > 0.99).all()
    assert found["labels"][best.indices].tolist() == labels.tolist()
    assert found["scores"].diff().le(0).all()


def test_what_clipping_leaves_empty_is_no_detection() -> None:
    """test_cfg: min_bbox_size=0, and mmdet's _bbox_post_process keeps boxes whose sides are greater."""
    centres, levels = points(maps())
    logits = torch.full((1, len(centres), 1), -9.0)
    distances = torch.full((1, len(centres), 4), 5.0)
    logits[0, :3] = 9.0
    distances[0, 0] = torch.tensor([0.0, 4, 0, 4])
    distances[0, 1] = torch.tensor([4.0, 0, 4, 0])
    (found,) = decode((logits, distances, torch.zeros(1, len(centres))), centres, levels, (128, 128), DetectorOptions())
    assert found["boxes"].tolist() == [[5, 0, 15, 7]]


def test_losses_are_those_worked_out_by_hand() -> None:
    """Of two points one is positive, and nothing is known of either.

    FocalLoss, alpha 0.25, gamma 2: (0.25 + 0.75) * 0.5² * log 2 over one positive. GIoULoss of the box with sides
    (2, 2, 2, 2) against (4, 4, 4, 4): 1 - 16/64, weighted by and divided by the centerness. Centerness: log 2.
    """
    outputs = (torch.zeros(1, 2, 1), torch.full((1, 2, 4), 2.0), torch.zeros(1, 2))
    cost = losses(outputs, torch.tensor([[1, 0]]), torch.full((1, 2, 4), 4.0))
    assert cost["classification"].item() == pytest.approx(0.25 * math.log(2))
    assert cost["box"].item() == pytest.approx(0.75)
    assert cost["centerness"].item() == pytest.approx(math.log(2))


def test_perfect_outputs_cost_next_to_nothing() -> None:
    boxes, labels = torch.tensor([[10.0, 12, 30, 26]]), torch.tensor([1])
    found, distances = targets(*points(maps()), boxes, labels)
    logits, sides, _ = perfect(boxes, labels, 2)
    cost = losses((logits, sides, torch.zeros(1, len(found))), found[None], distances[None])
    assert cost["classification"] < 1e-3
    assert cost["box"].abs() < 1e-5


def test_images_without_boxes_cost_something_finite_and_can_be_learned_from() -> None:
    head = FCOSHead(2, 8, 1)
    current = [torch.randn(1, 8, 128 // s, 128 // s) for s in STRIDES]
    found, distances = targets(*points(current), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    cost = losses(head(current), found[None], distances[None])
    torch.stack(list(cost.values())).sum().backward()
    assert all(torch.isfinite(value) for value in cost.values())
    assert cost["box"] == cost["centerness"] == 0
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_an_untrained_head_gives_every_class_the_prior() -> None:
    logits, distances, centerness = FCOSHead(3, 8, 2)([torch.zeros(2, 8, 128 // s, 128 // s) for s in STRIDES])
    assert logits.shape[2] == 3
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=1e-3)
    assert (distances >= 0).all()
    assert centerness.shape == logits.shape[:2]
