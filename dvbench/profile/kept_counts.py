"""Exact counts kept on disk, so that drawing again counts nothing again; they depend on code and versions alone."""

from dataclasses import asdict, fields
from functools import cache
from typing import Any

from dvbench.kept import keep, kept_file, read_kept
from dvbench.profile.counters import Counts


def find(asked: str) -> Counts | None:
    """Return what was counted before by this code."""
    return _known().get(asked)


def add(asked: str, counts: Counts) -> None:
    """Keep a count."""
    known = _known()
    known[asked] = counts
    keep(kept_file("counts"), {key: asdict(one) for key, one in known.items()})


@cache
def _known() -> dict[str, Counts]:
    try:
        return {asked: _counts(told) for asked, told in read_kept(kept_file("counts")).items()}
    except (KeyError, TypeError, ValueError):
        return {}


def _counts(told: dict[str, Any]) -> Counts:
    """Take a count back, number by number: what is not a whole number is damage."""
    values = {field.name: told[field.name] for field in fields(Counts)}
    for value in values.values():
        numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not all(type(number) is int for number in numbers):
            raise ValueError(f"{value} is no count")
    return Counts(**values | {"tokens_kept": tuple(values["tokens_kept"])})
