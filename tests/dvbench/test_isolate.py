"""A worker hands over values, keeps its state, and turns every way to fail into one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dvbench.profile.isolate import IsolatedFailure, Worker


class Bench:
    """What the tests run in a worker."""

    def __init__(self, start: int = 0) -> None:
        self.count = start

    def add(self, step: int) -> int:
        self.count += step
        return self.count

    def process_id(self) -> int:
        return os.getpid()

    def oom_score(self) -> int:
        return int(Path("/proc/self/oom_score_adj").read_text())

    def signal_itself(self, number: int) -> str:
        os.kill(os.getpid(), number)
        return "alive"

    def leave(self, code: int) -> None:
        sys.exit(code)

    def hang(self) -> None:
        time.sleep(600)

    def fail(self, error: Exception) -> None:
        raise error

    def unpicklable(self) -> object:
        return lambda: None


def hang() -> None:
    time.sleep(600)


def refuse(message: str) -> Bench:
    raise ValueError(message)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A worker for tests that it survives."""
    with Worker(Bench, name="bench") as opened:
        yield opened


@pytest.fixture
def doomed() -> Iterator[Worker]:
    """A worker for a test that ends it."""
    with Worker(Bench, name="bench") as opened:
        yield opened


def failure_of(worker: Worker, method: str, *args: object, timeout: float | None = None) -> IsolatedFailure:
    with pytest.raises(IsolatedFailure) as caught:
        worker.call(method, *args, timeout=timeout)
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"bench: {caught.value.reason}"
    return caught.value


def test_values_come_back_and_state_stays() -> None:
    with Worker(Bench, 10, name="positional") as first, Worker(Bench, start=100, name="keyword") as second:
        assert [(first.call("add", 1), second.call("add", 2)) for _ in range(3)] == [(11, 102), (12, 104), (13, 106)]
        assert len({os.getpid(), first.call("process_id"), second.call("process_id")}) == 3


def test_no_process_is_left() -> None:
    with Worker(Bench, name="idle") as idle, Worker(Bench, name="busy") as busy:
        numbers = [idle.call("process_id"), busy.call("process_id")]
        with pytest.raises(IsolatedFailure):
            busy.call("hang", timeout=0.1)
    assert not any(psutil.pid_exists(number) for number in numbers)


def test_no_process_is_left_after_an_interrupt() -> None:
    ctrl_c = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    numbers = []

    def run() -> None:
        with Worker(Bench, name="bench") as worker:
            numbers.append(worker.call("process_id"))
            ctrl_c.start()
            worker.call("hang", timeout=60)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not psutil.pid_exists(numbers[0])


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ValueError("bad size\nsecond line"), "error", "ValueError: bad size (in fail)"),
        (EOFError(), "error", "EOFError (in fail)"),
        (ConnectionResetError("far end"), "error", "ConnectionResetError: far end (in fail)"),
        (RuntimeError("shapes differ"), "error", "RuntimeError: shapes differ (in fail)"),
        (MemoryError(), "oom", "MemoryError (in fail)"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
            "oom",
            "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. (in fail)",
        ),
        (RuntimeError("CUDA out of memory."), "oom", "RuntimeError: CUDA out of memory. (in fail)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_exception_leaves_the_worker_usable(worker: Worker, error: Exception, kind: str, reason: str) -> None:
    number = worker.call("process_id")
    failure = failure_of(worker, "fail", error)
    assert (failure.kind, failure.reason) == (kind, reason)
    assert worker.call("process_id") == number


def test_a_value_that_cannot_be_sent_is_an_error(worker: Worker) -> None:
    number = worker.call("process_id")
    assert failure_of(worker, "unpicklable").kind == "error"
    assert worker.call("process_id") == number


def test_expected_failures_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Worker(Bench, name="bench") as worker:
        failure_of(worker, "fail", ValueError("quiet"))
        failure_of(worker, "leave", 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("method", "argument", "kind", "reason"),
    [
        (
            "signal_itself",
            signal.SIGKILL,
            "oom",
            "killed by the kernel (signal 9) in signal_itself, most likely out of",
        ),
        ("signal_itself", signal.SIGSEGV, "crashed", "ended by SIGSEGV in signal_itself"),
        ("leave", 3, "crashed", "left with exit code 3 in leave"),
    ],
)
def test_a_process_that_ends_is_noticed_at_once(
    doomed: Worker, method: str, argument: int, kind: str, reason: str
) -> None:
    began = time.monotonic()
    failure = failure_of(doomed, method, argument, timeout=60)
    assert time.monotonic() - began < 30
    assert failure.kind == kind
    assert failure.reason.startswith(reason)
    assert failure_of(doomed, "add", 1) is failure


def test_a_process_that_ended_between_two_calls_is_noticed(doomed: Worker) -> None:
    child = psutil.Process(doomed.call("process_id"))
    child.kill()
    while child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert failure_of(doomed, "add", 1).kind == "oom"


def test_a_call_over_its_time_limit_is_stopped(doomed: Worker) -> None:
    failure = failure_of(doomed, "hang", timeout=0.5)
    assert failure.kind == "timeout"
    assert failure.reason.startswith("hang took longer than 0.5 s and was stopped")
    assert failure_of(doomed, "add", 1) is failure


def test_an_object_that_cannot_be_built_fails_on_entering() -> None:
    with pytest.raises(IsolatedFailure, match=r"^bad: ValueError: no such model \(in start\)$"):
        Worker(refuse, "no such model", name="bad").__enter__()
    with pytest.raises(IsolatedFailure, match=r"^slow: start took longer than 0\.5 s"):
        Worker(hang, name="slow", start_timeout=0.5).__enter__()


def test_ctrl_c_is_left_to_the_parent(worker: Worker) -> None:
    assert worker.call("signal_itself", signal.SIGINT) == "alive"


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of the Linux kernel")
def test_the_kernel_takes_the_worker_first(worker: Worker) -> None:
    assert worker.call("oom_score") == 1000


@pytest.mark.skipif(sys.platform != "linux", reason="a promise on Linux only")
def test_a_busy_worker_ends_with_its_parent() -> None:
    script = (
        "from dvbench.profile.isolate import Worker; from test_isolate import Bench\n"
        "if __name__ == '__main__':\n"
        "    with Worker(Bench, name='orphan') as worker:\n"
        "        print(worker.call('process_id'), flush=True)\n"
        "        worker.call('hang')\n"
    )
    path = os.pathsep.join(folder for folder in sys.path if folder)
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:  # noqa: S603
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert psutil.wait_procs([child], timeout=30)[1] == []
