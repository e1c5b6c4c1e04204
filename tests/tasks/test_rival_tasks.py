"""Rivals behind their tasks: losses as the protocol has them, predictions at the size of the original."""

import math

import pytest
import torch
from torch import Tensor, nn

from models.rivals.roster import Whole
from tasks.rivals import RIVAL_TASKS, RivalChange, RivalSegmentation
from tasks.task import Problem
from tests.tasks.made_up import protocol


class Undecided(nn.Module):
    """Says nothing of any class."""

    def forward(self, image: Tensor) -> Tensor:
        return image.new_zeros(len(image), 2, *image.shape[-2:])


def made(name: str) -> RivalSegmentation | RivalChange:
    task = RIVAL_TASKS[name](Whole(Undecided(), 2, 4, 1), Problem(("no", "yes")), protocol(name, **HEAD))
    assert isinstance(task, RivalSegmentation | RivalChange)
    return task


HEAD = {"head": {"class_weights": (1, 3)}, "losses": {}}


@pytest.mark.parametrize(("name", "loss"), [("semantic_segmentation", "decode"), ("change_detection", "ce")])
def test_logits_have_the_size_of_the_image_and_classes_cost_what_the_protocol_says(name: str, loss: str) -> None:
    task, dates = made(name), (2,) if name == "change_detection" else ()
    image, mask = torch.zeros(1, *dates, 3, 8, 8), torch.arange(64).reshape(1, 8, 8) % 2
    assert task(image).shape == (1, 2, 8, 8)
    assert float(task.losses({"image": image, "mask": mask})[loss]) == pytest.approx(2 * math.log(2))
    (found,) = task.eval().predict({"image": image, "size": torch.tensor([[12, 16]])})
    assert found["logits"].shape == (2, 12, 16)
