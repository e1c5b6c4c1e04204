"""Classification and retrieval: what goes in, what comes out, and that it can be learned."""

import math
from typing import Any

import pytest
import torch

from tasks.classification import Classification
from tasks.protocol import ProtocolError
from tasks.retrieval import Retrieval
from tasks.task import Problem, Task
from tests.tasks.made_up import backbone, protocol

CLASSES = Problem(("sea", "town", "wood"))


def batch() -> dict[str, Any]:
    torch.manual_seed(0)
    label = torch.tensor([0, 1, 2, 0])
    image = torch.randn(4, 3, 64, 64) * 0.1 + label[:, None, None, None] - 1
    return {"image": image, "label": label, "size": torch.tensor([[64, 64]] * 4), "index": torch.arange(4)}


def learn(task: Task, given: dict[str, Any], steps: int = 15) -> tuple[float, float]:
    optimiser, costs = torch.optim.AdamW(task.parameters(), 2e-3), []
    for _ in range(steps):
        cost = torch.stack(list(task.losses(given).values())).sum()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
        costs.append(cost.item())
    return costs[0], costs[-1]


@pytest.mark.parametrize("model", ["dynamicvis_t", "resnet18", "deit_t16"])
def test_classification_learns(model: str) -> None:
    task = Classification(backbone(model), CLASSES, protocol("classification"))
    first, last = learn(task, batch())
    assert last < 0.5 * first
    predictions = task.predict({key: batch()[key] for key in ("image", "size")})
    assert [p["logits"].shape for p in predictions] == [(3,)] * 4


def test_mixed_labels_cost_what_their_parts_cost() -> None:
    task = Classification(backbone(), CLASSES, protocol("classification")).eval()
    given = batch()
    hard = task.losses(given)["classification"]
    soft = task.losses(given | {"label": torch.eye(3)[given["label"]]})["classification"]
    torch.testing.assert_close(hard, soft)


def test_the_loss_is_that_worked_out_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """CrossEntropyLoss on labels that Mixup made, half of class 0 and half of class 1; found 3/5, 1/5 and 1/5."""
    task = Classification(backbone(), CLASSES, protocol("classification"))
    monkeypatch.setattr(task, "forward", lambda _: torch.tensor([[math.log(3), 0, 0]]))
    cost = task.losses({"image": torch.zeros(1, 3, 8, 8), "label": torch.tensor([[0.5, 0.5, 0]])})["classification"]
    assert cost.item() == pytest.approx(-math.log(0.6) / 2 - math.log(0.2) / 2)


def test_only_dynamicvis_norms_the_pooled_feature() -> None:
    made = protocol("classification")
    assert Classification(backbone("dynamicvis_t"), CLASSES, made).norm.eps == 1e-6
    assert not list(Classification(backbone(), CLASSES, made).norm.parameters())


@pytest.mark.parametrize("several", [False, True])
def test_retrieval_embeds_and_learns_labels_where_it_is_told_to(several: bool) -> None:
    task = Retrieval(backbone(), CLASSES, protocol("retrieval", head={"train": True}))
    given = batch()
    if several:
        given["label"] = torch.eye(3, dtype=torch.int64)[given["label"]]
    first, last = learn(task, given)
    assert last < 0.7 * first
    assert [p["embedding"].shape for p in task.predict(given)] == [(512,)] * 4


def test_retrieval_of_the_paper_is_not_trained() -> None:
    with pytest.raises(RuntimeError, match="without training"):
        Retrieval(backbone(), CLASSES, protocol("retrieval")).losses(batch())


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"head\.width"):
        Classification(backbone(), CLASSES, protocol("classification", head={"width": 3}))
