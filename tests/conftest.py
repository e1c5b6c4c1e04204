"""One thread a process: many small models run here, and threads that wait for each other cost more than they save."""

import os
import tempfile

import pytest

# Read when torch is imported, here and in the processes started from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
_CACHE = tempfile.TemporaryDirectory()  # counts kept from before would hide what a change does to counting
os.environ["DVBENCH_CACHE"] = _CACHE.name


@pytest.fixture(autouse=True)
def one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process, where stand-ins are seen, unless a test asks for several at a time."""
    monkeypatch.setattr("dvbench.training.jobs.at_once_here", lambda *_: 1)
