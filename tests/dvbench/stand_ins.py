"""Stands in for the processes that measurements run in, so that most tests start none."""

from collections import Counter
from types import TracebackType
from typing import Any

from dvbench.profile.cell import Cell
from reports.record import Measure


class Workers:
    """Makes stand-ins for `Worker`: they answer at once, note every call, and fail where a test says so.

    Attributes:
        calls: (cell's label, method) in the order of the calls; entering counts as "start".
        failures: (cell's label, method, which call of it, from 1) -> what is raised there.
        seconds: what a sample takes, by the cell's label; 0.01 where nothing is said.
        room: the largest batch that fits.
    """

    def __init__(self, here: dict[str, Any]) -> None:
        self._here = here
        self.calls: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str, int], BaseException] = {}
        self.seconds: dict[str, float] = {}
        self.room = 6
        self._count: Counter[tuple[str, str]] = Counter()

    def __call__(self, _factory: object, cell: Cell, *_: object, **__: object) -> "StandIn":
        return StandIn(self, cell)

    def environment(self, device: str) -> dict[str, Any]:
        return {**self._here, "device": device}

    def started(self) -> list[str]:
        return [label for label, method in self.calls if method == "start"]

    def samples(self) -> list[str]:
        return [label for label, method in self.calls if method == "sample"]

    def note(self, label: str, method: str) -> None:
        self.calls.append((label, method))
        self._count[label, method] += 1
        failure = self.failures.get((label, method, self._count[label, method]))
        if failure:
            raise failure


class StandIn:
    """One worker that answers as a `Subject` in a process would."""

    def __init__(self, workers: Workers, cell: Cell) -> None:
        self.workers = workers
        self.cell = cell

    def __enter__(self) -> "StandIn":
        self.workers.note(self.cell.label, "start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:  # noqa: ARG002 (as Worker's)
        self.workers.note(self.cell.label, method)
        answers = {
            "describe": {**self.workers.environment(self.cell.device), "scan_backend": "cpu"},
            "first_call": {"load_ms": Measure(5.0, "ms", "measured"), "first_call_ms": Measure(20.0, "ms", "measured")},
            "memory": {"resident_peak_bytes": Measure(2**20, "B", "measured")},
            "warm": 0.01,
            "sample": self.workers.seconds.get(self.cell.label, 0.01),
            "fvcore": {"conv": 300, "linear": 20},
            "fits": bool(arguments) and arguments[0] <= self.workers.room,
            "recipe": Measure(250.0, "img/s", "measured", note=f"{arguments[:1]} images a pass"),
        }
        return answers[method]
