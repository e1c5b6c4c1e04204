"""A few test images with truth and prediction, kept beside a run for its pictures."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dvbench.data.loaders import collate
from dvbench.training.batches import QUERIES, Source
from reports.ledger import write_atomically
from tasks.metrics import MacroScores
from tasks.retrieval import RetrievalScores
from tasks.task import Task

EXAMPLES = 4
NEAREST = 8
Arrays = dict[str, NDArray[Any]]


def keep_examples(task: Task, source: Source, path: Path) -> None:
    """Predict a few images, spread over the test split, and write them with the truth.

    Args:
        task: trained.
        source: its data.
        path: an .npz; its keys are `0_image`, `0_true_label`, `0_found_boxes` and so on, a number an image.
    """
    split = source.protocol.test_split
    keep = source.protocol.task != "region_classification"
    shown = source.samples(split, source.protocol.test, keep_targets=keep)
    plain = source.raw(split)
    device = next(task.parameters()).device
    arrays: Arrays = {}
    for number, index in enumerate(np.linspace(0, len(plain) - 1, min(EXAMPLES, len(plain))).round().astype(int)):
        batch = collate(source.card.task, [shown[int(index)]])
        moved = {key: _to(value, device) for key, value in batch.items()}
        with torch.inference_mode():
            (found,) = task.eval().predict(moved)
        original = plain[int(index)]
        arrays[f"{number}_image"] = original["image"][..., :3, :, :].clamp(0, 255).to(torch.uint8).numpy()
        for name in ("bbox_xyxy", "label", "mask"):
            if name in original:
                arrays[f"{number}_true_{name}"] = original[name].numpy()
        for name, value in found.items():
            small = value.argmax(0).to(torch.uint8) if name == "logits" and value.ndim == 3 else value
            arrays[f"{number}_found_{name}"] = small.cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def keep_confusion(task: Task, path: Path) -> None:
    """Write the confusion matrix of a task's last test as CSV, if it has one; classes name rows and columns."""
    if isinstance(task.test_scores, MacroScores):
        classes = list(task.problem.classes)
        table = pd.DataFrame(task.test_scores.confusion().numpy(), index=classes, columns=classes)
        write_atomically(path, table.to_csv().encode())


def keep_embeddings(task: Task, source: Source, path: Path) -> None:
    """Write the embeddings of a retrieval's last test, with a few queries and the images nearest to them.

    The .npz holds `embeddings` (n, d), `labels` (n), `queries` (k, H, W, 3), `query_labels` (k), `nearest`
    (k, NEAREST, H, W, 3) and `relevant` (k, NEAREST).
    """
    scores = task.test_scores
    if not isinstance(scores, RetrievalScores):
        return
    values, hot = torch.cat(list(scores.embeddings)), torch.cat(list(scores.labels))
    asked = torch.cat(list(scores.queries)).bool()
    queries, database = source.raw(QUERIES), source.raw(source.protocol.test_split)
    shown = np.linspace(0, len(queries) - 1, min(EXAMPLES, len(queries))).round().astype(int)
    distances = torch.cdist(values[asked][shown], values[~asked], p=1)
    order = distances.sort(dim=1, stable=True).indices[:, :NEAREST]
    relevant = (hot[asked][shown].float() @ hot[~asked].float().T > 0).gather(1, order)
    arrays = {
        "embeddings": values.numpy(),
        "labels": hot.argmax(1).numpy(),
        "queries": np.stack([_pixels(queries[int(i)]) for i in shown]),
        "query_labels": hot[asked][shown].argmax(1).numpy(),
        "nearest": np.stack([[_pixels(database[int(i)]) for i in row] for row in order]),
        "relevant": relevant.numpy(),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def _pixels(sample: dict[str, Any]) -> NDArray[np.uint8]:
    """Return an image as uint8 (H, W, 3); of more bands the first three, stretched."""
    image = sample["image"][:3]
    if image.max() > 255:
        image = 255 * image / image.max()
    pixels: NDArray[np.uint8] = image.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def read_examples(path: Path) -> list[Arrays]:
    """Read what `keep_examples` wrote: for each image its arrays by name, such as `image` and `found_boxes`."""
    with np.load(path, allow_pickle=False) as stored:
        count = len({key.split("_")[0] for key in stored})
        return [
            {key.split("_", 1)[1]: stored[key] for key in stored if key.split("_")[0] == str(number)}
            for number in range(count)
        ]


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_to(one, device) for one in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value
