"""Every head has the size and the initial weights of the authors' configuration.

Read in KyanChen/DynamicVis at 0bfe96f (configs_DynamicVis, dynamicvis/models/models.py) and in the libraries that these
configure: mmcv 2.2.0, mmengine 0.10.7, mmdet 3.2.0 and mmseg 1.2.2. Numbers are counted by hand.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from tasks.change_detection import ChangeDecoder, ChangeDetection
from tasks.classification import Classification
from tasks.fcos import FCOSHead
from tasks.groie import GRoIE
from tasks.masks import MaskHead
from tasks.necks import FPN
from tasks.proposals import proposal_network
from tasks.rcnn import BoxHead
from tasks.region_classification import RegionClassification
from tasks.task import Problem
from tasks.upernet import AuxiliaryHead, UPerNet
from tests.tasks.made_up import backbone, protocol


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def conv(channels: int, width: int, kernel: int) -> int:
    """Parameters of a convolution with batch norm and without bias, which is what a ConvModule with norm is."""
    return channels * width * kernel**2 + 2 * width


def named(count: int) -> Problem:
    return Problem(tuple(map(str, range(count))))


def scenes() -> nn.Module:
    return Classification(backbone("dynamicvis_b"), named(30), protocol("classification")).linear


def regions() -> nn.Module:
    return RegionClassification(backbone("dynamicvis_t"), named(63), protocol("region_classification")).linear


def fusion() -> nn.Module:
    return ChangeDetection(backbone("dynamicvis_t"), named(2), protocol("change_detection")).fuse


STAGES = (96, 192, 384, 768)
SIZES = [(4 * stride, 8 * stride) for stride in (4, 8, 16, 32, 64)]
CONV3 = 9 * 256 * 256 + 256  # 3 x 3 with bias

#: Head: how it is built, and its parameters.
HEADS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # DynamicVisClsHead: one linear layer on 768 channels.
    "classes of AID": (scenes, 768 * 30 + 30),
    # DynamicVisPretrainClsHead, its linear layer.
    "classes of fMoW": (regions, 256 * 63 + 63),
    # mmdet FPN: 1 x 1 and 3 x 3 with bias.
    "FPN": (lambda: FPN(STAGES), sum(256 * width + 256 for width in STAGES) + 4 * CONV3),
    # mmdet FCOSHead: two branches of 4 with group norm, 1 class, 4 sides, centerness, a scale a level.
    "FCOS": (lambda: FCOSHead(1, 256, 4), 8 * (CONV3 + 512) + (1 + 4 + 1) * (9 * 256 + 1) + 5),
    # mmdet RPNHead: 6 anchors a cell.
    "RPN": (lambda: proposal_network(256, SIZES, (2000, 1000, 1000)).head, CONV3 + 6 * 257 + 24 * 257),
    # mmdet Shared2FCBBoxHead: 7 x 7 cells, 1024 hidden; 10 classes and background, a box a class.
    "boxes of NWPU": (
        lambda: BoxHead(256, 7, 1024, 11),
        (256 * 49 + 1) * 1024 + 1025 * 1024 + 1025 * 11 + 1025 * 40,
    ),
    "boxes of SSDD": (lambda: BoxHead(256, 7, 1024, 2), (256 * 49 + 1) * 1024 + 1025 * 1024 + 1025 * 2 + 1025 * 4),
    # mmdet FCNMaskHead: 4 convolutions, a deconvolution of 2 x 2, a mask a class; the background has none.
    "masks of NWPU": (lambda: MaskHead(256, 11), 4 * CONV3 + 256 * 256 * 4 + 256 + 257 * 10),
    "masks of SSDD": (lambda: MaskHead(256, 2), 4 * CONV3 + 256 * 256 * 4 + 256 + 257),
    # mmdet GenericRoIExtractor: 5 x 5; mmcv GeneralizedAttention '0100' with 6 heads of 42 = 252 channels.
    "GRoIE": (
        lambda: GRoIE(7),
        25 * 256 * 256 + 256 + 2 * 256 * 252 + 2 * 128 * 252 + 252 * 256 + 256 + 1,
    ),
    # mmseg UPerHead: pools 1, 2, 3, 6; bottleneck; 3 lateral, 3 outputs, fusion, 2 classes.
    "UPerNet": (
        lambda: UPerNet(256, 512, 2),
        4 * conv(256, 512, 1)
        + conv(256 + 4 * 512, 512, 3)
        + 3 * conv(256, 512, 1)
        + 3 * conv(512, 512, 3)
        + conv(4 * 512, 512, 3)
        + 513 * 2,
    ),
    # mmseg FCNHead: one 3 x 3, 2 classes.
    "auxiliary": (lambda: AuxiliaryHead(256, 256, 2), conv(256, 256, 3) + 257 * 2),
    # DualInputsSimpleFusionNeck: plain 1 x 1 convolutions, with bias, and batch norm.
    "fusion of dates": (fusion, 5 * (512 * 256 + 256 + 512)),
    # UNetDecodeNeck: 4 times InterpConv (1 x 1) and two 3 x 3; MLPSegHead: 5 times 1 x 1, fusion, 2 classes.
    "change decoder": (
        lambda: ChangeDecoder(256, 2),
        4 * (conv(256, 256, 1) + conv(512, 256, 3) + conv(256, 256, 3))
        + 5 * conv(256, 256, 1)
        + conv(5 * 256, 256, 1)
        + 257 * 2,
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_has_as_many_parameters_as_configured(name: str) -> None:
    build, parameters = HEADS[name]
    with torch.device("meta"):
        assert count(build()) == parameters


def kaiming(fan_out: int) -> float:
    """Standard deviation of mmengine's KaimingInit, mmcv's default for a ConvModule."""
    return math.sqrt(2 / fan_out)


def xavier(fan_in: int, fan_out: int) -> float:
    """Standard deviation of mmengine's XavierInit."""
    return math.sqrt(2 / (fan_in + fan_out))


