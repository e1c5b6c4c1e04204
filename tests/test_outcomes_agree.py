"""What the reports make of the outcomes is what the tasks' scores say, for every task and any resampling."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from reports.outcome_kinds import KINDS
from reports.outcomes import Outcomes
from tasks.average_precision import AveragePrecision, PrecisionOptions
from tasks.dense import DenseOptions, DenseScores
from tasks.metrics import MacroScores
from tasks.retrieval import RetrievalScores
from tasks.task import Batch, Prediction, Scores
from tests.tasks.test_average_precision import scenes

IMAGES = 17
AREAS = {"small": (0.0, 1024.0), "medium": (1024.0, 4096.0), "huge": (1e6, 1e9)}
Taken = list[tuple[Prediction, Batch]]


def classified(generator: torch.Generator) -> Taken:
    """One label an image, of five, the last of which never occurs."""
    return [
        ({"logits": torch.randn(5, generator=generator)}, {"label": torch.randint(4, (1,), generator=generator)})
        for _ in range(IMAGES)
    ]


def regions(generator: torch.Generator) -> Taken:
    """None to three labels an image."""
    return [
        (
            {"logits": torch.randn(i % 4, 5, generator=generator)},
            {"label": [torch.randint(4, (i % 4,), generator=generator)]},
        )
        for i in range(IMAGES)
    ]


def dense(generator: torch.Generator, classes: int) -> Taken:
    """Pixels of which some are ignored; class 1 is missing in most images, and found in some of them."""
    drawn = []
    for i in range(IMAGES):
        mask = torch.randint(classes, (1, 6, 7), generator=generator)
        mask[0, 0] = 255
        logits = torch.randn(classes, 6, 7, generator=generator)
        if i % 3:
            mask[mask == 1] = 0
        if i % 4 == 1:
            logits[1] = -9
        drawn.append(({"logits": logits}, {"mask": mask}))
    return drawn


def objects(_: torch.Generator, classes: int = 4) -> Taken:
    return scenes(5, IMAGES, classes)


def queries(generator: torch.Generator) -> Taken:
    """Every third is of the database."""
    return [
        (
            {"embedding": torch.randn(64, generator=generator)},
            {"label": torch.randint(3, (1,), generator=generator), "is_query": torch.tensor([i % 3 > 0])},
        )
        for i in range(2 * IMAGES)
    ]


CASES: dict[str, tuple[Callable[[], Scores], Callable[[torch.Generator], Taken]]] = {
    "classification": (lambda: MacroScores(5), classified),
    "region classification": (lambda: MacroScores(5), regions),
    "semantic segmentation": (lambda: DenseScores(4, DenseOptions(mean=True)), partial(dense, classes=4)),
    "change detection": (lambda: DenseScores(2, DenseOptions(target=1)), partial(dense, classes=2)),
    "detection": (lambda: AveragePrecision(4, PrecisionOptions(areas=AREAS)), objects),
    "detection at one overlap": (lambda: AveragePrecision(4, PrecisionOptions(ious=(0.5,), areas=AREAS)), objects),
    "instance segmentation": (lambda: AveragePrecision(4, PrecisionOptions(masks=True)), objects),
    "retrieval": (lambda: RetrievalScores(3, 64), queries),
}
every_task = pytest.mark.parametrize("task", CASES)


def scored(task: str, order: Iterator[int] | None = None) -> Scores:
    """Take in the images of a task one by one, from the first on or in another order."""
    make, draw = CASES[task]
    scores, drawn = make(), draw(torch.Generator().manual_seed(1))
    for i in order or range(len(drawn)):
        found, batch = drawn[i]
        scores.update([found], batch | {"index": torch.tensor([i])})
    return scores


def kept(scores: Scores) -> Outcomes:
    arrays = scores.outcomes()
    images = np.array([f"{i}.tif" for i in arrays.pop("index")])
    return Outcomes(scores.kind, images, arrays)


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    assert ours == pytest.approx(theirs, abs=1e-9, rel=0, nan_ok=True)


@every_task
def test_all_images_score_as_the_task_says(task: str) -> None:
    scores = scored(task)
    outcomes = kept(scores)
    assert len(outcomes.images) == len(scores)
    said = scores.compute()
    assert any(value > 0 for value in said.values())
    same(outcomes.score(np.arange(len(scores))), said)


@every_task
def test_any_resampling_scores_as_the_task_says(task: str) -> None:
    scores = scored(task)
    outcomes, random = kept(scores), np.random.default_rng(0)
    draws = random.integers(0, len(scores), (12, len(scores)))
    draws = [*draws, draws[0][:3], np.repeat(draws[1][:2], 4), *np.arange(len(scores))[:, None]]
    for drawn in draws:
        same(outcomes.score(drawn), scores.score(torch.from_numpy(drawn)))


@every_task
def test_the_order_of_taking_in_does_not_matter(task: str) -> None:
    """Several processes take images in in turns, and each hands over its own in one piece."""
    straight = scored(task)
    count = len(straight.order())
    turns = [*range(0, count, 2), *range(1, count, 2)]
    assert kept(scored(task, iter(turns))).to_bytes() == kept(straight).to_bytes()


@pytest.mark.parametrize("task", ["detection", "instance segmentation"])
def test_equal_scores_are_ranked_as_the_evaluator_ranks_them(task: str) -> None:
    make, draw = CASES[task]
    scores = make()
    for i, (found, batch) in enumerate(draw(torch.Generator())):
        coarse = found | {"scores": (4 * found["scores"]).round() / 4}
        scores.update([coarse], batch | {"index": torch.tensor([i])})
    outcomes = kept(scores)
    same(outcomes.score(np.arange(IMAGES)), scores.compute())
    some = np.arange(3, IMAGES, 2)  # each once
    same(outcomes.score(some), scores.score(torch.from_numpy(some)))


def test_what_a_batch_leaves_open_is_numbered_on() -> None:
    scores = MacroScores(2)
    for _ in range(2):
        scores.update([{"logits": torch.tensor([1.0, 0])}] * 3, {"label": torch.zeros(3, dtype=torch.int64)})
    assert scores.outcomes()["index"].tolist() == list(range(6))


def test_nothing_found_and_nothing_there_score_as_the_task_says() -> None:
    for take in (
        lambda found, batch: ({name: value[:0] for name, value in found.items()}, batch),
        lambda found, batch: (found, batch | {"bbox_xyxy": [torch.zeros(0, 4)], "label": [torch.zeros(0).long()]}),
    ):
        scores = AveragePrecision(4, PrecisionOptions(areas=AREAS))
        for i, pair in enumerate(objects(torch.Generator())):
            found, batch = take(*pair)
            scores.update([found], batch | {"index": torch.tensor([i])})
        same(kept(scores).score(np.arange(IMAGES)), scores.compute())


def test_every_kind_is_of_some_task() -> None:
    found: set[Any] = {make().kind for make, _ in CASES.values()}
    assert found == KINDS.keys()
