"""A Ray cluster as the place where training runs go: records and run folders lie where all machines see them."""

import logging
import os
import signal
import socket
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dvbench.data.catalog import data_root
from dvbench.training.jobs import Job, JobsError, Outcome, Target, work
from reports.record import Status
from tasks.fit import Compute


@contextmanager
def ray_cluster(address: str, compute: Compute, target: Target = work) -> Iterator["RayCluster"]:
    """Join a Ray cluster, or start one; it runs as many jobs at a time as it has GPUs, or CPUs where it has no GPU.

    Args:
        address: of the cluster; by default `RAY_ADDRESS`, else one that runs on this machine, else a new one there.
        compute: what a run computes on, one device.
        target: what a process does.

    Raises:
        JobsError: Ray is not installed, its cluster cannot be reached, or it lacks what was asked for.
        KeyboardInterrupt: interrupted, or told to end by SIGTERM.
    """
    ray = _connected(address)
    try:
        yield RayCluster(ray, ray.remote(max_calls=1, max_retries=0, **_needs(ray, compute))(target))
    finally:
        ray.shutdown()


class RayCluster:
    """The processes of a cluster."""

    def __init__(self, ray: Any, remote: Any) -> None:
        """Take Ray and the function that its processes run."""
        self._ray = ray
        self._remote = remote
        self._running: list[Any] = []

    def start(self, job: Job) -> Hashable:
        """Hand a job to Ray."""
        reference: Hashable = self._remote.remote(job)
        self._running.append(reference)
        return reference

    def ended(self, timeout: float) -> Sequence[Hashable]:
        """Wait until a job ends."""
        return [*self._ray.wait(self._running, timeout=timeout)[0]]

    def outcome(self, handle: Any) -> tuple[Outcome, bool]:
        """Return what became of a job, and whether its process was killed."""
        self._running.remove(handle)
        try:
            return self._ray.get(handle), False
        except self._ray.exceptions.OutOfMemoryError:
            return (Status.OOM, "its process was stopped by Ray, as the machine ran out of memory"), True
        except self._ray.exceptions.RayTaskError:  # of importing what is to run, as `work` lets no other out
            return (Status.ERROR, "dvbench cannot be imported there: install the same version on every machine"), False
        except self._ray.exceptions.RayError as error:
            return (Status.CRASHED, f"its process was killed ({type(error).__name__})"), True


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
