"""What every task promises: a network on a backbone, its losses, its predictions and their scores."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from models.backbone import Backbone
from models.dynamicvis import DynamicVis, Routes
from tasks.balance import BALANCE, balance_loss
from tasks.protocol import Protocol, ProtocolError, Schedule

Batch = dict[str, Any]
"""What the data loader makes: "image", "size" and "index" for all, labels by task."""
Prediction = dict[str, Tensor]
"""What a task finds in one image, in the coordinates of the original image."""


class NonFiniteLossError(RuntimeError):
    """Training diverged; the message names the step, the batch and the loss."""


@dataclass(frozen=True)
class Problem:
    """What a dataset asks of a task.

    Attributes:
        classes: name of each label; position is the label. Starts with "background" for boxes and instances.
        multilabel: an image carries several labels.
    """

    classes: tuple[str, ...]
    multilabel: bool = False


class Options(BaseModel):
    """Options of a network or of scores, as a protocol gives them; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


O = TypeVar("O", bound=Options)  # noqa: E741


def read_options(kind: type[O], given: dict[str, Any], protocol: Protocol, key: str) -> O:
    """Check the options under `key` of a protocol.

    Raises:
        ProtocolError: an unknown option or a value that does not suit; names protocol and key.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (key, *first["loc"])))
        raise ProtocolError(f"protocol {protocol.name}: {where}: {first['msg']}") from None


class Scores(Metric):
    """Scores of predictions against labels, summed over images and processes.

    A subclass keeps what it needs of each image in states that are lists, so that the score of any images can be taken.
    For many resamplings, `outcomes` are faster.

    Attributes:
        kind: which arrays `outcomes` returns, one name for all scores that return the same.
    """

    full_state_update = False
    kind: ClassVar[str]
    index: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("index", [], dist_reduce_fx="cat")

    @abstractmethod
    def update(self, predictions: list[Prediction], batch: Batch) -> None:
        """Take in the predictions on a batch. A subclass calls this too, which notes the images' positions."""
        index = batch.get("index")
        if index is None:  # made by hand: numbered on
            start = sum(len(each) for each in self.index)
            index = torch.arange(start, start + len(predictions))
        self.index.append(index.cpu())

    @abstractmethod
    def score(self, images: Tensor | None = None) -> dict[str, float]:
        """Return name -> score of the images with these positions, int64 (n,), repeats allowed; None for all.

        Shares are in percent, as in the paper's tables.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Number of images taken in."""

    @abstractmethod
    def outcomes(self) -> dict[str, NDArray[Any]]:
        """Return what came of each image, as arrays of plain dtypes, from which any resampling can be scored again.

        Images are in the order of the split, however many processes took them in. "index", int64 (images,), holds
        their positions in it. The other arrays are those of the `kind`.
        """

    def order(self) -> NDArray[np.int64]:
        """Return the positions among the images taken in that put them in the order of the split, int64 (images,)."""
        return np.argsort(dim_zero_cat(self.index).cpu().numpy(), kind="stable")

    def compute(self) -> dict[str, float]:
        """Return the scores of all images."""
        return self.score()


