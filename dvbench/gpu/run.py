"""The GPU run: steps that each have a time limit and lose nothing when another fails."""

import contextlib
import datetime
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from dvbench.environment import environment
from dvbench.gpu.scale import Scale
from dvbench.profile.cell import PART_WHERE, identity
from dvbench.profile.isolate import IsolatedFailure
from dvbench.profile.sweep import STATUS, Tell, command
from reports.ledger import Ledger
from reports.record import Measure, Record, Scalar, Status

LEAST_S = 5.0  # a step with less time left is not begun
AGAIN_S = 0.5
RESERVE_S = 30.0  # of the whole, for the summary and the archive


class TimeLimit(KeyboardInterrupt):
    """The time of a step is over."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        step: its name.
        seconds: that it took.
        reason: why it is not complete; empty if it is.
    """

    step: str
    seconds: float
    reason: str


@dataclass
class Run:
    """What all steps share.

    Attributes:
        scale: the sizes.
        device: a torch device.
        dtype: of the models, `fp32` or `bf16`.
        out: folder of results; records go to `records` in it.
        tell: is told in a few words what happens.
        deadline: by `time.monotonic`, when the last step has to end.
        outcomes: of the steps so far.
    """

    scale: Scale
    device: str
    dtype: str
    out: Path
    tell: Tell
    deadline: float
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.out / "records")
        self.here = environment(self.device)

    def records(self) -> list[Record]:
        """Return what this device has left so far, oldest first."""
        return [r for r in self.ledger.records() if r.hardware == self.here["hardware"]]

    def part(self, name: str) -> list[Record]:
        """Return the newest records of one part of this run, such as `scan times`, at this scale."""
        return [r for r in self.records() if r.cell.get("part") == name and r.cell["scale"] == self.scale.name]

    def keep(self, part: str, cell: Mapping[str, Scalar], measure: Callable[[], Mapping[str, Measure]]) -> None:
        """Measure something and store it, or why it failed; what an earlier run has settled is left as it is."""
        asked = {"part": part, "scale": self.scale.name, "device": self.device, **cell}
        known_as = identity(asked, self.here, PART_WHERE)
        if self.ledger.find(known_as):
            return
        self.tell(" · ".join([part, *(str(value) for value in cell.values())]))
        found: Mapping[str, Measure] = {}
        status, reason = Status.OK, ""
        try:
            found = measure()
        except IsolatedFailure as failure:
            status, reason = STATUS[failure.kind], failure.reason
        self.ledger.write(
            Record(
                cell=asked,
                identity=known_as,
                status=status,
                reason=reason,
                measures=found,
                environment=self.here,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                command=command(),
                group=known_as[:12],
            )
        )


@dataclass(frozen=True)
class Step:
    """A part of the run.

    Attributes:
        name: what it does, in a few words.
        limit_s: seconds after which it is stopped.
        work: what is done.
    """

    name: str
    limit_s: float
    work: Callable[[Run], None]


def take(steps: list[Step], run: Run, after: Callable[[Run], object]) -> None:
    """Take steps one after the other; one that fails or runs out of time is noted, and the next begins.

    Args:
        steps: most important first.
        run: what they share; gets their outcomes.
        after: is called after each step, to write down what there is so far.
    """
    for step in steps:
        left = min(step.limit_s, run.deadline - RESERVE_S - time.monotonic())
        start = time.monotonic()
        reason = ""
        if left < LEAST_S:
            reason = "no time left: the same command goes on from here"
        else:
            run.tell(step.name)
            try:
                with time_limit(left):
                    step.work(run)
            except TimeLimit:
                reason = f"stopped after {left:.0f} s: the same command goes on from here"
            except Exception as error:  # noqa: BLE001, RUF100 (whatever one step meets, the others are worth their time)
                reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        run.outcomes.append(Outcome(step.name, time.monotonic() - start, reason))
        after(run)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the block when so many seconds have passed; in the main thread only."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if not isinstance(sys.exception(), TimeLimit):  # else what follows the first one is being cleaned up
            raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    # Python drops what is raised in the callback of a weak reference, so it is raised again until it arrives.
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
