"""Average precision agrees with pycocotools on random detections."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks.average_precision import AveragePrecision, PrecisionOptions
from tasks.task import Batch, Prediction

SIDE = 120


def random_boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    corner = rng.uniform(0, SIDE - 60, (count, 2))
    return torch.tensor(np.hstack([corner, corner + rng.uniform(4, 60, (count, 2))]), dtype=torch.float32)


def filled(boxes: torch.Tensor) -> torch.Tensor:
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
        mask[top : top + 2, left : left + 2] = 0
    return masks


def scenes(seed: int, images: int, classes: int) -> list[tuple[Prediction, Batch]]:
    """Truth, and detections that are partly moved truth and partly noise; some images have neither."""
    rng = np.random.default_rng(seed)
    drawn = []
    for i in range(images):
        true = random_boxes(rng, 0 if i % 5 == 0 else int(rng.integers(1, 6)))
        labels = torch.tensor(rng.integers(1, classes, len(true)))
        noise = random_boxes(rng, int(rng.integers(0, 4)))
        moved = true + torch.tensor(rng.normal(0, 3, true.shape), dtype=torch.float32)
        boxes = torch.cat([moved, noise]).clamp(0, SIDE)
        boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
        found = {
            "boxes": boxes,
            "scores": torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
            "labels": torch.cat([labels, torch.tensor(rng.integers(1, classes, len(noise)))]),
            "masks": filled(boxes).bool(),
        }
        size = torch.tensor([[SIDE, SIDE]])
        drawn.append((found, {"bbox_xyxy": [true], "label": [labels], "mask": [filled(true)], "size": size}))
    return drawn


def taken_in(drawn: list[tuple[Prediction, Batch]], classes: int, **options: Any) -> AveragePrecision:
    scores = AveragePrecision(classes, PrecisionOptions(**options))
    for found, batch in drawn:
        scores.update([found], batch)
    return scores


def reference(drawn: list[tuple[Prediction, Batch]], classes: int, kind: str, areas: list[list[float]]) -> np.ndarray:
    truths, detections = [], []
    for number, (found, batch) in enumerate(drawn, start=1):
        true = {key: batch[key][0] for key in ("bbox_xyxy", "label", "mask")}
        for iscrowd, part in enumerate((true, batch["crowd"][0] if "crowd" in batch else {})):
            for box, label, mask in zip(*part.values(), strict=True):
                left, top, right, bottom = box.double().tolist()
                area = float(mask.sum()) if kind == "segm" else (right - left) * (bottom - top)
                code = coco_mask.encode(np.asfortranarray(mask.numpy()))
                truths.append(
                    {"id": len(truths) + 1, "image_id": number, "category_id": int(label), "iscrowd": iscrowd}
                    | {"area": area, "bbox": [left, top, right - left, bottom - top], "segmentation": code}
                )
        for box, score, label, mask in zip(
            *(found[key] for key in ("boxes", "scores", "labels", "masks")), strict=True
        ):
            left, top, right, bottom = box.double().tolist()
            detections.append(
                {"image_id": number, "category_id": int(label), "score": float(score)}
                | {"bbox": [left, top, right - left, bottom - top]}
                | {"segmentation": coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(len(drawn))],
            "annotations": truths,
            "categories": [{"id": i} for i in range(1, classes)],
        }
        coco.createIndex()
        if kind == "bbox":
            detections = [{k: v for k, v in one.items() if k != "segmentation"} for one in detections]
        run = COCOeval(coco, coco.loadRes(detections), kind)
        run.params.areaRng, run.params.areaRngLbl = areas, [str(i) for i in range(len(areas))]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][..., 0]


def mean(precision: np.ndarray) -> float:
    return 100 * precision[precision > -1].mean()


@pytest.mark.parametrize("seed", range(4))
def test_boxes_agree_with_pycocotools(seed: int) -> None:
    areas = {"small": (0.0, 1024.0), "medium": (1024.0, 4096.0)}
    drawn = scenes(seed, 12, classes=4)
    ours = taken_in(drawn, 4, areas=areas).compute()
    theirs = reference(drawn, 4, "bbox", [[0, 1e10], *map(list, areas.values())])
    expected = {
        "ap": mean(theirs[..., 0]),
        "ap50": mean(theirs[0, ..., 0]),
        "ap75": mean(theirs[5, ..., 0]),
        "ap50_small": mean(theirs[0, ..., 1]),
        "ap_medium": mean(theirs[..., 2]),
    }
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_masks_agree_with_pycocotools(seed: int) -> None:
    drawn = scenes(seed, 10, classes=3)
    ours = taken_in(drawn, 3, masks=True).compute()
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        theirs = reference(drawn, 3, kind, [[0, 1e10]])
        assert ours[f"{prefix}_ap"] == pytest.approx(mean(theirs), abs=1e-6)
        assert ours[f"{prefix}_ap75"] == pytest.approx(mean(theirs[5]), abs=1e-6)


def with_crowds(seed: int) -> list[tuple[Prediction, Batch]]:
    """Scenes with a crowd in each, under half of the detections; some images have no other truth."""
    rng, drawn = np.random.default_rng(seed + 100), scenes(seed, 12, classes=3)
    for _, batch in drawn:
        boxes = torch.tensor([[0.0, 0, SIDE, SIDE / 2]])
        batch["crowd"] = [{"bbox_xyxy": boxes, "label": torch.tensor([rng.integers(1, 3)]), "mask": filled(boxes)}]
    return drawn


@pytest.mark.parametrize("seed", range(3))
def test_crowds_are_neither_found_nor_missed_as_in_pycocotools(seed: int) -> None:
    drawn = with_crowds(seed)
    ours = taken_in(drawn, 3, masks=True).compute()
    for kind, prefix in (("bbox", "box"), ("segm", "mask")):
        assert ours[f"{prefix}_ap"] == pytest.approx(mean(reference(drawn, 3, kind, [[0, 1e10]])), abs=1e-6)
    without = [(found, {key: value for key, value in batch.items() if key != "crowd"}) for found, batch in drawn]
    assert ours != taken_in(without, 3, masks=True).compute()


def test_a_hundred_detections_count_in_each_class_as_in_pycocotools() -> None:
    """The 150 best are noise of one class, and the only one of the other class finds its object."""
    box = torch.tensor([[10.0, 10, 40, 40]])
    boxes = torch.cat([torch.tensor([[60.0, 60, 90, 90]]).repeat(150, 1), box])
    labels = torch.tensor([1] * 150 + [2])
    found = {"boxes": boxes, "labels": labels, "scores": torch.linspace(1, 0.5, 151), "masks": filled(boxes).bool()}
    true = {
        "bbox_xyxy": [box],
        "label": [torch.tensor([2])],
        "mask": [filled(box)],
        "size": torch.tensor([[SIDE, SIDE]]),
    }
    assert taken_in([(found, true)], 3).compute()["ap50"] == pytest.approx(100)
    assert mean(reference([(found, true)], 3, "bbox", [[0, 1e10]])) == pytest.approx(100)


def test_areas_are_those_of_the_annotations_where_they_are_given() -> None:
    """A ship of 31 x 32 px has 992, but (31 + 1)(32 + 1) = 1056 in LEVIR-Ship's files, which is no longer small."""
    box = torch.tensor([[10.0, 10, 41, 42]])
    found = {"boxes": box, "labels": torch.tensor([1]), "scores": torch.ones(1)}
    true = {"bbox_xyxy": [box], "label": [torch.tensor([1])], "size": torch.tensor([[SIDE, SIDE]])}
    options: dict[str, Any] = {"ious": [0.5], "areas": {"small": [0, 1024], "medium": [1024, 4096]}}
    assert taken_in([(found, true)], 2, **options).compute()["ap50_small"] == 100
    given = taken_in([(found, true | {"area": [torch.tensor([1056.0])]})], 2, **options).compute()
    assert given["ap50_medium"] == 100
    assert np.isnan(given["ap50_small"])


