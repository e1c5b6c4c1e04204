"""Image retrieval (section 4.3.8): the pooled last map of an untouched backbone, compared by distance."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.utilities import dim_zero_cat

from tasks.hashing import REPRESENTATIONS, average_precisions
from tasks.task import Batch, Options, Prediction, Scores, Task, read_options


class RetrievalOptions(Options):
    """Whether the backbone is trained on the labels first, as reduced runs do; the paper's is not."""

    train: bool = False


class RetrievalScores(Scores):
    """mAP@20 in percent of each representation: `map20`, `map20_binary`, `map20_hash64` and `map20_hash32`.

    Resampled are the queries; the database stays.

    Args:
        classes: number of labels.
        width: values of an embedding; hashes that do not divide it are left out.
    """

    kind = "retrieval"
    embeddings: list[Tensor]
    labels: list[Tensor]
    queries: list[Tensor]

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.names = [name for name in REPRESENTATIONS if "hash" not in name or width % int(name[-2:]) == 0]
        for name in ("embeddings", "labels", "queries"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, predictions: list[Prediction], batch: Batch) -> None:
        """Take in embeddings, labels, and "is_query", which tells queries from the database."""
        super().update(predictions, batch)
        label = batch["label"]
        hot = F.one_hot(label, self.classes) if label.ndim == 1 else label
        self.embeddings.append(torch.stack([found["embedding"] for found in predictions]).float().cpu())
        self.labels.append(hot.cpu())
        self.queries.append(batch["is_query"].cpu())
        self._precisions: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Number of queries taken in."""
        return int(dim_zero_cat(self.queries).sum()) if len(self.queries) else 0

    def score(self, images: Tensor | None = None) -> dict[str, float]:
        """Return the scores; see `Scores.score`."""
        chosen = slice(None) if images is None else images
        return {name: 100 * float(each[chosen].mean()) for name, each in self._of_queries().items()}

    def outcomes(self) -> dict[str, NDArray[Any]]:
        """Return "precisions", float64 (queries, representations), 0 to 1, and the "names" of the representations."""
        order, found = self.order(), self._of_queries()
        queries = dim_zero_cat(self.queries).cpu().bool().numpy()[order]
        return {
            "index": dim_zero_cat(self.index).cpu().numpy()[order][queries],
            "names": np.array(list(found)),
            "precisions": torch.stack(list(found.values()), dim=1).numpy(),
        }

    def _of_queries(self) -> dict[str, Tensor]:
        """Return the average precision of each query, by representation; taken once, for all resamplings."""
        if not self._precisions:
            order = self.order()  # in which equal distances are ranked
            states = (self.embeddings, self.labels, self.queries)
            embeddings, labels, queries = (dim_zero_cat(state).cpu()[order] for state in states)
            queries = queries.bool()
            for name in self.names:
                code = REPRESENTATIONS[name](embeddings)
                found = average_precisions(code[queries], code[~queries], labels[queries], labels[~queries])
                self._precisions[name] = found
        return self._precisions


class Retrieval(Task):
    """One embedding an image. Loss, in reduced runs only: of a linear layer that predicts the labels."""

    HeadOptions = RetrievalOptions
    LOSSES = ("labels",)

    def configure_network(self) -> None:
        """Build the layer that reduced runs train with."""
        self.options = read_options(RetrievalOptions, self.protocol.head, self.protocol, "head")
        classes = len(self.problem.classes)
        self.linear = nn.Linear(self.backbone.channels[-1], classes) if self.options.train else None

    def forward(self, image: Tensor) -> Tensor:
        """Return embeddings (batch, width) of images (batch, 3, height, width)."""
        return self.backbone.pooled(image)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the labels."""
        if self.linear is None:
            raise RuntimeError("retrieval is scored without training: set head.train to train on the labels")
        logits, label = self.linear(self(batch["image"])).float(), batch["label"]
        if label.ndim == 1:
            return {"labels": F.cross_entropy(logits, label)}
        return {"labels": F.binary_cross_entropy_with_logits(logits, label.float())}

    def predict(self, batch: Batch) -> list[Prediction]:
        """Return the "embedding" of each image."""
        return [{"embedding": embedding} for embedding in self(batch["image"])]

    def configure_scores(self) -> Scores:
        """Make mAP@20."""
        return RetrievalScores(len(self.problem.classes), self.backbone.channels[-1])
