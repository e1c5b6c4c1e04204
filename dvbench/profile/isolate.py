"""An object in a process of its own, so that one measurement can crash, hang or run out of memory without the rest."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["oom", "timeout", "crashed", "error"]

GRACE_S = 5.0  # a process that holds a GPU needs a second or two to end
PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
# torch's allocators on CPU and GPU, the CUDA driver, and cuBLAS when it finds no room for its handle.
NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class IsolatedFailure(RuntimeError):  # noqa: N818 - running out of memory is a result, not an error
    """What went wrong in the other process, in one line.

    Attributes:
        kind: "oom" (out of memory), "timeout" (stopped at the time limit), "crashed" (the process ended by a signal or
            left by itself) or "error" (it raised an exception, and lives on).
        reason: one line without the worker's name; `str` puts the name before it.
    """

    def __init__(self, name: str, kind: Kind, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.kind: Kind = kind
        self.reason = reason


class Worker:
    """An object built in a fresh process, whose methods are called from here.

    The process is spawned, so it shares no memory, threads or GPU context with this one. Several workers can be open
    at once; each computes only while it is called, so they can be measured in turn.

        with Worker(Model, "vit_b16", name="vit_b16") as worker:
            seconds = worker.call("forward", timeout=60)

    Entering builds the object. A worker that has timed out or crashed answers further calls with that same failure.
    """

    def __init__(
        self,
        factory: Callable[..., object],
        *args: object,
        name: str,
        start_timeout: float | None = None,
        **kwargs: object,
    ) -> None:
        """Describe the object; nothing is started yet.

        Args:
            factory: returns the object. It runs in the new process, so it must be importable there (a class or
                function of a module), and its arguments must be picklable.
            *args: positional arguments of the factory.
            name: says in errors which worker failed.
            start_timeout: seconds that starting the process and building the object may take, None for no limit.
            **kwargs: keyword arguments of the factory.
        """
        self._recipe = (factory, args, kwargs)
        self._name = name
        self._start_timeout = start_timeout
        self._ended: IsolatedFailure | None = None

    def __enter__(self) -> Worker:
        """Start the process and build the object.

        Raises:
            IsolatedFailure: the object could not be built.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name=self._name, daemon=True)
        self._process.start()
        theirs.close()  # else the pipe would stay open when the child ends
        try:
            self._ask(("build", *self._recipe), "start", self._start_timeout)
        except BaseException:
            self._end(grace=0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(grace=GRACE_S if kind is None else 0.0)

    def call(self, method: str, *args: object, timeout: float | None = None) -> Any:
        """Call a method of the object and wait for its value.

        Args:
            method: the method's name.
            *args: its arguments, picklable.
            timeout: seconds the call may take, None for no limit. When they have passed, the process is killed.

        Returns:
            What the method returned, pickled and unpickled.

        Raises:
            IsolatedFailure: it did not return. After "timeout" and "crashed", and after an "oom" by which the kernel
                killed the process, the object is gone.
        """
        return self._ask(("call", method, args), method, timeout)

    def _ask(self, request: tuple[object, ...], what: str, timeout: float | None) -> Any:
        """Send a request and return the answer, or raise what came instead."""
        if self._ended:
            raise self._ended
        try:
            self._pipe.send(request)
            if not self._pipe.poll(timeout):  # a child that ends closes the pipe, which ends the wait as well
                self._process.kill()
                self._process.join(GRACE_S)  # its memory is free again when the next call begins
                reason = f"{what} took longer than {timeout:g} s and was stopped: allow more time or a smaller input"
                self._ended = IsolatedFailure(self._name, "timeout", reason)
                raise self._ended
            outcome, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(GRACE_S)
            self._ended = IsolatedFailure(self._name, *cause_of_death(self._process.exitcode, what))
            raise self._ended from None
        if outcome != "value":
            raise IsolatedFailure(self._name, outcome, f"{value} (in {what})")
        return value

    def _end(self, grace: float) -> None:
        """Ask the process to stop, then make it."""
        self._pipe.close()  # an idle child takes this as the end
        self._process.join(grace)
        for stop in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                stop()
                self._process.join(GRACE_S)


def cause_of_death(exitcode: int | None, what: str) -> tuple[Kind, str]:
    """Tell kind and reason from the exit code of a process that ended without an answer."""
    if exitcode == -9:
        return "oom", f"killed by the kernel (signal 9) in {what}, most likely out of memory"
    if exitcode is not None and exitcode < 0:
        return "crashed", f"ended by {signal.Signals(-exitcode).name} in {what}"
    return "crashed", f"left with exit code {exitcode} in {what}"


class _Host:
    """Holds the object in the new process; each request names one of these two methods."""

    def build(self, factory: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self._object = factory(*args, **kwargs)

    def call(self, method: str, args: tuple[object, ...]) -> Any:
        return getattr(self._object, method)(*args)


def _serve(pipe: Connection) -> None:
    """Answer requests until the pipe closes; runs in the new process."""
    go_before_the_parent()
    host = _Host()
    with contextlib.suppress(EOFError, OSError):  # the parent has closed the pipe
        while True:
            request = pipe.recv_bytes()
            try:
                # Unpickling imports the factory's module, and may fail as any other step.
                step, *arguments = pickle.loads(request)  # noqa: S301 - comes from the parent
                pipe.send(("value", getattr(host, step)(*arguments)))
            except Exception as error:
                pipe.send(describe(error))


def go_before_the_parent() -> None:
    """Leave Ctrl-C to the parent, be the kernel's first choice when memory runs out, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches both processes, and the parent decides
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def describe(error: Exception) -> tuple[Kind, str]:
    """Tell kind and one-line reason of an exception."""
    message = str(error).strip()
    name = type(error).__name__
    no_memory = isinstance(error, RuntimeError) and any(mark in message for mark in NO_MEMORY)
    kind: Kind = "oom" if no_memory or isinstance(error, MemoryError) else "error"
    return kind, f"{name}: {message.splitlines()[0]}" if message else name
