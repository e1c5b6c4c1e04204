"""A cell becomes a record: seed, load, build, fit, score, stamp."""

import json
import math
import os
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dvbench.data.catalog import split_report
from dvbench.data.loaders import WHOLE, Batch, Part
from dvbench.data.provenance import ensure_verified
from dvbench.data.watch import Item, Watch
from dvbench.environment import environment
from dvbench.training.batches import Source, names
from dvbench.training.gallery import keep_confusion, keep_embeddings, keep_examples
from dvbench.training.recall import recall_measures
from dvbench.training.run_cell import RunCell
from dvbench.training.stamp import rests_on
from models.backbone import Backbone
from models.rivals.roster import RIVALS, rival
from models.weights import load_weights
from models.weights_report import WeightsReport
from models.zoo import build, entry
from reports.ledger import Ledger, write_atomically
from reports.outcomes import Outcomes, keep
from reports.record import JSON, Measure, Record, Status
from tasks.average_precision import EVALUATOR
from tasks.constant import constant_score
from tasks.embeddings import EmbeddingsError
from tasks.files import BEST, LAST, LOG, MARK
from tasks.fit import Compute, Report, fit, load_best, outcomes, score
from tasks.rivals import RIVAL_TASKS
from tasks.roster import task as find_task
from tasks.task import NonFiniteLossError, Task


@dataclass(frozen=True)
class Trained:
    """What training and scoring left.

    Attributes:
        measures: scores, and what they took.
        notes: how they were obtained.
        basis: what they rest on.
        outcomes: what came of each test image.
    """

    measures: dict[str, Measure]
    notes: dict[str, JSON]
    basis: dict[str, JSON]
    outcomes: Outcomes


class RunFolderError(ValueError):
    """A run's folder belongs to another configuration; nothing in it was changed."""


@dataclass(frozen=True)
class Place:
    """Where results go: records in `out/records`, each run in a folder of its own below `out/runs`."""

    out: Path

    @property
    def ledger(self) -> Ledger:
        """The records."""
        return Ledger(self.out / "records")

    def run(self, cell: RunCell) -> Path:
        """Return the folder of a run."""
        return self.out / "runs" / cell.folder()


