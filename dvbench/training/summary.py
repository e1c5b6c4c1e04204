"""Runs as tables: each score with its interval, mean and spread over seeds, and whether something was learned."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from reports import strict_json
from reports.escape import file_name
from reports.record import Record, Scalar, Status
from reports.table import Table
from tasks.embeddings import by_content
from tasks.protocol import VARIANTS

#: Of where a run happened, what may move its score. The commit is not among it: the basis holds a hash of the code that
#: trains and scores.
CIRCUMSTANCES = ("hardware", "torch", "tf32_matmul", "tf32_conv", "evaluator", "protocol", "git_dirty")
#: Of parts of a basis, what tells experiments apart; the rest is when and how it was found.
TOLD_APART = {
    "data": ("origin", "fingerprint", "split"),
    "weights": ("sha256",),
    "embeddings": ("sha256",),
    "outcomes": ("images",),
}
#: What of a cell the tables of scores are drawn from.
CELL = {"task", "dataset", "protocol", "model", "scale", "variant", "seed", "weights_hash", "changes", "switches"}
REDUCED = "Reduced scale: other data, small models, few epochs. Not comparable with the paper."


def score_names(record: Record) -> list[str]:
    """Return the names of a record's scores."""
    return [name for name, measure in record.measures.items() if measure.unit == "%" and name != "baseline"]


def value(record: Record, name: str) -> float | None:
    """Return a score in percent; None where there is none."""
    measure = record.measures.get(name)
    return None if measure is None or measure.value is None else float(measure.value)


def told_protocol(run: Record) -> Mapping[str, Any]:
    """Return the protocol that a record tells; empty where it tells none that can be read."""
    return _json_object(run.environment.get("protocol")) or {}


def learned(record: Record) -> bool | None:
    """Whether a reduced run beat its baseline by the protocol's margin; None where the protocol names none."""
    chosen = told_protocol(record)
    baseline, metric = chosen.get("baseline"), chosen.get("select", {}).get("metric")
    if not baseline:
        return None
    reached, floor = value(record, metric), value(record, "baseline")
    return reached is not None and reached >= (floor or 0.0) + baseline["margin"]


def label(run: Record) -> str:
    """Name a run in a figure by its model, what it started from and what was replaced; seeds share a name."""
    cell = run.cell
    told = [f"from {Path(str(cell['weights'])).name} {str(cell['weights_hash'])[:6]}"] if cell["weights_hash"] else []
    told += [str(cell["variant"])] if cell["variant"] != VARIANTS[0] else []
    replaced = json.loads(str(cell["switches"])) | json.loads(str(cell["changes"]))
    told += [f"{name} {json.dumps(value)}" for name, value in replaced.items()]
    return ", ".join((str(cell["model"]), *told))


def run_folder(out: Path, run: Record) -> Path:
    """Return where a run left its files below `out`: a record of strangers names no place elsewhere."""
    return out / "runs" / file_name(str(run.environment.get("run_folder")))


def spread(records: Sequence[Record], name: str) -> str:
    """Return a score, as mean and standard deviation where there are several seeds."""
    return mean_and_spread([found for record in records if (found := value(record, name)) is not None])


def mean_and_spread(values: Sequence[float]) -> str:
    """Return mean and, of several values, standard deviation as text; empty where there is no value."""
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def newest(records: Sequence[Record]) -> list[Record]:
    """Return the newest finished record of each training run; one that does not say what was asked is left out.

    Args:
        records: oldest first.
    """
    finished = [run for run in records if run.cell.keys() >= CELL and run.status == Status.OK and _is_readable(run)]
    return list({(pool_key(run), run.cell["seed"]): run for run in finished}.values())


def _is_readable(run: Record) -> bool:
    """Whether what was replaced for a run is told in JSON objects, as `dvbench run` writes them."""
    return None not in (_json_object(run.cell["changes"]), _json_object(run.cell["switches"]))


def _json_object(text: object) -> dict[str, Any] | None:
    try:
        told = strict_json.loads(str(text))
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def pool_key(run: Record) -> str:
    """Return what runs must share to be seeds of one experiment: all but the seed."""
    cell = {name: value for name, value in run.cell.items() if name not in ("seed", "weights")}
    basis = {name: value for name, value in run.basis.items() if name not in ("checkpoint", *TOLD_APART)}
    for part, names in TOLD_APART.items():
        told = run.basis.get(part)
        basis[part] = [told.get(name) for name in names] if isinstance(told, Mapping) else None
    here = [run.environment.get(name) for name in CIRCUMSTANCES]
    return by_content(json.dumps([cell, basis, here, run.schema], sort_keys=True, default=str))


def groups(records: Sequence[Record]) -> list[list[Record]]:
    """Sort records of runs into groups that differ in the seed alone, by seed."""
    found: dict[str, dict[Scalar, Record]] = {}
    for record in records:
        found.setdefault(pool_key(record), {})[record.cell["seed"]] = record
    return [[seeds[seed] for seed in sorted(seeds, key=str)] for seeds in found.values()]


def latest(records: Sequence[Record]) -> list[list[Record]]:
    """Return, for each cell, the group of its newest run: a run of changed code takes the place of the earlier one."""
    found: dict[str, list[Record]] = {}
    for group in sorted(groups(records), key=lambda group: max(run.created for run in group)):
        cell = {name: value for name, value in group[0].cell.items() if name not in ("seed", "weights")}
        found[json.dumps(cell, sort_keys=True)] = group
    return list(found.values())


def newest_group(records: Sequence[Record]) -> list[Record]:
    """Return, of groups that differ in the seed alone, that of the newest run, by seed; empty where there is none."""
    return max(groups(records), key=lambda group: max(run.created for run in group), default=[])


def summary(records: Sequence[Record]) -> Table:
    """Return one row a model, over its seeds."""
    names = list(dict.fromkeys(name for record in records for name in score_names(record)))
    body = []
    for group in latest(records):
        first = group[0]
        verdicts = {learned(record) for record in group}
        told = "" if verdicts == {None} else "yes" if verdicts == {True} else "no"
        base = spread(group, "baseline")
        body.append([label(first), *(spread(group, name) for name in names), base, told, str(len(group))])
    chosen = told_protocol(records[0])
    notes = [REDUCED] if records[0].cell["scale"] == "smoke" else []
    if baseline := chosen.get("baseline"):
        kind = {"untrained": "the same model before training", "constant": "the best constant prediction"}
        metric, margin = chosen["select"]["metric"], baseline["margin"]
        notes.append(f"Learned: {metric} at least {margin:g} above the baseline, {kind[baseline['kind']]}.")
    title = f"{records[0].cell['task']} on {records[0].cell['dataset']} ({records[0].cell['scale']})"
    return Table(title, ["Model", *names, "baseline", "learned", "seeds"], body, notes)


def scores_table(title: str, scores: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> Table:
    """Return one row a score with its bootstrap interval."""
    body = []
    for name, found in scores.items():
        low, high = intervals.get(name, (math.nan, math.nan))
        body.append([name, f"{found:.2f}", f"{low:.2f} to {high:.2f}"])
    return Table(title, ["Score", "%", "95 % interval over images"], body)
