"""What became of each key of a file of weights, part by part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

PARTS = ("backbone", "pyramid", "extractor", "head", "unknown")
EXTRACTORS = ("roi", "box_roi", "mask_roi")
"""Attributes of the tasks that read regions: one extractor, or one for boxes and one for masks."""
_PART = {"": "unknown", "backbone": "backbone", "neck": "pyramid"} | dict.fromkeys(EXTRACTORS, "extractor")

Plain: TypeAlias = "str | Sequence[str] | Mapping[str, Mapping[str, Sequence[str]]]"


@dataclass(frozen=True)
class WeightsReport:
    """What became of each key.

    Attributes:
        source: where the weights came from.
        sha256: of the file.
        family: whose keys they are.
        used: our keys that were filled.
        resized: those of them that had to be resized, with both shapes.
        missing: our keys that the file lacks; they stay as they were.
        unexpected: keys of the file that nothing was done with, under the file's names.
        notes: what a reader has to know, a line each: which copy was taken, what was left out and why.
        parts: each of these keys -> the part of `PARTS` that it belongs to.
    """

    source: str
    sha256: str
    family: str
    used: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the file had everything that the backbone needs."""
        return not any(self.parts[key] == "backbone" for key in self.missing)

    @property
    def line(self) -> str:
        """The report in one line, in numbers."""
        counts = f"{len(self.used)} keys used, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        return "; ".join((f"{self.source}: {counts}", *self.notes))

    def by_part(self) -> dict[str, dict[str, list[str]]]:
        """Return part -> `used`, `missing` and `unexpected` -> keys, for the parts that have any."""
        found: dict[str, dict[str, list[str]]] = {}
        for kind in ("used", "missing", "unexpected"):
            for key in getattr(self, kind):
                found.setdefault(self.parts[key], {"used": [], "missing": [], "unexpected": []})[kind].append(key)
        return {part: found[part] for part in PARTS if part in found}

    def as_dict(self) -> dict[str, Plain]:
        """Return whose keys they are and what became of each as plain values, for a table or a record."""
        told: dict[str, Plain] = {"sha256": self.sha256, "family": self.family, "parts": self.by_part()}
        return told | {"resized": list(self.resized), "notes": list(self.notes)}


def part_of(name: str) -> str:
    """Return the part of `PARTS` that one of our names belongs to; "unknown" for an empty one."""
    return _PART.get(name.partition(".")[0], "head")
