"""Groups of runs set side by side, image by image: which is better, and what could have been seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvbench.training.run_cell import RunCell
from dvbench.training.summary import CIRCUMSTANCES, latest, newest
from reports.outcomes import Outcomes, OutcomesError, align
from reports.paired import Difference, PairedError, Score, Verdict, adjust, difference
from reports.record import Record

#: Keys of a protocol that decide what is tested, and how it is scored.
TEST = ("dataset", "task", "test_split", "dataset_options", "scores")
MARGIN = 1.0  # points: about the spread that the authors' tasks show between seeds
SHORTEST = 6  # hex digits by which a run is named
CELL = {field.name for field in fields(RunCell)}


class Pair(NamedTuple):
    """Two groups of runs, neither of them empty, and the score that tells how `runs` stand to `others`."""

    runs: Sequence[Record]
    others: Sequence[Record]
    metric: str


class PairsError(ValueError):
    """Words that name no runs, or runs that cannot be compared; the message is one line."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone, or one run.

    Attributes:
        label: how a reader knows them.
        runs: their records, by seed.
        alone: one run was meant, whatever its seed.
    """

    label: str
    runs: tuple[Record, ...]
    alone: bool = False

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol that they were trained and scored by."""
        told = json.loads(str(self.runs[0].environment.get("protocol") or "{}"))
        return told if isinstance(told, dict) else {}

    @property
    def test(self) -> dict[str, Any]:
        """What decides how they were tested; None for what their records do not tell."""
        data = self.runs[0].basis.get("data")
        fingerprint = data.get("fingerprint") if isinstance(data, Mapping) else None
        return {**{name: self.protocol.get(name) for name in TEST}, "fingerprint of the data": fingerprint}

    def compared(self, found: Difference) -> list[Record]:
        """Return those that took part in a comparison: of several seeds, those that the other group has too."""
        return [run for run in self.runs if self.alone or run.cell["seed"] in found.seeds]

    def circumstances(self, other: "Group") -> list[str]:
        """Name what is not the same where the runs of another group happened, and may move a score."""
        one, two = self.runs[0].environment, other.runs[0].environment
        return [name for name in CIRCUMSTANCES if name != "protocol" and one.get(name) != two.get(name)]


def label(run: Record) -> str:
    """Name the experiment that a run is a seed of: its model, and what of model, protocol and start is not usual."""
    cell = RunCell(**{name: value for name, value in run.cell.items() if name in CELL})  # type: ignore[arg-type]
    start = f"weights {cell.weights_hash[:SHORTEST]}" if cell.weights_hash else ""
    unusual = [cell.variant if cell.variant != "released" else "", cell.input, start]
    return ", ".join([cell.label, *filter(None, unusual)])


def named(words: Sequence[str], records: Sequence[Record], protocol: str = "") -> list[Group]:
    """Return the runs that words mean.

    Args:
        words: each the beginning of a record's identity, the name of a run's folder, a model, or an experiment as
            `label` names it. A model or an experiment means all seeds of its newest runs.
        records: oldest first.
        protocol: by which the runs were trained; empty for the only one that has all that the words mean.

    Raises:
        PairsError: a word means nothing, or too much; the message lists what there is.
    """
    runs = [run for run in newest(records) if protocol in ("", run.cell["protocol"])]
    experiments = [Group(label(group[0]), tuple(group)) for group in latest(runs)]
    single = [_run(word, runs) for word in words]
    several = {word: _several(word, experiments) for word, one in zip(words, single, strict=True) if one is None}
    shared = [{str(one.runs[0].cell["protocol"]) for one in found} for found in several.values()]
    shared += [{str(one.runs[0].cell["protocol"])} for one in single if one]
    common = sorted(set.intersection(*shared))
    if len(common) != 1:
        there = f"several protocols have all of them, {', '.join(common)}" if common else "no protocol has all of them"
        raise PairsError(f"{' and '.join(words)}: {there}; choose runs by --protocol or by their identity")
    return [one or _only(word, several[word], common[0]) for word, one in zip(words, single, strict=True)]


def compare(groups: Sequence[Group], folder: Path, metric: str = "", margin: float = MARGIN) -> list[Difference]:
    """Compare the first group with each of the others, first minus other, on the images that all were scored on.

    Args:
        groups: two or more.
        folder: of the records and their outcomes.
        metric: which score; empty for that by which the first group's protocol picks checkpoints.
        margin: the smallest difference that would matter, in points.

    Returns:
        One difference for each other group; p-values adjusted by Holm's method where there are several.

    Raises:
        PairsError: the same run on both sides, groups that were not tested alike, or no such score.
        OutcomesError: outcomes are missing, damaged, or of different images.
        PairedError: no seed in common, a single image, or a score that is not a number.
    """
    first, *others = groups
    return adjust([_difference(first, other, folder, metric or metric_of(first), margin) for other in others])


