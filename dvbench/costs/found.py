"""The records that tables and figures are drawn from: the newest of one machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from dvbench.paper.cost_rows import Ours
from reports.record import Record
from reports.stats import paired_ratio

#: What of a cell and of where it ran the tables of costs are drawn from.
CELL = {"model", "attention", "resolution", "scan", "device", "dtype", "image", "image_hash", "fit", "bands", "seed"}
WHERE = {"hardware", "threads", "torch", "code"}


@dataclass(frozen=True)
class Found:
    """The newest record of each model, attention and resolution, all under the same conditions and of batch 1.

    Attributes:
        records: by our model and attention, and by resolution.
        cpu: whether the machine is a CPU.
        stamp: where and when they were taken, one sentence for notes and captions.
    """

    records: dict[tuple[Ours, int], Record]
    cpu: bool
    stamp: str

    @classmethod
    def newest(cls, records: Sequence[Record]) -> "Found":
        """Choose from records, oldest first, those that share machine, code, input and dtype with the newest."""
        single = [record for record in records if record.cell.get("batch") == 1 and _is_whole(record)]
        if not single:
            return cls({}, cpu=True, stamp="Ours: nothing has been measured yet.")
        last = single[-1]
        scans = [record.cell["scan"] for record in single if record.cell["scan"] != "none"]
        chosen = {
            ((str(r.cell["model"]), str(r.cell["attention"])), _side(r)): r
            for r in single
            if _conditions(r) == _conditions(last) and r.cell["scan"] in ("none", *scans[-1:])
        }
        here = last.environment
        stamp = (
            f"Ours: {here['hardware']}, {here['threads']} threads, torch {here['torch']}, {last.cell['dtype']}, "
            f"batch 1, random weights, input {last.cell['image']}, {last.created[:10]}."
        )
        return cls(chosen, last.cell["device"] == "cpu", stamp)

    @property
    def resolutions(self) -> list[int]:
        """The resolutions that there are records of, ascending."""
        return sorted({resolution for _, resolution in self.records})

    def get(self, model: Ours, resolution: int) -> Record | None:
        """Return the record of a model at a resolution."""
        return self.records.get((model, resolution))

    def value(self, model: Ours, resolution: int, name: str) -> float | None:
        """Return the value of a measure; None when there is none."""
        record = self.get(model, resolution)
        measure = record.measures.get(name) if record else None
        return None if measure is None or measure.value is None else float(measure.value)

    def ratio(self, name: str, above: tuple[Ours, int], below: tuple[Ours, int]) -> tuple[float, bool] | None:
        """Divide a measure of one cell by that of another.

        Returns:
            The ratio and whether it is as good as it can be: the median over pairs that were sampled in turn, or the
            quotient of two exact counts. None without both values.
        """
        x, y = self.value(*above, name), self.value(*below, name)
        if x is None or not y:
            return None
        a, b = self.records[above], self.records[below]
        if not a.measures[name].samples:
            return x / y, True
        if a.group != b.group:
            return x / y, False
        return paired_ratio(a.measures[name].samples, b.measures[name].samples), True


def _is_whole(record: Record) -> bool:
    """Whether a record says where and on what it was taken; one that was not written by `dvbench profile` may not."""
    return record.cell.keys() >= CELL and record.environment.keys() >= WHERE and _side(record) > 0


def _side(record: Record) -> int:
    side = record.cell["resolution"]
    return side if isinstance(side, int) else 0


def _conditions(record: Record) -> tuple[object, ...]:
    """What rows of one table must share: a different machine, code or input is a different table."""
    cell, here = record.cell, record.environment
    return (
        here["hardware"],
        here["code"],
        *(cell[key] for key in ("device", "dtype", "image_hash", "fit", "bands", "seed")),
    )
