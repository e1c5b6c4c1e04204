"""Training runs side by side: one process a run, on this machine or on a cluster."""

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import psutil
import torch

from dvbench.profile.isolate import cause_of_death, describe, go_before_the_parent
from dvbench.training.execute import Place, execute
from dvbench.training.run_cell import RunCell
from reports.record import Record, Status
from tasks.files import LOG
from tasks.fit import Compute, Report

ATTEMPTS = 3
"""How often a run is started whose process was killed; each start goes on from the last finished epoch."""
MEMORY_OF_A_RUN = 4 * 2**30
"""Bytes that are left to each of several reduced runs; the largest takes half of that."""
POLL_S = 1.0

Outcome: TypeAlias = Record | tuple[str, str]
"""The record of a run, or kind and reason of what went wrong."""


class JobsError(RuntimeError):
    """Processes that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Job:
    """What a process is told.

    Attributes:
        cell: what to run.
        identity: of the cell where it was asked for; another one here means that the code differs.
        out: absolute folder of records and runs.
        folder: where the command was given, from which relative paths count.
        compute: what to compute on.
        command: the command line, for the record.
        fresh: train again what is finished.
    """

    cell: RunCell
    identity: str
    out: Path
    folder: Path
    compute: Compute
    command: str
    fresh: bool


def work(job: Job) -> Outcome:
    """Run one cell; this is what a process does.

    Returns:
        The record, or kind and reason of what went wrong, as an exception of ours may not survive being sent.
    """
    try:
        if job.folder.is_dir():
            os.chdir(job.folder)
        if job.cell.identity() != job.identity:
            raise JobsError("the code of dvbench differs there: install the same version on every machine")
        return execute(job.cell, Place(job.out), job.compute, lambda *_: None, command=job.command, fresh=job.fresh)
    except Exception as error:
        return describe(error)


Target: TypeAlias = Callable[[Job], Outcome]


class Pool(Protocol):
    """Processes that run jobs, as many at a time as it sees fit."""

    def start(self, job: Job) -> Hashable:
        """Run a job as soon as there is room; return a handle of it."""

    def ended(self, timeout: float) -> Sequence[Hashable]:
        """Wait, for some seconds at most, until a job ends; return the handles of those that have."""

    def outcome(self, handle: Any) -> tuple[Outcome, bool]:
        """Return what became of a job that has ended, and whether its process was killed."""


class Processes:
    """Processes of this machine, which share its processors.

    They end when the block does; a run that is cut off so goes on from its checkpoint when it is started again.
    """

    def __init__(self, at_once: int, target: Target = work) -> None:
        """Describe the pool; nothing is started yet.

        Args:
            at_once: how many run at a time.
            target: what a process does.
        """
        self._at_once = at_once
        self._target = target
        self._threads = max(1, processors() // at_once)
        self._waiting: deque[_Child] = deque()
        self._running: dict[Connection, _Child] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._running.values():
            child.process.terminate()
        for child in self._running.values():
            child.process.join()

    def start(self, job: Job) -> Hashable:
        """Run a job as soon as fewer than `at_once` run."""
        context = _context(job.compute)
        pipe, theirs = context.Pipe(duplex=False)
        # No daemon: those may not start processes that load data.
        process = context.Process(target=_tell_outcome, args=(theirs, job, self._threads, self._target))
        self._waiting.append(_Child(process, pipe, theirs))
        self._fill()
        return pipe

    def ended(self, timeout: float) -> Sequence[Hashable]:
        """Wait until a process ends."""
        return [pipe for pipe in wait(list(self._running), timeout) if isinstance(pipe, Connection)]

    def outcome(self, handle: Connection) -> tuple[Outcome, bool]:
        """Return what a process has sent, or how it died."""
        child = self._running.pop(handle)
        try:
            return handle.recv(), False
        except (EOFError, OSError):
            child.process.join()
            return cause_of_death(child.process.exitcode, "training"), True
        finally:
            child.process.join()
            handle.close()
            self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            child = self._waiting.popleft()
            child.process.start()
            child.theirs.close()  # else the pipe would stay open when the process ends
            self._running[child.pipe] = child


def _context(compute: Compute) -> ForkServerContext | SpawnContext:
    """Return how to start a process for a job.

    On a CPU it is forked from one that has imported what training needs: imports take longer than a small run. A
    process that is forked cannot use a GPU if that one has as much as asked for it.
    """
    if compute.device != "cpu":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([execute.__module__])
    return context


class _Child(NamedTuple):
    """A process, the end of its pipe that is read here, and the other."""

    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    theirs: Connection


def _tell_outcome(pipe: Connection, job: Job, threads: int, target: Target) -> None:
    """Do a job and send what became of it; runs in a new process."""
    go_before_the_parent()
    torch.set_num_threads(threads)
    pipe.send(target(job))


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def at_once_here(cells: Sequence[RunCell], compute: Compute) -> int:
    """Say how many runs to process at a time on this machine.

    Steps of the reduced runs are so short that a second processor hardly speeds one of them up: each gets one, and
    `MEMORY_OF_A_RUN` bytes. Others have the machine for themselves.
    """
    if compute.device != "cpu" or compute.world > 1 or any(cell.scale != "smoke" for cell in cells):
        return 1
    return max(1, min(len(cells), processors(), psutil.virtual_memory().available // MEMORY_OF_A_RUN))


def run_side_by_side(
    cells: Sequence[RunCell],
    compute: Compute,
    out: Path,
    pool: Callable[[], AbstractContextManager[Pool]],
    *,
    command: str,
    fresh: bool = False,
    report: Report,
    tell: Callable[[str], None],
) -> list[Record]:
    """Run cells in the processes of a pool.

    A run whose process is killed is started again, `ATTEMPTS` times in all; after that it is a record with the reason,
    as is one that fails. What is finished is taken over.

    Args:
        cells: what to run, each once.
        compute: what a run computes on, one device.
        out: folder of records and runs, under the same path on every machine.
        pool: opens the pool, which is not done if there is nothing to run.
        command: the command line, for the records.
        fresh: train again what is finished.
        report: is told of the epochs done.
        tell: is told, in a line, when a run has ended or is started again.

    Returns:
        One record a cell, in their order.

    Raises:
        JobsError: the pool cannot be opened.
        KeyboardInterrupt: interrupted; what is finished is kept.
    """
    place = Place(out.resolve())
    records = {} if fresh else {c: known for c in cells if (known := place.ledger.find(c.identity()))}
    missing = [cell for cell in cells if cell not in records]
    if not missing:
        return [records[cell] for cell in cells]
    with pool() as processes:

        def start(cell: RunCell) -> Hashable:
            return processes.start(Job(cell, cell.identity(), place.out, Path.cwd(), compute, command, fresh))

        running = {start(cell): cell for cell in missing}
        starts = Counter(missing)
        while running:
            for handle in processes.ended(POLL_S):
                cell = running.pop(handle)
                outcome, died = processes.outcome(handle)
                name = f"{cell.label} on {cell.protocol}, seed {cell.seed}"
                if died and not isinstance(outcome, Record) and starts[cell] < ATTEMPTS:
                    starts[cell] += 1
                    running[start(cell)] = cell
                    tell(f"{name}: {outcome[1]}; started again, {starts[cell]} of {ATTEMPTS}")
                    continue
                records[cell] = outcome if isinstance(outcome, Record) else _failed(cell, *outcome, command)
                if place.ledger.find(cell.identity()) is None:
                    place.ledger.write(records[cell])
                tell(f"{name}: {records[cell].reason or 'finished'}")
            report(*_progress(place, cells, records))
    return [records[cell] for cell in cells]


def _failed(cell: RunCell, kind: str, reason: str, command: str) -> Record:
    """Make the record of a run that left none."""
    return Record(
        cell=cell.as_dict(),
        identity=cell.identity(),
        status=Status(kind),
        reason=reason,
        measures={},
        environment={"run_folder": cell.folder(), "reduced": cell.scale == "smoke"},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        group=cell.identity()[:12],
    )


def _progress(place: Place, cells: Sequence[RunCell], records: dict[RunCell, Record]) -> tuple[int, int, str]:
    """Count epochs that are done, from the logs in the shared folder."""
    epochs = {cell: cell.load_protocol().epochs for cell in cells}
    done = sum(epochs[cell] if cell in records else _logged(place.run(cell) / LOG) for cell in cells)
    return done, sum(epochs.values()), f"epochs, {len(records)} of {len(cells)} runs finished"


def _logged(log: Path) -> int:
    try:
        return max(0, log.read_text(encoding="utf-8").count("\n") - 1)
    except OSError:
        return 0
