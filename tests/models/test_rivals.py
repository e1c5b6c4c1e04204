"""The paper's other methods as whole networks: their size beside the published one, their shapes, what they refuse."""

from importlib.metadata import metadata

import pytest
import torch

from dvbench import paper
from models.backbone import InputError
from models.rivals.roster import LICENCES, RIVALS, RivalError, check, rival

LIGHT = ("unet", "fc_ef", "bit")
ALL = [name if name in LIGHT else pytest.param(name, marks=pytest.mark.slow) for name in RIVALS]
PUBLISHED = [name for name, one in RIVALS.items() if one.published]
TOLERANCE = 0.02


def images(name: str, batch: int, side: int) -> torch.Tensor:
    dates = (2,) if RIVALS[name].task == "change_detection" else ()
    return torch.randn(batch, *dates, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", RIVALS)
def test_every_row_is_one_of_the_paper_and_of_one_rival_only(name: str) -> None:
    for table, rows in RIVALS[name].rows.items():
        printed = set(paper.table(table)["method"])
        others = {row for other, one in RIVALS.items() if other != name for row in one.rows.get(table, ())}
        assert set(rows) <= printed - others


def test_licences_are_those_of_the_libraries() -> None:
    for library, licence in LICENCES.items():
        told = metadata(library)
        said = told.get("License-Expression") or told.get("License") or ""
        assert said.split("-")[0] == licence.split("-")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_that_were_published(name: str) -> None:
    published = RIVALS[name].published
    assert published
    network = RIVALS[name].build(classes=published.classes, **published.options)
    count = sum(parameter.numel() for parameter in network.parameters())
    exact = published.parameters != round(published.parameters, -5)
    assert count == pytest.approx(published.parameters, rel=0 if exact else TOLERANCE)


@pytest.mark.parametrize("name", ALL)
def test_images_become_logits_and_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network = rival(name, 2).train()
    image = images(name, 2, 64)
    (logits,) = network(image)
    assert logits.shape == (2, 2, 64, 64)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [key for key, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("name", ALL)
def test_images_of_a_batch_do_not_see_each_other_when_scored(name: str) -> None:
    network = rival(name, 2).eval()
    image = images(name, 2, 64)
    with torch.no_grad():
        together, alone = network(image)[0], network(image[1:])[0]
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["unet", "fc_ef"])
def test_a_size_that_it_cannot_take_is_named(name: str) -> None:
    with pytest.raises(InputError, match="72 x 72 pixels: both sides must be divisible by 32"):
        rival(name, 2)(images(name, 1, 72))


def test_a_training_batch_of_one_is_refused_where_batch_norm_cannot_have_it() -> None:
    network = rival("deeplabv3plus", 2)
    with pytest.raises(InputError, match="a training batch has 1 image, and batch norm of pooled maps needs 2"):
        network.train()(images("deeplabv3plus", 1, 32))
    with torch.no_grad():
        assert network.eval()(images("deeplabv3plus", 1, 32))[0].shape == (1, 2, 32, 32)


def test_another_task_and_too_many_classes_are_refused() -> None:
    with pytest.raises(RivalError, match="unet is for semantic_segmentation, not change_detection"):
        check("unet", "change_detection")
    with pytest.raises(RivalError, match=r"unet starts from random weights, and not from unet\.pth: leave out"):
        check("unet", "semantic_segmentation", "unet.pth")
    with pytest.raises(RivalError, match="changestar: ChangeStar tells changed from unchanged, not 3 classes"):
        rival("changestar", 3)


@pytest.mark.parametrize("name", LIGHT)
def test_it_can_be_counted_without_memory(name: str) -> None:
    with torch.device("meta"):
        network = rival(name, 2)
        (logits,) = network.eval()(torch.empty(images(name, 1, 64).shape))
    assert {weight.device.type for weight in network.parameters()} == {logits.device.type} == {"meta"}
