"""Tables 15 to 19: which row of the paper is which switches of DynamicVis, or which change of the protocol."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dvbench import paper
from dvbench.paper.score_rows import Benchmark, Line, Ours
from models.dynamicvis import DynamicVisConfig
from models.mamba import PATHS
from tasks.protocol import Noise

#: The paper's ablations: DynamicVis-B on AID, trained from scratch.
MODEL, PROTOCOL = "dynamicvis_b", "aid"
#: Their reduced runs.
REDUCED = "synthetic_small_targets"
SEEDS = 3
#: The paper gives no side for channel mixing; in reduced runs, whose maps are small, the squares are small as well.
REDUCED_SIDES = (8, 8, 4, 4)
SCORES = ("precision", "recall", "f1")
TRAINING = ("noise", "losses")  # what a row changes of a protocol; other changes are the user's
BALANCE = 0.1  # weight of table 19's loss: the paper gives none, a comment in its code has this

TABLES: dict[int, str] = {
    15: "scan paths and how they are merged",
    16: "reduction ratios",
    17: "spatial and channel mixing",
    18: "global tokens and their place",
    19: "noise on the selection, or a loss",
}


@dataclass(frozen=True)
class Row:
    """A row of an ablation.

    Attributes:
        name: in short what it changes.
        printed: what the paper prints, column by column.
        switches: fields of `DynamicVisConfig` that differ from the default.
        changes: keys of the protocol that are replaced.
    """

    name: str
    printed: Mapping[str, str]
    switches: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether it is the model as published, the row that all five tables share."""
        return not self.switches and not self.changes

    @property
    def reduced_switches(self) -> Mapping[str, Any]:
        """The switches for the small model of reduced runs."""
        mixes_channels = "selection" in self.switches
        return {**self.switches, "channel_sides": REDUCED_SIDES} if mixes_channels else self.switches

    @property
    def title(self) -> str:
        """The name, with a word on the row that is the model as published."""
        return f"{self.name} (default)" if self.is_default else self.name

    @property
    def line(self) -> Line:
        """The row as tables of scores have theirs."""
        return Line(self.title, self.printed, Ours(MODEL, changes=self.changes, switches=self.switches))

    def asks_for(self, cell: Mapping[str, Any], *, reduced: bool = False) -> bool:
        """Whether a run, given by the cell of its record, was of this row, whatever else was changed for it."""
        switches = self.reduced_switches if reduced else self.switches
        trained = {key: value for key, value in json.loads(cell["changes"]).items() if key in TRAINING}
        return bool(json.loads(cell["switches"]) == _plain(switches) and trained == _plain(self.changes))


def rows(table: int) -> list[Row]:
    """Return the rows of table 15 to 19, in the paper's order."""
    lines = paper.table(table).to_dict("records")
    return [_ROW[table]({str(column): str(value) for column, value in line.items()}) for line in lines]


def benchmark(table: int) -> Benchmark:
    """Return what the runs of table 15 to 19 are scored for."""
    return Benchmark(table, PROTOCOL, {score: score for score in SCORES})


def owns(cell: Mapping[str, Any]) -> bool:
    """Whether a run is of a row that only tables 15 to 19 have."""
    return any(row.asks_for(cell) for table in TABLES for row in rows(table) if not row.is_default)


def _plain(values: Mapping[str, Any]) -> Any:
    """Return values as a record holds them."""
    return json.loads(json.dumps(dict(values)))


def _switched(name: str, printed: Mapping[str, str], **switches: Any) -> Row:
    """Make a row; what equals the default is no switch, so that equal rows are equal cells."""
    usual = asdict(DynamicVisConfig())
    return Row(name, printed, {key: value for key, value in switches.items() if value != usual[key]})


def _paths(line: Mapping[str, str]) -> Row:
    paths = tuple(path for path in PATHS if line[path] == "true")
    merge = line["aggregation"].lower()
    name = " + ".join(paths) + (f", {merge}" if merge else "")
    return _switched(name, line, paths=paths, merge=merge or "mean")


def _ratios(line: Mapping[str, str]) -> Row:
    ratios = [line[f"reduction_ratio_stage{stage}"] for stage in range(1, 5)]
    dense = set(ratios) == {"0"}
    return _switched(", ".join(ratios), line, keep=(0,) * 4 if dense else tuple(map(_kept, ratios)))


def _kept(ratio: str) -> int:
    """Of how many tokens one is kept: 8 for a reduction of 7/8, 1 for none."""
    return int(ratio.partition("/")[2] or 1)


def _mixers(line: Mapping[str, str]) -> Row:
    only = "spatial" if line["spatial"] == "true" else "channel"
    both = line["arrangement"].lower()
    return _switched(f"spatial + channel, {both}" if both else only, line, selection=both or only)


def _global_tokens(line: Mapping[str, str]) -> Row:
    place = line["position"] or "none"
    return _switched(place, line, global_tokens=place.replace(" ", "_"))


def _noise(line: Mapping[str, str]) -> Row:
    strategy, scale = line["strategy"], line["noise_scale"]
    name = f"{strategy} {scale}".strip()
    if strategy == "loss":
        return Row(name, line, changes={"noise": {"kind": "none"}, "losses": {"balance": BALANCE}})
    noise = {"kind": strategy, "scale": float(scale)}
    usual = Noise().model_dump(include={"kind", "scale"})
    return Row(name, line, changes={} if noise == usual else {"noise": noise})


_ROW: dict[int, Callable[[Mapping[str, str]], Row]] = {
    15: _paths,
    16: _ratios,
    17: _mixers,
    18: _global_tokens,
    19: _noise,
}