def execute(cell: RunCell, place: Place, compute: Compute, report: Report, *, command: str, fresh: bool) -> Record:
    """Train and score a cell, or take over what an earlier run has finished.

    Args:
        cell: what to run.
        place: where results go.
        compute: what to compute on.
        report: is told of the progress.
        command: the command line, for the record.
        fresh: train again from the start.

    Returns:
        The record, which is written to the ledger.

    Raises:
        RunFolderError: the folder belongs to another configuration.
        ProtocolError, DataMismatchError, MissingDatasetError, FitError, WeightsError, EmbeddingsError: the run cannot
            start.
        KeyboardInterrupt: what is finished is kept.
    """
    identity = cell.identity()
    if not fresh and (known := place.ledger.find(identity)):
        return known
    folder = place.run(cell)
    _claim(folder, cell, identity, fresh=fresh and compute.rank == 0)
    started = time.monotonic()
    trained, reason = None, ""
    try:
        trained = _train_and_score(cell, folder, compute, report)
    except NonFiniteLossError as error:
        reason = str(error)
    measures = {"run_s": Measure(time.monotonic() - started, "s", "measured")}
    record = Record(
        cell=cell.as_dict(),
        identity=identity,
        status=Status.OK if trained else Status.ERROR,
        reason=reason,
        measures=(trained.measures if trained else {}) | measures,
        environment=environment("cuda" if _on_gpu(compute) else "cpu") | (trained.notes if trained else {}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        group=identity[:12],
        basis=trained.basis if trained else {},
    )
    if compute.rank == 0 and trained:
        record = keep(trained.outcomes, record, place.ledger)
    elif compute.rank == 0:
        place.ledger.write(record)
    return record


def build_task(cell: RunCell, source: Source) -> tuple[Task, WeightsReport | None]:
    """Build a cell's task with weights drawn from its seed, or loaded.

    Returns:
        The task, and what became of each key of the weights.

    Raises:
        EmbeddingsError: weights and a file both give embeddings of the classes, or the file cannot be used.
    """
    chosen = source.protocol
    torch.manual_seed(cell.seed)
    task = find_task(chosen.task)
    if cell.model in RIVALS:
        backbone: Backbone = rival(cell.model, len(source.problem.classes))
        task = RIVAL_TASKS[chosen.task]
    else:
        position = {"image_size": chosen.image_size} if entry(cell.model).position else {}
        backbone = build(cell.model, **(position | cell.model_options))
    made = task(backbone, source.problem, chosen, pretrained=bool(cell.weights))
    report = load_weights(made, cell.weights) if cell.weights else None
    if report and made.embedded and "embeddings.weight" in report.used:
        raise EmbeddingsError(f"{cell.weights} has embeddings of the classes too: leave out head.embeddings")
    return made, report


def _train_and_score(cell: RunCell, folder: Path, compute: Compute, report: Report) -> Trained:
    chosen = cell.load_protocol()
    if compute.rank == 0:
        ensure_verified(chosen.dataset, _Watch(report))
    source = Source(chosen, cell.seed, Part(compute.rank, compute.world), compute.workers)
    images_at_once = compute.images_at_once(chosen)
    task, weights = build_task(cell, source)
    test = source.test(chosen.test_split, images_at_once)
    measures = recall_measures(task, source, images_at_once, suffix="_untrained")
    if chosen.baseline and chosen.baseline.kind == "untrained":
        report(0, 1, "scoring the untrained model")
        measures["baseline"] = _percent(score(task, test, compute)[chosen.select.metric])
    if trains(task):
        val = source.test(chosen.select.split, images_at_once)
        best = fit(task, source.train(images_at_once), val, folder, compute, seed=cell.seed, report=report)
        load_best(task, best)
    report(1, 1, "scoring")
    scores = score(task, test, compute)
    found = outcomes_of(task, test, compute)
    intervals = found.intervals() if compute.rank == 0 else {}
    measures |= {name: _percent(value, intervals.get(name)) for name, value in scores.items()}
    if chosen.baseline and chosen.baseline.kind == "constant":
        everything = replace(source, part=WHOLE).test(chosen.test_split, images_at_once)
        measures["baseline"] = _percent(constant_score(task, everything, chosen.select.metric))
    measures |= recall_measures(task, source, images_at_once)
    measures["peak_bytes"] = Measure(_peak_bytes(compute), "B", "measured")
    if compute.rank == 0:
        keep_examples(task, source, folder / "examples.npz")
        keep_confusion(task, folder / "confusion.csv")
        if compute.world == 1:  # else each process holds a part
            keep_embeddings(task, source, folder / "embeddings.npz")
    notes = _notes(cell, chosen.model_dump(mode="json"), chosen.dataset)
    basis = rests_on(cell, source, compute, weights, task.embedded, folder)
    return Trained(measures, notes, basis, found)


def outcomes_of(task: Task, test: DataLoader[Batch], compute: Compute) -> Outcomes:
    """Return what came of each image when a task was scored last, on `test`; every process asks."""
    found = outcomes(task, compute)
    return Outcomes(task.test_scores.kind, np.array(names(test), dtype=np.str_)[found.pop("index")], found)


def trains(task: Task) -> bool:
    """Whether a task is trained; retrieval on the paper's datasets is not."""
    return bool(task.protocol.head.get("train", True))


def _notes(cell: RunCell, protocol: dict[str, Any], dataset: str) -> dict[str, JSON]:
    splits = split_report(dataset)
    return {
        "protocol": json.dumps(protocol, sort_keys=True),
        "splits_made_by": splits.made_by,
        "evaluator": EVALUATOR if protocol["task"] in ("detection", "instance_segmentation") else "tasks.metrics",
        "reduced": cell.scale == "smoke",
        "run_folder": cell.folder(),
    }


def _percent(value: float, interval: tuple[float, float] | None = None) -> Measure:
    known = interval if interval and all(map(math.isfinite, interval)) else None
    return Measure(None if math.isnan(value) else value, "%", "measured", interval=known)


def _claim(folder: Path, cell: RunCell, identity: str, *, fresh: bool) -> None:
    """Make a run's folder ours, or refuse it."""
    mark = folder / MARK
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8"))["identity"] != identity:
            raise RunFolderError(f"{folder} holds a run of another configuration: choose another --out, or remove it")
        if fresh:
            for name in (LAST, BEST, LOG):
                (folder / name).unlink(missing_ok=True)
    elif folder.is_dir() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} holds files that are not of a run: choose another --out, or remove it")
    text = json.dumps({"identity": identity, "cell": cell.as_dict()}, indent=2)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        write_atomically(mark, text.encode())


def _peak_bytes(compute: Compute) -> int:
    if _on_gpu(compute):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _on_gpu(compute: Compute) -> bool:
    return compute.device != "cpu" and torch.cuda.is_available()


@dataclass(frozen=True)
class _Watch(Watch):
    """Shows a verification of the data where a run shows its progress."""

    report: Report

    def items(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        for done, item in enumerate(items):
            self.report(done, len(items), what)
            yield item