#: Head, layer, standard deviation of its weights at the start.
STARTS = [
    ("classes of AID", "", 0.01),  # init_cfg: Normal, layer Linear, std 0.01
    ("classes of fMoW", "", 0.01),  # init_cfg: Normal, layer Linear, std 0.01
    ("FPN", "lateral.0", xavier(96, 256)),  # init_cfg: Xavier, distribution uniform
    ("FPN", "output.3", xavier(9 * 256, 9 * 256)),
    ("FCOS", "class_branch.0", 0.01),  # init_cfg: Normal, layer Conv2d, std 0.01
    ("FCOS", "classes", 0.01),
    ("FCOS", "box", 0.01),
    ("FCOS", "centerness", 0.01),
    ("RPN", "conv.0.0", 0.01),  # init_cfg: Normal, layer Conv2d, std 0.01
    ("RPN", "cls_logits", 0.01),
    ("RPN", "bbox_pred", 0.01),
    ("boxes of NWPU", "shared.1", xavier(256 * 49, 1024)),  # init_cfg: Xavier uniform for shared_fcs
    ("boxes of NWPU", "shared.3", xavier(1024, 1024)),
    ("boxes of NWPU", "classes", 0.01),  # Normal, override fc_cls
    ("boxes of NWPU", "boxes", 0.001),  # Normal, override fc_reg
    ("masks of NWPU", "convolutions.0", kaiming(9 * 256)),
    ("masks of NWPU", "enlarge.0", kaiming(4 * 256)),
    ("masks of NWPU", "masks", kaiming(10)),
    ("GRoIE", "pre", kaiming(25 * 256)),  # ConvModule
    ("GRoIE", "query", 256**-0.5),  # GeneralizedAttention: kaiming_init, fan_in, uniform, a=1
    ("GRoIE", "value", 256**-0.5),
    ("GRoIE", "geometry_x", 128**-0.5),
    ("GRoIE", "geometry_y", 128**-0.5),
    ("GRoIE", "project", 252**-0.5),
    ("UPerNet", "pooling.pools.0.1.0", kaiming(512)),
    ("UPerNet", "lateral.0.0", kaiming(512)),
    ("UPerNet", "output.0.0", kaiming(9 * 512)),
    ("UPerNet", "fuse.0", kaiming(9 * 512)),
    ("UPerNet", "classify.1", 0.01),  # BaseDecodeHead, init_cfg: Normal, std 0.01, override conv_seg
    ("auxiliary", "net.0.0", kaiming(9 * 256)),
    ("auxiliary", "net.2", 0.01),
    ("change decoder", "rise.0.0", kaiming(256)),
    ("change decoder", "merge.0.0.0", kaiming(9 * 256)),
    ("change decoder", "project.0.0", kaiming(256)),
    ("change decoder", "fuse.0", kaiming(256)),
    ("change decoder", "classify", 0.01),
    ("fusion of dates", "0.0", 1 / math.sqrt(3 * 512)),  # torch's own, uniform up to 1 / sqrt(fan-in)
]


@pytest.fixture(scope="module")
def built() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: build() for name, (build, _) in HEADS.items()}


@pytest.mark.parametrize(("name", "layer", "deviation"), STARTS)
def test_weights_start_as_configured(built: dict[str, nn.Module], name: str, layer: str, deviation: float) -> None:
    values = built[name].get_parameter(f"{layer}.weight".removeprefix(".")).detach()
    assert abs(values.mean()) < 5 * deviation / values.numel() ** 0.5
    assert values.std().item() == pytest.approx(deviation, rel=5 / (2 * values.numel()) ** 0.5)


def test_biases_start_at_zero(built: dict[str, nn.Module]) -> None:
    """But for the prior of FCOS's classes, and for the fusion of dates, which is torch's own convolution."""
    for name, head in built.items():
        layers = (module for module in head.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear))
        biases = torch.cat([layer.bias.detach().flatten() for layer in layers if layer.bias is not None])
        others = {"FCOS": [-math.log(99)]}.get(name, [])
        if name != "fusion of dates":
            assert biases[biases != 0].tolist() == pytest.approx(others), name


def test_the_pyramid_of_change_detection_starts_as_mmcv_leaves_it() -> None:
    """mmengine does not look into the nn.ModuleList of open-cd's SequentialNeck, so FPN's own Xavier never happens."""
    torch.manual_seed(0)
    task = ChangeDetection(backbone("dynamicvis_t"), named(2), protocol("change_detection"))
    assert task.neck.output[0].weight.std().item() == pytest.approx(kaiming(9 * 256), rel=0.01)
