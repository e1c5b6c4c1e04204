"""A trained region classifier under its authors' names: every name as they have it, and every bit back again."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch

from models.weight_names import official_name
from models.weights import load_weights
from models.zoo import build
from tasks.region_classification import RegionClassification
from tasks.task import Problem
from tests.oracles.plain import shaken
from tests.tasks.made_up import protocol

FMOW = Problem(tuple(map(str, range(63))))
AFFINE = ("weight", "bias")
MAMBA = (
    *("in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias"),
    *("A_log", "D", "out_proj.weight"),
)
ATTENTION = (
    *("query_conv.weight", "value_conv.weight", "appr_geom_fc_x.weight", "appr_geom_fc_y.weight"),
    *("proj_conv.weight", "proj_conv.bias", "gamma"),
)


def region(model: str, seed: int = 0) -> RegionClassification:
    """A task as at full scale, whose image size changes no name."""
    torch.manual_seed(seed)
    return RegionClassification(build(model, image_size=64), FMOW, protocol("region_classification"))


def released(depths: tuple[int, ...], *, gates: bool) -> Iterator[str]:
    """Name the keys of a pretraining checkpoint of the authors, as their modules are nested."""
    yield "backbone.pos_embed"
    for stage, depth in enumerate(depths):
        for part, kind in product(("0.projection", "0.norm", "2"), AFFINE):
            yield f"backbone.layers.{stage}.{part}.{kind}"
        for block in range(depth):
            unit = f"backbone.layers.{stage}.1.{block}."
            yield from [unit + "spatial_gate.weight"] if gates else []
            yield unit + "spatial_mamba_mixer.pre_norm.weight"
            yield from (f"{unit}spatial_mamba_mixer.mamba_layer.{name}" for name in MAMBA)
    for convs, level, kind in product(("lateral_convs", "fpn_convs"), range(4), AFFINE):
        yield f"pre_neck.{convs}.{level}.conv.{kind}"
    yield from (f"neck.pre_module.conv.{kind}" for kind in AFFINE)
    yield from (f"neck.post_module.{name}" for name in ATTENTION)
    yield from ("head.fc.weight", "head.fc.bias", "head.category_embedding.weight", "head.logit_scale")


@pytest.mark.parametrize(
    ("model", "depths", "gates", "count"),
    [
        ("dynamicvis_b", (2, 4, 16, 4), True, 340),  # 1 + 4 x 6 + 26 x 11 + 29
        ("dynamicvis_b_dense", (2, 4, 16, 4), False, 314),
        ("dynamicvis_l", (2, 4, 32, 4), True, 516),
    ],
)
def test_the_names_are_those_of_the_authors_pretraining(
    model: str, depths: tuple[int, ...], gates: bool, count: int
) -> None:
    with torch.device("meta"):
        state = region(model).state_dict()
    found = sorted(official_name(name) for name in state)
    assert found == sorted(released(depths, gates=gates))
    assert len(found) == count


@pytest.mark.parametrize(
    "name", ["box_roi.pre.weight", "head.convs.0.weight", "backbone.body.conv1.weight", "neck", ""]
)
def test_what_the_authors_have_no_name_for_gets_none(name: str) -> None:
    assert official_name(name) == ""


@pytest.mark.parametrize("model", ["dynamicvis_t", "dynamicvis_b", "dynamicvis_b_dense"])
def test_what_is_exported_comes_back_to_the_bit(model: str, tmp_path: Path) -> None:
    source, copy = shaken(region(model), 0), region(model, seed=1)
    state = {official_name(name): value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    report = load_weights(copy, str(tmp_path / "a.pth"))
    assert (report.missing, report.unexpected, report.resized) == ((), (), ())
    theirs = copy.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in source.state_dict().items())
