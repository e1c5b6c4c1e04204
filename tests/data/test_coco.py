"""COCO files as they really are: odd ids, empty images, crowds, boxes outside, outlines in parts."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dvbench.data.archives import UnsafeNameError
from dvbench.data.coco import CocoError, boxes_and_labels, masks, read_coco

CLASSES = ("background", "ship", "storage_tank")
SQUARE = [[2, 2, 10, 2, 10, 8, 2, 8]]


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 0, "image_id": 5, "category_id": 1, "bbox": [2, 2, 8, 6], "area": 48, "iscrowd": 0} | changes


def write(path: Path, *annotations: dict[str, Any], **changes: Any) -> Path:
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": 30, "height": 20}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": list(annotations),
    } | changes
    path.write_text(json.dumps(content))
    return path


def test_boxes_become_corners_and_labels_start_at_1(tmp_path: Path) -> None:
    (image,) = read_coco(write(tmp_path / "a.json", annotation()), CLASSES).images
    target = boxes_and_labels(image)
    assert target["bbox_xyxy"].tolist() == [[2, 2, 10, 8]]
    assert target["bbox_xyxy"].dtype == torch.float32
    assert target["label"].tolist() == [1]
    assert target["label"].dtype == torch.int64


@pytest.mark.parametrize("ids", [(0, 1), (7, 3), (1, 2)])
def test_category_ids_may_start_anywhere_since_names_count(tmp_path: Path, ids: tuple[int, int]) -> None:
    categories = [{"id": ids[0], "name": "Storage Tank"}, {"id": ids[1], "name": "ship"}]
    objects = [annotation(category_id=ids[0]), annotation(category_id=ids[1])]
    (image,) = read_coco(write(tmp_path / "a.json", *objects, categories=categories), CLASSES).images
    assert boxes_and_labels(image)["label"].tolist() == [2, 1]


def test_annotation_ids_are_renumbered_from_1(tmp_path: Path) -> None:
    (image,) = read_coco(write(tmp_path / "a.json", annotation(id=0), annotation(id=0)), CLASSES).images
    assert [instance.id for instance in image.instances] == [1, 2]


def test_stored_area_is_kept_and_a_missing_one_is_that_of_the_box(tmp_path: Path) -> None:
    without = annotation()
    del without["area"]
    (image,) = read_coco(write(tmp_path / "a.json", annotation(area=63), without), CLASSES).images
    assert boxes_and_labels(image)["area"].tolist() == [63, 48]


def test_image_without_objects_keeps_the_shapes(tmp_path: Path) -> None:
    (image,) = read_coco(write(tmp_path / "a.json"), CLASSES).images
    target = boxes_and_labels(image)
    assert (target["bbox_xyxy"].shape, target["label"].shape) == ((0, 4), (0,))
    assert masks(image).shape == (0, 20, 30)


@pytest.mark.parametrize("counts", [[40, 60, 500], "X1l1d?"])
def test_crowds_are_kept_apart_with_their_masks_in_runs(tmp_path: Path, counts: Any) -> None:
    """COCO counts pixels column by column: 40 outside, which are 2 columns of 20, then 60 inside, which are 3."""
    crowd = annotation(iscrowd=1, segmentation={"counts": counts, "size": [20, 30]})
    (image,) = read_coco(write(tmp_path / "a.json", crowd, annotation()), CLASSES).images
    assert (len(image.instances), len(image.crowds)) == (1, 1)
    assert masks(image).shape == (1, 20, 30)
    (mask,) = masks(replace(image, instances=image.crowds))
    assert mask.sum(0).tolist() == [0] * 2 + [20] * 3 + [0] * 25


def test_mask_of_a_crowd_that_does_not_fit_its_image_is_named(tmp_path: Path) -> None:
    crowd = annotation(id=8, iscrowd=1, segmentation={"counts": [600], "size": [30, 20]})
    with pytest.raises(CocoError, match=r"a\.json annotation 8 has a mask of \[30, 20\] px, unlike its image"):
        read_coco(write(tmp_path / "a.json", crowd), CLASSES)


def test_box_outside_is_clipped_or_left_out_and_named(tmp_path: Path) -> None:
    boxes = [[25, 15, 10, 10], [-4, 0, 6, 5], [40, 5, 5, 5], [3, 3, 0, 4]]
    path = write(tmp_path / "a.json", *(annotation(id=7 + i, bbox=box) for i, box in enumerate(boxes)))
    with pytest.warns(UserWarning, match=r"4 boxes mended, the first: .*a\.json annotation 7: box \[25, 15, 10, 10\]"):
        coco = read_coco(path, CLASSES)
    assert boxes_and_labels(coco.images[0])["bbox_xyxy"].tolist() == [[25, 15, 30, 20], [0, 0, 2, 5]]
    assert [finding.rsplit(" px ", 1)[1] for finding in coco.findings] == [
        "sticks out and is clipped",
        "sticks out and is clipped",
        "covers no pixel and is left out",
        "covers no pixel and is left out",
    ]
    assert "in a.png of 30x20" in coco.findings[0]


def test_box_on_the_border_is_inside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", annotation(bbox=[0, 0, 30, 20]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_coco(path, CLASSES).findings == ()


def test_windows_names_become_paths(tmp_path: Path) -> None:
    images = [{"id": 5, "file_name": "part\\a.png", "width": 30, "height": 20}]
    assert read_coco(write(tmp_path / "a.json", images=images), CLASSES).images[0].name == "part/a.png"


@pytest.mark.parametrize("name", ["../a.png", "C:\\a.png", "/a.png"])
def test_names_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    images = [{"id": 5, "file_name": name, "width": 30, "height": 20}]
    with pytest.raises(UnsafeNameError, match=r"a\.json names"):
        read_coco(write(tmp_path / "a.json", images=images), CLASSES)


# Outlines


def test_outline_covers_the_pixels_whose_centre_is_inside(tmp_path: Path) -> None:
    (image,) = read_coco(write(tmp_path / "a.json", annotation(segmentation=SQUARE)), CLASSES).images
    (mask,) = masks(image)
    expected = torch.zeros(20, 30, dtype=torch.uint8)
    expected[2:8, 2:10] = 1
    assert torch.equal(mask, expected)


def test_parts_of_an_outline_are_united_and_cut_at_the_border(tmp_path: Path) -> None:
    parts = [*SQUARE, [25, 15, 40, 15, 40, 30, 25, 30], [8, 4, 12, 4, 12, 8, 8, 8]]
    (image,) = read_coco(write(tmp_path / "a.json", annotation(segmentation=parts)), CLASSES).images
    (mask,) = masks(image)
    expected = torch.zeros(20, 30, dtype=torch.uint8)
    expected[2:8, 2:10] = expected[15:, 25:] = expected[4:8, 8:12] = 1
    assert torch.equal(mask, expected)


def test_each_object_has_its_own_mask(tmp_path: Path) -> None:
    other = [[20, 10, 24, 10, 24, 16, 20, 16]]
    objects = [annotation(segmentation=SQUARE), annotation(segmentation=other), annotation(segmentation=[])]
    (image,) = read_coco(write(tmp_path / "a.json", *objects), CLASSES).images
    assert masks(image).flatten(1).sum(dim=1).tolist() == [48, 24, 0]


# What cannot be used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 9}, r"annotation 0 has category 9, which the file does not list"),
        ({"image_id": 9}, r"annotation 0 is for image 9, which the file does not list"),
        ({"bbox": [1, 2, 3]}, r"annotation 0 has the box \[1, 2, 3\]; expected are 4 numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"expected are 4 numbers"),
        ({"bbox": None}, r"is not laid out as COCO"),
        ({"segmentation": {"counts": "abc", "size": [20, 30]}}, r"no list of polygons"),
        ({"segmentation": [[1, 2, 3, 4]]}, r"no list of polygons"),
    ],
)
def test_entry_that_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CocoError, match=message) as caught:
        read_coco(write(tmp_path / "a.json", annotation(**changes)), CLASSES)
    assert "\n" not in str(caught.value)


def test_unknown_category_name(tmp_path: Path) -> None:
    with pytest.raises(CocoError, match="has the category 'plane'; expected are ship, storage_tank"):
        read_coco(write(tmp_path / "a.json", categories=[{"id": 1, "name": "plane"}]), CLASSES)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not a JSON file"), ("[]", "is not laid out as COCO"), ("{}", "lacks the COCO key 'images'")],
)
def test_file_that_is_no_coco(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(CocoError, match=message):
        read_coco(path, CLASSES)
