"""Detection: every detector learns on any backbone, and boxes come back in the original's pixels."""

import pytest
import torch

from tasks.detection import Detection, to_original
from tasks.protocol import ProtocolError
from tasks.task import Problem
from tests.tasks.made_up import backbone, boxed_batch, protocol

CLASSES = Problem(("background", "ship", "tree"))
SMALL = {"width": 16, "depth": 1}


def task(kind: str = "fcos", model: str = "resnet18", **keys: object) -> Detection:
    made = protocol("detection", head={"kind": kind, **SMALL}, scores={"ious": [0.5]}, **keys)
    return Detection(backbone(model), CLASSES, made)


@pytest.mark.parametrize("kind", ["fcos", "faster_rcnn", "retinanet"])
def test_a_detector_learns(kind: str) -> None:
    detector, batch = task(kind), boxed_batch()
    optimiser = torch.optim.AdamW(detector.parameters(), 2e-3)
    costs = []
    for _ in range(25):
        torch.manual_seed(0)
        cost = torch.stack(list(detector.losses(batch).values())).sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < 0.7 * costs[0]


@pytest.mark.parametrize("kind", ["fcos", "faster_rcnn", "retinanet"])
@pytest.mark.parametrize("model", ["dynamicvis_t", "deit_t16"])
def test_predictions_are_boxes_scores_and_labels(kind: str, model: str) -> None:
    detector = task(kind, model).eval()
    with torch.inference_mode():
        found = detector.predict({key: boxed_batch()[key] for key in ("image", "size")})
    assert len(found) == 2
    for one in found:
        assert one["boxes"].shape == (len(one["scores"]), 4)
        assert one["labels"].shape == one["scores"].shape
        assert ((one["labels"] >= 1) & (one["labels"] <= 2)).all()


def test_images_without_objects_are_trained_on() -> None:
    batch = boxed_batch()
    batch |= {"bbox_xyxy": [torch.zeros(0, 4)] * 2, "label": [torch.zeros(0, dtype=torch.int64)] * 2}
    for kind in ("fcos", "faster_rcnn", "retinanet"):
        assert all(torch.isfinite(cost) for cost in task(kind).losses(batch).values())


def test_boxes_return_to_the_original_when_it_was_squashed() -> None:
    boxes = to_original(torch.tensor([[16.0, 16, 32, 64]]), (64, 64), torch.tensor([128, 32]))
    assert boxes.tolist() == [[8, 32, 16, 128]]


def test_boxes_return_to_the_original_when_it_was_padded() -> None:
    detector = task(test=({"name": "resize_to_fit", "size": 64},))
    extent = detector.extent(torch.tensor([100, 200]), torch.empty(3, 64, 64))
    assert extent == (32, 64)
    boxes = to_original(torch.tensor([[0.0, 16, 64, 60]]), extent, torch.tensor([100, 200]))
    assert boxes.tolist() == [[0, 50, 200, 187.5]]  # into the padding, as the authors score it


def test_an_unknown_option_of_the_head_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"made_up: head\.depht"):
        Detection(backbone(), CLASSES, protocol("detection", head={"depht": 2}))


def test_a_loss_that_the_task_does_not_have_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"losses\.dice"):
        Detection(backbone(), CLASSES, protocol("detection", losses={"dice": 1.0}))
