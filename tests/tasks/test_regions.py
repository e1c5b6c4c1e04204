"""Regions: the extractor's published size, instance segmentation and region classification."""

import math
from typing import Any

import pytest
import torch

from tasks.groie import Attention, GRoIE
from tasks.instance_segmentation import InstanceSegmentation
from tasks.necks import STRIDES
from tasks.region_classification import RegionClassification
from tasks.task import Problem
from tests.tasks.made_up import backbone, boxed_batch, protocol

CLASSES = Problem(("background", "house", "ship"))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_extractor_and_the_head_have_the_published_number_of_parameters() -> None:
    assert count(GRoIE(7)) == 1_896_961
    task = RegionClassification(backbone(), Problem(tuple(map(str, range(63)))), protocol("region_classification"))
    assert count(task.linear) + count(task.embeddings) + 1 == 32_320


@pytest.mark.parametrize("form", ["clean", "released"])
def test_attention_equals_its_formula_cell_by_cell(form: Attention) -> None:
    """With the released form a cell asks for its distance along y with the query of the cell at (x, y).

    In mmcv/cnn/bricks/generalized_attention.py, attention_type '0100', `proj_query_reshape` is permuted to
    (n, heads, w, h, d) for the term of x, and multiplied with `position_feat_y` as it is then.
    """
    torch.manual_seed(0)
    roi = GRoIE(4, width=64, attention=form).double()
    fused = torch.randn(2, 64, 4, 4, dtype=torch.float64)
    found = roi._attend(fused)

    def encoded(offset: int, layer: torch.nn.Linear) -> torch.Tensor:
        angles = [offset / 1000 ** (i / 16) for i in range(16)]
        both = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)
        return layer(both).reshape(6, 10) / math.sqrt(2)

    queries = roi.query(fused).reshape(2, 6, 10, 4, 4)
    values = roi.value(fused).reshape(2, 6, 10, 4, 4)
    y, x, head = 3, 1, 4
    cells = [(row, column) for row in (0, 2) for column in (0, 2)]
    asked = queries[1, head, :, x, y] if form == "released" else queries[1, head, :, y, x]
    energy = [
        queries[1, head, :, y, x] @ encoded(x - column, roi.geometry_x)[head]
        + asked @ encoded(y - row, roi.geometry_y)[head]
        for row, column in cells
    ]
    weights = torch.stack(energy).softmax(0)
    seen = sum(w * values[1, head, :, row, column] for w, (row, column) in zip(weights, cells, strict=True))
    part = roi.project.weight[:, 40:50, 0, 0] @ seen
    with torch.no_grad():
        roi.project.weight[:, 40:50] = 0  # what is left does not come from this head
    torch.testing.assert_close(found[1, :, y, x] - roi._attend(fused)[1, :, y, x], part)


def test_the_form_of_attention_can_be_chosen_by_the_protocol_and_set_later() -> None:
    for chosen, form in (({}, "released"), ({"attention": "clean"}, "clean")):
        task = InstanceSegmentation(
            backbone(), CLASSES, protocol("instance_segmentation", head={"width": 16, **chosen})
        )
        region = RegionClassification(
            backbone(), CLASSES, protocol("region_classification", head={"width": 16, **chosen})
        )
        assert {task.box_roi.attention, task.mask_roi.attention, region.roi.attention} == {form}
    assert GRoIE(4, width=64).attention == "released"
    torch.manual_seed(0)
    roi, fused = GRoIE(4, width=64, attention="clean"), torch.randn(1, 64, 4, 4)
    clean = roi._attend(fused)
    roi.attention = "released"
    assert not torch.allclose(clean, roi._attend(fused))


def test_the_extractor_starts_as_the_sum_of_the_levels() -> None:
    roi = GRoIE(7, width=16)
    maps = [torch.randn(1, 16, 64 // stride, 64 // stride) for stride in STRIDES]
    boxes = [torch.tensor([[4.0, 4, 40, 52]])]
    assert roi(maps, boxes).shape == (1, 16, 7, 7)
    assert roi(maps, [torch.zeros(0, 4)]).shape == (0, 16, 7, 7)


def learn(task: Any, given: dict[str, Any], steps: int) -> tuple[float, float]:
    optimiser, costs = torch.optim.AdamW(task.parameters(), 2e-3), []
    for step in range(steps):
        torch.manual_seed(step % 3)
        cost = torch.stack(list(task.losses(given).values())).sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    return costs[0], costs[-1]


@pytest.mark.parametrize("model", ["resnet18", "dynamicvis_t"])
def test_region_classification_learns_and_predicts_each_box(model: str) -> None:
    task = RegionClassification(backbone(model), CLASSES, protocol("region_classification", head={"width": 32}))
    given = boxed_batch()
    first, last = learn(task, given, 20)
    assert last < 0.7 * first
    found = task.predict(given)
    assert [p["logits"].shape for p in found] == [(2, 3), (0, 3)]


def instances(extractor: str, model: str = "resnet18") -> InstanceSegmentation:
    head = {"extractor": extractor, "width": 16, "hidden": 32, "proposals": [100, 50, 50], "samples": 64}
    return InstanceSegmentation(backbone(model), CLASSES, protocol("instance_segmentation", head=head))


def masked_batch() -> dict[str, Any]:
    given = boxed_batch()
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, given["bbox_xyxy"][0].int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return given | {"mask": [masks, torch.zeros(0, 64, 64, dtype=torch.uint8)]}


@pytest.mark.parametrize("extractor", ["groie", "align"])
def test_instance_segmentation_learns(extractor: str) -> None:
    first, last = learn(instances(extractor), masked_batch(), 25)
    assert last < 0.8 * first


def test_instances_come_back_at_the_original_size() -> None:
    task = instances("groie", "dynamicvis_t").eval()
    with torch.inference_mode():
        found = task.predict({"image": masked_batch()["image"], "size": torch.tensor([[64, 64], [32, 100]])})
    for one, sides in zip(found, [(64, 64), (32, 100)], strict=True):
        assert one["masks"].shape == (len(one["scores"]), *sides)
        assert one["masks"].dtype == torch.bool
        assert one["boxes"].shape == (len(one["scores"]), 4)


def test_images_without_instances_are_trained_on() -> None:
    given = masked_batch()
    given["bbox_xyxy"], given["label"] = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    given["mask"] = [torch.zeros(0, 64, 64, dtype=torch.uint8)] * 2
    assert all(torch.isfinite(cost) for cost in instances("align").losses(given).values())
