"""Instance segmentation (section 4.3.3): Mask R-CNN on a pyramid over any backbone."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from tasks.average_precision import AveragePrecision, PrecisionOptions
from tasks.detection import to_original
from tasks.groie import LEVELS, Attention, GRoIE
from tasks.masks import MaskHead, mask_loss, mask_targets, paste
from tasks.necks import STRIDES, pyramid
from tasks.proposals import as_targets, image_list, named, proposal_network
from tasks.rcnn import POSITIVE, BoxHead, Limits, SingleLevel, sample
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options

BOX_SIDE, MASK_SIDE = 7, 14
SIZES = (4, 8)  # of anchors, in strides


class InstanceOptions(Options):
    """Mask R-CNN; thresholds and widths are those of the authors unless a protocol says otherwise.

    Attributes:
        extractor: `groie` as DynamicVis has it, or `align` for plain Mask R-CNN.
        attention: of GRoIE, see `tasks.groie.Attention`.
        width: channels of the maps and the mask head.
        hidden: of the box head's two layers.
        proposals: kept before suppression in training and at test, and after it.
        samples: regions of an image that are trained on.
        least_score: from which a detection counts.
        overlap: intersection over union above which the worse of two detections goes.
        most: detections that are kept an image.
    """

    extractor: Literal["groie", "align"] = "groie"
    attention: Attention = "released"
    width: Annotated[int, Field(ge=8)] = 256
    hidden: Annotated[int, Field(ge=8)] = 1024
    proposals: tuple[int, int, int] = (2000, 1000, 1000)
    samples: int = 512
    least_score: float = 0.05
    overlap: float = 0.5
    most: int = 100


class InstanceSegmentation(Task):
    """Boxes with classes and masks. Losses: of proposals and their boxes, of classes, boxes and masks."""

    HeadOptions = InstanceOptions
    ScoreOptions = PrecisionOptions
    LOSSES = ("proposal", "proposal_box", "classification", "box", "mask")

    def configure_network(self) -> None:
        """Build pyramid, proposals and heads."""
        self.options = read_options(InstanceOptions, self.protocol.head, self.protocol, "head")
        chosen, classes, width = self.options, len(self.problem.classes), self.options.width
        self.neck = pyramid(self.backbone, width)
        self.proposals = proposal_network(width, [[s * stride for s in SIZES] for stride in STRIDES], chosen.proposals)
        self.box_roi, self.mask_roi = (
            GRoIE(side, width, chosen.attention) if chosen.extractor == "groie" else SingleLevel(side)
            for side in (BOX_SIDE, MASK_SIDE)
        )
        self.box_head = BoxHead(width, BOX_SIDE, chosen.hidden, classes)
        self.mask_head = MaskHead(width, classes)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of proposals and regions."""
        maps = self.neck(self.backbone(batch["image"]))
        boxes, labels, masks = batch["bbox_xyxy"], batch["label"], batch["mask"]
        proposals, first = self.proposals(image_list(batch["image"]), named(maps), as_targets(boxes, labels))
        triples = zip(proposals, boxes, labels, strict=True)
        samples = [sample(some, truth, label, self.options.samples) for some, truth, label in triples]
        second = self.box_head.losses(self.box_roi(maps, [each.boxes for each in samples]), samples, boxes)
        positive = [(s.boxes[s.positive], s.labels[s.positive], s.truths[s.positive]) for s in samples]
        regions, kinds, truths = (list(column) for column in zip(*positive, strict=True))
        logits = self.mask_head(self.mask_roi(maps, regions), torch.cat(kinds))
        wanted = torch.cat([mask_targets(*each) for each in zip(masks, regions, truths, strict=True)])
        proposing = {"proposal": first["loss_objectness"], "proposal_box": first["loss_rpn_box_reg"]}
        return proposing | second | {"mask": mask_loss(logits, wanted)}

    def layers(self, image: Tensor) -> None:
        """Run the layers over maps, sampled regions, and the share of them that gets masks; see `Task.layers`."""
        maps = self.neck(self.backbone(image))
        self.proposals.head(list(maps))
        regions = self.options.samples * len(image)
        masks = int(regions * POSITIVE)
        self.box_head(_fused(self.box_roi, maps[0].new_zeros(regions, maps[0].shape[1], BOX_SIDE, BOX_SIDE)))
        labels = torch.ones(masks, dtype=torch.int64, device=image.device)
        self.mask_head(_fused(self.mask_roi, maps[0].new_zeros(masks, maps[0].shape[1], MASK_SIDE, MASK_SIDE)), labels)

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return "boxes", "scores", "labels" and "masks" of each image, at its original size."""
        image, chosen = batch["image"], self.options
        maps = self.neck(self.backbone(image))
        proposals, _ = self.proposals(image_list(image), named(maps))
        limits = Limits(chosen.least_score, chosen.overlap, chosen.most)
        sides = (image.shape[-2], image.shape[-1])
        found = self.box_head.detect(self.box_roi(maps, proposals), proposals, sides, limits)
        regions = self.mask_roi(maps, [one["boxes"] for one in found])
        masks = self.mask_head(regions, torch.cat([one["labels"] for one in found])).sigmoid()
        each = zip(found, masks.split([len(one["boxes"]) for one in found]), batch["size"], strict=True)
        return [self._to_original(one, drawn, size, image) for one, drawn, size in each]

    def configure_scores(self) -> Scores:
        """Make the COCO average precision of boxes and masks."""
        options = read_options(PrecisionOptions, self.protocol.scores, self.protocol, "scores")
        return AveragePrecision(len(self.problem.classes), options.model_copy(update={"masks": True}))

    def _to_original(self, found: Prediction, masks: Tensor, size: Tensor, image: Tensor) -> Prediction:
        boxes = to_original(found["boxes"], self.extent(size, image), size)
        height, width = (int(side) for side in size)
        return found | {"boxes": boxes, "masks": paste(masks, boxes, (height, width))}


def _fused(extract: GRoIE | SingleLevel, view: Tensor) -> Tensor:
    """Run what an extractor computes after it has cut regions out, each level showing the same."""
    return extract.fuse([view] * LEVELS) if isinstance(extract, GRoIE) else view
