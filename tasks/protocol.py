"""Protocols: how a dataset is trained and scored, one YAML file a dataset, checked key by key."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

VARIANTS = ("released", "paper", "clean")
"""The authors' configuration; what their text says instead; the released one with the checkpoint picked on a
validation split."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ProtocolError(ValueError):
    """A protocol that does not exist or does not hold together; the message names file and key."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(BaseModel):
    """An augmentation by name, every further key an option of it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The augmentation's keyword arguments."""
        return dict(self.model_extra or {})


class Optimiser(_Strict):
    """AdamW on every parameter, without exceptions for norms and biases (section 4.2)."""

    lr: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: tuple[Share, Share] = (0.9, 0.999)


class Schedule(_Strict):
    """Linear warm-up from `warmup_factor` by step, then a cosine to `minimum` by epoch, both shares of `lr`."""

    warmup_epochs: Annotated[float, Field(ge=0)] = 5
    warmup_factor: Share = 0.001
    minimum: Share = 0.0


class Noise(_Strict):
    """Gumbel noise on the token selection while training (table 19): fixed, or falling from `scale` to `final`."""

    kind: Literal["none", "fixed", "decay"] = "decay"
    scale: Annotated[float, Field(ge=0)] = 0.1
    final: Annotated[float, Field(ge=0)] = 0.0001

    def at(self, progress: float) -> float:
        """Return the scale at a share of the training, 0 at its start and 1 at its end."""
        if self.kind == "none":
            return 0.0
        return self.scale if self.kind == "fixed" else (self.scale - self.final) * (1 - progress) + self.final


class Select(_Strict):
    """Which checkpoint counts: the best by `metric` on `split`, validated after every so many epochs."""

    metric: str
    split: str
    every: Annotated[int, Field(ge=1)] = 10


class Window(_Strict):
    """Windows of `size` px every `stride` px, for images that are too large for one pass; logits are averaged."""

    size: Annotated[int, Field(ge=32, multiple_of=32)]
    stride: Annotated[int, Field(ge=1)]


class Baseline(_Strict):
    """What a reduced run has to beat, and by how much of the metric, to count as having learned.

    `untrained` is the same model before training, `constant` the best prediction that is the same for everything.
    """

    kind: Literal["untrained", "constant"]
    margin: Positive


