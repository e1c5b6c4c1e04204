"""Vim computes its paper's equations, at any multiple of 16, and has the published parameters."""

import pytest
import torch

from models.backbone import InputError
from models.vim import Vim
from models.zoo import build_classifier
from tests.oracles.plain import shaken
from tests.oracles.vim import vim


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).abs().max() / theirs.abs().max())


def made(dtype: torch.dtype, width: int = 24, depth: int = 3, image_size: int = 64) -> Vim:
    torch.manual_seed(0)
    model = shaken(Vim(width, depth, image_size=image_size).to(dtype))
    assert isinstance(model, Vim)
    return model


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (48, 112), (80, 16), (16, 16)])
@torch.no_grad()
def test_map_and_class_token_follow_the_equations(dtype: torch.dtype, bound: float, rows: int, columns: int) -> None:
    model, image = made(dtype), torch.randn(2, 3, rows, columns, dtype=dtype)
    expected, token = vim(model, image)
    assert error(model(image)[0], expected) < bound
    assert error(model.pooled(image), token) < bound


@torch.no_grad()
def test_vim_tiny_follows_the_equations_at_full_width_and_depth() -> None:
    model, image = made(torch.float32, 192, 24, 224), torch.randn(2, 3, 48, 64)
    expected, token = vim(model, image)
    assert error(model(image)[0], expected) < 1e-5
    assert error(model.pooled(image), token) < 1e-5


def test_weights_start_as_in_the_authors_code() -> None:
    """hustvl/Vim: vim/models_mamba.py draws patches with timm's lecun_normal_, which cuts at twice the spread it asks
    for, and zeroes the biases of linear layers. mamba_simple.py draws step sizes from 0.001 to 0.1 for `dt_proj` and
    keeps them (`_no_reinit`), but neither for `dt_proj_b`.
    """
    torch.manual_seed(0)
    model = Vim(192, 2)
    patch = model.patch.weight.detach()
    spread = 768**-0.5 / 0.8796
    assert patch.std().item() == pytest.approx(768**-0.5, rel=0.01)
    assert 1.9 * spread < patch.abs().max() < 2.001 * spread
    for block in model.blocks:
        steps = torch.nn.functional.softplus(block.mixer.dt_proj.bias)
        assert (steps.min() > 0.00099, steps.max() < 0.101) == (True, True)
        assert not block.mixer.back.dt_proj.bias.any()


@torch.no_grad()
def test_both_directions_reach_every_token() -> None:
    model, image = made(torch.float64), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    changed = image.clone()
    changed[:, :, 16:32, 16:32] += 1
    assert ((model(image)[0] - model(changed)[0]).abs().amax(dim=1) > 0).all()


def test_a_classifier_sees_the_class_token() -> None:
    torch.manual_seed(0)
    model, image = build_classifier("vim_ti", 5).eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(image), model.linear(model.backbone.pooled(image)))
        assert not torch.allclose(model.backbone.pooled(image), model.backbone(image)[0].mean(dim=(2, 3)))


def test_gradients_reach_every_weight() -> None:
    model = made(torch.float32)
    (
        model(torch.randn(1, 3, 32, 48))[0].square().sum() + model.pooled(torch.randn(1, 3, 32, 48)).square().sum()
    ).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(("image_size", "classes", "parameters"), [(224, 30, 6_960_798), (224, 1000, 7_148_008)])
def test_vim_tiny_has_its_published_parameters(image_size: int, classes: int, parameters: int) -> None:
    """With ImageNet's classes the count of the released model, with those of AID the 7.0 M of the paper's table 2."""
    with torch.device("meta"):
        model = build_classifier("vim_ti", classes, image_size=image_size)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_side_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(InputError, match="image is 64 x 72 pixels: both sides must be divisible by 16"):
        made(torch.float32)(torch.zeros(1, 3, 64, 72))
    with pytest.raises(ValueError, match="image_size is 100"):
        Vim(image_size=100)
