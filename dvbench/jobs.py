"""Training runs on a Ray cluster: one process a run, with records and run folders where all machines see them."""

import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dvbench.data.catalog import data_root
from dvbench.isolate import describe
from dvbench.run.cell import RunCell
from dvbench.run.execute import Place, execute
from reports.record import Record, Status
from tasks.fit import LOG, Compute, Report

ATTEMPTS = 3
"""How often a run is started whose process was killed; each start goes on from the last finished epoch."""
POLL_S = 1.0


class JobsError(RuntimeError):
    """A cluster that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Job:
    """What a process of the cluster is told.

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


def work(job: Job) -> Record | tuple[str, str]:
    """Run one cell; this is what a process of the cluster does.

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


def run_on_ray(
    cells: Sequence[RunCell],
    compute: Compute,
    out: Path,
    *,
    address: str = "",
    command: str,
    fresh: bool = False,
    report: Report,
    tell: Callable[[str], None],
    target: Callable[[Job], Record | tuple[str, str]] = work,
) -> list[Record]:
    """Run cells on a Ray cluster, as many at a time as it has GPUs, or CPUs where it has no GPU.

    A run whose process is killed is started again, `ATTEMPTS` times in all; after that it is a record with the reason,
    as is one that fails. What is finished is taken over.

    Args:
        cells: what to run, each once.
        compute: what a run computes on, one device.
        out: folder of records and runs, under the same path on every machine.
        address: of the cluster; by default `RAY_ADDRESS`, else one that runs on this machine, else a new one there.
        command: the command line, for the records.
        fresh: train again what is finished.
        report: is told of the epochs done.
        tell: is told, in a line, when a run has ended or is started again.
        target: what a process does.

    Returns:
        One record a cell, in their order.

    Raises:
        JobsError: Ray is not installed, its cluster cannot be reached, or it lacks what was asked for.
        KeyboardInterrupt: interrupted, or told to end by SIGTERM; what is finished is kept.
    """
    place = Place(out.resolve())
    records = {} if fresh else {c: known for c in cells if (known := place.ledger.find(c.identity()))}
    missing = [cell for cell in cells if cell not in records]
    if not missing:
        return [records[cell] for cell in cells]
    ray = _connected(address)
    try:
        remote = ray.remote(max_calls=1, max_retries=0, **_needs(ray, compute))(target)

        def start(cell: RunCell) -> Any:
            return remote.remote(Job(cell, cell.identity(), place.out, Path.cwd(), compute, command, fresh))

        running = {start(cell): cell for cell in missing}
        starts = Counter(missing)
        while running:
            for reference in ray.wait(list(running), timeout=POLL_S)[0]:
                cell = running.pop(reference)
                outcome, died = _outcome(ray, reference)
                name = f"{cell.model} on {cell.protocol}, seed {cell.seed}"
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
    finally:
        ray.shutdown()
    return [records[cell] for cell in cells]


def _connected(address: str) -> Any:
    """Join or start a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # a run is no background work: Ray's 15 may starve it
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = (
        "0"  # processes use the installed package, not an upload of the folder
    )
    try:
        import ray  # noqa: PLC0415
    except ImportError:
        raise JobsError("--jobs ray needs Ray: uv sync --extra ray, or pip install 'dvbench[ray]'") from None
    where = address or os.environ.get("RAY_ADDRESS") or ""
    _check_reachable(where)
    variables = {"DVBENCH_DATA": str(data_root().resolve())}
    try:
        ray.init(
            address or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": variables},
        )
    except Exception as error:  # of this very class where Ray's own processes start too slowly
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise JobsError(f"cannot use Ray at {where or 'this machine'} ({reason}); is `ray start` done there?") from None
    with suppress(ValueError):  # not in the main thread, where signals arrive
        # Ray's own handler aborts the process (SIGABRT) three seconds later, whatever it is doing then.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    return ray


def _check_reachable(address: str) -> None:
    """Refuse an address at which nobody listens, for which Ray itself would wait for many minutes."""
    host, sign, port = address.removeprefix("ray://").rpartition(":")
    if not address or address in ("auto", "local"):
        return
    if not (host and sign and port.isdigit()):
        raise JobsError(f"'{address}' is not HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise JobsError(f"no Ray cluster answers at {address} ({error}); is `ray start --head` done there?") from None


def _needs(ray: Any, compute: Compute) -> dict[str, int]:
    """Say what a run takes of the cluster."""
    gpus = ray.cluster_resources().get("GPU", 0)
    if compute.device == "cuda" and not gpus:
        raise JobsError("--device cuda was asked for, but the Ray cluster has no GPU: use --device cpu, or add one")
    return {"num_gpus": 1} if gpus and compute.device != "cpu" else {"num_cpus": 1}


def _outcome(ray: Any, reference: Any) -> tuple[Record | tuple[str, str], bool]:
    """Return what became of a process, and whether it was killed."""
    try:
        return ray.get(reference), False
    except ray.exceptions.OutOfMemoryError:
        return (Status.OOM, "its process was stopped by Ray, as the machine ran out of memory"), True
    except ray.exceptions.RayError as error:
        return (Status.CRASHED, f"its process was killed ({type(error).__name__})"), True


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
