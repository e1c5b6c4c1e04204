"""Small protocols and batches for the tests of tasks."""

from typing import Any

import torch

from models.backbone import Backbone
from models.zoo import build
from tasks.protocol import Protocol, Select


def protocol(task: str, **keys: Any) -> Protocol:
    """Make a small protocol; every key can be given."""
    least = {
        "name": "made_up",
        "dataset": "made_up",
        "task": task,
        "smoke": "made_up",
        "image_size": 64,
        "train": (),
        "test": (),
        "optimiser": {"lr": 1e-3},
        "epochs": 2,
        "batch": 2,
        "select": Select(metric="f1", split="val"),
    }
    return Protocol.model_validate(least | keys)


def backbone(name: str = "resnet18") -> Backbone:
    """Make a small backbone with fixed weights."""
    torch.manual_seed(0)
    options = {"image_size": 64} if name.startswith(("dynamicvis", "deit")) else {}
    return build(name, **options)


def boxed_batch(side: int = 64, **more: Any) -> dict[str, Any]:
    """Make a batch of two: bright squares on noise with their boxes, and noise alone."""
    torch.manual_seed(1)
    image = torch.randn(2, 3, side, side) * 0.1
    boxes = torch.tensor([[8.0, 8, 24, 24], [30, 34, 56, 60]])
    for left, top, right, bottom in boxes.int().tolist():
        image[0, :, top:bottom, left:right] += 2
    return {
        "image": image,
        "size": torch.tensor([[side, side]] * 2),
        "index": torch.arange(2),
        "bbox_xyxy": [boxes, torch.zeros(0, 4)],
        "label": [torch.tensor([1, 2]), torch.zeros(0, dtype=torch.int64)],
    } | more
