"""What a row of the paper demands, and how a run departs from it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dvbench.data import catalog
from dvbench.training.run_cell import RunCell
from dvbench.training.summary import told_protocol
from reports.record import SCHEMA, Record

#: Keys of a protocol that decide nothing: what it is called, and what reduced runs take of it.
SILENT = frozenset({"name", "table", "smoke", "notes", "models", "baseline", "counts"})
PRETRAINING = "fmow"  # the protocol that the paper's pretrained rows start from
Basis = Mapping[str, Any]


@dataclass(frozen=True)
class Demand:
    """What a run has to be to stand for a row.

    Attributes:
        cell: the run, of any seed and without its weights.
        pretrained: it starts from published weights.
    """

    cell: RunCell
    pretrained: bool = False

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol, key by key."""
        return self.cell.load_protocol().model_dump(mode="json")

    @property
    def test_images(self) -> int | None:
        """How many images are scored; None where the card counts something else."""
        chosen = self.cell.load_protocol()
        card = catalog.entry(chosen.dataset).card
        return card.split(chosen.test_split).count if card.counted == "images" else None


@dataclass(frozen=True)
class Case:
    """What a rule looks at: what is demanded, the run's record, and the other records there are."""

    demand: Demand
    run: Record
    others: Sequence[Record]


@dataclass(frozen=True)
class Departure:
    """One thing in which a run is not what its row demands.

    Attributes:
        rule: name of the rule in `RULES`.
        words: what it is, for a reader.
        disqualifies: the number says nothing about the paper's; otherwise it is noted beside it.
    """

    rule: str
    words: str
    disqualifies: bool


@dataclass(frozen=True)
class Rule:
    """One kind of departure.

    Attributes:
        name: of the kind.
        disqualifies: whether a number with it may not stand beside the paper's.
        why: the reason for that.
        found: tells in words how a run departs; nothing if it does not.
    """

    name: str
    disqualifies: bool
    why: str
    found: Callable[[Case], Iterator[str]]


def departures(demand: Demand, run: Record, others: Sequence[Record] = ()) -> list[Departure]:
    """Return how a run departs from what a row demands, the disqualifying departures first.

    Args:
        demand: of the row, in the variant of the run.
        run: its record.
        others: other records, among which that of the run's own pretraining may be.
    """
    case = Case(demand, run, others)
    found = [Departure(rule.name, words, rule.disqualifies) for rule in RULES for words in rule.found(case)]
    return sorted(found, key=lambda one: not one.disqualifies)


def _older(case: Case) -> Iterator[str]:
    if not case.run.basis:
        yield f"the record (schema {case.run.schema}, now {SCHEMA}) does not say what it rests on"


def _data(case: Case) -> Iterator[str]:
    data = _part(case.run, "data")
    if case.run.basis and data.get("origin") != "genuine":
        yield f"data: {data.get('words') or data.get('origin') or 'unknown'}"


def _by_count(case: Case) -> Iterator[str]:
    data = _part(case.run, "data")
    if data.get("origin") == "genuine" and not data.get("pinned"):
        yield f"data: {data.get('how', 'no public checksum')}"


def _split(case: Case) -> Iterator[str]:
    split = _part(case.run, "data").get("split", {})
    if split.get("origin") == "other":
        yield f"split: {split.get('made_by')}"


def _test_images(case: Case) -> Iterator[str]:
    scored, wanted = _part(case.run, "outcomes").get("images"), case.demand.test_images
    if None not in (scored, wanted) and scored != wanted:
        yield f"scored on {scored} of {wanted} test images"


def _protocol(case: Case) -> Iterator[str]:
    made, wanted = _flat(told_protocol(case.run)), _flat(case.demand.protocol)
    if not made:
        yield "the record does not say by which protocol"
        return
    for key in sorted(wanted.keys() | made.keys()):
        if key.split(".")[0] not in SILENT and made.get(key) != wanted.get(key):
            yield f"{key} {_value(made.get(key))} instead of {_value(wanted.get(key))}"


def _clean(case: Case) -> Iterator[str]:
    if case.run.cell.get("variant") == "clean":
        yield "the checkpoint was picked on a validation split, the paper's on the test split"


def _model(case: Case) -> Iterator[str]:
    if case.run.cell.get("model") != case.demand.cell.model:
        yield f"model {case.run.cell.get('model')} instead of {case.demand.cell.model}"
    made, wanted = (
        _flat(json.loads(text)) for text in (str(case.run.cell.get("switches", "{}")), case.demand.cell.switches)
    )
    for key in sorted(wanted.keys() | made.keys()):
        if made.get(key) != wanted.get(key):
            yield f"{key} {_value(made.get(key))} instead of {_value(wanted.get(key))}"


def _weights(case: Case) -> Iterator[str]:
    given, pretrained = _part(case.run, "weights"), case.demand.pretrained
    if not case.run.basis:
        return
    if given and not pretrained:
        yield f"started from weights ({given.get('name')}), the row from none"
    elif pretrained and not given:
        yield "started from random weights, the row from published ones"
    elif given.get("kind") == "unknown":
        own = _own_pretraining(case)
        if own is None:
            yield f"weights of unknown origin: {given.get('name')}, SHA-256 {str(given.get('sha256'))[:12]}"
        elif flaw := _flaw_of(own):
            yield f"pretrained by a run of ours ({own.identity[:12]}) that is not the paper's: {flaw}"
    if missing := given.get("missing"):
        count = len(missing) if isinstance(missing, list) else missing
        yield f"{count} value{' of the backbone was' if count == 1 else 's of the backbone were'} not in the weights"


