"""Training and scoring a task: on one CPU, one GPU or several nodes, interrupted and resumed."""

import hashlib
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from tasks.files import BEST, LAST, LOG
from tasks.protocol import Protocol
from tasks.task import Batch, Task

LEAST_STEPS = 12  # between two checkpoints: where epochs are shorter, writing would take as long as training
MOST_STEPS = 200  # between two checkpoints of a longer epoch: minutes of a large run

Report = Callable[[int, int, str], None]
"""Takes steps done, steps in all, and what happens now."""


class FitError(ValueError):
    """A run that cannot start; the message is one line."""


@dataclass(frozen=True)
class Compute:
    """What a run computes on.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        devices: processes on each node, one a device.
        nodes: machines.
        batch_size: images in a forward pass of one device; None for the whole batch at once.
        workers: processes that load data, for each device; None for as many as suit the machine.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    batch_size: int | None = None
    workers: int | None = None

    @property
    def world(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.nodes

    @property
    def rank(self) -> int:
        """Number of this process, from 0; the launcher tells it by the environment.

        Raises:
            FitError: Slurm was asked for tasks in a way that Lightning does not take.
        """
        if SLURMEnvironment.detect():  # before others, as Lightning asks them
            try:
                return SLURMEnvironment().global_rank()
            except RuntimeError as error:
                raise FitError(str(error)) from error
        if "RANK" in os.environ:
            return int(os.environ["RANK"])
        return int(os.environ.get("NODE_RANK", "0")) * self.devices + int(os.environ.get("LOCAL_RANK", "0"))

    def accumulation(self, protocol: Protocol) -> int:
        """Return how many forward passes make up a step of the protocol's batch.

        Raises:
            FitError: the batch cannot be divided so.
        """
        at_once = self.world * (self.batch_size or max(1, protocol.batch // self.world))
        if protocol.batch % at_once:
            fitting = [b for b in range(1, protocol.batch + 1) if protocol.batch % (b * self.world) == 0]
            choice = ", ".join(map(str, fitting)) or "fewer devices"
            raise FitError(
                f"the protocol's batch of {protocol.batch} cannot be shared by {self.world} devices "
                f"with {at_once // self.world} images each: use --batch-size {choice}"
            )
        return protocol.batch // at_once

    def images_at_once(self, protocol: Protocol) -> int:
        """Return the images in a forward pass over all devices."""
        return protocol.batch // self.accumulation(protocol)


def fit(
    task: Task,
    train: DataLoader[Batch],
    val: DataLoader[Batch],
    folder: Path,
    compute: Compute,
    *,
    seed: int,
    report: Report,
) -> Path:
    """Train a task by its protocol, going on from the last checkpoint if there is one.

    Random numbers depend on seed, epoch and step only, so a run that was killed and goes on ends with the weights that
    it would have had. Writes `last.ckpt` after each epoch, or every few where an epoch has under `LEAST_STEPS` batches,
    and after every `MOST_STEPS` steps; `best.ckpt` by the protocol's metric, `log.csv` and logs for TensorBoard.

    Args:
        task: untrained, or with pretrained weights.
        train: batches of training, whose sampler takes `set_epoch`.
        val: batches by which the best checkpoint is chosen.
        folder: where checkpoints and logs go.
        compute: what to compute on.
        seed: of noise and dropout.
        report: is told of each step.

    Returns:
        The best checkpoint.

    Raises:
        FitError: the batch cannot be divided among the devices, or the folder cannot be written.
        NonFiniteLossError: training diverged; the last checkpoint is kept.
        KeyboardInterrupt: interrupted; the last checkpoint is kept.
    """
    _check_writable(folder)
    task.train()  # Lightning leaves the mode as it is, and scoring before may have changed it
    protocol = task.protocol
    keep: dict[str, Any] = {"dirpath": folder, "save_top_k": 1, "enable_version_counter": False}
    chosen_by = f"val/{protocol.select.metric}"
    best = ModelCheckpoint(filename=BEST.removesuffix(".ckpt"), monitor=chosen_by, mode="max", **keep)
    every = _epochs_between(len(train), protocol.epochs)
    name = LAST.removesuffix(".ckpt")
    last = ModelCheckpoint(filename=name, save_on_train_epoch_end=True, every_n_epochs=every, **keep)
    within = ModelCheckpoint(filename=name, save_on_train_epoch_end=False, every_n_train_steps=MOST_STEPS, **keep)
    with quiet():
        trainer = _trainer(
            compute,
            protocol,
            callbacks=[_Place(train), _StepSeeds(seed), _Watch(report), best, _Log(folder / LOG), within, last],
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            max_epochs=protocol.epochs,
            accumulate_grad_batches=compute.accumulation(protocol),
            check_val_every_n_epoch=min(protocol.select.every, protocol.epochs),
        )
        resume = folder / LAST
        try:
            trainer.fit(task, train, val, ckpt_path=resume if resume.exists() else None, weights_only=True)
        except SystemExit:  # Lightning leaves so when it is interrupted
            raise KeyboardInterrupt from None
        except OSError as error:
            raise FitError(f"cannot write to {folder}: {error.strerror or error}; free some space and go on") from error
        if trainer.interrupted:
            raise KeyboardInterrupt
    chosen = folder / BEST
    return chosen if chosen.exists() else resume


def score(task: Task, test: DataLoader[Batch], compute: Compute) -> dict[str, float]:
    """Score a task on a split, in percent."""
    with quiet():
        trainer = _trainer(compute, task.protocol, logger=False)
        trainer.test(task, test, verbose=False)
    with task.test_scores.sync_context(should_sync=compute.world > 1):
        return task.test_scores.score()


def outcomes(task: Task, compute: Compute) -> dict[str, NDArray[Any]]:
    """Return what came of each image in the last `score` of a task, see `Scores.outcomes`; every process asks."""
    with task.test_scores.sync_context(should_sync=compute.world > 1):
        return task.test_scores.outcomes()


def load_best(task: Task, checkpoint: Path) -> None:
    """Put the weights of a checkpoint of this configuration into a task."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    task.load_state_dict(state)


