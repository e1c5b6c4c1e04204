"""The losses of pretraining: by their formulas, at the edges, and spread over processes."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.multiple_instance import label_loss, matching_loss

STEPS, CLASSES, WIDTH = 20, 5, 8
Given = tuple[Any, Tensor]
"""What a model takes: regions, or images with their boxes; and the labels."""
#: Regions of both processes at some steps: as many, unequal, none in one, none in any. Of one class at 15.
REGIONS = {0: (6, 6), 3: (9, 2), 5: (0, 7), 9: (4, 0), 11: (0, 0), 15: (3, 4)}


def by_formula(features: Tensor, embeddings: Tensor, log_scale: Tensor, labels: Tensor) -> Tensor:
    """Section 3.4 region by region and class by class, without a shortcut."""
    similarity = log_scale.exp() * F.normalize(features) @ F.normalize(embeddings).T
    by_region = [-(row[label] - row.exp().sum().log()) for row, label in zip(similarity, labels, strict=True)]
    by_class = []
    for label in sorted(set(labels.tolist())):
        likely = similarity[:, label].exp() / similarity[:, label].exp().sum()
        by_class.append(-likely[labels == label].sum().log())
    return (torch.stack(by_region).mean() + torch.stack(by_class).mean()) / 2


def drawn(regions: int, classes: int, width: int, labels: Tensor | None = None) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    labels = torch.randint(classes, (regions,)) if labels is None else labels
    features, embeddings = torch.randn(regions, width).double(), torch.randn(classes, width).double()
    return features.requires_grad_(), embeddings.requires_grad_(), torch.tensor(1.3).double().requires_grad_(), labels


@pytest.mark.parametrize("regions", [7, 5000])
def test_the_matching_loss_and_its_gradients_equal_the_formula(regions: int) -> None:
    given = drawn(regions, 63, 256)
    wanted = by_formula(*given)
    expected = torch.autograd.grad(wanted, given[:3])
    found = matching_loss(*given)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, given[:3]), expected)
    single = matching_loss(*(one.detach().float() for one in given[:3]), given[3])
    assert single.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_regions_of_one_class_are_matched_by_region_alone() -> None:
    """Every region is of the class, so that the shares of its regions sum to 1 and their term is 0."""
    features, embeddings, scale, _ = drawn(4, 3, 8)
    labels = torch.full((4,), 2)
    similarity = scale.exp() * F.normalize(features) @ F.normalize(embeddings).T
    by_region = (similarity.logsumexp(1) - similarity[:, 2]).mean()
    torch.testing.assert_close(matching_loss(features, embeddings, scale, labels), by_region / 2)


def test_the_label_loss_is_that_worked_out_by_hand() -> None:
    """LabelSmoothLoss, label_smooth_val=0.1, mode original: targets of 0.925 and 3 x 0.025; found 1/2 and 3 x 1/6."""
    logits = torch.tensor([[0.0, math.log(3), 0, 0]]).repeat(2, 1)
    cost = label_loss(logits, torch.tensor([1, 1]))
    assert cost.item() == pytest.approx(0.925 * math.log(2) + 0.075 * math.log(6))


def test_batches_without_regions_cost_nothing_and_move_nothing() -> None:
    features, embeddings, scale, labels = drawn(0, 4, 8)
    logits = torch.zeros(0, 4).requires_grad_()
    cost = label_loss(logits, labels) + matching_loss(features, embeddings, scale, labels)
    assert cost == 0
    cost.backward()
    assert all(given.grad is not None and not given.grad.any() for given in (logits, features, embeddings, scale))


class Small(nn.Module):
    """What the losses are of: features, their classes, and embeddings; returns the sum with the protocol's weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Linear(WIDTH, 16), nn.SiLU(), nn.Linear(16, WIDTH))
        self.linear, self.embeddings = nn.Linear(WIDTH, CLASSES), nn.Embedding(CLASSES, WIDTH)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, regions: Tensor, labels: Tensor) -> Tensor:
        features = self.features(regions)
        matched = matching_loss(features, self.embeddings.weight, self.logit_scale, labels)
        return label_loss(self.linear(features), labels) + 0.5 * matched


