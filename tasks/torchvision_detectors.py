"""Faster R-CNN and RetinaNet from torchvision, on maps that are already there.

torchvision's models own their backbone, resize and normalise. Here all that has been done, so only what follows the
pyramid is used: anchors, heads, assignment, losses and non-maximum suppression.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from tasks.necks import STRIDES
from tasks.task import Options, Prediction

ASPECTS = (0.5, 1.0, 2.0)


class DetectorOptions(Options):
    """The detector; thresholds and widths are those of the authors unless a protocol says otherwise.

    Attributes:
        kind: which detector.
        width: channels of the maps.
        depth: convolutions in each branch of FCOS.
        least_score: from which a detection counts.
        candidates: detections of a level that are looked at.
        overlap: intersection over union above which the worse of two detections of a class goes.
        most: detections that are kept an image.
    """

    kind: Literal["fcos", "faster_rcnn", "retinanet"] = "fcos"
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 256
    depth: Annotated[int, Field(ge=1)] = 4
    least_score: float = 0.05
    candidates: int = 1000
    overlap: float = 0.6
    most: int = 100


class Detector(nn.Module):
    """What follows a pyramid."""

    @abstractmethod
    def losses(
        self, image: Tensor, maps: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of images (batch, 3, height, width) and their maps; labels from 1."""

    @abstractmethod
    def detect(self, image: Tensor, maps: Sequence[Tensor]) -> list[Prediction]:
        """Return "boxes" in the network's pixels, "scores" and "labels" from 1 of each image."""


def build_detector(options: DetectorOptions, classes: int) -> Detector:
    """Build the head that a protocol names; `classes` counts the background."""
    return FasterRCNNHead(options, classes) if options.kind == "faster_rcnn" else RetinaNetHead(options, classes)


def proposal_network(width: int, sizes: Sequence[Sequence[int]], keep: tuple[int, int, int]) -> RegionProposalNetwork:
    """Build a region proposal network with the usual thresholds (section 4.3.3).

    Args:
        width: channels of the maps.
        sizes: of the anchors in px, level by level.
        keep: proposals before suppression a level in training and at test, and after it.
    """
    anchors = AnchorGenerator(tuple(map(tuple, sizes)), (ASPECTS,) * len(sizes))
    head = RPNHead(width, anchors.num_anchors_per_location()[0])
    before = {"training": keep[0], "testing": keep[1]}
    after = {"training": keep[2], "testing": keep[2]}
    return RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, before, after, 0.7)


def image_list(image: Tensor) -> ImageList:
    """Wrap a batch as torchvision's detectors want it."""
    return ImageList(image, [(image.shape[-2], image.shape[-1])] * len(image))


def named(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name maps as torchvision's detectors do; they compute in float32."""
    return {str(i): current.float() for i, current in enumerate(maps)}


def as_targets(boxes: list[Tensor], labels: list[Tensor]) -> list[dict[str, Tensor]]:
    """Pair boxes with labels as torchvision's detectors want them."""
    return [{"boxes": some, "labels": those} for some, those in zip(boxes, labels, strict=True)]


class FasterRCNNHead(Detector):
    """Proposals, then a classifier and a box regressor for each (arXiv 1506.01497)."""

    def __init__(self, options: DetectorOptions, classes: int) -> None:
        super().__init__()
        sizes = [(8 * stride,) for stride in STRIDES]
        self.proposals = proposal_network(options.width, sizes, (2000, 1000, 1000))
        hidden = 4 * options.width
        self.regions = RoIHeads(
            MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
            TwoMLPHead(options.width * 49, hidden),
            FastRCNNPredictor(hidden, classes),
            0.5,
            0.5,
            512,
            0.25,
            None,
            options.least_score,
            0.5,
            options.most,
        )

    def losses(
        self, image: Tensor, maps: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of proposals and regions; see `Detector.losses`."""
        images, features, wanted = image_list(image), named(maps), as_targets(boxes, labels)
        proposals, first = self.proposals(images, features, wanted)
        _, second = self.regions(features, proposals, images.image_sizes, wanted)
        return {
            "proposal": first["loss_objectness"],
            "proposal_box": first["loss_rpn_box_reg"],
            "classification": second["loss_classifier"],
            "box": second["loss_box_reg"],
        }

    def detect(self, image: Tensor, maps: Sequence[Tensor]) -> list[Prediction]:
        """Return the boxes of each image; see `Detector.detect`."""
        images, features = image_list(image), named(maps)
        proposals, _ = self.proposals(images, features)
        found: list[Prediction] = self.regions(features, proposals, images.image_sizes)[0]
        return found


class _Nothing(nn.Module):
    """Stands where torchvision's RetinaNet wants a backbone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width


class RetinaNetHead(Detector):
    """Classes and boxes for each anchor at once (arXiv 1708.02002)."""

    def __init__(self, options: DetectorOptions, classes: int) -> None:
        super().__init__()
        sizes = [tuple(int(4 * stride * 2 ** (i / 3)) for i in range(3)) for stride in STRIDES]
        self.net = RetinaNet(
            _Nothing(options.width),
            classes,
            anchor_generator=AnchorGenerator(tuple(sizes), (ASPECTS,) * len(sizes)),
            score_thresh=options.least_score,
            nms_thresh=0.5,
            detections_per_img=options.most,
            topk_candidates=options.candidates,
        )

    def losses(
        self, image: Tensor, maps: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of classes and boxes; see `Detector.losses`."""
        features = [current.float() for current in maps]
        anchors = self.net.anchor_generator(image_list(image), features)
        found = self.net.compute_loss(as_targets(boxes, labels), self.net.head(features), anchors)
        return {"classification": found["classification"], "box": found["bbox_regression"]}

    def detect(self, image: Tensor, maps: Sequence[Tensor]) -> list[Prediction]:
        """Return the boxes of each image; see `Detector.detect`."""
        features = [current.float() for current in maps]
        images = image_list(image)
        cells = [current.shape[2] * current.shape[3] for current in features]
        outputs = self.net.head(features)
        each = outputs["cls_logits"].shape[1] // sum(cells)
        split = {name: list(value.split([each * count for count in cells], dim=1)) for name, value in outputs.items()}
        anchors = self.net.anchor_generator(images, features)
        parted = [list(some.split([each * count for count in cells])) for some in anchors]
        found: list[Prediction] = self.net.postprocess_detections(split, parted, images.image_sizes)
        return found
