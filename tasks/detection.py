"""Object detection (section 4.3.2): FCOS, Faster R-CNN or RetinaNet on a pyramid over any backbone."""

import torch
from torch import Tensor

from tasks import fcos
from tasks.average_precision import AveragePrecision, PrecisionOptions
from tasks.necks import pyramid
from tasks.task import Batch, Prediction, Scores, Task, read_options
from tasks.torchvision_detectors import Detector, DetectorOptions, build_detector


class Detection(Task):
    """Boxes with classes. Losses: of the classes, of the boxes, of their centerness, and of a two-stage's proposals."""

    HeadOptions = DetectorOptions
    ScoreOptions = PrecisionOptions
    LOSSES = ("classification", "box", "centerness", "proposal", "proposal_box")

    def configure_network(self) -> None:
        """Build the pyramid and the detector."""
        self.options = read_options(DetectorOptions, self.protocol.head, self.protocol, "head")
        self.neck = pyramid(self.backbone, self.options.width)
        classes, chosen = len(self.problem.classes), self.options
        self.head: fcos.FCOSHead | Detector = (
            fcos.FCOSHead(classes - 1, chosen.width, chosen.depth)
            if chosen.kind == "fcos"
            else build_detector(chosen, classes)
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the detector's losses."""
        maps = self.neck(self.backbone(batch["image"]))
        if isinstance(self.head, Detector):
            return self.head.losses(batch["image"], maps, batch["bbox_xyxy"], batch["label"])
        centres, levels = fcos.points(maps)
        pairs = zip(batch["bbox_xyxy"], batch["label"], strict=True)
        wanted = [fcos.targets(centres, levels, boxes, labels) for boxes, labels in pairs]
        labels, distances = (torch.stack(parts) for parts in zip(*wanted, strict=True))
        return fcos.losses(self.head(maps), labels, distances)

    def layers(self, image: Tensor) -> None:
        """Run the network; see `Task.layers`."""
        maps = self.neck(self.backbone(image))
        if isinstance(self.head, Detector):
            self.head.layers(maps)
        else:
            self.head(maps)

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return "boxes", "scores" and "labels" of each image, in pixels of the original."""
        image = batch["image"]
        maps = self.neck(self.backbone(image))
        if isinstance(self.head, Detector):
            found = self.head.detect(image, maps)
        else:
            centres, levels = fcos.points(maps)
            sides = (image.shape[-2], image.shape[-1])
            found = fcos.decode(self.head(maps), centres, levels, sides, self.options)
        return [self._to_original(one, size, image) for one, size in zip(found, batch["size"], strict=True)]

    def configure_scores(self) -> Scores:
        """Make the COCO average precision."""
        options = read_options(PrecisionOptions, self.protocol.scores, self.protocol, "scores")
        return AveragePrecision(len(self.problem.classes), options)

    def _to_original(self, found: Prediction, size: Tensor, image: Tensor) -> Prediction:
        return found | {"boxes": to_original(found["boxes"], self.extent(size, image), size)}


def to_original(boxes: Tensor, extent: tuple[int, int], size: Tensor) -> Tensor:
    """Scale boxes (N, 4) from the network's pixels to the original's.

    Boxes are clipped to the network's input when they are found. Where that is padded they may stick out of the
    original, and are scored so, as the authors' are: mmcv's `Pad` sets the shape to which mmdet clips.

    Args:
        boxes: xyxy in pixels of the network's input.
        extent: height and width of what the original fills of it.
        size: height and width of the original.
    """
    height, width = (float(side) for side in size)
    return boxes * boxes.new_tensor((width / extent[1], height / extent[0])).repeat(2)
