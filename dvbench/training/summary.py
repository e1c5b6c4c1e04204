"""Runs as tables: each score with its interval, mean and spread over seeds, and whether something was learned."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from reports.record import Record
from reports.table import Table

REDUCED = "Reduced scale: other data, small models, few epochs. Not comparable with the paper."


def score_names(record: Record) -> list[str]:
    """Return the names of a record's scores."""
    return [name for name, measure in record.measures.items() if measure.unit == "%" and name != "baseline"]


def value(record: Record, name: str) -> float | None:
    """Return a score in percent; None where there is none."""
    measure = record.measures.get(name)
    return None if measure is None or measure.value is None else float(measure.value)


def learned(record: Record) -> bool | None:
    """Whether a reduced run beat its baseline by the protocol's margin; None where the protocol names none."""
    chosen = json.loads(str(record.environment.get("protocol") or "{}"))
    baseline, metric = chosen.get("baseline"), chosen.get("select", {}).get("metric")
    if not baseline:
        return None
    reached, floor = value(record, metric), value(record, "baseline")
    return reached is not None and reached >= (floor or 0.0) + baseline["margin"]


def spread(records: Sequence[Record], name: str) -> str:
    """Return a score, as mean and standard deviation where there are several seeds."""
    return mean_and_spread([found for record in records if (found := value(record, name)) is not None])


def mean_and_spread(values: Sequence[float]) -> str:
    """Return mean and, of several values, standard deviation as text; empty where there is no value."""
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def groups(records: Sequence[Record]) -> list[list[Record]]:
    """Sort records of runs into groups that differ in the seed only."""
    found: dict[str, dict[object, Record]] = {}
    for record in records:
        key = json.dumps({k: v for k, v in record.cell.items() if k != "seed"}, sort_keys=True)
        found.setdefault(key, {})[record.cell["seed"]] = record
    return [list(seeds.values()) for seeds in found.values()]


def summary(records: Sequence[Record]) -> Table:
    """Return one row a model, over its seeds."""
    names = list(dict.fromkeys(name for record in records for name in score_names(record)))
    body = []
    for group in groups(records):
        first = group[0]
        verdicts = {learned(record) for record in group}
        told = "" if verdicts == {None} else "yes" if verdicts == {True} else "no"
        base = spread(group, "baseline")
        body.append([str(first.cell["model"]), *(spread(group, name) for name in names), base, told, str(len(group))])
    chosen = json.loads(str(records[0].environment.get("protocol") or "{}"))
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
