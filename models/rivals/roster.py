"""Every rival by name: the one list.

A rival is a whole network behind a task: from an image, or a pair of dates, to logits. What stands here is what
docs/rivals.md says of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from models.backbone import Backbone, InputError
from models.rivals import libraries
from models.rivals.bit import BIT
from models.rivals.libraries import smp, torchvision

SMP, TORCHVISION, TORCHGEO, HERE = "segmentation_models_pytorch", "torchvision", "torchgeo", "dvbench"
LICENCES = {SMP: "MIT", TORCHVISION: "BSD-3-Clause", TORCHGEO: "MIT", HERE: "Apache-2.0"}
SGD = "its authors trained it by SGD, whose rate says nothing for AdamW"


@dataclass(frozen=True)
class Published:
    """A published count of parameters.

    Attributes:
        parameters: as published, in full where it was so.
        classes: of the network that was counted.
        where: who says so.
        options: of `Rival.build` that make that network.
    """

    parameters: float
    classes: int
    where: str
    options: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Rival:
    """A method of the paper's tables.

    Attributes:
        title: as in the tables.
        task: what it is for.
        build: makes the network, with random weights, for a number of classes.
        rows: number of a table -> names of its rows that this is.
        code_of: whose code runs.
        paper: where it was published.
        differs: what is not as its authors have it.
        lr: its authors' learning rate, where it is one of Adam or AdamW.
        lr_from: who says so, or why there is none.
        published: its parameters as published, where that is known.
        divisor: both sides of an image have to be divisible by it.
        batch: images that a training step needs at least.
    """

    title: str
    task: str
    build: Callable[..., nn.Module]
    rows: Mapping[int, tuple[str, ...]]
    code_of: str
    paper: str
    differs: str
    lr: float | None = None
    lr_from: str = SGD
    published: Published | None = None
    divisor: int = 32
    batch: int = 1


SEGMENTATION, CHANGE = "semantic_segmentation", "change_detection"
_NO_AUXILIARY = "no auxiliary head in training"

RIVALS: dict[str, Rival] = {
    "fcn": Rival(
        "FCN",
        SEGMENTATION,
        partial(torchvision, "fcn_resnet50"),
        {7: ("FCN",)},
        TORCHVISION,
        "arXiv 1411.4038",
        f"ResNet-50 at stride 8 in place of VGG-16, as is usual since; {_NO_AUXILIARY}",
        published=Published(35_322_218, 21, "torchvision", MappingProxyType({"auxiliary": True})),
        divisor=1,
    ),
    "unet": Rival(
        "U-Net",
        SEGMENTATION,
        partial(smp, "Unet", "vgg13_bn"),
        {6: ("U-Net",), 7: ("U-Net",)},
        SMP,
        "arXiv 1505.04597",
        "the encoder is VGG-13 with batch norm, the nearest to the authors' plain convolutions; the decoder is "
        "narrower, and padding keeps the size",
    ),
    "resunet": Rival(
        "ResUNet",
        SEGMENTATION,
        partial(smp, "Unet", "resnet34"),
        {6: ("ResUNet",), 7: ("ResUNet",)},
        SMP,
        "arXiv 1711.10684",
        "ResNet-34 as the encoder, where the authors have seven residual blocks in all",
    ),
    "pspnet": Rival(
        "PSPNet",
        SEGMENTATION,
        partial(smp, "PSPNet", "resnet50", encoder_depth=5, psp_out_channels=512, upsampling=32),
        {6: ("PSPNet",), 7: ("PSPNet",)},
        SMP,
        "arXiv 1612.01105",
        f"ResNet-50 without dilation, so that pooling sees a map at stride 32 and not 8; {_NO_AUXILIARY}",
        batch=2,
    ),
    "deeplabv3": Rival(
        "DeepLabV3",
        SEGMENTATION,
        partial(torchvision, "deeplabv3_resnet50"),
        {6: ("DeeplabV3",), 7: ("DeepLabv3",)},
        TORCHVISION,
        "arXiv 1706.05587",
        f"ResNet-50 at stride 8; {_NO_AUXILIARY}",
        published=Published(42_004_074, 21, "torchvision", MappingProxyType({"auxiliary": True})),
        divisor=1,
        batch=2,
    ),
    "deeplabv3plus": Rival(
        "DeepLabV3+",
        SEGMENTATION,
        partial(smp, "DeepLabV3Plus", "resnet50"),
        {6: ("DeeplabV3+",), 7: ("Deeplabv3+",)},
        SMP,
        "arXiv 1802.02611",
        "ResNet-50 at stride 16 in place of the aligned Xception; pyramid and decoder are separable, as theirs",
        divisor=16,
        batch=2,
    ),
    "hrnet": Rival(
        "HRNet",
        SEGMENTATION,
        partial(smp, "FPN", "tu-hrnet_w48"),
        {6: ("HRNetv2", "HRNet"), 7: ("HRNet",)},
        SMP,
        "arXiv 1908.07919",
        "HRNet-W48 of timm with the steps of its classifier, and a feature pyramid in place of the concatenation of "
        "all four maps; both rows of a table are this one network",
    ),
    "poolformer": Rival(
        "PoolFormer",
        SEGMENTATION,
        partial(smp, "FPN", "tu-poolformer_s24"),
        {6: ("PoolFormer",), 7: ("PoolFormer",)},
        SMP,
        "arXiv 2111.11418",
        "PoolFormer-S24 of timm with the library's feature pyramid, which has group norm; theirs is mmsegmentation's "
        "Semantic FPN",
        lr=2e-4,
        lr_from="its authors' configuration for ADE20K (AdamW)",
        published=Published(23.2e6, 150, "its paper, S24 on ADE20K"),
    ),
    "segformer": Rival(
        "SegFormer",
        SEGMENTATION,
        partial(smp, "Segformer", "mit_b2", decoder_segmentation_channels=768),
        {6: ("Segformer",), 7: ("Segformer",)},
        SMP,
        "arXiv 2105.15203",
        "size B2, as the paper names none; the head learns at the rate of all else, theirs ten times as fast",
        lr=6e-5,
        lr_from="its authors' configuration for ADE20K (AdamW)",
        published=Published(27.5e6, 150, "its paper, B2 on ADE20K"),
    ),
    "fc_ef": Rival(
        "FC-EF",
        CHANGE,
        partial(libraries.early_fusion, "resnet34"),
        {8: ("FC-EF",), 9: ("FC-EF",), 10: ("FC-EF",)},
        SMP,
        "arXiv 1810.08462",
        "a U-Net with ResNet-34 on six channels; the authors' is shallower and narrower, 16 to 128 channels",
        lr=1e-3,
        lr_from="its authors' code, which takes Adam's own",
    ),
    "fc_siam_diff": Rival(
        "FC-Siam-Diff",
        CHANGE,
        partial(libraries.siamese_difference, "resnet34"),
        {8: ("FC-Siam-Diff",), 9: ("FC-Siam-Diff",)},
        TORCHGEO,
        "arXiv 1810.08462",
        "a U-Net with ResNet-34; skips carry signed differences, where the authors' carry absolute ones",
        lr=1e-3,
        lr_from="its authors' code, which takes Adam's own",
    ),
    "bit": Rival(
        "BIT",
        CHANGE,
        BIT,
        {8: ("BIT",), 9: ("BIT",), 10: ("BIT",)},
        HERE,
        "arXiv 2103.00208",
        "written from the paper and held against its equations; heads of 64 channels in encoder and decoder, as in its "
        "authors' default configuration, where the paper says 8",
        divisor=8,
    ),
    "changestar": Rival(
        "ChangeStar",
        CHANGE,
        partial(libraries.changestar, "resnet50"),
        {8: ("ChangeStar",)},
        TORCHGEO,
        "arXiv 2108.07002",
        "FarSeg with ResNet-50, trained on pairs in one order of the dates; the authors' point, learning from single "
        "dates, is not run",
    ),
    "changevit_t": Rival(
        "ChangeViT-T",
        CHANGE,
        partial(libraries.changevit, "deit_tiny_patch16_224"),
        {8: ("ChangeViT-T",), 9: ("ChangeViT-T",), 10: ("ChangeViT-T",)},
        TORCHGEO,
        "arXiv 2406.12847",
        "TorchGeo's reading of it: its detail branch sees both dates at once, theirs each by itself; 3 heads of "
        "attention for their 6; and without the weights of DeiT and ResNet-18 that it starts from",
        lr=2e-4,
        lr_from="its authors' code (Adam)",
        divisor=16,
    ),
    "changevit_s": Rival(
        "ChangeViT-S",
        CHANGE,
        partial(libraries.changevit, "vit_small_patch16_224"),
        {10: ("ChangeViT-S",)},
        TORCHGEO,
        "arXiv 2406.12847",
        "TorchGeo's reading of it, as ChangeViT-T; without the weights of DINOv2 and ResNet-18 that it starts from",
        lr=2e-4,
        lr_from="its authors' code (Adam)",
        divisor=16,
    ),
}


class RivalError(ValueError):
    """A rival that cannot do what was asked; the message is one line."""


class Whole(Backbone):
    """A rival where a task expects its backbone: its one map is the logits.

    Args:
        network: from images to logits (batch, classes, height, width).
        classes: number of classes.
        divisor: as of `Rival`.
        batch: as of `Rival`.
    """

    strides = (1,)

    def __init__(self, network: nn.Module, classes: int, divisor: int, batch: int) -> None:
        super().__init__()
        self.network = network
        self.channels = (classes,)
        self.divisor = divisor
        self.batch = batch

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of images (batch, 3, height, width) or pairs (batch, 2, 3, height, width).

        Raises:
            InputError: the shape does not suit the network, or a training step has too few images for batch norm.
        """
        self.check(image.flatten(0, -4))
        if self.training and len(image) < self.batch:
            raise InputError(
                f"a training batch has {len(image)} image, and batch norm of pooled maps needs {self.batch}: choose a "
                "batch that does not leave so few at the end"
            )
        return (self.network(image),)


def check(name: str, task: str, weights: str = "") -> None:
    """Raise RivalError where a rival is for another task, or is to start from weights, whose keys nobody maps yet."""
    if task != RIVALS[name].task:
        raise RivalError(f"{name} is for {RIVALS[name].task}, not {task}")
    if weights:
        raise RivalError(f"{name} starts from random weights, and not from {weights}: leave out --weights")


def rival(name: str, classes: int) -> Whole:
    """Build a rival with random weights from torch's global seed.

    Args:
        name: a key of `RIVALS`.
        classes: of the dataset, the background included.

    Raises:
        RivalError: it cannot tell so many classes.
    """
    chosen, device = RIVALS[name], torch.get_default_device()
    try:
        with torch.device("cpu"):  # some ask for values while they are built, which the meta device does not have
            network = chosen.build(classes=classes)
    except ValueError as error:
        raise RivalError(f"{name}: {error}") from error
    return Whole(network.to(device), classes, chosen.divisor, chosen.batch)
