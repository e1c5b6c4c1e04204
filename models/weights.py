"""Weights from files into models and tasks, with a report on what became of each key."""

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.checkpoint import read
from models.dynamicvis import DynamicVis
from models.position import resize_position
from models.published import guess_model, trained_keep
from models.sources import WeightsError, locate, sha256
from models.weight_names import DYNAMICVIS, GATE, OURS, POSITION, VIT_POSITION, Entry, family_of, in_our_names
from models.weights_report import EXTRACTORS, WeightsReport, part_of
from models.zoo import family

_COUNTER = "num_batches_tracked"  # of batch norm, which no forward pass here reads


@dataclass(frozen=True)
class Weights:
    """A file of weights, read and understood.

    Attributes:
        source: where it came from.
        path: the file.
        family: whose keys they are, see `models.weight_names.FAMILIES`.
        entries: its tensors with our names.
        keep: see `models.published.trained_keep`.
        model: name in the zoo of the published model that it has the shapes of; empty for none.
        notes: what a reader has to know, a line each.
    """

    source: str
    path: Path
    family: str
    entries: tuple[Entry, ...]
    keep: tuple[int, ...] | None
    model: str
    notes: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What to do where it does not fit."""
        return f"the file looks like {self.model}" if self.model else "choose the model that it was trained for"


def open_weights(source: str) -> Weights:
    """Read weights and see whose they are.

    Args:
        source: see `models.sources.locate`.

    Raises:
        WeightsError: the file is missing, damaged, holds code, or is of no model that is known, or of two.
    """
    path = locate(source)
    checkpoint = read(path)
    try:
        found, prefix = family_of(checkpoint.state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    entries = tuple(in_our_names(checkpoint.state, found, prefix))
    keep = trained_keep(checkpoint.config, path.name) if found in (OURS, DYNAMICVIS) else None
    held = {entry.name: entry.value for entry in entries}
    notes = list(checkpoint.notes)
    notes += [f"'{prefix}' before the keys was left away"] if prefix else []
    narrow = {str(v.dtype).removeprefix("torch.") for v in held.values() if v.is_floating_point() and v.itemsize < 4}
    notes += [f"{' and '.join(sorted(narrow))} was widened to the model's dtype"] if narrow else []
    if found is DYNAMICVIS and keep is None and any(name.endswith(GATE) for name in held):
        notes.append("the file does not say which tokens were kept in training: its keys are the same either way")
    return Weights(source, path, found.name, entries, keep, guess_model(held, keep), tuple(notes))


def load_weights(module: nn.Module, source: str | Weights) -> WeightsReport:
    """Load weights into a backbone, a classifier or a task: all that fits, or nothing.

    Positional embeddings are resized bicubically to the model's image size. The extractor of regions goes into both
    branches of an instance segmenter. Layers of a head that were made for another number of classes are left out.

    Args:
        module: what to fill.
        source: see `models.sources.locate`; or what `open_weights` returned.

    Raises:
        WeightsError: the file cannot be used (see `open_weights`), or fits another model.
    """
    weights = open_weights(source) if isinstance(source, str) else source
    prefix = "backbone." if isinstance(module, Backbone) else ""
    wanted: dict[str, Tensor] = module.state_dict(prefix=prefix)
    _check_model(weights, wanted)
    misfits = _misfits(weights, wanted)
    placed = _place(weights, wanted, misfits)
    if not placed:
        raise WeightsError(f"{weights.source}: none of its keys fits the model; {weights.advice}")
    filled = {name.removeprefix(prefix): value for name, (_, value) in placed.items()}
    module.load_state_dict(filled, strict=False)
    taken = {entry.key for entry, _ in placed.values()}
    left = {entry.key: part_of(entry.name) for entry in weights.entries if entry.key not in taken}
    missing = tuple(name for name in wanted if name not in placed and not name.endswith(_COUNTER))
    notes = [*weights.notes, *_notes(weights, module, placed)]
    notes += [f"left out, made for another size: {', '.join(sorted(misfits))}"] if misfits else []
    return WeightsReport(
        source=weights.source,
        sha256=sha256(weights.path),
        family=weights.family,
        used=tuple(placed),
        resized=tuple(
            f"{name} {tuple(entry.value.shape)} -> {tuple(value.shape)}"
            for name, (entry, value) in placed.items()
            if value.shape != entry.value.shape
        ),
        missing=missing,
        unexpected=tuple(left),
        notes=tuple(notes),
        parts=left | {name: part_of(name) for name in (*placed, *missing)},
    )


def _place(weights: Weights, wanted: Mapping[str, Tensor], misfits: Container[str]) -> dict[str, tuple[Entry, Tensor]]:
    """Return what goes into each tensor of the model: the file's entry, and its tensor as it fits."""
    placed: dict[str, tuple[Entry, Tensor]] = {}
    for entry in weights.entries:
        places = [name for name in _places(entry.name) if name in wanted]
        if not places:
            _check_needless(weights, entry)
        for name in places:
            if _layer(name) in misfits:
                continue
            value = _fitted(weights, entry, name, wanted[name])
            if name in placed and not torch.equal(placed[name][1], value):
                both = f"'{placed[name][0].key}' and '{entry.key}' both are {name}"
                raise WeightsError(f"{weights.source}: {both}; save one model")
            placed[name] = entry, value
    return placed


