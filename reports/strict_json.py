"""JSON from strangers: what Python's reader takes and no record of ours holds is refused."""

import json
import math
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)

DEEPEST = 32
"""Levels of objects and lists; a record has less than ten."""


def loads(text: str) -> Any:
    """Read JSON whose objects have each key once, whose numbers a float can hold, and whose strings are Unicode.

    Raises:
        ValueError: It is no such JSON, or nested deeper than `DEEPEST`.
    """
    try:
        data = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_float=lambda digits: _finite(digits, float),
            parse_int=lambda digits: _finite(digits, int),
        )
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    _check_depth(data)
    json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair has no place in a file
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice in one object")
        found[key] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _finite(digits: str, kind: type[Number]) -> Number:
    if not math.isfinite(float(digits)):
        raise ValueError(f"number {digits[:12]}... is too large")
    return kind(digits)


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(DEEPEST):
        level = [child for one in level if isinstance(one, dict | list) for child in _children(one)]
    if level:
        raise ValueError(f"nested deeper than {DEEPEST} levels")


def _children(one: dict[str, Any] | list[Any]) -> list[Any]:
    return list(one.values()) if isinstance(one, dict) else one
