"""What tables and figures would take, before anything runs."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dvbench.verbs.common import torch_device
from dvbench.verbs.work import Work

if TYPE_CHECKING:
    from dvbench.profile.cell import Cell
    from dvbench.training.run_cell import RunCell
    from reports.table import Table

REACHED_TRAINING = 0.3  # share of the speed of a plain matrix product that small models reach in training
PER_IMAGE_S = 0.01  # of one processor, that loading, augmenting and the step itself take, whatever the model


def costs(work: Iterable[Work], options: argparse.Namespace) -> "list[Table]":
    """Return what would run: training runs, measurements, and what both take together."""
    from dvbench.profile.summary import counts
    from dvbench.verbs.run import dry_run
    from reports.ledger import Ledger

    asked = list(work)
    finished = {record.identity for record in Ledger(options.out / "records").records() if record.status.done}
    runs = list(dict.fromkeys(run for one in asked for run in one.runs))
    cells = list(dict.fromkeys(cell for one in asked for cell in one.cells))
    tables = [dry_run(runs)] if runs else []
    if cells:
        tables.append(counts([record for one in asked for record in one.measured]))
    return [*tables, _totals(runs, cells, set() if options.fresh else finished, options)]


def _totals(runs: "list[RunCell]", cells: "list[Cell]", finished: set[str], options: argparse.Namespace) -> "Table":
    from dvbench.environment import environment
    from dvbench.profile.sweep import estimated_seconds
    from dvbench.training.plan import cost
    from reports.table import Table

    device = torch_device(options.device)
    here = environment(device)
    new_runs = [run for run in runs if options.fresh or run.identity() not in finished]
    new_cells = [cell for cell in cells if options.fresh or cell.identity(here) not in finished]
    training = _training_seconds(new_runs, device, options.jobs)
    measuring = sum(estimated_seconds(cell, options.repeat) for cell in new_cells)
    gpu_hours = sum(cost(run).gpu_hours for run in new_runs)
    body = [
        ["training runs", str(len(new_runs)), str(len(runs) - len(new_runs)), f"{gpu_hours:.2f}", _hours(training)],
        ["measurements", str(len(new_cells)), str(len(cells) - len(new_cells)), "", _hours(measuring)],
        [
            "together",
            str(len(new_runs) + len(new_cells)),
            str(len(runs) + len(cells) - len(new_runs) - len(new_cells)),
            f"{gpu_hours:.2f}",
            _hours(training + measuring),
        ],
    ]
    note = (
        f"Estimated from counted FLOPs; here: {here['hardware']}, from the speed of a matrix product. "
        "Runs that several tables share are counted, and run, once."
    )
    return Table("Total", ["Part", "to run", "finished", "A100 hours (estimated)", "here (estimated)"], body, [note])


def _training_seconds(runs: "list[RunCell]", device: str, jobs: int | str | None) -> float:
    from dvbench.profile.sweep import speed
    from dvbench.training.jobs import at_once_here
    from dvbench.training.plan import PASSES, cost
    from tasks.fit import Compute

    at_once = jobs if isinstance(jobs, int) else at_once_here(runs, Compute(device))
    seconds = 0.0
    for run in runs:
        estimate = cost(run)
        each = PER_IMAGE_S / at_once + PASSES * 2 * estimate.macs / (REACHED_TRAINING * speed(device, "fp32"))
        seconds += estimate.images * each
    return seconds


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.0f} min"
