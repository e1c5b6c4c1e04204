"""Instance segmentation (section 4.3.3): Mask R-CNN on a pyramid over any backbone."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign

from tasks.average_precision import AveragePrecision, PrecisionOptions
from tasks.detection import to_original
from tasks.groie import GRoIE
from tasks.necks import STRIDES, pyramid
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options
from tasks.torchvision_detectors import image_list, named, proposal_network

BOX_SIDE, MASK_SIDE = 7, 14
SIZES = (4, 8)  # of anchors, in strides


class InstanceOptions(Options):
    """Mask R-CNN; thresholds and widths are those of the authors unless a protocol says otherwise.

    Attributes:
        extractor: `groie` as DynamicVis has it, or `align` for plain Mask R-CNN.
        width: channels of the maps and the mask head.
        hidden: of the box head's two layers.
        proposals: kept before suppression in training and at test, and after it.
        samples: regions of an image that are trained on.
        least_score: from which a detection counts.
        overlap: intersection over union above which the worse of two detections goes.
        most: detections that are kept an image.
    """

    extractor: Literal["groie", "align"] = "groie"
    width: Annotated[int, Field(ge=8)] = 256
    hidden: Annotated[int, Field(ge=8)] = 1024
    proposals: tuple[int, int, int] = (2000, 1000, 1000)
    samples: int = 512
    least_score: float = 0.05
    overlap: float = 0.5
    most: int = 100


class Extractor(nn.Module):
    """GRoIE where torchvision expects its own pooling."""

    def __init__(self, roi: GRoIE) -> None:
        super().__init__()
        self.roi = roi

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], sides: Sequence[tuple[int, int]]) -> Tensor:  # noqa: ARG002
        """Return features (regions, width, side, side)."""
        features: Tensor = self.roi(list(maps.values()), boxes)
        return features


class InstanceSegmentation(Task):
    """Boxes with classes and masks. Losses: of proposals and their boxes, of classes, boxes and masks."""

    HeadOptions = InstanceOptions
    ScoreOptions = PrecisionOptions
    LOSSES = ("proposal", "proposal_box", "classification", "box", "mask")

    def configure_network(self) -> None:
        """Build pyramid, proposals and heads."""
        chosen = read_options(InstanceOptions, self.protocol.head, self.protocol, "head")
        classes, width = len(self.problem.classes), chosen.width
        self.neck = pyramid(self.backbone, width)
        sizes = [tuple(size * stride for size in SIZES) for stride in STRIDES]
        self.proposals = proposal_network(width, sizes, chosen.proposals)
        if chosen.extractor == "groie":
            self.box_roi, self.mask_roi = GRoIE(BOX_SIDE, width), GRoIE(MASK_SIDE, width)
            pools: list[nn.Module] = [Extractor(self.box_roi), Extractor(self.mask_roi)]
        else:
            pools = [MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2) for side in (BOX_SIDE, MASK_SIDE)]
        self.regions = RoIHeads(
            pools[0],
            TwoMLPHead(width * BOX_SIDE**2, chosen.hidden),
            FastRCNNPredictor(chosen.hidden, classes),
            0.5,
            0.5,
            chosen.samples,
            0.25,
            (10.0, 10.0, 5.0, 5.0),  # the inverse of the deviations .1, .1, .2, .2
            chosen.least_score,
            chosen.overlap,
            chosen.most,
            pools[1],
            MaskRCNNHeads(width, (width,) * 4, 1),
            MaskRCNNPredictor(width, width, classes),
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of proposals and regions."""
        maps = named(self.neck(self.backbone(batch["image"])))
        images = image_list(batch["image"])
        columns = (batch["bbox_xyxy"], batch["label"], batch["mask"])
        wanted = [{"boxes": b, "labels": label, "masks": m} for b, label, m in zip(*columns, strict=True)]
        proposals, first = self.proposals(images, maps, wanted)
        _, second = self.regions(maps, proposals, images.image_sizes, wanted)
        return {
            "proposal": first["loss_objectness"],
            "proposal_box": first["loss_rpn_box_reg"],
            "classification": second["loss_classifier"],
            "box": second["loss_box_reg"],
            "mask": second["loss_mask"],
        }

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return "boxes", "scores", "labels" and "masks" of each image, at its original size."""
        maps = named(self.neck(self.backbone(batch["image"])))
        images = image_list(batch["image"])
        proposals, _ = self.proposals(images, maps)
        found, _ = self.regions(maps, proposals, images.image_sizes)
        return [self._to_original(one, size, batch["image"]) for one, size in zip(found, batch["size"], strict=True)]

    def configure_scores(self) -> Scores:
        """Make the COCO average precision of boxes and masks."""
        options = read_options(PrecisionOptions, self.protocol.scores, self.protocol, "scores")
        return AveragePrecision(len(self.problem.classes), options.model_copy(update={"masks": True}))

    def _to_original(self, found: Prediction, size: Tensor, image: Tensor) -> Prediction:
        boxes = to_original(found["boxes"], self.extent(size, image), size)
        height, width = (int(side) for side in size)
        masks = paste_masks_in_image(found["masks"], boxes, (height, width))[:, 0] >= 0.5
        return {"boxes": boxes, "scores": found["scores"], "labels": found["labels"], "masks": masks}
