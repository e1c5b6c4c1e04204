"""Memory, four ways that must not be mixed up, and how much of it is left.

`ResidentPeak` is what the operating system had to give the process, library workspaces included. `allocator_peak` is
what torch's CPU allocator gave to tensors, which repeats exactly. `CudaPeaks` are the two peaks of torch's GPU
allocator. The fourth, live bytes on the meta device, is a counter and needs no memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import psutil
import torch
from torch.profiler import ProfilerActivity, profile

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


class _CgroupFiles(NamedTuple):
    """Where a version of control groups says what a group may use and does use."""

    limit: str
    use: str
    cache: str  # a line of memory.stat


# By the controllers column of /proc/self/cgroup, which is also the folder's name: empty in version 2.
_CGROUP_FILES = {
    "": _CgroupFiles("memory.max", "memory.current", "inactive_file"),
    "memory": _CgroupFiles("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class ResidentPeak:
    """Growth of the resident set of this process over a block, from its start to its peak.

    Measure in a fresh process: memory that was freed but not given back to the system is used again without growth.

    Attributes:
        bytes: the growth, a multiple of 1,024; None before the block has ended, and where the system has no such
            counter or does not let it be reset (not Linux, some containers).
    """

    def __init__(self) -> None:
        self.bytes: int | None = None

    def __enter__(self) -> ResidentPeak:
        try:
            (PROC / "clear_refs").write_text("5", encoding="ascii")  # 5 resets VmHWM, see proc_pid_clear_refs(5)
        except OSError:
            self._start = None
        else:
            self._start = _status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        peak = _status("VmHWM")
        if self._start is not None and peak is not None:
            self.bytes = max(0, peak - self._start)


class CudaPeaks:
    """Peaks of torch's allocator on a GPU over a block; what was there before, such as weights, is included.

    Attributes:
        allocated: peak bytes in tensors, to be compared with the paper's memory columns. 0 before the end.
        reserved: peak bytes held from the driver, caches included. 0 before the end.
    """

    def __init__(self, device: str) -> None:
        """Remember the device, such as "cuda" or "cuda:1"."""
        self._device = device
        self.allocated = 0
        self.reserved = 0

    def __enter__(self) -> CudaPeaks:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # else the reserved peak would be that of whatever ran before
        torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:  # after an error the device may not answer
            torch.cuda.synchronize(self._device)
            self.allocated = torch.cuda.max_memory_allocated(self._device)
            self.reserved = torch.cuda.max_memory_reserved(self._device)


def allocator_peak(call: Callable[[], object]) -> int:
    """Call once and return the peak of torch's CPU allocator above its level at the start.

    Tensors that exist before the call are not counted, and neither is memory that does not come from torch (NumPy,
    oneDNN's workspaces).

    Args:
        call: what is measured. The profiler slows it down, so it is not to be timed as well.

    Returns:
        Bytes.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells every machine without a GPU about it
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    trace = profiler.profiler.kineto_results if profiler.profiler else None
    events = [] if trace is None else [event for event in trace.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.device_type().name == "CPU":
            level += event.nbytes()
            peak = max(peak, level)
    return peak


def available_bytes(device: str = "cpu") -> int:
    """Tell how much memory a new process may use without putting others out.

    Args:
        device: a torch device, such as "cpu" or "cuda:1".

    Returns:
        Bytes. On a CPU the smaller of what the system and the control group (container, batch job) leave, without swap;
        on a GPU what its driver reports as free.
    """
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    return min([free, *_left_in_cgroups(CGROUPS, PROC / "cgroup")])


def _status(key: str) -> int | None:
    """Return an entry of /proc/self/status in bytes, or None if there is none."""
    try:
        lines = (PROC / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _left_in_cgroups(mount: Path, membership: Path) -> list[int]:
    """Return what each memory limit on this process leaves, in bytes.

    Args:
        mount: where the control groups are mounted.
        membership: the file that names those of the process, one `id:controllers:path` a line.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in _CGROUP_FILES:
            files = _CGROUP_FILES[controllers]
            group = mount / controllers / path.lstrip("/")
            # Limits of parents hold as well. In a container the path can be the host's, of which only the top exists.
            left += [_left_in_cgroup(folder, files) for folder in (group, *group.parents)]
    return [room for room in left if room is not None]


def _left_in_cgroup(folder: Path, files: _CgroupFiles) -> int | None:
    """Return limit minus use of one control group in bytes, or None if it has no limit."""
    try:
        limit = (folder / files.limit).read_text(encoding="ascii").strip()
        use = int((folder / files.use).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii")
    except OSError:
        return None
    if limit == "max":
        return None
    # The use includes file pages that the kernel drops as soon as somebody needs room.
    cache = sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith(f"{files.cache} "))
    return max(0, int(limit) - use + cache)
