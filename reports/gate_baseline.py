"""The committed baseline of the regression gate: figures by name, and how each part of them was made."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from reports.ledger import write_atomically
from reports.record import JSON

SCHEMA = 1
"""Version of the file's layout; a baseline of another version is refused, never guessed at."""

MADE = ("command", "commit", "dirty", "date", "reason", "hardware", "threads", "versions")
"""What a part says about how it was made."""

Values: TypeAlias = tuple[int | float, ...]
_MEND = "write one with dvbench gate --update --reason '...'"


class BaselineError(ValueError):
    """A baseline that cannot be read or written; the message is one line."""


@dataclass(frozen=True)
class Part:
    """Figures of one kind that were taken together.

    Attributes:
        made: How: the keys of ``MADE``.
        figures: Name -> numbers: one for a count, one a stage, a seed, a round or a logit. A name begins with its
            subject (mostly a model), up to the first slash.
        failures: Subject -> why it could not be measured, in one line. Never stored.
    """

    made: Mapping[str, JSON]
    figures: Mapping[str, Values]
    failures: Mapping[str, str] = field(default_factory=dict)


def read_baseline(path: Path) -> dict[str, Part]:
    """Read the parts of a baseline by name.

    Raises:
        BaselineError: It is missing, corrupt, or of another schema version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaselineError(f"{path} is missing: {_MEND}") from None
    except (OSError, ValueError) as error:
        raise BaselineError(f"{path} cannot be read ({error}): restore it, or {_MEND}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BaselineError(f"{path} has schema {schema}, this version reads schema {SCHEMA}: {_MEND}")
    try:
        return {name: _part(part) for name, part in data["parts"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BaselineError(f"{path} is not a baseline ({reason}): restore it, or {_MEND}") from error


def write_baseline(path: Path, parts: Mapping[str, Part]) -> Path:
    """Write parts as a baseline, completely or not at all; one line a figure, so that a diff reads well.

    Raises:
        BaselineError: A part has a failure, no figure, or a number that is not finite; nothing is written.
        LedgerError: The folder cannot be written.
    """
    for name, part in parts.items():
        if part.failures:
            subject, reason = next(iter(part.failures.items()))
            raise BaselineError(
                f"nothing is written to {path}: {subject} could not be measured ({reason}); mend it first"
            )
        if not part.figures:
            raise BaselineError(f"nothing is written to {path}: part {name} has no figure")
        for figure, values in part.figures.items():
            if not all(math.isfinite(value) for value in values):
                raise BaselineError(f"nothing is written to {path}: {figure} is not finite; mend it first")
    blocks = [
        f'  {json.dumps(name)}: {{\n    "made": {json.dumps(part.made)},\n    "figures": {{\n'
        + ",\n".join(f"      {json.dumps(figure)}: {json.dumps(list(v))}" for figure, v in part.figures.items())
        + "\n    }\n  }"
        for name, part in parts.items()
    ]
    text = f'{{\n"schema": {SCHEMA},\n"parts": {{\n' + ",\n".join(blocks) + "\n}\n}\n"
    return write_atomically(path, text.encode())


def _part(data: Any) -> Part:
    made = {key: data["made"][key] for key in MADE}
    return Part(made, {name: _values(name, values) for name, values in data["figures"].items()})


def _values(name: str, values: Any) -> Values:
    numbers = isinstance(values, list) and values and all(type(value) in (int, float) for value in values)
    if not numbers:
        raise ValueError(f"{name} is not a list of numbers")
    return tuple(values)