class Whole(nn.Module):
    """The task itself: an image a process, whose boxes are the regions."""

    def __init__(self) -> None:
        from tasks.region_classification import RegionClassification
        from tasks.task import Problem
        from tests.tasks.made_up import backbone, protocol

        super().__init__()
        chosen = protocol("region_classification", head={"width": 16})
        self.task = RegionClassification(backbone("dynamicvis_t"), Problem(tuple("abcde")), chosen).eval()  # no noise

    def forward(self, seen: tuple[Tensor, list[Tensor]], labels: Tensor) -> Tensor:
        images, boxes = seen
        given = {"image": images, "bbox_xyxy": boxes, "label": list(labels.split([len(each) for each in boxes]))}
        losses = self.task.losses(given)
        return losses["ce"] + 0.5 * losses["mil"]


def vectors(count: int) -> Tensor:
    return torch.randn(count, WIDTH)


def image(count: int) -> tuple[Tensor, list[Tensor]]:
    corners = torch.randint(32, (count, 2)).float()
    return torch.randn(1, 3, 64, 64), [torch.cat([corners, corners + 24], dim=1)]


def batches(draw: Callable[[int], Any]) -> list[list[Given]]:
    """Return what both processes are given, step by step."""
    torch.manual_seed(1)
    found = []
    for step in range(STEPS):
        counts = REGIONS.get(step, (5 + step % 3, 4))
        kinds = 1 if step == 15 else CLASSES
        found.append([(draw(count), torch.randint(kinds, (count,))) for count in counts])
    return found


def together(both: list[Given]) -> Given:
    """Return what two processes are given as a batch of one."""
    (first, labels), (second, others) = both
    if isinstance(first, Tensor):
        return torch.cat([first, second]), torch.cat([labels, others])
    return (torch.cat([first[0], second[0]]), [*first[1], *second[1]]), torch.cat([labels, others])


def train(model: nn.Module, parts: list[Given], kept: dict[str, list[Any]]) -> None:
    optimiser = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9)
    for regions, labels in parts:
        loss = model(regions, labels)
        optimiser.zero_grad()
        loss.backward()
        kept["loss"].append(loss.detach())
        kept["gradients"].append([parameter.grad.clone() for parameter in model.parameters()])  # type: ignore[union-attr]
        optimiser.step()


def one_of_two(rank: int, folder: Path, make: type[nn.Module], draw: Callable[[int], Any]) -> None:
    """Train as one of two processes, and leave behind what came of each step."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    kept: dict[str, list[Any]] = {"loss": [], "gradients": []}
    train(nn.parallel.DistributedDataParallel(make()), [both[rank] for both in batches(draw)], kept)
    torch.save(kept, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("make", "draw"), [(Small, vectors), pytest.param(Whole, image, marks=pytest.mark.slow)], ids=["losses", "task"]
)
def test_two_processes_train_as_one_does_over_the_union_of_their_regions(
    make: type[nn.Module], draw: Callable[[int], Any], tmp_path: Path
) -> None:
    torch.multiprocessing.spawn(one_of_two, (tmp_path, make, draw), nprocs=2)  # type: ignore[no-untyped-call]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    alone: dict[str, list[Any]] = {"loss": [], "gradients": []}
    train(make(), [together(both) for both in batches(draw)], alone)
    losses = (torch.stack(parts[0]["loss"]) + torch.stack(parts[1]["loss"])) / 2  # as training logs them
    torch.testing.assert_close(losses, torch.stack(alone["loss"]), rtol=0, atol=1e-5)
    for part in parts:
        torch.testing.assert_close(part["gradients"], alone["gradients"], rtol=1e-3, atol=1e-5)
