"""Scores agree with scikit-learn and with plain loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score
from torch.nn import functional as F

from tasks.hashing import average_precisions, binary, trivial_hash
from tasks.metrics import MacroScores
from tasks.retrieval import RetrievalScores

CLASSES = 5


def taken_in(seed: int, images: int = 40) -> tuple[MacroScores, np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randint(CLASSES - 1, (images,), generator=generator)  # one class never occurs
    logits = torch.randn(images, CLASSES, generator=generator) + 2 * F.one_hot(true, CLASSES)
    scores = MacroScores(CLASSES)
    for part in torch.arange(images).split(7):
        scores.update([{"logits": logits[i]} for i in part], {"label": true[part]})
    return scores, true.numpy(), logits.argmax(1).numpy()


@pytest.mark.parametrize("seed", range(5))
def test_macro_scores_agree_with_scikit_learn(seed: int) -> None:
    scores, true, found = taken_in(seed)
    options = {"labels": range(CLASSES), "average": "macro", "zero_division": 0}
    expected = {
        "precision": precision_score(true, found, **options),
        "recall": recall_score(true, found, **options),
        "f1": f1_score(true, found, **options),
        "accuracy": accuracy_score(true, found),
    }
    assert scores.compute() == pytest.approx({name: 100 * value for name, value in expected.items()}, abs=1e-6)
    np.testing.assert_array_equal(scores.confusion().numpy(), confusion_matrix(true, found, labels=range(CLASSES)))


def test_any_resampling_can_be_scored() -> None:
    scores, true, found = taken_in(0)
    some = torch.tensor([3, 3, 9, 30])
    expected = f1_score(true[some], found[some], labels=range(CLASSES), average="macro", zero_division=0)
    assert scores.score(some)["f1"] == pytest.approx(100 * expected, abs=1e-6)


def test_regions_of_an_image_are_resampled_together() -> None:
    scores = MacroScores(2)
    logits = [torch.eye(2)[[0, 1, 1]], torch.zeros(0, 2), torch.eye(2)[[0]]]
    labels = [torch.tensor([0, 1, 0]), torch.zeros(0, dtype=torch.int64), torch.tensor([1])]
    scores.update([{"logits": each} for each in logits], {"label": labels})
    assert scores.compute()["accuracy"] == pytest.approx(50)
    assert scores.score(torch.tensor([0, 0, 1]))["accuracy"] == pytest.approx(200 / 3)
    assert scores.confusion(torch.tensor([0, 2])).tolist() == [[1, 1], [1, 1]]


def slow_map(queries: np.ndarray, database: np.ndarray, mine: np.ndarray, theirs: np.ndarray) -> float:
    values = []
    for query, labels in zip(queries, mine, strict=True):
        order = np.lexsort((np.arange(len(database)), np.abs(database - query).sum(1)))[:20]
        hits, precisions = 0, []
        for rank, item in enumerate(order, start=1):
            if (labels * theirs[item]).sum() > 0:
                hits += 1
                precisions.append(hits / rank)
        values.append(np.mean(precisions) if precisions else 0.0)
    return float(np.mean(values))


@pytest.mark.parametrize("bits", [0, 8])
def test_retrieval_agrees_with_a_plain_loop_ties_included(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    queries, database = (torch.randn(n, 16, generator=generator) for n in (30, 60))
    mine, theirs = ((torch.rand(n, 4, generator=generator) > 0.8).long() for n in (30, 60))
    if bits:
        queries, database = trivial_hash(queries, bits), trivial_hash(database, bits)
    found = average_precisions(queries, database, mine, theirs).mean()
    assert float(found) == pytest.approx(slow_map(*(x.numpy() for x in (queries, database, mine, theirs))), abs=1e-6)


def test_hashes_take_strided_groups() -> None:
    embedding = torch.tensor([[1.0, -5, 2, 4, 1, -6]])
    assert trivial_hash(embedding, 2).tolist() == [[1, 0]]
    assert trivial_hash(embedding, 3).tolist() == [[1, 0, 0]]
    assert binary(embedding).tolist() == [[1, 0, 1, 1, 1, 0]]
    with pytest.raises(ValueError, match="no 4-bit hash"):
        trivial_hash(embedding, 4)


def test_queries_are_told_from_the_database() -> None:
    scores = RetrievalScores(2, 64)
    embedding = torch.zeros(3, 64)
    embedding[1] += 1
    batch = {"label": torch.tensor([0, 1, 0]), "is_query": torch.tensor([True, False, False])}
    scores.update([{"embedding": row} for row in embedding], batch)
    assert len(scores) == 1
    assert scores.compute() == {"map20": 100, "map20_binary": 100, "map20_hash64": 100, "map20_hash32": 100}
