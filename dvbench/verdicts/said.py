"""What a record has to say of itself: what was asked, where it ran, what its score rests on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from dvbench.profile.cell import Cell
from dvbench.training.run_cell import RunCell
from reports.record import Record

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Hash: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]+$", min_length=12)]
DERIVED = {"task", "dataset"}  # what a record's cell says beside the fields of `RunCell`: its protocol has them


class _Said(BaseModel):
    model_config = ConfigDict(strict=True)


class Part(_Said):
    """Conditions of a part of the GPU run; each part adds its own."""

    part: Text
    scale: Text
    device: Text


class Machine(_Said):
    """Of `dvbench.environment.environment`, what is never unknown in a checkout."""

    git_commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    git_dirty: bool
    code: Hash
    dvbench: Text
    python: Text
    torch: Text
    os: Text
    cpu: Text
    threads: PositiveInt
    ram_bytes: PositiveInt
    device: Text
    hardware: Text


class Graphics(_Said):
    """The same of a GPU."""

    gpu: Text
    gpu_memory_bytes: PositiveInt
    gpu_capability: Text
    driver: Text
    cuda: Text
    tf32_matmul: bool
    tf32_conv: bool


class Scored(_Said):
    """How a score was obtained."""

    protocol: Text
    evaluator: Text


class Basis(_Said):
    """Of `dvbench.training.stamp.rests_on` and `reports.outcomes.keep`, what is never unknown."""

    data: dict[str, Any]
    precision: Text
    batch: PositiveInt
    at_once: PositiveInt
    devices: PositiveInt
    code: Hash
    outcomes: dict[str, Any]


def is_training(record: Record) -> bool:
    """Whether a record is of a training run."""
    return "protocol" in record.cell


def unsaid(record: Record) -> Iterator[str]:
    """Tell what a record does not say, or says in no way that dvbench does."""
    on_gpu = any(str(told.get("device")).startswith("cuda") for told in (record.cell, record.environment))
    here = record.environment
    yield from _of_cell(record)
    yield from _against(Machine, here)
    if on_gpu:
        yield from _against(Graphics, here)
    if is_training(record):
        yield from _against(Scored, here)
    if is_training(record) and record.schema > 1:
        yield from _against(Basis, record.basis, "basis.")


def _of_cell(record: Record) -> Iterator[str]:
    if "part" in record.cell:
        yield from _against(Part, record.cell, "cell.")
        return
    kind, derived = (RunCell, DERIVED) if is_training(record) else (Cell, set())
    yield from _against(kind, record.cell, "cell.")
    told, known = record.cell.keys(), {field.name for field in fields(kind)} | derived
    if told != known:
        yield f"cell lacks, or has one too many: {', '.join(sorted(told ^ known))}"


def _against(kind: type, told: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    try:
        # As JSON, because strict rules take a dictionary for a dataclass only there.
        TypeAdapter(kind).validate_json(json.dumps(told), strict=True)
    except ValidationError as error:
        flaws = {prefix + ".".join(map(str, flaw["loc"])): flaw for flaw in error.errors()}
        missing = [name for name, flaw in flaws.items() if flaw["type"] == "missing" or flaw["input"] is None]
        if missing:
            yield f"does not say {', '.join(missing)}"
        yield from (f"{name}: {flaw['msg']}" for name, flaw in flaws.items() if name not in missing)
