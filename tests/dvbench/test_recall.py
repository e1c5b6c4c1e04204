"""Recall of the selection: right on hand-made maps, and what random selection would have."""

import pytest
import torch

from dvbench.training.batches import Source
from dvbench.training.execute import build_task
from dvbench.training.plan import cell
from dvbench.training.recall import recall_measures, recalled
from models.dynamicvis import Route


def route(kept: list[list[int]], grid: tuple[int, int]) -> Route:
    tokens = grid[0] * grid[1]
    return Route(torch.full((len(kept), tokens), 1 / tokens), torch.tensor(kept), grid)


def test_recall_of_a_hand_made_map() -> None:
    """An 8 x 12 image of 2 x 3 patches; the target has 6 pixels in patch 1, 2 in patch 2 and 4 in patch 4."""
    mask = torch.zeros(1, 8, 12)
    mask[0, 2:4, 5:9] = 1  # columns 5-7 are patch 1, column 8 is patch 2
    mask[0, 4:8, 6] = 1
    for kept, share in (([1], 6), ([2], 2), ([4], 4), ([1, 4], 10), ([0, 3, 5], 0), ([5, 4, 3, 2, 1, 0], 12)):
        assert recalled(route([kept], (2, 3)), mask).tolist() == pytest.approx([share / 12])


def test_each_image_counts_its_own_target_and_one_without_target_counts_nothing() -> None:
    masks = torch.zeros(3, 4, 4)
    masks[0, 0, 0] = masks[1, 3, 3] = 1
    found = recalled(route([[0, 1], [0, 1], [0, 1]], (2, 2)), masks)
    assert found[:2].tolist() == [1, 0]
    assert found[2].isnan()


def test_random_selection_recalls_the_share_of_tokens_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(4000, 32, 32)
    masks[:, 5:9, 10:14] = 1
    kept = torch.rand(4000, 64, generator=generator).argsort(dim=1)[:, :16]
    assert float(recalled(route(kept.tolist(), (8, 8)), masks).mean()) == pytest.approx(16 / 64, abs=0.015)


def source_of(switches: dict[str, object], protocol: str = "synthetic_small_targets") -> tuple[object, Source]:
    changes = {"counts": {"test": 4, "val": 4, "train": 4}}
    made = cell("dynamicvis_t", protocol, "smoke", changes=changes, switches=switches)
    source = Source(made.load_protocol(), workers=0)
    return build_task(made, source)[0], source


def test_a_model_is_measured_in_each_stage_that_selects() -> None:
    task, source = source_of({"keep": (32, 16, 0, 4)})
    found = recall_measures(task, source, 2, suffix="_untrained")
    assert {name for name in found if name.startswith("recall")} == {
        f"recall_stage{stage}_untrained" for stage in (1, 2, 4)
    }
    size = source.protocol.image_size
    tokens = [(size // stride) ** 2 for stride in (4, 8, 16, 32)]
    for stage, keep in ((1, 32), (2, 16), (4, 4)):
        assert found[f"kept_stage{stage}"].value == pytest.approx(tokens[stage - 1] // keep / tokens[stage - 1])
    task, source = source_of({"keep": (1, 1, 1, 1)})
    kept_all = recall_measures(task, source, 2)
    assert all(measure.value == pytest.approx(1) for measure in kept_all.values())


def test_without_selection_or_small_targets_nothing_is_measured() -> None:
    assert recall_measures(*source_of({"keep": (0, 0, 0, 0)}), 2) == {}
    assert recall_measures(*source_of({}, "synthetic_semantic"), 2) == {}
