"""Many cells, measured side by side: each in a process of its own, all models of one resolution alternating."""

import datetime
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import torch

from dvbench.data.scene import Bands
from dvbench.environment import environment
from dvbench.profile import kept_counts
from dvbench.profile.cell import Cell
from dvbench.profile.clock import rounds_wanted, synchronizer, time_once
from dvbench.profile.counters import Counts, batch_within, count, largest_batch
from dvbench.profile.isolate import IsolatedFailure, Worker
from dvbench.profile.memory import available_bytes
from dvbench.profile.roofline import work_by_kind
from dvbench.profile.subject import DTYPES, Subject
from models.zoo import build_classifier
from reports.ledger import Ledger
from reports.record import Measure, Record, Status

PROCESS_BYTES = 700 * 2**20  # a process with torch loaded, before any model
HEADROOM = 1.1  # libraries need workspace that counting tensors does not see
CALLS = 3  # besides its samples a cell takes at least a first call, one for memory and one to warm up
REACHED = 0.5  # share of the speed of a plain matrix product that a model reaches, for estimates
FLOOR_S = 2.0  # on a GPU the samples of one cell fill at least this time
FEWEST = 3  # an interrupted cell with so many samples, or all it wanted, is kept
FVCORE_SIDE = 512  # fvcore traces a real forward pass, so only small images are cross-checked

Tell = Callable[[str], None]
STATUS = {"oom": Status.OOM, "timeout": Status.TIMEOUT, "crashed": Status.CRASHED, "error": Status.ERROR}


@dataclass(frozen=True)
class Plan:
    """How cells are measured.

    Attributes:
        image: the input picture.
        bands: of the picture, see `dvbench.data.scene.load_scene`.
        budget_s: seconds that one cell may take; more is skipped with its estimate, or stopped.
        repeat: samples of each cell; None lets `rounds_wanted` choose.
        resume: take over records of the same identity instead of measuring again.
        max_batch: also search the largest batch.
        roofline: also take what the roofline needs: work and time by kind of op, and the device's ceilings.
        dry_run: exact counts only; nothing runs and nothing is written.
    """

    image: Path
    bands: Bands | None = None
    budget_s: float = 1800.0
    repeat: int | None = None
    resume: bool = False
    max_batch: bool = False
    roofline: bool = False
    dry_run: bool = False


def counts_of(cell: Cell, batch: int | None = None, switches: Mapping[str, Any] | None = None) -> Counts:
    """Count a cell's model on the meta device.

    Args:
        cell: names model, resolution and dtype.
        batch: images, instead of the cell's own.
        switches: further options of the model, hashable, such as the fields of `DynamicVisConfig` an ablation replaces.
    """
    options = {**cell.options, **(switches or {})}
    return _counts(cell.model, tuple(options.items()), cell.resolution, batch or cell.batch, cell.dtype)


@cache
def _counts(model: str, options: tuple[tuple[str, Any], ...], resolution: int, batch: int, dtype: str) -> Counts:
    asked = json.dumps([model, options, resolution, batch, dtype])
    if known := kept_counts.find(asked):
        return known
    found = count(partial(build_classifier, model, **dict(options)), resolution, batch=batch, dtype=DTYPES[dtype])
    kept_counts.add(asked, found)
    return found


def counted(counts: Counts) -> dict[str, Measure]:
    """Return the measures that come from counting."""
    measures = {
        "parameters": Measure(counts.parameters, "1", "counted"),
        "weight_bytes": Measure(counts.weight_bytes, "B", "counted"),
        "macs": Measure(counts.macs, "MAC", "counted"),
        "flops": Measure(counts.total_flops, "FLOP", "counted", note=_listed(counts.flops)),
        "paper_flops": Measure(counts.paper_flops, "MAC", "counted"),
        "live_bytes": Measure(counts.live_bytes, "B", "counted"),
        "bytes_moved": Measure(sum(counts.bytes_moved.values()), "B", "counted", note=_listed(counts.bytes_moved)),
    }
    if counts.tokens_kept:
        per_stage = ", ".join(map(str, counts.tokens_kept))
        measures["tokens_kept"] = Measure(sum(counts.tokens_kept), "1", "counted", note=f"by stage: {per_stage}")
    return measures


def estimated_seconds(cell: Cell, repeat: int | None) -> float:
    """Estimate the seconds that measuring a cell takes here, from its counted FLOPs and the machine's speed."""
    once = counts_of(cell).total_flops / (REACHED * speed(cell.device, cell.dtype))
    return once * (CALLS + rounds_wanted(once, device=cell.device, repeat=repeat, floor_s=FLOOR_S))