class Protocol(_Strict):
    """How a dataset is trained and scored.

    Attributes:
        name: the file's name.
        dataset: name in the catalog of datasets.
        task: name in `tasks.roster.ROSTER`.
        table: the paper's table; None where it has none.
        smoke: name of the protocol that stands in for this one in reduced runs; its own name for those themselves.
        image_size: side in px of what the network sees, a multiple of 32.
        upsampling: how much larger than the original that is; the paper's 1x and 2x.
        train: augmentations of training, in order.
        test: what is done to an image before testing.
        mix: augmentation of whole batches.
        with_boxes_only: training images that show no box are replaced by others.
        white: value of raw reflectance that stands for 255 where 8-bit statistics normalise it (table 12); 255 as
            released, where reflectance up to 10,000 is taken for 8-bit values.
        window: windows at test time.
        head: options of the task's network.
        losses: weight of each loss of the task.
        scores: options of the task's scores.
        optimiser: step size and decay.
        schedule: warm-up and decay of the step size.
        epochs: passes over the training split.
        batch: images in a step, over all devices.
        noise: of the token selection.
        frozen_stages: stages at the start of a pretrained backbone that are not trained; its positions are.
        precision: of training.
        train_split: split that is trained on.
        test_split: split that is scored.
        select: which checkpoint is scored.
        dataset_options: arguments of the dataset.
        counts: samples to make for each split of a synthetic dataset.
        baseline: for reduced runs.
        models: models that a reduced run of a table trains.
        notes: what a reader has to know.
    """

    name: str
    dataset: str
    task: str
    smoke: str
    image_size: Annotated[int, Field(ge=32, multiple_of=32)]
    train: tuple[Step, ...]
    test: tuple[Step, ...]
    optimiser: Optimiser
    epochs: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    select: Select
    table: Annotated[int, Field(ge=1, le=19)] | None = None
    upsampling: Literal["1x", "2x"] = "1x"
    mix: Step | None = None
    with_boxes_only: bool = False
    white: Positive = 255
    window: Window | None = None
    head: dict[str, Any] = {}
    losses: dict[str, Annotated[float, Field(ge=0)]] = {}
    scores: dict[str, Any] = {}
    schedule: Schedule = Schedule()
    noise: Noise = Noise()
    frozen_stages: Annotated[int, Field(ge=0, le=4)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    train_split: str = "train"
    test_split: str = "test"
    dataset_options: dict[str, Any] = {}
    counts: dict[str, Annotated[int, Field(ge=1)]] = {}
    baseline: Baseline | None = None
    models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keeps_aspect(self) -> bool:
        """Whether test images are resized to fit and padded at the right and the bottom, instead of squashed."""
        return any(step.name == "resize_to_fit" for step in self.test)


def names() -> list[str]:
    """Return the names of all protocols, sorted."""
    folder = files("tasks") / "protocols"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load(name: str, *overrides: str, changes: Mapping[str, Any] | None = None) -> Protocol:
    """Read a protocol.

    A file holds the released configuration and, under `overrides`, named sets of keys that replace its own: the other
    variants (`paper`, `clean`), the paper's input sizes (`1x`, `2x`), and models that are trained differently. Nested
    mappings are merged, everything else is replaced.

    Args:
        name: such as "levir_ship".
        overrides: names of sets to apply, in order; those that the file does not have change nothing, apart from `1x`
            and `2x`.
        changes: keys that replace those of the file in the end, nested as there. With another `image_size` the sizes
            of steps and windows change in proportion, unless they are given too.

    Raises:
        ProtocolError: no such protocol, an unknown or missing key, a value out of range, or no such input size.
    """
    if name not in names():
        raise ProtocolError(f"there is no protocol '{name}': choose from {', '.join(names())}")
    return parse(
        name, (files("tasks") / "protocols" / f"{name}.yaml").read_text(encoding="utf-8"), *overrides, changes=changes
    )


def parse(name: str, text: str, *overrides: str, changes: Mapping[str, Any] | None = None) -> Protocol:
    """Check a protocol given as YAML; arguments and errors as `load`, `text` being what the file holds."""
    try:
        raw = deepcopy(_read(text))
    except yaml.YAMLError as error:
        raise ProtocolError(f"protocol {name}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict) or not isinstance(sets := raw.pop("overrides", {}), dict):
        raise ProtocolError(f"protocol {name}: has to be a mapping of keys, as `overrides` in it")
    _check_sets(name, raw, sets)
    asked = _merged(raw, sets, overrides)
    found = _checked(name, asked)
    return _checked(name, _changed(asked, changes)) if changes else found


@cache
def _read(text: str) -> Any:
    return yaml.safe_load(text)


def _merged(raw: dict[str, Any], sets: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    size = raw.get("upsampling", "1x")
    for override in wanted:
        if override in ("1x", "2x") and override != size and override not in sets:
            raise ProtocolError(f"input size {override} is not defined: this protocol has {size} only")
        raw = _merge(raw, sets.get(override, {}))
    return raw


def _changed(raw: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a protocol with changes; what is resized, cropped or cut goes with another input size, as 1x with 2x."""
    before, after = raw.get("image_size"), changes.get("image_size")
    if isinstance(before, int) and isinstance(after, int):
        ratio = after / before
        raw |= {part: [_scaled(step, ratio) for step in raw.get(part) or ()] for part in ("train", "test")}
        raw |= {"window": _scaled(raw["window"], ratio)} if raw.get("window") else {}
    return _merge(raw, changes)


def _scaled(step: Mapping[str, Any], ratio: float) -> dict[str, Any]:
    return {key: round(value * ratio) if key in ("size", "stride") else value for key, value in step.items()}


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _check_sets(name: str, raw: dict[str, Any], sets: dict[str, Any]) -> None:
    """Check the sets that nobody asked for too, so that a typing error does not wait for its user."""
    for key, change in sets.items():
        if not isinstance(change, dict):
            raise ProtocolError(f"protocol {name}: overrides.{key} has to be a mapping of keys")
        _checked(f"{name}, overrides.{key}", _merge(raw, change), name)


def _checked(where: str, raw: Mapping[str, Any], name: str | None = None) -> Protocol:
    try:
        return Protocol.model_validate({**raw, "name": name or where})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ProtocolError(f"protocol {where}: {key}: {first['msg']}{more}") from None
