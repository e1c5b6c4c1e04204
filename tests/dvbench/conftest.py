"""A machine that does not change between calls, and stand-ins for the processes that measure on it."""

from types import SimpleNamespace

import pytest

from dvbench.environment import environment
from dvbench.profile import sweep
from dvbench.profile.memory import available_bytes
from tests.dvbench.stand_ins import Workers

HERE = environment("cpu")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Let the sweep work with stand-ins, on a machine whose description and speed do not change between calls."""
    stand_ins = Workers(HERE)
    monkeypatch.setattr(sweep, "Worker", stand_ins)
    monkeypatch.setattr(sweep, "environment", stand_ins.environment)
    monkeypatch.setattr(sweep, "speed", lambda device, dtype: 1e12)  # noqa: ARG005
    return stand_ins


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The memory that the sweep believes to be free, to be set as `machine.free` bytes."""
    pretended = SimpleNamespace(free=available_bytes("cpu"))
    monkeypatch.setattr(sweep, "available_bytes", lambda device: pretended.free)  # noqa: ARG005
    return pretended