class Task(LightningModule):
    """A network for one task, trained and scored by a protocol.

    A subclass fills in four hooks: `configure_network`, `losses`, `predict` and `configure_scores`.

    Args:
        backbone: gives the feature maps.
        problem: what the dataset asks.
        protocol: how to train and score.
        pretrained: the backbone's weights were loaded, so the protocol's first stages are frozen.

    Attributes:
        embedded: what is known of the file that embeddings of classes start from; None without one.

    Raises:
        ProtocolError: the protocol's options or losses do not suit the task.
    """

    HeadOptions: ClassVar[type[Options]] = Options
    ScoreOptions: ClassVar[type[Options]] = Options
    LOSSES: ClassVar[tuple[str, ...]] = ()
    embedded: Mapping[str, str] | None = None

    def __init__(self, backbone: Backbone, problem: Problem, protocol: Protocol, *, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.problem = problem
        self.protocol = protocol
        if unknown := sorted(protocol.losses.keys() - {*self.LOSSES, BALANCE}):
            there = ", ".join((*self.LOSSES, BALANCE))
            raise ProtocolError(f"protocol {protocol.name}: losses.{unknown[0]}: this task's losses are {there}")
        self.balances = protocol.losses.get(BALANCE, 0) > 0
        if self.balances and not isinstance(backbone, DynamicVis):
            raise ProtocolError(f"protocol {protocol.name}: losses.{BALANCE}: only DynamicVis selects tokens")
        self.configure_network()
        self.val_scores = self.configure_scores()
        self.test_scores = self.configure_scores()
        self.loss_sums: dict[str, Any] = {}  # over the images of an epoch so far
        self.images_seen = 0
        if pretrained:
            self._freeze(protocol.frozen_stages)

    @abstractmethod
    def configure_network(self) -> None:
        """Build neck and head on `self.backbone`."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return name -> loss of a training batch, each a scalar, before the protocol's weights."""

    @abstractmethod
    def predict(self, batch: Batch) -> list[Prediction]:
        """Return what is found in each image of a batch; needs "image" and "size" only."""

    @abstractmethod
    def configure_scores(self) -> Scores:
        """Make the scores of the protocol."""

    def layers(self, image: Tensor) -> None:
        """Run each layer as often as a training step on these images does, to count its work.

        Nothing is asked of the values, so it runs on the meta device too: where a step looks at regions that it has
        found, as many stand here as the protocol has it sample.

        Args:
            image: (batch, 3, height, width), or (batch, 2, 3, height, width) of pairs.
        """
        self(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the losses."""
        losses = self.balanced_losses(batch) if self.balances else self.losses(batch)
        total = torch.stack([loss * self.protocol.losses.get(name, 1.0) for name, loss in losses.items()]).sum()
        if not torch.isfinite(total):
            self._complain(losses, batch, batch_idx)
        self._log_losses(losses | {"loss": total}, len(batch["image"]))
        return total

    def balanced_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses and `balance`, which spreads the selection of the backbone over its tokens (table 19)."""
        routes: Routes = []
        watched = self.backbone.register_forward_pre_hook(lambda _, args: (*args, routes))
        try:
            losses = self.losses(batch)
        finally:
            watched.remove()
        return losses | {BALANCE: balance_loss(routes)}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 (signature of Lightning)
        """Take in the predictions on a batch of the split by which the checkpoint is selected."""
        self.val_scores.update(self.predict(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores as `val/...`."""
        self._log_scores("val", self.val_scores)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 (signature of Lightning)
        """Take in the predictions on a batch of the test split."""
        self.test_scores.update(self.predict(batch), batch)

    def on_test_epoch_end(self) -> None:
        """Log the scores as `test/...`; they stay in `test_scores` for intervals until the next test."""
        self.log_dict({f"test/{name}": value for name, value in self.test_scores.compute().items()})

    def on_test_epoch_start(self) -> None:
        """Forget an earlier test."""
        self.test_scores.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what an epoch has summed up so far."""
        checkpoint["loss_sums"], checkpoint["images_seen"] = self.loss_sums, self.images_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with what the epoch had summed up."""
        self.loss_sums, self.images_seen = checkpoint["loss_sums"], checkpoint["images_seen"]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002 (signature of Lightning)
        """Set the noise of the token selection for this epoch (table 19), in the middle of which a run may go on."""
        if isinstance(self.backbone, DynamicVis):
            self.backbone.set_noise(self.protocol.noise.at(self.current_epoch / self.protocol.epochs))

    def configure_optimizers(self) -> tuple[list[Optimizer], list[dict[str, Any]]]:  # type: ignore[override]
        """Make AdamW over everything that is trained, and its schedule."""
        chosen, steps = self.protocol.optimiser, self.trainer.estimated_stepping_batches
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimiser = AdamW(trained, chosen.lr, chosen.betas, weight_decay=chosen.weight_decay)
        a_epoch = max(1, round(steps / self.protocol.epochs))
        schedule = LambdaLR(optimiser, lambda step: rate(self.protocol.schedule, step, a_epoch, self.protocol.epochs))
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]

    def extent(self, size: Tensor, image: Tensor) -> tuple[int, int]:
        """Return height and width of what the original image fills of a network's input; the rest is padding.

        Args:
            size: int64 (2,), height and width of the original image.
            image: (..., height, width), the network's input.
        """
        sides = (image.shape[-2], image.shape[-1])
        if not self.protocol.keeps_aspect:
            return sides
        height, width = (int(side) for side in size)
        scale = min(sides[0] / height, sides[1] / width)
        return round(height * scale), round(width * scale)

    def _log_losses(self, losses: dict[str, Tensor], images: int) -> None:
        """Log the means over the images of an epoch as `train/...`, at its last batch."""
        for name, loss in losses.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0.0) + loss.detach() * images
        self.images_seen += images
        if self.trainer.is_last_batch:
            means = {f"train/{name}": loss / self.images_seen for name, loss in self.loss_sums.items()}
            self.log_dict(means, on_step=False, on_epoch=True, sync_dist=True)
            self.loss_sums, self.images_seen = {}, 0

    def _log_scores(self, stage: str, scores: Scores) -> None:
        self.log_dict({f"{stage}/{name}": value for name, value in scores.compute().items()})
        scores.reset()

    def _complain(self, losses: dict[str, Tensor], batch: Batch, batch_idx: int) -> None:
        values = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
        images = batch["index"].tolist() if "index" in batch else "unknown"
        raise NonFiniteLossError(
            f"loss is not finite at epoch {self.current_epoch}, batch {batch_idx} (images {images}): {values}; "
            "lower optimiser.lr, or look at these images"
        )

    def _freeze(self, stages: int) -> None:
        """Keep the first stages as loaded; their noise and the positional embedding go on (section 4.3.1)."""
        if isinstance(self.backbone, DynamicVis):
            for stage in self.backbone.stages[:stages]:
                stage.requires_grad_(False)


def rate(schedule: Schedule, step: int, steps_an_epoch: int, epochs: int) -> float:
    """Return the share of the learning rate at a step: linear warm-up by step, then a cosine by epoch.

    The last step of the warm-up already has the full rate (mmengine's LinearParamScheduler).
    """
    warm = round(schedule.warmup_epochs * steps_an_epoch)
    if step < warm - 1:
        return schedule.warmup_factor + (1 - schedule.warmup_factor) * step / (warm - 1)
    length = max(1.0, epochs - schedule.warmup_epochs)
    done = min(1.0, (step // steps_an_epoch - schedule.warmup_epochs) / length)
    return schedule.minimum + (1 - schedule.minimum) * (1 + math.cos(math.pi * max(0.0, done))) / 2
