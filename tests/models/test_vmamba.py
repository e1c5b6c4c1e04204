"""VMamba computes its paper's equations, at any multiple of 32, and has the published parameters."""

from typing import Any

import pytest
import torch

from models.backbone import InputError
from models.vmamba import CrossScan, VMamba
from models.zoo import build, build_classifier
from tests.models.test_vim import error
from tests.oracles.plain import shaken
from tests.oracles.vmamba import vmamba

SMALL = {"widths": (16, 24, 32, 48), "depths": (1, 1, 2, 1)}


def made(dtype: torch.dtype, **options: Any) -> VMamba:
    torch.manual_seed(0)
    model = shaken(VMamba(**(SMALL | options)).to(dtype))
    assert isinstance(model, VMamba)
    return model


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (32, 96), (32, 32)])
@torch.no_grad()
def test_all_maps_follow_the_equations(dtype: torch.dtype, bound: float, rows: int, columns: int) -> None:
    """The last size ends in a sequence of one token."""
    model, image = made(dtype), torch.randn(2, 3, rows, columns, dtype=dtype)
    for ours, theirs in zip(model(image), vmamba(model, image), strict=True):
        assert error(ours, theirs) < bound


@torch.no_grad()
def test_several_states_a_channel_follow_the_equations() -> None:
    model, image = made(torch.float64, states=5, expand=1), torch.randn(2, 3, 32, 64, dtype=torch.float64)
    for ours, theirs in zip(model(image), vmamba(model, image), strict=True):
        assert error(ours, theirs) < 1e-12


@torch.no_grad()
def test_vmamba_tiny_follows_the_equations_at_full_width_and_depth() -> None:
    torch.manual_seed(0)
    model, image = shaken(build("vmamba_t")), torch.randn(2, 3, 32, 64)
    for ours, theirs in zip(model(image), vmamba(model, image), strict=True):
        assert error(ours, theirs) < 1e-5


@torch.no_grad()
def test_a_cell_is_reached_from_all_four_sides() -> None:
    torch.manual_seed(0)
    scan = shaken(CrossScan(8, states=2).double())
    image = torch.randn(1, 9, 11, 8, dtype=torch.float64)
    changed = image.clone()
    changed[:, 4, 5] += 1
    assert ((scan(image) - scan(changed)).abs().amax(dim=-1) > 0).all()


def test_gradients_reach_every_weight() -> None:
    model = made(torch.float32)
    torch.stack([(each * torch.randn_like(each)).sum() for each in model(torch.randn(1, 3, 64, 64))]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(("classes", "parameters"), [(30, 29_959_902), (21, 29_952_981), (1000, 30_705_832)])
def test_vmamba_tiny_has_its_published_parameters(classes: int, parameters: int) -> None:
    """30.0 M of table 2 with the classes of AID or UC Merced, the release's 31 M with those of ImageNet."""
    with torch.device("meta"):
        model = build_classifier("vmamba_t", classes)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_no_other_release_has_the_parameters_of_table_2() -> None:
    """The later release s1l8, known as 30 M: 30.2 M with the classes of ImageNet, 29.5 M with those of AID."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in build_classifier("vmamba_t", classes, expand=1, depths=(2, 2, 8, 2)).parameters())
            for classes in (1000, 30)
        ]
    assert counts == [30_249_064, 29_503_134]


def test_a_side_that_32_does_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="image is 64 x 48 pixels: both sides must be divisible by 32"):
        made(torch.float32)(torch.zeros(1, 3, 64, 48))
