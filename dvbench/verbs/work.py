"""What tables and figures ask to be run, and what became of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dvbench.verbs.common import GOOD

if TYPE_CHECKING:
    from dvbench.profile.cell import Cell
    from dvbench.tables.standing import Standing
    from dvbench.training.run_cell import RunCell
    from reports.record import Record
    from reports.table import Table


@dataclass
class Work:
    """What one table or figure asks for.

    Attributes:
        runs: training runs; other targets may ask for the same.
        cells: measurements that no target before it asked for.
        measured: the records of `cells`; exact counts only where nothing runs.
        failed: why something of it failed; empty if nothing did.
        seconds: spent on it now; a run that several targets share counts for each.
    """

    runs: "list[RunCell]" = field(default_factory=list)
    cells: "list[Cell]" = field(default_factory=list)
    measured: "list[Record]" = field(default_factory=list)
    failed: str = ""
    seconds: float = 0.0

    def count_runs(self, records: "Mapping[str, Record]", errors: "Mapping[RunCell, str]", started: str) -> None:
        """Take in what became of the training runs, by identity; those from before `started` cost nothing now."""
        from dvbench.verbs.run import exit_code

        for run in self.runs:
            if run in errors:
                self.failed = self.failed or errors[run]
                continue
            record = records[run.identity()]
            if exit_code([record]) != GOOD:
                self.failed = self.failed or record.reason or f"{run.model} on {run.protocol} did not learn"
            if record.created >= started and "run_s" in record.measures:
                self.seconds += float(record.measures["run_s"].value or 0)

    def check_measured(self, started: str) -> None:
        """See whether a measurement failed, and whether any was taken since `started`."""
        from dvbench.verbs.measure import exit_code

        self.failed = next((record.reason for record in self.measured if exit_code([record]) != GOOD), "")
        if all(record.created < started for record in self.measured):
            self.seconds = 0.0  # all were taken over

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - start


def now() -> str:
    """Return the time as records write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def summary(work: Mapping[str, Work], standings: "Mapping[str, Standing]") -> "Table":
    """Return one row a target: verdicts, status, time."""
    from reports.table import Table

    body = []
    for name, one in work.items():
        standing = standings[name]
        seconds = one.seconds + standing.seconds
        flaw = one.failed or standing.failed
        status = f"failed: {flaw}" if flaw else "done" if seconds else "nothing to do"
        body.append([name, standing.told(), status, f"{seconds:.0f} s" if seconds else ""])
    failed = sum(1 for row in body if row[2].startswith("failed"))
    note = (
        f"{len(body)} targets, {failed} failed. Time: of what ran now; runs that several targets share count for each."
    )
    return Table("Reproduced", ["Target", "numbers", "status", "time"], body, [note])