def _trainer(compute: Compute, protocol: Protocol, **options: Any) -> Trainer:
    gpu = compute.device != "cpu" and torch.cuda.is_available()
    # Buffers are not sent around before each forward pass, which would hang where processes see unequal batches.
    strategy: Any = "auto" if compute.world == 1 else DDPStrategy(broadcast_buffers=False)
    trainer = Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=compute.devices,
        num_nodes=compute.nodes,
        strategy=strategy,
        precision="bf16-mixed" if protocol.precision == "bf16" else "32-true",
        use_distributed_sampler=False,
        sync_batchnorm=gpu and compute.world > 1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing="callbacks" in options,
        plugins=[_WholeFiles()],
        num_sanity_val_steps=0,
        **options,
    )
    launched, asked = (trainer.global_rank, trainer.world_size), (compute.rank, compute.world)
    if launched != asked:  # else two processes would take the same images
        raise FitError(
            f"the launcher says process {launched[0]} of {launched[1]}, the options process {asked[0]} of {asked[1]}: "
            "give --devices and --nodes as the launcher has them"
        )
    return trainer


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning from advising."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|torch.optim.lr_scheduler|torchmetrics")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _epochs_between(steps: int, epochs: int) -> int:
    """Return after how many epochs of so many steps a checkpoint is due: a divisor of all, so that the last one is."""
    return next(
        each for each in range(1, epochs + 1) if epochs % each == 0 and each * steps >= min(LEAST_STEPS, epochs * steps)
    )


def _check_writable(folder: Path) -> None:
    probe = folder / f".writable{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
    except OSError as error:
        raise FitError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    finally:
        probe.unlink(missing_ok=True)


class _WholeFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them: Lightning moves them there from another file system."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ARG002
        place = Path(path)
        partial = place.with_name(f".{place.name}.partial")
        content = io.BytesIO()
        torch.save(checkpoint, content)  # to memory, since a full disk would reach torch as an error without a name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                os.fsync(file.fileno())
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


class _Place(Callback):
    """Keeps where in the data a run is, and sets the loader there before the first batch is loaded."""

    def __init__(self, train: DataLoader[Batch]) -> None:
        self.draws: Any = train.sampler
        self.epoch = self.batch = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self.epoch, self.batch = divmod(batch_idx + 1, int(trainer.num_training_batches))
        self.epoch += trainer.current_epoch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "batch": self.batch, "shared": self._shared()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.batch = state_dict["epoch"], state_dict["batch"]
        if self.batch and state_dict["shared"] != self._shared():
            images, world = state_dict["shared"]
            raise FitError(
                f"the run was stopped inside epoch {self.epoch + 1}, with {images} images in a forward pass of "
                f"{world} processes: go on with as many, or begin anew with --fresh"
            )
        self.draws.go_on(self.epoch, self.batch)

    def _shared(self) -> list[int]:
        return [self.draws.batch_size, self.draws.part.world]


class _StepSeeds(Callback):
    """Seeds each step by itself, so that no state of a generator has to survive an interruption."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        text = f"{self.seed} {trainer.current_epoch} {batch_idx} {trainer.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)


class _Watch(Callback):
    """Tells how far training is."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        total = int(trainer.num_training_batches)
        done = trainer.current_epoch * total + batch_idx + 1
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
        self.report(done, (trainer.max_epochs or 0) * total, f"epoch {trainer.current_epoch + 1}, loss {loss:.3f}")

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        done = (trainer.current_epoch + 1) * int(trainer.num_training_batches)
        self.report(min(done, total), total, f"epoch {trainer.current_epoch + 1}, validating")


class _Log(Callback):
    """One row an epoch: its number, the step, seconds, learning rate, mean losses, and scores where they were taken.

    The rows are part of the checkpoint, so that a resumed run neither loses nor doubles any.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0  # of this epoch in an earlier process

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        self.started = time.monotonic() - self.seconds

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:  # noqa: ARG002
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row["seconds"] = time.monotonic() - self.started
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row |= {name: value for name, value in metrics.items() if validated or not name.startswith("val/")}
        self.rows.append(row)
        if trainer.is_global_zero:
            temporary = self.path.with_suffix(".tmp")
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
            temporary.replace(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": time.monotonic() - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]
