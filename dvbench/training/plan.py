"""From what a user asks to cells: which scale, which protocol, and what it would cost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dvbench.data import catalog
from dvbench.kept import keep, kept_file, read_kept
from dvbench.training.run_cell import RunCell, Scale, deciding_code
from models.rivals.roster import RIVALS, check
from models.sources import locate, sha256
from models.zoo import entry
from tasks import protocol
from tasks.embeddings import RANDOM, pinned

PEAK_FLOPS = 312e12  # bf16 of an NVIDIA A100, the paper's card
UTILISATION = 0.4
PASSES = 3  # a backward pass costs about two forward ones


class PlanError(ValueError):
    """What was asked does not fit together; the message is one line."""


@dataclass(frozen=True)
class Wish:
    """How a table is run.

    Attributes:
        scale: `auto`, `full` or `smoke`.
        variant: of the protocols.
        seeds: number of seeds a row; None for 3 in reduced ablations and 5 in the study of pretraining, whose rows
            differ little, else 1.
        weights: pretrained weights by model.
        rows: part of the names of the rows that are run; all if empty.
        rates: `paper` trains a rival at its authors' learning rate where that can be used, `equal` as DynamicVis.
        changes: keys of the protocols that are replaced.
    """

    scale: str = "auto"
    variant: str = "released"
    seeds: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    rates: str = "paper"
    changes: Mapping[str, object] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether a row is run."""
        return not self.rows or any(part.lower() in name.lower() for part in self.rows)


@dataclass(frozen=True)
class Cost:
    """What a run would take, estimated.

    Attributes:
        steps: of the optimiser.
        images: passed through the network in training.
        macs: multiply-adds of one image, or pair of images, in one forward pass of backbone, neck and heads.
        gpu_hours: on one A100 at 40 % of its peak, from those.
    """

    steps: int
    images: int
    macs: int
    gpu_hours: float


def choose_scale(asked: str, name: str) -> tuple[Scale, str]:
    """Return the scale and one line on why, for a protocol."""
    if asked == "full":
        return "full", "full scale was asked for"
    if asked == "smoke":
        return "smoke", "a reduced run was asked for"
    dataset = protocol.load(name).dataset
    if not catalog.is_found(dataset):
        return "smoke", f"reduced: {dataset} is not found (dvbench data info {dataset} says how to get it)"
    if not torch.cuda.is_available():
        return "smoke", f"reduced: {dataset} is there, but no GPU (--scale full trains anyway)"
    return "full", f"full: {dataset} is there, and a GPU"


def first_protocol(task: str) -> str:
    """Return the first of the paper's datasets that a task is scored on, or of all where the paper has none.

    Raises:
        PlanError: the task has no protocol.
    """
    found = [name for name in protocol.names() if protocol.load(name).task == task]
    if not found:
        raise PlanError(f"task '{task}' has no protocol: write one in tasks/protocols")
    return min(found, key=lambda name: (protocol.load(name).table is None, name))


def cell(
    model: str,
    name: str,
    scale: Scale,
    *,
    variant: str = "released",
    size: str = "",
    seed: int = 0,
    weights: str = "",
    changes: Mapping[str, Any] | None = None,
    switches: Mapping[str, Any] | None = None,
) -> RunCell:
    """Make a cell; in a reduced run the protocol's stand-in takes its place.

    Raises:
        UnknownModelError, RivalError, ProtocolError: model or protocol do not exist or do not hold together.
        WeightsError, EmbeddingsError: the weights, or the file of class embeddings, cannot be found.
    """
    chosen = name if scale == "full" else protocol.load(name).smoke
    if model in RIVALS:
        check(model, protocol.load(chosen).task, weights)
    else:
        entry(model, RIVALS)
    made = RunCell(
        model=model,
        protocol=chosen,
        scale=scale,
        variant=variant,
        input=size if scale == "full" else "",
        seed=seed,
        weights=weights,
        weights_hash=sha256(locate(weights))[:12] if weights else "",
        changes=json.dumps(changes or {}, sort_keys=True),
        switches=json.dumps(switches or {}, sort_keys=True),
    )
    given = made.load_protocol().head.get("embeddings", RANDOM)
    if (meant := pinned(str(given))) == given:
        return made
    told = dict(changes or {})
    told["head"] = {**told.get("head", {}), "embeddings": meant}
    return replace(made, changes=json.dumps(told, sort_keys=True))


def cost(made: RunCell) -> Cost:
    """Estimate what a cell's training takes, from the counted work of its network and the card's number of images."""
    chosen = made.load_protocol()
    count = chosen.counts.get("train") or catalog.entry(chosen.dataset).card.split("train").count
    images, macs = count * chosen.epochs, work(replace(made, seed=0, weights="", weights_hash=""))
    seconds = PASSES * 2 * macs * images / (PEAK_FLOPS * UTILISATION)
    return Cost(-(-count // chosen.batch) * chosen.epochs, images, macs, seconds / 3600)


@cache
def work(made: RunCell) -> int:
    """Count the multiply-adds of a cell's network, backbone, neck and heads, for one image or pair; kept on disk."""
    asked, path = json.dumps([made.as_dict(), deciding_code()]), kept_file("work")
    known = read_kept(path)
    if type(known.get(asked)) is not int:
        known[asked] = _work(made)
        keep(path, known)
    return int(known[asked])


def _work(made: RunCell) -> int:
    # Lightning and TorchGeo take seconds to import, and most who plan never count.
    from dvbench.training.batches import Source  # noqa: PLC0415
    from dvbench.training.execute import build_task  # noqa: PLC0415

    chosen = made.load_protocol()
    with torch.device("meta"):
        task, _ = build_task(made, Source(chosen))
        shape = (1, 2, 3) if chosen.task == "change_detection" else (1, 3)
        image = torch.empty(*shape, chosen.image_size, chosen.image_size)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        task.eval().layers(image)
    return int(counter.get_total_flops()) // 2