def sweep(cells: list[Cell], ledger: Ledger, plan: Plan, tell: Tell) -> Iterator[Record]:
    """Measure cells and yield their records in order of resolution; each is in the ledger before it is yielded.

    All cells of one resolution, batch, dtype and device form a group: their processes stay open together and are timed
    in turn, one sample each a round, so that a disturbance of the machine meets all of them.

    Args:
        cells: what to measure.
        ledger: where records go, and come from when the plan says to resume.
        plan: how.
        tell: is told in a few words what happens, for a progress display.

    Raises:
        LedgerError: a record cannot be written.
        KeyboardInterrupt: passed on after what is measured has been written.
    """

    def together(cell: Cell) -> tuple[int, int, str, str]:
        return cell.resolution, cell.batch, cell.dtype, cell.device

    for _, group in groupby(sorted(cells, key=together), key=together):
        yield from _Group(list(group), ledger, plan, tell).run()


@dataclass
class _Run:
    """One cell while it is being measured."""

    cell: Cell
    measures: dict[str, Measure]
    environment: dict[str, Any]
    worker: Worker | None = None
    wanted: int = 0
    spent_s: float = 0.0
    samples: list[float] = field(default_factory=list)
    ended: tuple[Status, str] | None = None


class _Group:
    """The cells that are measured alternating."""

    def __init__(self, cells: list[Cell], ledger: Ledger, plan: Plan, tell: Tell) -> None:
        self.cells = cells
        self.ledger = ledger
        self.plan = plan
        self.tell = tell
        self.id = uuid4().hex[:12]

    def run(self) -> Iterator[Record]:
        here = environment(self.cells[0].device)
        runs: list[_Run] = []
        for cell in self.cells:
            found = self._known(cell, cell.identity(here))
            if found:
                self.tell(f"{cell.resolution} px · {cell.label} · taken over from {found.created[:16]}")
                yield found
            else:
                self.tell(f"{cell.resolution} px · {cell.label} · count")
                runs.append(_Run(cell, counted(counts_of(cell)), here))
        try:
            with ExitStack() as stack:
                if not self.plan.dry_run:
                    for run in runs:
                        self._guard(run, partial(self._start, run, stack))
                    self._alternate(runs)
                    for step in (self._finish, self._recipe):  # the recipe last: it may take minutes
                        for run in runs:
                            self._guard(run, partial(step, run))
        except KeyboardInterrupt:
            for run in runs:
                if run.ended or len(run.samples) >= min(FEWEST, run.wanted or FEWEST):
                    self._record(run)
            raise
        yield from [self._record(run) for run in runs]  # all are written before the first is handed on

    def _known(self, cell: Cell, identity: str) -> Record | None:
        """Return the record to be taken over, which must hold all that the plan asks for."""
        plan = self.plan
        found = self.ledger.find(identity) if plan.resume and not plan.dry_run else None
        wanted = {
            "max_batch_size": plan.max_batch,
            "recipe_throughput": _takes_recipe(cell, plan),
            "peak_flops": plan.roofline,
        }
        asked = {name for name, is_asked in wanted.items() if is_asked}
        return found if found and (found.status != Status.OK or asked <= found.measures.keys()) else None

    def _guard(self, run: _Run, step: Callable[[], None]) -> None:
        """Do a step of a cell that has not ended; a failure ends that cell alone."""
        if run.ended:
            return
        start = time.monotonic()
        try:
            step()
        except IsolatedFailure as failure:
            run.ended = (STATUS[failure.kind], failure.reason)
        finally:
            run.spent_s += time.monotonic() - start

    def _start(self, run: _Run, stack: ExitStack) -> None:
        """Load a cell that fits, and take everything but its samples."""
        run.ended = self._refusal(run)
        if run.ended:
            return
        cell, plan = run.cell, self.plan
        self.tell(f"{cell.resolution} px · {cell.label} · load")
        limit = plan.budget_s
        run.worker = stack.enter_context(
            Worker(Subject, cell, plan.image, plan.bands, name=cell.label, start_timeout=limit)
        )
        run.environment = run.worker.call("describe")
        self.tell(f"{cell.resolution} px · {cell.label} · first call")
        run.measures |= run.worker.call("first_call", timeout=limit)
        self.tell(f"{cell.resolution} px · {cell.label} · memory")
        run.measures |= run.worker.call("memory", timeout=limit)
        self.tell(f"{cell.resolution} px · {cell.label} · warm up")
        warm_s = run.worker.call("warm", timeout=limit)
        run.wanted = rounds_wanted(warm_s, device=cell.device, repeat=plan.repeat, floor_s=FLOOR_S)

    def _refusal(self, run: _Run) -> tuple[Status, str] | None:
        """Say why a cell must not be started: it would not fit, or would take too long."""
        need = run.measures["live_bytes"].value or 0
        free = available_bytes(run.cell.device)
        process = 0 if run.cell.device.startswith("cuda") else PROCESS_BYTES
        if HEADROOM * need + process > free:
            reason = f"its tensors alone need {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
            return Status.OOM_PREDICTED, reason
        seconds = estimated_seconds(run.cell, self.plan.repeat)
        if seconds > self.plan.budget_s:
            reason = f"about {seconds:.0f} s estimated, the budget is {self.plan.budget_s:.0f} s: raise --budget"
            return Status.SKIPPED, reason
        return None

    def _alternate(self, runs: list[_Run]) -> None:
        """Take one sample of each cell a round until each has as many as it wants."""
        rounds = max((run.wanted for run in runs if not run.ended), default=0)
        for number in range(1, rounds + 1):
            for run in runs:
                if number <= run.wanted:
                    self.tell(f"{run.cell.resolution} px · {run.cell.label} · round {number} of {run.wanted}")
                    self._guard(run, partial(self._sample, run))

    def _sample(self, run: _Run) -> None:
        if run.worker is None:
            raise AssertionError("a cell without a process is never sampled")
        left = self.plan.budget_s - run.spent_s
        if run.samples and left < 1e-3 * max(run.samples):
            run.wanted = len(run.samples)  # no time for another: fewer samples, and the record says how many
            return
        run.samples.append(1e3 * run.worker.call("sample", timeout=max(left, 1.0)))

    def _finish(self, run: _Run) -> None:
        """Add what follows from the samples, and what must not disturb them."""
        cell, worker = run.cell, run.worker
        if worker is None:
            raise AssertionError("a cell without a process is never finished")
        if self.plan.max_batch:
            self.tell(f"{cell.resolution} px · {cell.label} · largest batch")
            run.measures["max_batch_size"] = self._largest_batch(cell, worker)
        if self.plan.roofline:
            self.tell(f"{cell.resolution} px · {cell.label} · roofline")
            run.measures |= work_by_kind(counts_of(cell)) | worker.call("roofline", timeout=self.plan.budget_s)
        if cell.resolution <= FVCORE_SIDE and not cell.device.startswith("cuda"):
            self.tell(f"{cell.resolution} px · {cell.label} · fvcore")
            by_operator = worker.call("fvcore", timeout=self.plan.budget_s)
            total = sum(by_operator.values())
            run.measures["fvcore_macs"] = Measure(total, "MAC", "counted", note=_listed(by_operator))

    def _largest_batch(self, cell: Cell, worker: Worker) -> Measure:
        """Search by trying on a GPU; elsewhere by live bytes, since trying would endanger the machine."""
        if cell.device.startswith("cuda"):
            best = largest_batch(lambda batch: bool(worker.call("fits", batch, timeout=self.plan.budget_s)))
            return Measure(best, "1", "measured")
        room = available_bytes(cell.device)
        best = batch_within(int(room / HEADROOM), lambda batch: counts_of(cell, batch).live_bytes)
        return Measure(best, "1", "predicted", note=f"from live bytes, {room / 2**30:.1f} GiB free")

    def _recipe(self, run: _Run) -> None:
        """Take table 13's throughput as its authors did: on a GPU, at the largest batch. Its failure is a note."""
        cell, worker, budget_s = run.cell, run.worker, self.plan.budget_s
        if worker is None or not _takes_recipe(cell, self.plan):
            return
        self.tell(f"{cell.resolution} px · {cell.label} · throughput by the authors' recipe")
        try:
            taken = worker.call(
                "recipe", int(run.measures["max_batch_size"].value or 0), budget_s, timeout=2 * budget_s
            )
        except IsolatedFailure as failure:
            taken = Measure(None, "img/s", "measured", note=failure.reason)
        run.measures["recipe_throughput"] = taken

    def _record(self, run: _Run) -> Record:
        if run.samples:
            p50 = median(run.samples)
            run.measures["latency_ms"] = Measure(p50, "ms", "measured", tuple(run.samples))
            run.measures["throughput"] = Measure(1e3 * run.cell.batch / p50, "img/s", "measured")
        status, reason = run.ended or (Status.OK, "")
        if self.plan.dry_run:
            status, reason = Status.SKIPPED, "dry run: exact counts only"
        record = Record(
            cell=run.cell.as_dict(),
            identity=run.cell.identity(run.environment),
            status=status,
            reason=reason,
            measures=run.measures,
            environment=run.environment,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=command(),
            group=self.id,
        )
        if not self.plan.dry_run:
            self.ledger.write(record)
        return record


def _takes_recipe(cell: Cell, plan: Plan) -> bool:
    return plan.max_batch and cell.device.startswith("cuda")


def command() -> str:
    """The command line of this run, without the folder of the program."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def speed(device: str, dtype: str) -> float:
    """Measure floating-point operations a second of a plain matrix product, the yardstick for estimates."""
    side = 4096 if device.startswith("cuda") else 1024
    matrix = torch.ones(side, side, device=device, dtype=DTYPES[dtype])
    best = min(time_once(lambda: matrix @ matrix, synchronizer(device)) for _ in range(5))
    return 2 * side**3 / best


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(numbers.items(), key=lambda item: -item[1]))
