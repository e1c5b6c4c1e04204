"""The record of one cell: every number with its unit, its origin and its raw samples, and where it was taken."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self, TypeAlias, get_args

from reports import strict_json
from reports.escape import printable

Scalar: TypeAlias = str | int | float | bool | None
JSON: TypeAlias = "Scalar | Sequence[JSON] | Mapping[str, JSON]"
How: TypeAlias = Literal["measured", "counted", "predicted", "estimated"]

SCHEMA = 2
"""Version of the record's layout; a record of an unknown version is refused, never guessed at."""

ADDED = {2: {"record": ("basis",), "measure": ("interval",)}}
"""What later versions added. A record from before is read without them: what it does not say is unknown."""

KINDS: Mapping[str, str] = {
    "matmul": "matrix products",
    "convolution": "convolutions, the causal one of Mamba included",
    "attention": "fused attention",
    "scan": "selective scans",
    "elementwise": "all other ops: one element at a time, or moving data",
}
"""Kinds of ops that the roofline tells apart: name -> what belongs to it."""

MEASURES: Mapping[str, tuple[str, str]] = {
    "parameters": ("1", "numbers in the weights, the classifier included"),
    "weight_bytes": ("B", "storage of those weights"),
    "macs": ("MAC", "multiply-adds of one forward pass"),
    "flops": ("FLOP", "torch's FlopCounterMode on the meta device, the scan's own formula included"),
    "fvcore_macs": ("MAC", "multiply-adds as fvcore counts them, the cross-check"),
    "paper_flops": ("MAC", "what the paper prints as FLOPs: multiply-adds of the published two-pass graph"),
    "live_bytes": ("B", "peak of live tensors on the meta device, weights and input included"),
    "load_ms": ("ms", "building the model and moving it to the device"),
    "first_call_ms": ("ms", "the first forward pass, one-time compilation included"),
    "latency_ms": ("ms", "steady state: median of one batch's forward pass, samples kept"),
    "throughput": ("img/s", "images per second at steady state"),
    "resident_peak_bytes": ("B", "weights, and the growth of the process's resident set during a forward pass"),
    "allocator_peak_bytes": (
        "B",
        "weights, and the peak of torch's CPU allocator above its level before the forward pass",
    ),
    "cuda_allocated_peak_bytes": ("B", "peak that tensors hold on the GPU, weights included"),
    "cuda_reserved_peak_bytes": ("B", "peak that torch's caching allocator takes from the GPU"),
    "max_batch_size": ("1", "largest batch that fits, in images"),
    "recipe_throughput": ("img/s", "images per second as the authors' tool takes it, at the batch that the note gives"),
    "recipe_peak_bytes": ("B", "peak that tensors hold on the GPU up to the end of the first pass, never reset"),
    "tokens_kept": ("1", "tokens that the selection keeps over all stages; the note gives them per stage"),
    "bytes_moved": ("B", "what the ops of one forward pass read and write, each operand once"),
    **{
        f"{kind}_{quantity}": (unit, f"{about}: {meaning}")
        for kind, about in KINDS.items()
        for quantity, unit, meaning in (
            ("flops", "FLOP", "its share of flops"),
            ("bytes", "B", "its share of bytes_moved"),
            ("ms", "ms", "its ops' own time in one forward pass, by torch's profiler"),
        )
    },
    "forward_error": ("1", "relative error of a scan's output against the reference in float64"),
    "backward_error": ("1", "the largest relative error of a scan's gradients against the reference in float64"),
    "output_error": ("1", "relative error of a variant's logits against the plain path's"),
    "peak_flops": ("FLOP/s", "the device's ceiling: a large matrix product in the same run"),
    "peak_bandwidth": ("B/s", "the device's ceiling: a large triad a = b + s c in the same run"),
}
"""The profiler's measures: name -> (unit, meaning). Unit "1" is a plain count."""


class RecordError(ValueError):
    """A record that cannot be read or written; the message is one line."""


