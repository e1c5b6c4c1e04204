"""The balance loss of table 19: by hand, by the paper's double sum, and in training."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from models.dynamicvis import Route, Routes
from tasks.balance import balance_loss
from tasks.classification import Classification
from tasks.protocol import ProtocolError
from tasks.task import Problem
from tests.tasks.made_up import backbone, protocol

CLASSES = Problem(("sea", "town", "wood"))


def route(importance: list[float], kept: list[int]) -> Route:
    return Route(torch.tensor([importance]), torch.tensor([kept]), (1, len(importance)))


def test_balance_loss_of_hand_made_routes() -> None:
    first = route([0.7, 0.1, 0.1, 0.1], [0, 1])
    assert float(balance_loss([[first]])) == pytest.approx(0.8)
    second = route([0.1, 0.1, 0.1, 0.7], [3, 0])
    # often kept: 1, 1/2, 0, 1/2; mean importance 0.4, 0.1, 0.1, 0.4, over both blocks
    assert float(balance_loss([[first, second]])) == pytest.approx(0.65)
    coarse = route([0.9, 0.1], [0])
    assert float(balance_loss([[first, second], [coarse]])) == pytest.approx(0.65 + 0.9)
    even = [route([0.25] * 4, [0, 1]), route([0.25] * 4, [2, 3])]
    assert float(balance_loss([even])) == pytest.approx(0.5)


def test_balance_loss_is_the_double_sum_over_rank_and_token() -> None:
    """Sum over r and n of f (k, N), the mean one-hot of the token chosen r-th, times q (N), the mean importance."""
    generator = torch.Generator().manual_seed(0)
    importance = torch.rand(2, 3, 6, generator=generator).softmax(dim=-1)  # blocks, images, tokens
    kept = importance.argsort(dim=-1, descending=True)[..., :4]
    total = 0.0
    for r in range(4):
        for n in range(6):
            f = sum(float(kept[b, i, r] == n) for b in range(2) for i in range(3)) / 6
            q = sum(float(importance[b, i, n]) for b in range(2) for i in range(3)) / 6
            total += f * q
    routes = [[Route(importance[b], kept[b], (2, 3)) for b in range(2)]]
    assert float(balance_loss(routes)) == pytest.approx(total, rel=1e-5)


def test_balance_loss_trains_the_gates_and_needs_one() -> None:
    model, routes = backbone("dynamicvis_t").train(), Routes()
    model(torch.randn(2, 3, 64, 64), routes)
    balance_loss(routes).backward()
    gates = [p.grad for name, p in model.named_parameters() if name.endswith("spatial.gate.weight")]
    trained = [gate is not None and float(gate.norm()) > 1e-7 for gate in gates]
    assert trained == [True, True, True, True, False]  # the last stage keeps all: nothing to balance
    with pytest.raises(ValueError, match="at least one block that selects"):
        balance_loss([[], [], [], []])


def test_any_task_adds_the_balance_where_the_protocol_gives_it_a_weight() -> None:
    batch = {"image": torch.randn(2, 3, 64, 64), "label": torch.tensor([0, 1])}
    made = protocol("classification", losses={"balance": 0.5})
    task = Classification(backbone("dynamicvis_t"), CLASSES, made).eval()
    task.trainer = cast("Any", SimpleNamespace(is_last_batch=False))
    routes = Routes()
    task.backbone(batch["image"], routes)
    losses = task.balanced_losses(batch)
    torch.testing.assert_close(losses["balance"], balance_loss(routes))
    total = losses["classification"] + 0.5 * losses["balance"]
    torch.testing.assert_close(task.training_step(batch, 0), total)
    torch.testing.assert_close(task.losses(batch)["classification"], losses["classification"])  # no hook is left


def test_balance_needs_a_selection() -> None:
    with pytest.raises(ProtocolError, match=r"losses\.balance: only DynamicVis selects tokens"):
        Classification(backbone("resnet18"), CLASSES, protocol("classification", losses={"balance": 0.1}))
