"""From the parts that were asked for to figures with their origin."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from dvbench.environment import environment
from dvbench.gate import hard, soft
from dvbench.profile.sweep import command
from models.zoo import ZOO
from reports.gate import HARD
from reports.gate_baseline import BaselineError, Part
from reports.ledger import Ledger
from reports.record import JSON
from reports.rounds import from_benchmark, from_records

BASELINE = Path(__file__).with_name("baseline.json")
SEEDS, BASELINE_SEEDS = 3, 5  # a baseline takes more, to know the spread
PASSES, BASELINE_PASSES = 1, 2
VERSIONS = ("dvbench", "python", "torch", "timm", "numba", "numpy")

Tell = hard.Tell


def measure(part: str, tell: Tell, *, reason: str) -> Part:
    """Take the figures of a part.

    Args:
        part: `counts`, `outputs`, `accuracy` or `ratios`.
        tell: is told what happens.
        reason: why a new baseline is made, which takes more seeds and passes; empty to compare with one.
    """
    match part:
        case "counts":
            figures, failures = hard.counts(ZOO, tell)
        case "outputs":
            figures, failures = hard.outputs(ZOO, tell)
        case "accuracy":
            figures, failures = hard.accuracy(range(BASELINE_SEEDS if reason else SEEDS), tell)
        case _:
            figures, failures = soft.ratios(soft.PAIRS, tell, passes=BASELINE_PASSES if reason else PASSES)
    made = origin(environment("cpu"), reason)
    return Part(made | {"threads": soft.THREADS} if part == "ratios" else made, figures, failures)


def from_bench(path: Path, *, reason: str) -> Part:
    """Read the figures of `nox -s bench`, which must have run here.

    Raises:
        RoundsError: the file holds none.
    """
    return Part(origin(environment("cpu"), reason), from_benchmark(path))


def from_ledger(ledger: Ledger, *, reason: str) -> Part:
    """Read the figures of `dvbench profile`: every model with a scan against every other of its group.

    Raises:
        RoundsError: there is no record, or they are of several machines, or of a run that has not ended.
    """
    figures, newest = from_records(ledger, lambda model: model in ZOO and ZOO[model].scan)
    return Part(origin(newest.environment, reason), figures)


def origin(where: Mapping[str, JSON], reason: str) -> dict[str, JSON]:
    """Say how figures are made, from the environment of the process that took them."""
    return {
        "command": command(),
        "commit": where.get("git_commit"),
        "dirty": where.get("git_dirty"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "hardware": where.get("hardware"),
        "threads": where.get("threads"),
        "versions": {name: where.get(name) for name in VERSIONS},
    }


def check_models(path: Path, baseline: Mapping[str, Part], parts: Iterable[str]) -> None:
    """Refuse a baseline that names a model which is not in the zoo.

    Raises:
        BaselineError: it does; names the model.
    """
    for part in set(parts) & set(HARD) & set(baseline):
        for figure in baseline[part].figures:
            model = figure.partition("/")[0]
            if model not in ZOO:
                raise BaselineError(
                    f"{path} names the model '{model}', which the zoo does not have: restore it, or write a new "
                    "baseline with dvbench gate --update --reason '...'"
                )
