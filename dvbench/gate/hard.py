"""The gate's hard part: what is the same on every machine, or nearly."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvbench.data.scene import default_scene, load_scene
from dvbench.profile.counters import count
from dvbench.training.execute import Place, execute
from dvbench.training.plan import cell
from models.zoo import build_classifier
from reports.gate_baseline import Values
from tasks.fit import Compute

SIDES = (512, 1024)
SCENE_SIDE = 128
LOGITS = 6
LEARNER, STAND_IN, SCORE = "dynamicvis_t", "synthetic_classification", "accuracy"
# A tenth of the reduced protocol's work: nine seconds of one core a seed, and far above the one in eight of chance.
SHORTENED: Mapping[str, Any] = {
    "epochs": 3,
    "batch": 8,
    "counts": {"train": 96, "val": 8, "test": 96},
    "image_size": 64,
    "dataset_options": {"size": 64, "object_size": 8},
    "select": {"metric": "f1", "split": "val", "every": 3},
}

Tell = Callable[[str], None]
Taken = tuple[dict[str, Values], dict[str, str]]
"""Figures by name, and why a subject gave none."""


class NotScoredError(RuntimeError):
    """A training run ended without a score; the message is its reason."""


def counts(models: Iterable[str], tell: Tell) -> Taken:
    """Count each model on the meta device: parameters, multiply-adds, live bytes, kept tokens, shapes of outputs."""
    return _each(models, tell, "count", _counts)


def outputs(models: Iterable[str], tell: Tell) -> Taken:
    """Run each model with the weights of seed 0 on the embedded scene: mean, root mean square and the first logits."""
    image = load_scene(default_scene(), SCENE_SIDE).tensor
    return _each(models, tell, "run", lambda model: {"logits": _logits(model, image)})


def accuracy(seeds: Sequence[int], tell: Tell) -> Taken:
    """Train the tiny model on drawn scenes, seed by seed; percent of the test scenes that it classifies right."""

    def scores(model: str) -> dict[str, Values]:
        return {f"{STAND_IN}/{SCORE}": tuple(_score(model, seed, tell) for seed in seeds)}

    return _each([LEARNER], tell, "train", scores)


def _each(subjects: Iterable[str], tell: Tell, what: str, take: Callable[[str], Mapping[str, Values]]) -> Taken:
    """Take figures of each subject; one that fails is a finding, and the rest goes on."""
    figures: dict[str, Values] = {}
    failures: dict[str, str] = {}
    for subject in subjects:
        tell(f"{what} {subject}")
        try:
            figures |= {f"{subject}/{name}": values for name, values in take(subject).items()}
        except Exception as error:  # whatever a broken model raises
            first = (str(error).splitlines() or [""])[0]
            failures[subject] = f"{type(error).__name__}: {first}"
    return figures, failures


def _counts(model: str) -> dict[str, Values]:
    figures: dict[str, Values] = {}
    for side in SIDES:
        counted = count(lambda: build_classifier(model), side)
        figures["parameters"] = (counted.parameters,)
        figures[f"{side}/macs"] = (counted.macs,)
        figures[f"{side}/paper_flops"] = (counted.paper_flops,)
        figures[f"{side}/live_bytes"] = (counted.live_bytes,)
        if counted.tokens_kept:
            figures[f"{side}/tokens_kept"] = counted.tokens_kept
        figures |= {f"{side}/{name}": shape for name, shape in _shapes(model, side).items()}
    return figures


@torch.inference_mode()
def _shapes(model: str, side: int) -> dict[str, Values]:
    """Return the shapes of feature maps and logits; the maps apart, as a classifier may not need them."""
    with torch.device("meta"):
        classifier = build_classifier(model).eval()
        image = torch.empty(1, 3, side, side)
    maps = {f"map {number}": tuple(m.shape) for number, m in enumerate(classifier.backbone(image), start=1)}
    return maps | {"logits": tuple(classifier(image).shape)}


@torch.inference_mode()
def _logits(model: str, image: Tensor) -> Values:
    torch.manual_seed(0)
    logits = build_classifier(model).eval()(image).flatten().double()
    return (logits.mean().item(), logits.square().mean().sqrt().item(), *logits[:LOGITS].tolist())


def _score(model: str, seed: int, tell: Tell) -> float:
    tell(f"train {model}, seed {seed}")
    with tempfile.TemporaryDirectory(prefix="dvbench-gate-") as folder:
        record = execute(
            cell(model, STAND_IN, "smoke", seed=seed, changes=SHORTENED),
            Place(Path(folder)),
            Compute("cpu", workers=0),
            lambda *_: None,
            command="dvbench gate",
            fresh=True,
        )
    score = record.measures.get(SCORE)
    if score is None or score.value is None:
        raise NotScoredError(record.reason or f"seed {seed} gave no {SCORE}")
    return float(score.value)
