"""Representations of an embedding, distances between them, and mAP@20 (section 4.3.8 and table 12)."""

from collections.abc import Callable

import torch
from torch import Tensor

FIRST = 20
CHUNK = 256  # queries at once


def binary(embedding: Tensor) -> Tensor:
    """Return 1 where a value is above 0, else 0, float32 (n, d)."""
    return (embedding > 0).float()


def trivial_hash(embedding: Tensor, bits: int) -> Tensor:
    """Return so many bits: the sign of the means of values j, j + bits, j + 2 bits, ..., float32 (n, bits).

    Raises:
        ValueError: the length of the embedding is no multiple of the bits.
    """
    if embedding.shape[1] % bits:
        raise ValueError(f"an embedding of {embedding.shape[1]} values has no {bits}-bit hash: use a divisor")
    return binary(embedding.unflatten(1, (-1, bits)).mean(1))


REPRESENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "map20": lambda embedding: embedding,
    "map20_binary": binary,
    "map20_hash64": lambda embedding: trivial_hash(embedding, 64),
    "map20_hash32": lambda embedding: trivial_hash(embedding, 32),
}


def average_precisions(queries: Tensor, database: Tensor, query_labels: Tensor, labels: Tensor) -> Tensor:
    """Return the average precision at 20 of each query, float64 (queries).

    Distance is L1, which on bits is Hamming's. Equal distances are ranked by the position in the database. An item is
    relevant that shares a label. The mean is over the relevant ones among the first 20, not over all that there are.

    Args:
        queries: (queries, d).
        database: (items, d).
        query_labels: 0 and 1, (queries, classes).
        labels: (items, classes).
    """
    first = min(FIRST, len(database))
    ranks = torch.arange(1, first + 1, dtype=torch.float64)
    found = []
    for some, theirs in zip(queries.split(CHUNK), query_labels.split(CHUNK), strict=True):
        nearest = torch.cdist(some.float(), database.float(), p=1).sort(dim=1, stable=True).indices[:, :first]
        relevant = (theirs.float() @ labels.float().T > 0).gather(1, nearest).double()
        precision = relevant.cumsum(1) / ranks
        found.append((precision * relevant).sum(1) / relevant.sum(1).clamp(min=1))
    return torch.cat(found)
