"""Pretrained weights in tasks: pyramid, extractor and classifier are filled where a task has them, and it is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.dynamicvis import DynamicVis
from models.sources import WeightsError
from models.weights import load_weights
from tasks.roster import task as find_task
from tasks.task import Problem, Task
from tests.models.test_weights import official, tiny
from tests.oracles.plain import shaken
from tests.tasks.made_up import boxed_batch, protocol

WIDTH = 32
PYRAMID, EXTRACTOR = 16, 9  # tensors of four levels, and of GRoIE
HEADS: dict[str, dict[str, Any]] = {
    "region_classification": {"width": WIDTH},
    "detection": {"width": WIDTH, "depth": 1},
    "instance_segmentation": {"width": WIDTH, "hidden": 16},
    "semantic_segmentation": {"neck_width": WIDTH, "width": 16, "auxiliary_width": 16},
    "change_detection": {"width": WIDTH},
    "classification": {},
}
#: The authors' names for what a `DynamicVisPretrainClassifier` has besides its backbone, part by part.
THEIRS = (
    ("neck.lateral.{}.", "pre_neck.lateral_convs.{}.conv."),
    ("neck.output.{}.", "pre_neck.fpn_convs.{}.conv."),
    ("roi.pre.", "neck.pre_module.conv."),
    ("roi.query.", "neck.post_module.query_conv."),
    ("roi.value.", "neck.post_module.value_conv."),
    ("roi.geometry_x.", "neck.post_module.appr_geom_fc_x."),
    ("roi.geometry_y.", "neck.post_module.appr_geom_fc_y."),
    ("roi.project.", "neck.post_module.proj_conv."),
    ("roi.gamma", "neck.post_module.gamma"),
    ("linear.", "head.fc."),
    ("embeddings.", "head.category_embedding."),
    ("logit_scale", "head.logit_scale"),
)


def made(name: str, seed: int = 0, classes: int = 3, **head: Any) -> Task:
    backbone = tiny(seed)
    names = tuple(map(str, range(classes)))
    chosen = protocol(name, head=HEADS[name] | head, select={"metric": "f1", "split": "val"})
    return find_task(name)(backbone, Problem(names), chosen).eval()


def pretraining(task: Task) -> dict[str, Tensor]:
    """Name the weights of a region classifier as the authors do."""
    assert isinstance(task.backbone, DynamicVis)
    state = {key: value for key, value in task.state_dict().items() if not key.startswith("backbone.")}
    named: dict[str, Tensor] = dict(official(task.backbone))
    for ours, theirs in THEIRS:
        for level in range(4) if "{}" in ours else (0,):
            start = ours.format(level)
            taken = [key for key in state if key.startswith(start)]
            named |= {theirs.format(level) + key.removeprefix(start): state.pop(key) for key in taken}
    assert not state
    return named


@pytest.fixture
def source() -> Task:
    task = made("region_classification")
    shaken(task)
    return task


@pytest.fixture
def checkpoint(source: Task, tmp_path: Path) -> str:
    torch.save({"state_dict": pretraining(source), "meta": {"epoch": 200}}, tmp_path / "epoch_200.pth")
    return str(tmp_path / "epoch_200.pth")


@torch.no_grad()
def test_all_of_the_authors_pretraining_goes_into_the_task_of_pretraining(source: Task, checkpoint: str) -> None:
    copy = made("region_classification", seed=1)
    report = load_weights(copy, checkpoint)
    assert (report.missing, report.unexpected) == ((), ())
    told = {part: len(keys["used"]) for part, keys in report.by_part().items()}
    assert told == {
        "backbone": len(source.backbone.state_dict()),
        "pyramid": PYRAMID,
        "extractor": EXTRACTOR,
        "head": 4,
    }
    assert "roi attends in the released form, as these weights were trained" in report.notes
    batch = boxed_batch()
    ours, theirs = copy.predict(batch), source.predict(batch)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one["logits"], other["logits"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "pyramid", "extractor"),
    [
        ("detection", PYRAMID, 0),
        ("instance_segmentation", PYRAMID, 2 * EXTRACTOR),  # once for boxes, once for masks
        ("semantic_segmentation", PYRAMID, 0),
        ("change_detection", PYRAMID, 0),
        ("classification", 0, 0),
    ],
)
@pytest.mark.parametrize("kind", ["official", "ours"])
def test_other_tasks_take_what_they_have_a_place_for(
    name: str, pyramid: int, extractor: int, kind: str, source: Task, checkpoint: str, tmp_path: Path
) -> None:
    if kind == "ours":  # as `best.ckpt` of a run
        checkpoint = str(tmp_path / "best.ckpt")
        torch.save({"state_dict": source.state_dict(), "optimizer_states": [{"state": {}}]}, checkpoint)
    task = made(name, seed=1)
    report = load_weights(task, checkpoint)
    assert report.complete
    parts = report.by_part()
    assert len(parts.get("pyramid", {"used": ()})["used"]) == pyramid
    assert len(parts.get("extractor", {"used": ()})["used"]) == extractor
    assert len(parts["pyramid"]["unexpected"]) == (0 if pyramid else PYRAMID)
    assert len(parts["extractor"]["unexpected"]) == (0 if extractor else EXTRACTOR)
    own, given = task.state_dict(), source.state_dict()
    for key in report.used:
        assert torch.equal(own[key], given[key.replace("box_roi", "roi").replace("mask_roi", "roi")]), key


def test_an_extractor_that_attends_otherwise_than_in_training_is_told(checkpoint: str) -> None:
    task = made("region_classification", seed=1, attention="clean")
    told = "roi attends in the clean form, these weights were trained in the released one: head.attention"
    assert told in load_weights(task, checkpoint).notes
    assert task.roi.attention == "clean"  # type: ignore[union-attr]


def test_another_number_of_classes_leaves_the_whole_layer_out(checkpoint: str) -> None:
    task = made("region_classification", seed=1, classes=5)
    report = load_weights(task, checkpoint)
    assert "left out, made for another size: embeddings, linear" in report.notes
    assert report.by_part()["head"]["used"] == ["logit_scale"]
    assert set(report.missing) == {"linear.weight", "linear.bias", "embeddings.weight"}


def test_a_pyramid_of_another_width_is_refused_and_changes_nothing(checkpoint: str) -> None:
    task = made("semantic_segmentation", seed=1, neck_width=2 * WIDTH)
    before = {key: value.clone() for key, value in task.state_dict().items()}
    with pytest.raises(
        WeightsError, match=r"'pre_neck\.lateral_convs\.0\.conv\.weight' is \(32.*\(64.*neck_width"
    ) as told:
        load_weights(task, checkpoint)
    assert "\n" not in str(told.value)
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())
