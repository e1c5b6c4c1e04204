"""RSMamba computes its paper's equations, at any multiple of 8, and has the published parameters."""

from typing import Any

import pytest
import torch

from models.backbone import InputError
from models.rsmamba import RSMamba
from models.zoo import build_classifier
from tests.models.test_vim import error
from tests.oracles.plain import shaken
from tests.oracles.rsmamba import rsmamba


def made(dtype: torch.dtype, width: int = 24, depth: int = 3, image_size: int = 64, **options: Any) -> RSMamba:
    torch.manual_seed(0)
    model = shaken(RSMamba(width, depth, image_size=image_size, **options).to(dtype))
    assert isinstance(model, RSMamba)
    return model


def compared(model: RSMamba, image: torch.Tensor, **paths: Any) -> float:
    """The error of one forward pass; both sides draw the same permutations."""
    torch.manual_seed(7)
    (ours,) = model(image)
    torch.manual_seed(7)
    return error(ours, rsmamba(model, image, **paths))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (24, 72), (40, 8), (8, 8)])
@torch.no_grad()
def test_the_map_follows_the_equations(dtype: torch.dtype, bound: float, rows: int, columns: int) -> None:
    """The last size is a sequence of one token."""
    assert compared(made(dtype), torch.randn(2, 3, rows, columns, dtype=dtype)) < bound


@pytest.mark.parametrize("merge", ["gate", "mean"])
@pytest.mark.parametrize("paths", [("forward",), ("forward", "reverse"), ("forward", "reverse", "shuffle")])
@torch.no_grad()
def test_every_choice_of_paths_follows_the_equations(paths: tuple[str, ...], merge: str) -> None:
    model = made(torch.float64, paths=paths, merge=merge)
    assert compared(model, torch.randn(2, 3, 32, 40, dtype=torch.float64), paths=paths) < 1e-12


@torch.no_grad()
def test_rsmamba_base_follows_the_equations_at_full_width_and_depth() -> None:
    assert compared(made(torch.float32, 192, 24, 224), torch.randn(2, 3, 32, 48)) < 1e-5


@torch.no_grad()
def test_gates_tell_images_apart() -> None:
    """So an oracle with constant shares would be found out."""
    model, image = made(torch.float64), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    shares: list[torch.Tensor] = []
    gate = model.blocks[1].gate
    assert gate is not None
    gate.register_forward_hook(lambda *given: shares.append(given[2].softmax(dim=-1)))
    model(image)
    assert (shares[0][0] - shares[0][1]).abs().max() > 1e-3


@torch.no_grad()
def test_shuffles_are_drawn_in_eval_mode_too_and_a_seed_repeats_them() -> None:
    model, image = made(torch.float32), torch.randn(1, 3, 64, 64)
    torch.manual_seed(1)
    first, second = model(image)[0], model(image)[0]
    torch.manual_seed(1)
    assert torch.equal(first, model(image)[0])
    assert not torch.equal(first, second)


def test_gradients_reach_every_weight() -> None:
    model = made(torch.float32)
    (model(torch.randn(1, 3, 32, 48))[0] * torch.randn(24, 4, 6)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"), [("rsmamba_b", 6_382_878), ("rsmamba_l", 16_248_862), ("rsmamba_h", 33_056_030)]
)
def test_rsmamba_has_the_parameters_of_table_2_with_the_classes_of_aid(name: str, parameters: int) -> None:
    """6.4, 16.2 and 33.1 M; the last needs 28 x 28 positions (the padded grid) and the classifier to round so."""
    with torch.device("meta"):
        assert sum(p.numel() for p in build_classifier(name).parameters()) == parameters


def test_a_side_that_is_no_multiple_of_8_is_refused() -> None:
    with pytest.raises(InputError, match="image is 60 x 64 pixels: both sides must be divisible by 8"):
        made(torch.float32)(torch.zeros(1, 3, 60, 64))
    with pytest.raises(ValueError, match="image_size is 100"):
        RSMamba(image_size=100)


def test_an_unknown_path_is_named() -> None:
    with pytest.raises(ValueError, match=r"paths \('forward', 'spiral'\): choose one or more of forward, reverse"):
        RSMamba(24, 1, paths=("forward", "spiral"))
    with pytest.raises(ValueError, match="unknown merge 'vote'"):
        RSMamba(24, 1, merge="vote")
