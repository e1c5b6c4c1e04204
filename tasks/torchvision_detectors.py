"""Faster R-CNN and RetinaNet on maps that are already there.

torchvision's models own their backbone, resize and normalise. Here all that has been done, so only what follows the
pyramid is used: anchors, heads, assignment, losses and non-maximum suppression.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet

from tasks.necks import STRIDES
from tasks.proposals import ASPECTS, as_targets, image_list, named, proposal_network
from tasks.rcnn import BoxHead, Limits, SingleLevel, sample
from tasks.task import Options, Prediction

SIDE = 7  # of a region in cells
SAMPLES = 512  # regions of an image that Faster R-CNN is trained on


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

    @abstractmethod
    def layers(self, maps: Sequence[Tensor]) -> None:
        """Run each layer as often as training does; see `tasks.task.Task.layers`."""


def build_detector(options: DetectorOptions, classes: int) -> Detector:
    """Build the head that a protocol names; `classes` counts the background."""
    return FasterRCNNHead(options, classes) if options.kind == "faster_rcnn" else RetinaNetHead(options, classes)


class FasterRCNNHead(Detector):
    """Proposals, then a classifier and a box regressor for each (arXiv 1506.01497)."""

    def __init__(self, options: DetectorOptions, classes: int) -> None:
        super().__init__()
        sizes = [(8 * stride,) for stride in STRIDES]
        self.limits = Limits(options.least_score, 0.5, options.most)
        self.proposals = proposal_network(options.width, sizes, (2000, 1000, 1000))
        self.pool = SingleLevel(SIDE)
        self.boxes = BoxHead(options.width, SIDE, 4 * options.width, classes)

    def losses(
        self, image: Tensor, maps: Sequence[Tensor], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of proposals and regions; see `Detector.losses`."""
        proposals, first = self.proposals(image_list(image), named(maps), as_targets(boxes, labels))
        truths = zip(proposals, boxes, labels, strict=True)
        samples = [sample(some, truth, label, SAMPLES) for some, truth, label in truths]
        second = self.boxes.losses(self.pool(maps, [each.boxes for each in samples]), samples, boxes)
        return {"proposal": first["loss_objectness"], "proposal_box": first["loss_rpn_box_reg"]} | second

    def detect(self, image: Tensor, maps: Sequence[Tensor]) -> list[Prediction]:
        """Return the boxes of each image; see `Detector.detect`."""
        proposals, _ = self.proposals(image_list(image), named(maps))
        sides = (image.shape[-2], image.shape[-1])
        return self.boxes.detect(self.pool(maps, proposals), proposals, sides, self.limits)

    def layers(self, maps: Sequence[Tensor]) -> None:
        """Run the layers over maps and sampled regions; see `Detector.layers`."""
        self.proposals.head(list(maps))
        self.boxes(maps[0].new_zeros(SAMPLES * len(maps[0]), maps[0].shape[1], SIDE, SIDE))


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

    def layers(self, maps: Sequence[Tensor]) -> None:
        """Run the layers over maps; see `Detector.layers`."""
        self.net.head(list(maps))
