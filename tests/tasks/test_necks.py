"""Necks: five maps of one width from any backbone, with the published number of parameters."""

import pytest
import torch
from torch.nn import functional as F

from models.backbone import Backbone
from models.zoo import build
from tasks.necks import FPN, STRIDES, pyramid


@pytest.mark.parametrize(("channels", "count"), [((96, 192, 384, 768), 2_729_984), ((128, 256, 512, 1024), 2_852_864)])
def test_the_pyramid_has_the_published_number_of_parameters(channels: tuple[int, ...], count: int) -> None:
    assert sum(p.numel() for p in FPN(channels).parameters()) == count


@pytest.mark.parametrize("model", ["dynamicvis_t", "resnet18", "deit_t16", "swin_t", "vim_ti", "vmamba_t", "rsmamba_b"])
def test_every_backbone_gives_five_maps(model: str) -> None:
    with torch.device("meta"):
        backbone = build(model)
        maps = pyramid(backbone, width=32)(backbone(torch.empty(2, 3, 128, 128)))
    assert [tuple(m.shape) for m in maps] == [(2, 32, 128 // stride, 128 // stride) for stride in STRIDES]


def test_coarse_maps_are_added_to_finer_ones() -> None:
    torch.manual_seed(0)
    neck = FPN((3, 4), width=5, levels=3).double()
    fine, coarse = torch.randn(1, 3, 8, 8, dtype=torch.float64), torch.randn(1, 4, 4, 4, dtype=torch.float64)
    first, second, third = neck([fine, coarse])
    top = neck.lateral[1](coarse)
    doubled = top.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(first, neck.output[0](neck.lateral[0](fine) + doubled))
    torch.testing.assert_close(second, neck.output[1](top))
    torch.testing.assert_close(third, second[..., ::2, ::2])


def test_the_last_map_picks_every_second_cell() -> None:
    neck = FPN((2,), width=2, levels=2)
    first, second = neck([torch.randn(1, 2, 6, 6)])
    assert torch.equal(second, F.max_pool2d(first, 1, 2))


def test_a_backbone_of_other_strides_is_refused() -> None:
    backbone = Backbone()
    backbone.strides, backbone.channels = (8, 16), (4, 4)
    with pytest.raises(ValueError, match=r"strides \(8, 16\)"):
        pyramid(backbone)
