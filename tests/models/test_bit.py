"""BIT against its paper's equations, read slowly in float64."""

import torch

from models.rivals.bit import BIT
from tests.oracles.bit import bit_forward


def randomised() -> BIT:
    torch.manual_seed(0)
    model = BIT(3).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:  # norms and biases, which start as ones and zeros
                weight.add_(0.1 * torch.randn_like(weight))
            elif "backbone" not in name:
                weight.mul_(2)
    return model


@torch.no_grad()
def test_it_equals_the_equations_read_pixel_by_pixel() -> None:
    model, pairs = randomised(), torch.randn(2, 2, 3, 32, 40)
    found = model(pairs)[1:]
    expected = bit_forward(model.double(), pairs[1].double())[None]
    assert found.shape == (1, 3, 32, 40)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@torch.no_grad()
def test_nothing_that_stays_the_same_is_a_change() -> None:
    """The difference of equal dates is zero but for the positions of their tokens, so those are taken out."""
    model = randomised()
    model.position.zero_()
    same = torch.randn(1, 1, 3, 32, 32).expand(1, 2, 3, 32, 32)
    logits = model(same)
    torch.testing.assert_close(logits[0, :, 8:-8, 8:-8], logits[0, :, 8:9, 8:9].expand(3, 16, 16))


def test_parameters_are_those_of_a_count_by_hand() -> None:
    resnet = 64 * 3 * 49 + 128  # stem, with its norm
    for before, after in ((64, 64), (64, 128), (128, 256)):
        resnet += 9 * after * (before + 3 * after) + 8 * after  # two blocks of two convolutions and norms
        resnet += (before * after + 2 * after) * (before != after)
    layer = 2 * 2 * 32 + 4 * 32 * 512 + 32 + 2 * 32 * 64 + 64 + 32
    rest = 9 * 256 * 32 + 32 + 4 * 32 + 8 * 32 + 9 * layer + 9 * 32 * 32 + 64 + 9 * 32 * 2 + 2
    assert sum(weight.numel() for weight in BIT(2).parameters()) == resnet + rest