def _own_weights(case: Case) -> Iterator[str]:
    if case.demand.pretrained and (own := _own_pretraining(case)) and not _flaw_of(own):
        yield f"pretrained by us (record {own.identity[:12]}), not by the authors"


def _epochs(case: Case) -> Iterator[str]:
    reached, wanted = (
        case.run.basis.get("epochs"),
        told_protocol(case.run).get("epochs", case.demand.protocol["epochs"]),
    )
    if reached not in (None, wanted):
        yield f"stopped after {reached} of {wanted} epochs"


def _precision(case: Case) -> Iterator[str]:
    used = case.run.basis.get("precision")
    if used not in (None, case.demand.protocol["precision"]):
        yield f"computed in {used} instead of {case.demand.protocol['precision']}"


def _batch(case: Case) -> Iterator[str]:
    used = case.run.basis.get("batch")
    if used not in (None, told_protocol(case.run).get("batch")):
        yield f"steps of {used} images instead of {case.demand.protocol['batch']}"


def _at_once(case: Case) -> Iterator[str]:
    if (devices := case.run.basis.get("devices")) not in (None, 8):
        yield f"{devices} device{'s' if devices != 1 else ''}, {case.run.basis.get('at_once')} images at once"


def _evaluator(case: Case) -> Iterator[str]:
    used, wanted = str(case.run.environment.get("evaluator")), evaluator_of(case.demand.protocol["task"])
    if used.split(" ", maxsplit=1)[0] != wanted:
        yield f"scored by {used} instead of {wanted}"


def _dirty(case: Case) -> Iterator[str]:
    if case.run.environment.get("git_dirty"):
        yield f"the code had changes that commit {str(case.run.environment.get('git_commit'))[:10]} does not hold"


def _no_commit(case: Case) -> Iterator[str]:
    if case.run.basis and not case.run.environment.get("git_commit"):
        yield f"installed dvbench {case.run.environment.get('dvbench')}, no commit"


def _tf32(case: Case) -> Iterator[str]:
    if case.run.environment.get("tf32_matmul") or case.run.environment.get("tf32_conv"):
        yield "products rounded to TF32"


def _scale(case: Case) -> Iterator[str]:
    if case.run.cell.get("scale") != "full":
        yield "reduced scale"


#: Every kind of departure, and whether a number with it may stand beside the paper's.
RULES: tuple[Rule, ...] = (
    Rule("scale", True, "a reduced run has other data and another protocol", _scale),
    Rule("record", True, "what is not known may be anything", _older),
    Rule("data", True, "a score on other images says nothing about the paper's", _data),
    Rule("data by count", False, "no checksum is public: counts, sizes and names have to do", _by_count),
    Rule("split", True, "other images train and are scored", _split),
    Rule("test images", True, "a score on a part is not the score on the whole", _test_images),
    Rule("protocol", True, "another experiment, whatever its score", _protocol),
    Rule("clean", True, "the paper's number is the best on the test split, this one is not chosen there", _clean),
    Rule("model", True, "another function", _model),
    Rule("weights", True, "another start, and often the larger part of a score", _weights),
    Rule("own pretraining", False, "by the paper's recipe, as its record shows; its seed is another", _own_weights),
    Rule("epochs", True, "its step size never fell to the end of its schedule", _epochs),
    Rule("precision", True, "gradients are rounded otherwise", _precision),
    Rule("batch", True, "other steps", _batch),
    Rule("evaluator", True, "evaluators differ by more than rows do", _evaluator),
    Rule("dirty code", True, "nobody can look at the code that made it", _dirty),
    Rule("no commit", False, "the release says which code it was", _no_commit),
    Rule(
        "devices",
        False,
        "batch norm sees the images of one device; the authors' number of devices is inferred",
        _at_once,
    ),
    Rule("TF32", False, "a rounding of 1e-3, far below the spread of seeds", _tf32),
)


def evaluator_of(task: str) -> str:
    """Name what scores a task: average precision comes from a library, the rest is counted by us."""
    return "faster-coco-eval" if task in ("detection", "instance_segmentation") else "tasks.metrics"


def _own_pretraining(case: Case) -> Record | None:
    """Return the record of the run that left the weights, told by their content."""
    given = _part(case.run, "weights").get("sha256")
    return next((run for run in case.others if given and run.basis.get("checkpoint") == given), None)


def _flaw_of(own: Record) -> str:
    """Say why a run of ours is not the paper's pretraining; empty if it is."""
    if own.cell.get("protocol") != PRETRAINING:
        return f"{own.cell.get('protocol')} instead of {PRETRAINING}"
    cell = RunCell(str(own.cell["model"]), PRETRAINING, "full", str(own.cell["variant"]))
    return next((one.words for one in departures(Demand(cell), own) if one.disqualifies), "")


def _part(run: Record, name: str) -> Basis:
    part = run.basis.get(name)
    return part if isinstance(part, Mapping) else {}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dots in its keys; an empty one is nothing. Steps go by name and place."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        inner = _by_name(value) if isinstance(value, list) else value
        flat |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {prefix + key: inner}
    return flat


def _by_name(steps: list[Any]) -> Any:
    """Return a list of steps as a mapping that loses nothing; any other list as it is."""
    if not steps or not all(isinstance(step, Mapping) and "name" in step for step in steps):
        return steps
    names = [str(step["name"]) for step in steps]
    keys = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return {"order": ", ".join(names)} | dict(zip(keys, steps, strict=True))


def _value(value: object) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)