def _places(name: str) -> tuple[str, ...]:
    """Return where a tensor may belong: the extractor is one, or one for boxes and one for masks."""
    return (name, f"box_{name}", f"mask_{name}") if name.startswith("roi.") else (name,)


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _misfits(weights: Weights, wanted: Mapping[str, Tensor]) -> set[str]:
    """Return the layers of the head that the file has in another size; a bias must not come without its matrix."""
    return {
        _layer(entry.name)
        for entry in weights.entries
        if part_of(entry.name) == "head" and entry.name in wanted and wanted[entry.name].shape != entry.value.shape
    }


def _fitted(weights: Weights, entry: Entry, name: str, wanted: Tensor) -> Tensor:
    """Return what goes in the place of a tensor."""
    value = entry.value
    if wanted.is_floating_point() and not value.is_floating_point():
        raise WeightsError(f"{weights.source}: '{entry.key}' is {value.dtype}; give weights that are not quantised")
    if value.shape == wanted.shape:
        return value
    if (resized := _resized(name, value, wanted)) is not None:
        return resized
    found, asked = tuple(value.shape), tuple(wanted.shape)
    if part_of(name) != "backbone":
        advice = "set head.width, or head.neck_width for segmentation, to its number of channels"
    elif len(asked) == 4 and asked[1] == 3 != found[1]:
        advice = f"it was trained on {found[1]} bands, and models here see red, green and blue"
    else:
        advice = weights.advice
    raise WeightsError(f"{weights.source}: '{entry.key}' is {found}, the model wants {asked}; {advice}")


def _resized(name: str, value: Tensor, wanted: Tensor) -> Tensor | None:
    """Resize positions of a square grid as the model does in its forward pass; None for anything else."""
    before = {POSITION: 0, VIT_POSITION: 1}.get(name)  # tokens that stand before those of the patches
    if before is None or value.shape[2:] != wanted.shape[2:]:
        return None
    old, new = (math.isqrt(tensor.shape[1] - before) for tensor in (value, wanted))
    if old**2 + before != value.shape[1]:
        return None
    if not before:
        return resize_position(value, (new, new))
    from timm.layers.pos_embed import resample_abs_pos_embed  # noqa: PLC0415 (seconds)

    resized: Tensor = resample_abs_pos_embed(value.to(wanted.dtype), [new, new], num_prefix_tokens=before)
    return resized


def _check_model(weights: Weights, wanted: Mapping[str, Tensor]) -> None:
    """Refuse a published model's weights for another one, even where their shapes agree as far as they go."""
    theirs, ours = family(weights.model), family(guess_model(wanted))
    if theirs and ours and theirs != ours:
        raise WeightsError(f"{weights.source} looks like {weights.model}, the model is {ours}; choose {weights.model}")


def _check_needless(weights: Weights, entry: Entry) -> None:
    """Refuse a backbone's tensor that the model has no place for: without it, it would be another function."""
    if part_of(entry.name) != "backbone":
        return
    advice = weights.advice
    if entry.name.endswith(GATE):
        advice = f"it ranks and weighs tokens, which needs a model with gates: {weights.model or 'keep of 1 or more'}"
    raise WeightsError(f"{weights.source}: the model has no place for '{entry.key}'; {advice}")


def _notes(weights: Weights, module: nn.Module, placed: Container[str]) -> Iterator[str]:
    """Say where the model is another function than the one that was trained, as the keys would not show it."""
    backbone = module if isinstance(module, Backbone) else getattr(module, "backbone", None)
    if isinstance(backbone, DynamicVis) and weights.keep not in (None, backbone.config.keep):
        yield f"trained with one of {weights.keep} tokens kept by stage, the model keeps one of {backbone.config.keep}"
    for name in EXTRACTORS if weights.family == DYNAMICVIS.name else ():
        if f"{name}.query.weight" in placed:
            yield _of_attention(name, getattr(getattr(module, name), "attention", "released"))


def _of_attention(name: str, attention: str) -> str:
    if attention == "released":
        return f"{name} attends in the released form, as these weights were trained"
    return f"{name} attends in the {attention} form, these weights were trained in the released one: head.attention"
