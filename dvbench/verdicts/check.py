"""Records from other people's machines: is each what it says it is, possible, complete, and fit to be published?"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dvbench.profile import cell as measuring
from dvbench.training import run_cell as training
from reports.ledger import Ledger, load
from reports.outcomes import Outcomes, OutcomesError
from reports.record import MEASURES, Measure, Record, RecordError, Status

LEFT = ("README.md",)  # besides records and outcomes
ALWAYS = ("code", "dvbench", "python", "torch", "os", "cpu", "cores", "threads", "ram_bytes", "hardware")
OF_A_GPU = ("gpu", "gpu_memory_bytes", "gpu_capability", "driver", "cuda")
OF_TRAINING = ("protocol", "evaluator")
RESTS_ON = ("data", "precision", "batch", "at_once", "devices", "code", "outcomes")
UNITS = {"%", "s", *(unit for unit, _ in MEASURES.values())}
ZERO = ("macs", "flops", "bytes", "ms", "error", "tokens_kept", "max_batch_size")  # ends of names of what may be 0
PRIVATE = re.compile(r"(?:/home|/Users|/root)\b[^\s'\"]*|[A-Za-z]:\\\\?Users\\\\?[^\s'\"]*|[\w.+-]+@[\w-]+\.[\w.]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
CLOSE = 1e-6  # relative
AHEAD = timedelta(days=1)  # of clocks that differ


class RecordsError(ValueError):
    """A folder that holds nothing to check; the message is one line."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file.

    Attributes:
        file: below the folder that is checked.
        what: is wrong, and how to mend it where that is not plain.
    """

    file: str
    what: str


def check(folder: Path) -> tuple[int, list[Finding]]:
    """Check all records below a folder.

    Returns:
        How many records there are, and what is wrong, by file.

    Raises:
        RecordsError: there is no such folder, or no record in it.
    """
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    records: dict[Path, Record] = {}
    findings = []
    for path in (path for path in files if path.suffix == ".json"):
        try:
            records[path] = load(path)
        except RecordError as error:
            findings.append((path, str(error).removeprefix(f"{path}: ")))
    if not records and not findings:
        raise RecordsError(f"{folder} holds no records: give a folder such as reports/out/records")
    for path, record in records.items():
        findings += [(path, what) for what in _of_record(record, path)]
    findings += [(path, what) for path, what in _of_folder(files, records)]
    return len(records), [Finding(path.relative_to(folder).as_posix(), what) for path, what in sorted(findings)]


def _of_record(record: Record, path: Path) -> Iterator[str]:
    for rule in RULES:
        yield from rule(record)
    if path.name != Ledger(path.parent).path(record).name:
        yield f"is called {Ledger(path.parent).path(record).name} where dvbench wrote it: leave the name"
    if "outcomes" in record.basis:
        yield from _outcomes(record, path)


def _of_folder(files: Sequence[Path], records: Mapping[Path, Record]) -> Iterator[tuple[Path, str]]:
    first: dict[str, Path] = {}
    for path, record in records.items():
        if first.setdefault(record.identity, path) != path:
            yield path, f"has the identity of {first[record.identity].name}: keep one of them"
    named = {path.parent / str(_part(record, "outcomes").get("file")) for path, record in records.items()}
    for path in files:
        if path.suffix != ".json" and path not in named and path.name not in LEFT:
            yield path, "belongs to no record: remove it"


def _identity(record: Record) -> Iterator[str]:
    try:
        found = _recomputed(record)
    except (KeyError, TypeError, ValueError):
        yield "identity cannot be recomputed: what it is made from is missing"
        return
    if found != record.identity:
        yield f"identity is not that of its content, which is {found[:12]}: a record is sent as dvbench wrote it"


def _recomputed(record: Record) -> str:
    if _is_training(record):
        protocol = json.loads(str(record.environment["protocol"]))
        return training.identity(record.cell, protocol, str(record.basis["code"]))
    where = measuring.PART_WHERE if "part" in record.cell else measuring.WHERE
    return measuring.identity(record.cell, record.environment, where)


def _values(record: Record) -> Iterator[str]:
    if record.status == Status.OK and not record.measures:
        yield "ended ok and holds no number"
    for name, measure in record.measures.items():
        yield from (f"{name} {flaw}" for flaw in _flaws(name, measure))


def _flaws(name: str, measure: Measure) -> Iterator[str]:
    unit = MEASURES[name][0] if name in MEASURES else measure.unit
    if measure.unit != unit or unit not in UNITS:
        yield f"is in '{measure.unit}': no unit of its"
    numbers = [*measure.samples, *(measure.interval or ())] + ([] if measure.value is None else [measure.value])
    if not all(math.isfinite(number) for number in numbers):
        yield "is not finite"
    elif any(number < 0 for number in numbers):
        yield "is negative"
    elif unit == "%" and any(number > 100 for number in numbers):
        yield "is above 100 %"
    elif measure.value == 0 and unit != "%" and not name.endswith(ZERO):
        yield "is zero"
    if measure.interval and measure.interval[0] > measure.interval[1]:
        yield "has an interval that ends before it begins"


def _latency(record: Record) -> Iterator[str]:
    latency, throughput = (record.measures.get(name) for name in ("latency_ms", "throughput"))
    if latency and latency.value and not (latency.samples and _close(latency.value, median(latency.samples))):
        yield "latency_ms is not the median of its samples"
    if latency and latency.value and throughput and throughput.value:
        images = 1e3 * float(record.cell.get("batch") or 1) / float(latency.value)
        if not _close(throughput.value, images):
            yield f"throughput is not what batch and latency give, {images:.4g} img/s"


def _memory(record: Record) -> Iterator[str]:
    for name, holds in (("cuda", "gpu_memory_bytes"), ("resident", "ram_bytes")):
        room = record.environment.get(holds)
        for measured, measure in record.measures.items():
            if measured.startswith(f"{name}_") and isinstance(room, int) and (measure.value or 0) > room:
                yield f"{measured} is more than the {holds} of the machine"


def _circumstances(record: Record) -> Iterator[str]:
    here = record.environment
    on_gpu = str(here.get("device", "")).startswith("cuda")
    wanted = (*ALWAYS, *(OF_A_GPU if on_gpu else ()), *(OF_TRAINING if _is_training(record) else ()))
    missing = [name for name in wanted if here.get(name) is None]
    if _is_training(record):
        missing += [f"basis.{name}" for name in RESTS_ON if record.basis.get(name) is None]
    if missing:
        yield f"does not say {', '.join(missing)}"
    if here.get("git_dirty"):
        yield "was made by code with changes that no commit holds: commit them and run it again"
    if not record.command:
        yield "does not say by which command it was made"


def _created(record: Record) -> Iterator[str]:
    created = datetime.fromisoformat(record.created)  # which reading has checked
    if created.tzinfo is None:
        yield f"was created '{record.created}': no time in ISO 8601 with a zone"
    elif created > datetime.now(UTC) + AHEAD:
        yield f"was created in the future, {record.created}"


def _strings(record: Record) -> Iterator[str]:
    found = list(_texts(json.loads(record.to_json())))
    for private in dict.fromkeys(match for text in found for match in PRIVATE.findall(text)):
        yield f"tells '{private}', which is personal: use relative paths and run it again"
    if any(CONTROL.search(text) for text in found):
        yield "holds control characters"


def _outcomes(record: Record, path: Path) -> Iterator[str]:
    try:
        outcomes = Outcomes.of(record, path.parent)
    except OutcomesError as error:
        yield str(error).replace(f"{path.parent}/", "")
        return
    for name, score in outcomes.score(np.arange(len(outcomes.images))).items():
        told = record.measures.get(name)
        if told and told.value is not None and not _close(told.value, score):
            yield f"{name} is not what its outcomes give, {score:.4f} %"


#: What a record has to pass. Each rule says what is wrong, in words.
RULES: tuple[Callable[[Record], Iterator[str]], ...] = (
    _identity, _values, _latency, _memory, _circumstances, _created, _strings
)  # fmt: skip


def _is_training(record: Record) -> bool:
    return "protocol" in record.cell


def _part(record: Record, name: str) -> Mapping[str, Any]:
    part = record.basis.get(name)
    return part if isinstance(part, Mapping) else {}


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def _texts(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, keys too."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
