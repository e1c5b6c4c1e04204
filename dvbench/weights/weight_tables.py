"""What became of the keys of weights that were loaded or exported, as tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reports.table import Table

if TYPE_CHECKING:
    from dvbench.weights.export import Exported

SHOWN = 6  # keys of a part that are named; more are counted


def weights_table(told: Mapping[str, Any], title: str) -> Table:
    """Return what became of each key, part by part.

    Args:
        told: what `models.weights_report.WeightsReport.as_dict` returned, or a record kept of it.
        title: of the table.
    """
    kinds = ("used", "missing", "unexpected")
    rows = [[part, *(str(len(keys[kind])) for kind in kinds)] for part, keys in told["parts"].items()]
    notes = [f"Keys of {told['family']}, SHA-256 {told['sha256'][:12]}."]
    for part, keys in told["parts"].items():
        notes += [f"{part}, {kind}: {_some(keys[kind])}." for kind in kinds if keys[kind]]
    notes += [f"Resized: {one}." for one in told["resized"]]
    notes += [f"{note[0].upper()}{note[1:]}." for note in told["notes"]]
    return Table(title, ["Part", *kinds], rows, notes)


def exported_table(made: "Exported") -> Table:
    """Return how many tensors have which official names, and what is left out."""
    body = [[part, str(count)] for part, count in made.parts.items()]
    notes = [f"Left out, as the authors have no name for it: {_some(made.nameless)}."] if made.nameless else []
    return Table(f"Exported {made.model}", ["Official names", "tensors"], body, notes)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