def told_apart(pairs: Mapping[str, Pair], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Say in a few words of each of several groups of runs whether it is told apart from another.

    Args:
        pairs: name -> what is compared.
        folder: of the records and their outcomes.

    Returns:
        Name -> such as "worse by 4.1" or "cannot tell, below 2.3", read together by Holm's method, of those that have
        outcomes; and a line on each of these that could not be compared.
    """
    found, failed = {}, []
    for name, (runs, others, metric) in pairs.items():
        if not all("outcomes" in run.basis for run in (*runs, *others)):  # as of runs from before they were kept
            continue
        first, other = Group(label(others[0]), tuple(others)), Group(name, tuple(runs))
        try:
            found[name] = _difference(first, other, folder, metric, MARGIN)
        except (PairsError, OutcomesError, PairedError) as error:
            failed.append(f"{name} is not compared: {error}.")
    return dict(zip(found, map(_in_words, adjust(list(found.values()))), strict=True)), failed


def _difference(first: Group, other: Group, folder: Path, metric: str, margin: float) -> Difference:
    _check(first, other)
    ours = _scores(first, folder, metric)
    scores = _scores(other, folder, metric, like=ours.outcomes)
    theirs = scores.by_seed
    if first.alone and other.alone:  # these two, whatever their seeds
        theirs = dict(zip(ours.by_seed, theirs.values(), strict=True))
    return difference(ours.by_seed, theirs, len(ours.outcomes.images), margin=margin)


def _check(first: Group, other: Group) -> None:
    """Refuse a run beside itself, and groups that were not tested alike."""
    if same := {run.identity for run in first.runs} & {run.identity for run in other.runs}:
        raise PairsError(f"run {min(same)[:12]} is on both sides: a run differs from itself in nothing")
    for name, ours in first.test.items():
        theirs = other.test[name]
        if ours != theirs and None not in (ours, theirs):
            told = f"{name} is {ours} for {first.label} and {theirs} for {other.label}"
            raise PairsError(f"the runs were not tested alike: {told}; compare runs of one test")


def _in_words(one: Difference) -> str:
    """Say how the other group stands to the first, so with the sign turned."""
    if one.verdict == Verdict.EQUIVALENT:
        return f"equivalent, within {one.margin:g}"
    if one.verdict == Verdict.CANNOT_TELL:
        return f"cannot tell, below {one.detectable:.1f}"
    return f"{'worse' if one.verdict == Verdict.BETTER else 'better'} by {abs(one.mean):.1f}"


def metric_of(group: Group) -> str:
    """Return the score by which a group's protocol picks checkpoints."""
    return str(group.protocol.get("select", {}).get("metric", ""))


@dataclass(frozen=True)
class _Scores:
    outcomes: Outcomes
    by_seed: Mapping[int, Score]


def _scores(group: Group, folder: Path, metric: str, like: Outcomes | None = None) -> _Scores:
    by_seed: dict[int, Score] = {}
    for run in group.runs:
        outcomes = Outcomes.of(run, folder)
        like = like or outcomes
        there = outcomes.score(np.arange(len(outcomes.images)))
        if metric not in there:
            raise PairsError(f"{group.label} has no score '{metric}': choose --metric from {', '.join(there)}")
        by_seed[int(run.cell["seed"] or 0)] = partial(_score, outcomes, align(like, outcomes), metric)
    assert like is not None
    return _Scores(like, by_seed)


def _score(outcomes: Outcomes, order: NDArray[np.int64], metric: str, draws: NDArray[np.int64]) -> NDArray[np.float64]:
    return outcomes.scores(order[draws])[metric]


def _run(word: str, runs: Sequence[Record]) -> Group | None:
    """Return the run that a word names by its identity or its folder."""
    by_identity = len(word) >= SHORTEST and set(word) <= set("0123456789abcdef")
    found = [
        run
        for run in runs
        if (by_identity and run.identity.startswith(word)) or run.environment.get("run_folder") == word
    ]
    if len(found) > 1:
        raise PairsError(f"'{word}' begins {len(found)} identities: give more digits")
    return Group(f"{label(found[0])}, seed {found[0].cell['seed']}", (found[0],), alone=True) if found else None


def _several(word: str, experiments: Sequence[Group]) -> list[Group]:
    found = [one for one in experiments if one.label == word]
    found = found or [one for one in experiments if str(one.runs[0].cell["model"]) == word]
    if not found:
        there = ", ".join(dict.fromkeys(one.label for one in experiments)) or "nothing yet"
        raise PairsError(f"no finished run is named '{word}': there is {there}")
    return found


def _only(word: str, found: Sequence[Group], protocol: str) -> Group:
    chosen = [one for one in found if one.runs[0].cell["protocol"] == protocol]
    if len(chosen) > 1:
        there = "; ".join(f"'{one.label}'" for one in chosen)
        raise PairsError(f"'{word}' means several experiments on {protocol}: name one of {there}")
    return chosen[0]