class Status(StrEnum):
    """How a cell ended."""

    OK = "ok"
    OOM = "oom"
    OOM_PREDICTED = "oom (predicted)"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    SKIPPED = "skipped"
    ERROR = "error"

    @property
    def done(self) -> bool:
        """Whether the cell is settled; any other is tried again: a prediction costs nothing, and memory may be free."""
        return self in (Status.OK, Status.OOM)


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a record.

    Attributes:
        value: The number in ``unit``; None when the system cannot give it (``note`` says why).
        unit: Unit of ``value`` and ``samples``, such as "ms", "B" or "MAC"; "1" for a count.
        how: Where the number comes from: "measured" by running, "counted" exactly, "predicted" from counts, or
            "estimated" from other measurements.
        samples: Raw values behind ``value`` in the order they were taken; empty when there is only the one.
        note: One short line on how to read the number.
        interval: Lower and upper end of its 95 % bootstrap interval over what was scored; None when there is none.

    Raises:
        RecordError: ``how`` is none of the four, or a value is not a number.
    """

    value: float | int | None
    unit: str
    how: How
    samples: tuple[float, ...] = ()
    note: str = ""
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise RecordError(f"measure with how={self.how!r}; use one of {', '.join(get_args(How))}")
        numbers = (*self.samples, *(self.interval or ()), *(() if self.value is None else (self.value,)))
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
            raise RecordError(f"measure in {self.unit} holds something that is not a number; pass int or float")
        if self.interval is not None and len(self.interval) != 2:
            raise RecordError(f"measure in {self.unit} has an interval of {len(self.interval)} ends; pass two")


@dataclass(frozen=True)
class Record:
    """What running one cell left behind.

    Attributes:
        cell: What was asked, as plain values: model, resolution (px), batch size, dtype and every other condition.
        identity: Hexadecimal hash of what was asked and where it ran, at least 12 digits; the key to find it again.
        status: How the cell ended.
        reason: One line on why, for every status but ok.
        measures: Name -> number; the profiler's names are in ``MEASURES``.
        environment: Where it ran: versions, processor, GPU, threads, flags, commit.
        created: When it was finished, UTC, ISO 8601.
        command: The command line that made it.
        group: Cells of one group were measured alternating in one run, so ratios may be taken pair by pair.
        basis: What a score rests on: data, weights, batch, epochs, see `dvbench.training.stamp`. Empty for other
            records and for those of schema 1, of which it is unknown.
        schema: Version of this layout.

    Raises:
        RecordError: ``identity`` is not such a hash.
    """

    cell: Mapping[str, Scalar]
    identity: str
    status: Status
    reason: str
    measures: Mapping[str, Measure]
    environment: Mapping[str, JSON]
    created: str
    command: str
    group: str
    basis: Mapping[str, JSON] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{12,}", self.identity):
            raise RecordError(f"identity {self.identity!r} is not a hash; pass at least 12 lower-case hex digits")

    @property
    def hardware(self) -> str:
        """The machine; "unknown" where the record does not name it."""
        return str(self.environment.get("hardware") or "unknown")

    def to_json(self) -> str:
        """The record as text: indented, keys sorted, the same text for equal records.

        Raises:
            RecordError: A value has no place in JSON, such as NaN or an array.
        """
        try:
            return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise RecordError(f"record {self.identity[:12]}: {error}; store finite numbers and plain values") from error

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """The record that ``to_json`` wrote as ``text``; ``source`` names it in errors.

        Raises:
            RecordError: The text is corrupt, lacks a key, has one too many or twice, holds a value of another kind, or
                has an unknown schema version.
        """
        try:
            data = strict_json.loads(text)
            schema = data["schema"] if isinstance(data, dict) and "schema" in data else SCHEMA
            if type(schema) is not int or not 1 <= schema <= SCHEMA:
                raise ValueError(f"schema {schema}, this version reads schema 1 to {SCHEMA}")
            _check_keys(cls, data, "record", _later("record", schema))
            for name in ("cell", "measures", "environment", *(("basis",) if "basis" in data else ())):
                if not isinstance(data[name], dict):
                    raise ValueError(f"{name} is not a JSON object")
            _check_values(data)
            measures = {name: _measure(name, value, schema) for name, value in data["measures"].items()}
            return cls(**data | {"status": Status(data["status"]), "measures": measures})
        except (TypeError, ValueError) as error:
            told = printable(str(error))[:200]
            raise RecordError(f"{source}: unreadable record ({told}); remove it and measure the cell again") from error


def _later(kind: str, schema: int) -> set[str]:
    """Return the keys that a record or measure of this schema does not have yet."""
    return {key for version, added in ADDED.items() if version > schema for key in added[kind]}


def _check_values(data: Mapping[str, Any]) -> None:
    _check_text(data, "record", "identity", "status", "reason", "created", "command", "group")
    try:
        datetime.fromisoformat(data["created"])
    except ValueError:
        raise ValueError(f"was created {data['created']!r}, which is no time of ISO 8601") from None
    for name, value in data["cell"].items():
        if not isinstance(value, Scalar):
            raise ValueError(f"{name} of the cell is no plain value")


def _check_text(data: Mapping[str, Any], owner: str, *names: str) -> None:
    for name in names:
        if not isinstance(data[name], str):
            raise ValueError(f"{name} of {owner} is no text")


def _measure(name: str, data: Any, schema: int) -> Measure:
    _check_keys(Measure, data, name, _later("measure", schema))
    _check_text(data, name, "unit", "how", "note")
    interval = data.get("interval")
    return Measure(
        **data | {"samples": tuple(data["samples"]), "interval": None if interval is None else tuple(interval)}
    )


def _check_keys(kind: type[Record | Measure], data: Any, name: str, later: set[str]) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"{name} is not a JSON object")
    expected = {field.name for field in fields(kind)} - later
    if missing := sorted(expected - data.keys()):
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    if unknown := sorted(data.keys() - expected):
        raise ValueError(f"{name} has unknown {', '.join(unknown)}")
