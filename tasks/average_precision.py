"""COCO's average precision of boxes and masks, with the IoU thresholds and area ranges of each table."""

import contextlib
import io
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from tasks.matches import matches
from tasks.task import Batch, Options, Prediction, Scores

EVALUATOR = f"faster-coco-eval {version('faster-coco-eval')}"
MOST = 100  # detections of a class in an image that count, as pycocotools cuts them
EVERYTHING = (0.0, 1e10)


class PrecisionOptions(Options):
    """Which precisions are taken.

    Attributes:
        ious: overlaps from which a detection counts as found; COCO's ten, or 0.5 alone for tables that print AP50.
        areas: name -> least and largest area in square px of the original image, taken apart.
        masks: score masks as well as boxes.
    """

    ious: tuple[float, ...] = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
    areas: dict[str, tuple[float, float]] = {}
    masks: bool = False


class AveragePrecision(Scores):
    """Average precision in percent: `ap` (mean over several overlaps), `ap50`, `ap75`; nan where there is no object.

    Of an area range, the name is added: `ap50_small`. With masks, names start with `box_` and `mask_`.

    Args:
        classes: number of classes, the background included.
        options: which precisions.
    """

    kind = "average_precision"
    detections: list[Tensor]
    detection_counts: list[Tensor]
    truths: list[Tensor]
    truth_counts: list[Tensor]
    codes: list[Tensor]
    code_lengths: list[Tensor]
    sizes: list[Tensor]

    def __init__(self, classes: int, options: PrecisionOptions) -> None:
        super().__init__()
        self.classes = classes
        self.options = options
        for name in ("detections", "detection_counts", "truths", "truth_counts", "codes", "code_lengths", "sizes"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predictions: list[Prediction], batch: Batch) -> None:
        """Take in boxes, scores, labels and, if asked for, masks; the batch holds the truth in the same coordinates.

        A batch may give the "area" of its objects, and with "crowd", of the same keys, boxes that stand for several:
        a detection there is neither right nor wrong.
        """
        super().update(predictions, batch)
        for i, found in enumerate(predictions):
            true: dict[str, Tensor] = {
                key: batch[key][i] for key in ("bbox_xyxy", "label", "area", "mask") if key in batch
            }
            crowd: dict[str, Tensor] = batch["crowd"][i] if "crowd" in batch else {}
            best = found["scores"].argsort(descending=True, stable=True)
            self.detections.append(_rows(found["boxes"][best], found["scores"][best], found["labels"][best]))
            objects = [self._objects(part, kind) for kind, part in enumerate((true, crowd)) if part]
            self.truths.append(torch.cat(objects))
            self.detection_counts.append(torch.tensor([len(best)]))
            self.truth_counts.append(torch.tensor([len(self.truths[-1])]))
            self.sizes.append(batch["size"][i].cpu()[None])
            if self.options.masks:
                for masks in (found["masks"][best], *(part["mask"] for part in (true, crowd) if part)):
                    codes = [torch.frombuffer(bytearray(code), dtype=torch.uint8) for code in _encode(masks)]
                    self.codes.append(torch.cat([*codes, torch.zeros(0, dtype=torch.uint8)]))
                    self.code_lengths.append(torch.tensor([len(code) for code in codes], dtype=torch.int64))

    def __len__(self) -> int:
        """Number of images taken in."""
        return len(_joined(self.sizes))

    def score(self, images: Tensor | None = None) -> dict[str, float]:
        """Return the average precisions; see `Scores.score`."""
        truths, detections = self._coco((self.order() if images is None else images).tolist())
        scores: dict[str, float] = {}
        for prefix, kind in self._forms.items():
            found = self._evaluate(kind, truths, detections)
            scores |= {prefix + name: value for name, value in found.items()}
        return scores

    def outcomes(self) -> dict[str, NDArray[Any]]:
        """Return what the evaluator made of each detection, see `matches`, and what its axes are.

        "matches" has a further axis in front: "forms", boxes and masks as the names of scores begin. "areas" are named,
        "" for all. "overlaps" are those from which a detection counts as found.
        """
        order = self.order()
        truths, detections = self._coco(order.tolist())
        forms = [matches(self._evaluated(kind, truths, detections)) for kind in self._forms.values()]
        return forms[0] | {
            "index": _joined(self.index).numpy()[order],
            "matches": np.stack([form["matches"] for form in forms]),
            "forms": np.array(list(self._forms)),
            "areas": np.array(list(self._ranges)),
            "overlaps": np.array(self.options.ious),
        }

    @property
    def _forms(self) -> dict[str, str]:
        """How the names of scores begin -> what the evaluator calls it."""
        return {"box_": "bbox", "mask_": "segm"} if self.options.masks else {"": "bbox"}

    @property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        return {"": EVERYTHING, **self.options.areas}

    def _objects(self, true: dict[str, Tensor], crowd: int) -> Tensor:
        """Return boxes, areas, labels and whether they are crowds, (N, 7)."""
        boxes = true["bbox_xyxy"]
        if "area" in true:
            area = true["area"]
        elif self.options.masks:
            area = true["mask"].flatten(1).sum(1)
        else:
            area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        return _rows(boxes, area, true["label"], torch.full_like(true["label"], crowd))

    def _coco(self, images: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return truth and detections as COCO holds them; an image that occurs twice is two images."""
        found = _split(self.detections, self.detection_counts)
        true = _split(self.truths, self.truth_counts)
        codes = self._codes(found, true) if self.options.masks else None
        sizes = _joined(self.sizes).tolist()
        truths: list[dict[str, Any]] = []
        detections: list[dict[str, Any]] = []
        listed = []
        for number, image in enumerate(images, start=1):
            height, width = sizes[image]
            listed.append({"id": number, "height": height, "width": width})
            for j, (*box, area, label, crowd) in enumerate(true[image].tolist()):
                # Ids start at 1: the evaluators take a match with id 0 for no match.
                entry: dict[str, Any] = {
                    "id": len(truths) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "iscrowd": int(crowd),
                }
                entry |= {"bbox": _xywh(box), "area": area}
                truths.append(entry | ({"segmentation": _rle(codes[1][image][j], sizes[image])} if codes else {}))
            for j, (*box, score, label) in enumerate(found[image].tolist()):
                entry = {"image_id": number, "category_id": int(label), "score": score, "bbox": _xywh(box)}
                detections.append(entry | ({"segmentation": _rle(codes[0][image][j], sizes[image])} if codes else {}))
        categories = [{"id": label, "name": str(label)} for label in range(1, self.classes)]
        return {"images": listed, "annotations": truths, "categories": categories}, detections

    def _codes(self, found: list[Tensor], true: list[Tensor]) -> tuple[list[list[bytes]], list[list[bytes]]]:
        lengths, data = _joined(self.code_lengths).tolist(), bytes(_joined(self.codes).numpy())
        ends = np.cumsum([0, *lengths]).tolist()
        codes = iter([data[start:end] for start, end in pairwise(ends)])
        both: tuple[list[list[bytes]], list[list[bytes]]] = ([], [])
        for detections, truths in zip(found, true, strict=True):
            both[0].append([next(codes) for _ in detections])
            both[1].append([next(codes) for _ in truths])
        return both

    def _evaluate(self, kind: str, truths: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
        run = self._evaluated(kind, truths, detections)
        precision = np.asarray(run.eval["precision"])[..., 0]  # overlaps, recalls, classes, area ranges
        scores = {}
        for i, name in enumerate(self._ranges):
            ending = f"_{name}" if name else ""
            if len(self.options.ious) > 1:
                scores[f"ap{ending}"] = _mean(precision[..., i])
            for iou, title in ((0.5, "ap50"), (0.75, "ap75")):
                if iou in self.options.ious:
                    scores[f"{title}{ending}"] = _mean(precision[self.options.ious.index(iou), ..., i])
        return scores

    def _evaluated(self, kind: str, truths: dict[str, Any], detections: list[dict[str, Any]]) -> Any:
        """Match detections to truth, and take the precision, which is -1 where there is no object."""
        from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415 (seconds)

        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
            truth = COCO(truths)
            found = truth.loadRes(detections)
            # By itself, the evaluator does not keep its matches.
            run = COCOeval_faster(truth, found, iouType=kind, print_function=lambda *_: None, separate_eval=True)
            run.params.iouThrs = np.array(self.options.ious)
            run.params.areaRng = [list(bounds) for bounds in self._ranges.values()]
            run.params.areaRngLbl = list(self._ranges)
            run.params.maxDets = [MOST]
            run.evaluate()
            run.accumulate()
        return run


def _rows(boxes: Tensor, *columns: Tensor) -> Tensor:
    return torch.cat([boxes.double(), *(column.double()[:, None] for column in columns)], dim=1).cpu()


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Return a state as one tensor, whether it was gathered from other processes or not."""
    if isinstance(state, list) and not state:
        return torch.zeros(0)
    joined: Tensor = dim_zero_cat(state)
    return joined.cpu()


def _split(rows: list[Tensor], counts: list[Tensor]) -> list[Tensor]:
    return list(_joined(rows).split(_joined(counts).long().tolist()))


def _encode(masks: Tensor) -> list[bytes]:
    from faster_coco_eval.core import mask  # noqa: PLC0415

    if not len(masks):
        return []
    pixels = np.asfortranarray(masks.cpu().numpy().astype(np.uint8).transpose(1, 2, 0))
    counts = [code["counts"] for code in mask.encode(pixels)]
    return [count if isinstance(count, bytes) else count.encode() for count in counts]


def _rle(code: bytes, size: list[int]) -> dict[str, Any]:
    return {"size": [int(side) for side in size], "counts": code}


def _xywh(box: list[float]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _mean(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) * 100 if known.size else float("nan")
