"""Pictures: matching of boxes, and a figure for every kind of prediction, odd ones included."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from reports.pictures import (
    Example,
    classified,
    confusion,
    curves,
    detections,
    embedding_map,
    masks,
    match,
    retrieval_sheet,
)
from reports.plot import PlotError

IMAGE = np.full((40, 60, 3), 120, np.uint8)
BOXES = np.array([[5.0, 5, 20, 20], [30, 10, 50, 35]])
NONE = np.zeros((0, 4))


def is_drawn(figure: Figure) -> bool:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.tell() > 1000


def test_each_true_box_is_found_once_by_the_best_detection_of_its_class() -> None:
    found = np.vstack([BOXES[0], BOXES[0] + 1, BOXES[1], [0, 0, 3, 3]])
    right, taken = match(found, np.array([0.5, 0.9, 0.8, 0.7]), np.array([1, 1, 2, 1]), BOXES, np.array([1, 1]))
    assert right.tolist() == [False, True, False, False]
    assert taken.tolist() == [True, False]
    right, taken = match(NONE, np.zeros(0), np.zeros(0), BOXES, np.array([1, 1]))
    assert (len(right), taken.any()) == (0, False)
    right, _ = match(BOXES, np.ones(2), np.ones(2), NONE, np.zeros(0))
    assert not right.any()


@pytest.mark.parametrize("with_masks", [False, True])
def test_detections_are_drawn_with_and_without_objects(with_masks: bool) -> None:
    shapes = {"masks": np.zeros((2, 40, 60), bool)} if with_masks else {}
    found = {"boxes": BOXES + 2, "scores": np.array([0.9, 0.4]), "labels": np.array([1, 1]), **shapes}
    examples = [
        Example(IMAGE, {"boxes": BOXES, "labels": np.array([1, 1])}, {"ours": found}),
        Example(IMAGE, {"boxes": NONE, "labels": np.zeros(0)}, {"ours": found}),
    ]
    assert is_drawn(detections(examples, title="trees"))


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")])
@pytest.mark.parametrize("dates", [1, 2])
def test_maps_are_drawn_for_one_image_and_for_pairs(classes: tuple[str, ...], dates: int) -> None:
    true = np.zeros((40, 60), np.int64)
    true[:10], true[30:] = 1, 255
    image = IMAGE if dates == 1 else np.stack([IMAGE, IMAGE])
    example = Example(image, {"mask": true}, {"ours": {"logits": np.ones((40, 60), np.uint8)}})
    assert is_drawn(masks([example], title="roads", classes=classes))


def test_classes_of_images_and_of_regions_are_drawn() -> None:
    whole = Example(IMAGE, {"labels": np.array(1)}, {"ours": {"logits": np.array([0.1, 2.0])}})
    assert is_drawn(classified([whole], title="scenes", classes=("sea", "town")))
    regions = Example(IMAGE, {"boxes": BOXES, "labels": np.array([0, 1])}, {"ours": {"logits": np.eye(2)[::-1]}})
    assert is_drawn(classified([regions], title="regions", classes=("sea", "town")))


def test_confusion_curves_embeddings_and_retrieval_are_drawn() -> None:
    assert is_drawn(confusion({"ours": np.array([[3, 1], [0, 0]])}, ("a", "b"), title="confusion"))
    log = pd.DataFrame({"step": [1, 2], "train/loss": [2.0, np.nan], "val/f1": [np.nan, 50.0]})
    assert is_drawn(curves({"ours": log}, metric="f1", title="curves"))
    values = np.random.default_rng(0).normal(size=(20, 4))
    assert is_drawn(embedding_map({"ours": (values, np.arange(20) % 2)}, ("a", "b"), title="plane"))
    assert is_drawn(retrieval_sheet([(IMAGE, "a", np.stack([IMAGE] * 3), np.array([1, 0, 1]))], title="nearest"))


def test_nothing_to_draw_is_said() -> None:
    for draw in (
        lambda: detections([], title=""),
        lambda: confusion({}, (), title=""),
        lambda: retrieval_sheet([], title=""),
    ):
        with pytest.raises(PlotError, match="run"):
            draw()
    with pytest.raises(PlotError, match="at least 10"):
        embedding_map({"ours": (np.zeros((3, 2)), np.zeros(3, int))}, ("a",), title="")
