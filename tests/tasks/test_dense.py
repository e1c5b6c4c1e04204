"""Segmentation and change: scores, losses and windows against independent formulas; and that both learn."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from tasks.change_detection import ChangeDetection
from tasks.dense import DenseOptions, DenseScores, cross_entropy, dice, slide, windows
from tasks.protocol import ProtocolError, Window
from tasks.semantic_segmentation import SemanticSegmentation
from tasks.task import Problem, Task
from tests.tasks.made_up import backbone, protocol


def random_masks(seed: int, classes: int, images: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(classes, (images, 9, 11), generator=generator)
    logits = torch.randn(images, classes, 9, 11, generator=generator)
    logits += torch.nn.functional.one_hot(mask, classes).movedim(-1, 1)
    mask[torch.rand(mask.shape, generator=generator) > 0.8] = 255
    return logits, mask


@pytest.mark.parametrize("seed", range(4))
def test_scores_of_a_class_agree_with_scikit_learn(seed: int) -> None:
    logits, mask = random_masks(seed, 2)
    scores = DenseScores(2, DenseOptions())
    for one, truth in zip(logits, mask, strict=True):
        scores.update([{"logits": one}], {"mask": truth[None]})
    known = (mask != 255).numpy()
    true, found = mask.numpy()[known], logits.argmax(1).numpy()[known]
    functions = {"precision": precision_score, "recall": recall_score, "f1": f1_score, "iou": jaccard_score}
    expected = {name: 100 * function(true, found) for name, function in functions.items()}
    assert scores.compute() == pytest.approx(expected, abs=1e-6)
    assert len(scores) == 4


def test_mean_iou_agrees_with_scikit_learn() -> None:
    logits, mask = random_masks(9, 5)
    scores = DenseScores(5, DenseOptions(mean=True))
    scores.update([{"logits": one} for one in logits], {"mask": mask})
    known = (mask != 255).numpy()
    expected = jaccard_score(mask.numpy()[known], logits.argmax(1).numpy()[known], average="macro")
    assert scores.compute()["mean_iou"] == pytest.approx(100 * expected, abs=1e-6)
    some = torch.tensor([2, 2, 0])
    assert scores.score(some)["mean_iou"] != scores.compute()["mean_iou"]


def test_nothing_to_find_has_no_score_and_nothing_found_scores_0() -> None:
    logits = torch.zeros(2, 4, 4)
    logits[0] = 1
    scores = DenseScores(2, DenseOptions())
    scores.update([{"logits": logits}], {"mask": torch.zeros(1, 4, 4, dtype=torch.int64)})
    assert all(np.isnan(value) for value in scores.compute().values())
    scores.reset()
    scores.update([{"logits": logits}], {"mask": torch.ones(1, 4, 4, dtype=torch.int64)})
    assert scores.compute() == {"precision": 0, "recall": 0, "f1": 0, "iou": 0}


def test_ignored_pixels_cost_nothing_but_count_in_the_mean() -> None:
    logits, mask = torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    half = mask.clone()
    half[:, 2:] = 255
    by_hand = -logits.log_softmax(1)[:, 0, :2].sum() / 16
    torch.testing.assert_close(cross_entropy(logits, half), by_hand)
    assert cross_entropy(logits, torch.full_like(mask, 255)) == 0


def test_a_pixel_costs_as_much_as_its_class_is_worth() -> None:
    logits, mask = random_masks(0, 3)
    each = torch.nn.functional.cross_entropy(logits, mask.where(mask != 255, 0), reduction="none")
    worth = torch.tensor([1.0, 20.0, 3.0])[mask.where(mask != 255, 0)] * (mask != 255)
    torch.testing.assert_close(cross_entropy(logits, mask, (1, 20, 3)), (each * worth).mean())


@pytest.mark.parametrize("task", [SemanticSegmentation, ChangeDetection])
def test_class_weights_have_to_be_one_a_class(task: type[SemanticSegmentation | ChangeDetection]) -> None:
    chosen = protocol("semantic_segmentation", head={"class_weights": [1, 20, 3]}, losses={})
    with pytest.raises(ProtocolError, match=r"head\.class_weights: 3 numbers for 2 classes"):
        task(backbone(), Problem(("no", "yes")), chosen)


def test_a_changed_pixel_can_cost_more() -> None:
    batch = {"image": torch.randn(2, 2, 3, 64, 64), "mask": torch.randint(0, 2, (2, 64, 64))}
    made = protocol("change_detection", head={"width": 8, "class_weights": [1, 1]})
    task = ChangeDetection(backbone(), Problem(("no", "yes")), made).eval()
    even = task.losses(batch)["ce"]
    task.class_weights = (2, 2)
    torch.testing.assert_close(task.losses(batch)["ce"], 2 * even)


def test_dice_equals_its_formula() -> None:
    logits, mask = torch.randn(2, 2, 5, 6), torch.randint(2, (2, 5, 6))
    mask[0, 0] = 255
    total = 0.0
    for one, truth in zip(logits, mask, strict=True):
        p, t = one.sigmoid(), torch.stack([truth == 0, truth == 1]).float()
        total += float(1 - 2 * (p * t).sum() / ((p * p).sum() + (t * t).sum() + 0.002))
    assert float(dice(logits, mask)) == pytest.approx(total / 2, abs=1e-6)
    assert torch.isfinite(dice(logits, torch.full_like(mask, 255)))


def test_windows_cover_an_image_flush_with_its_border() -> None:
    assert windows(1500, 1024, Window(size=1024, stride=512)) == [(0, 0), (476, 0)]
    assert windows(64, 96, Window(size=64, stride=32)) == [(0, 0), (0, 32)]


def test_sliding_over_an_image_averages_the_windows() -> None:
    image = torch.randn(2, 3, 64, 160)
    seen = []

    def forward(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return part[:, :2] * 2

    torch.testing.assert_close(slide(forward, image, Window(size=64, stride=48)), image[:, :2] * 2)
    assert set(seen) == {(2, 3, 64, 64)}
    assert len(seen) == 3


def batch(dates: int) -> dict[str, Any]:
    torch.manual_seed(0)
    mask = torch.zeros(2, 64, 64, dtype=torch.int64)
    mask[:, 16:48, 8:40] = 1
    mask[:, :4] = 255
    image = torch.randn(2, 3, 64, 64) * 0.1 + (mask == 1)[:, None] * 2.0
    if dates == 2:
        image = torch.stack([torch.randn(2, 3, 64, 64) * 0.1, image], dim=1)
    return {"image": image, "mask": mask, "size": torch.tensor([[64, 64], [50, 100]]), "index": torch.arange(2)}


def made(kind: str, model: str = "resnet18") -> tuple[Task, dict[str, Any]]:
    two = Problem(("no", "yes"))
    if kind == "semantic":
        head = {"neck_width": 16, "width": 16, "auxiliary_width": 16}
        return SemanticSegmentation(backbone(model), two, protocol("semantic_segmentation", head=head)), batch(1)
    return ChangeDetection(backbone(model), two, protocol("change_detection", head={"width": 16})), batch(2)


@pytest.mark.parametrize("kind", ["semantic", "change"])
@pytest.mark.parametrize("model", ["resnet18", "dynamicvis_t", "deit_t16"])
def test_a_segmenter_learns(kind: str, model: str) -> None:
    task, given = made(kind, model)
    optimiser, costs = torch.optim.AdamW(task.parameters(), 3e-3), []
    for _ in range(12):
        cost = torch.stack(list(task.losses(given).values())).sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < 0.8 * costs[0]


@pytest.mark.parametrize("kind", ["semantic", "change"])
def test_logits_come_back_at_the_original_size(kind: str) -> None:
    task, given = made(kind)
    with torch.inference_mode():
        found = task.eval().predict({key: given[key] for key in ("image", "size")})
    assert [p["logits"].shape for p in found] == [(2, 64, 64), (2, 50, 100)]


@pytest.mark.parametrize(
    ("kind", "row"),
    [("semantic", [0, 2 / 3, 4 / 3, 2]), ("change", [0, 0.5, 1.5, 2])],
)
def test_logits_are_resized_with_the_corners_of_their_head(
    kind: str, row: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """UPerHead has align_corners=True and MLPSegHead False; mmseg's postprocess_result resizes as the head does."""
    task, _ = made(kind)
    logits = torch.tensor([[0.0, 2], [0, 2]]).expand(1, 2, 2, 2)
    monkeypatch.setattr(task, "forward", lambda _: logits)
    (found,) = task.predict({"image": torch.zeros(1, 3, 2, 2), "size": torch.tensor([[4, 4]])})
    torch.testing.assert_close(found["logits"], torch.tensor(row).expand(2, 4, 4))


@pytest.mark.parametrize("kind", ["semantic", "change"])
def test_masks_without_a_known_pixel_are_trained_on(kind: str) -> None:
    task, given = made(kind)
    given["mask"] = torch.full_like(given["mask"], 255)
    assert all(torch.isfinite(cost) for cost in task.losses(given).values())