def test_a_single_overlap_gives_the_names_of_table_3() -> None:
    scores = taken_in(scenes(0, 8, 2), 2, ious=[0.5], areas={"small": [0, 1024], "medium": [1024, 4096]})
    assert list(scores.compute()) == ["ap50", "ap50_small", "ap50_medium"]


def test_perfect_detections_score_100_and_no_detection_0() -> None:
    drawn = scenes(1, 6, 2)
    perfect = [
        ({"boxes": b["bbox_xyxy"][0], "labels": b["label"][0], "scores": torch.ones(len(b["label"][0]))}, b)
        for _, b in drawn
    ]
    assert taken_in(perfect, 2).compute() == pytest.approx({"ap": 100, "ap50": 100, "ap75": 100})
    nothing = [({key: value[:0] for key, value in found.items()}, batch) for found, batch in drawn]
    assert taken_in(nothing, 2).compute() == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}


def test_what_does_not_exist_has_no_score() -> None:
    empty = [(found, batch) for i, (found, batch) in enumerate(scenes(0, 10, 2)) if i % 5 == 0]
    assert all(np.isnan(value) for value in taken_in(empty, 2).compute().values())


def test_any_resampling_of_the_images_can_be_scored() -> None:
    drawn = scenes(2, 9, 3)
    scores = taken_in(drawn, 3, ious=[0.5])
    assert len(scores) == 9
    assert scores.score(torch.arange(9)) == scores.compute()
    some = [1, 1, 4, 7]
    assert scores.score(torch.tensor(some)) == pytest.approx(
        taken_in([drawn[i] for i in some], 3, ious=[0.5]).compute()
    )
