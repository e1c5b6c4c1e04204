"""The clock's rules, on a fake clock: no test here depends on real time."""

import contextlib
import gc

import pytest
import torch

from dvbench.profile import clock


class FakeTime:
    """A clock that only moves when a call moves it."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events: list[str] = []

    def perf_counter_ns(self) -> int:
        self.events.append("read")
        return self.now_ns

    def synchronize(self) -> None:
        self.events.append("synchronize")

    def calls(self, *seconds: float) -> "Calls":
        return Calls(self, seconds)


class Calls:
    """A call that takes the given seconds, one after the other, the last for ever."""

    def __init__(self, time: FakeTime, seconds: tuple[float, ...]) -> None:
        self.time = time
        self.seconds = seconds
        self.made = 0

    def __call__(self) -> None:
        self.time.events.append("call")
        self.time.now_ns += round(self.seconds[min(self.made, len(self.seconds) - 1)] * 1e9)
        self.made += 1


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(clock, "perf_counter_ns", fake.perf_counter_ns)
    return fake


def test_a_timing_begins_and_ends_with_an_idle_device(time: FakeTime) -> None:
    assert clock.time_once(time.calls(0.25), time.synchronize) == 0.25
    assert time.events == ["synchronize", "read", "call", "synchronize", "read"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_garbage_collection_is_off_during_a_call_and_then_as_before(before: bool, fails: bool) -> None:
    during = []

    def call() -> None:
        during.append(gc.isenabled())
        if fails:
            raise ArithmeticError

    try:
        if not before:
            gc.disable()
        with contextlib.suppress(ArithmeticError):
            clock.time_once(call, lambda: None)
        after = gc.isenabled()
    finally:
        gc.enable()
    assert during == [False]
    assert after is before


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        ((1.0,), 2),  # steady from the start: one block of one call, and one that is no faster
        ((8.0, 2.0, 1.0, 0.96), 4),  # 4 % faster is steady
        ((8.0, 2.0, 1.0, 0.94, 0.94), 5),  # 6 % faster is not
        ((1.0, 3.0), 2),  # slower is steady as well
        ((0.1,), 6),  # three calls fill a quarter of a second
        ((0.001,), 200),  # a block has at most 100 calls
    ],
)
def test_warm_up_ends_when_a_block_is_no_faster(time: FakeTime, seconds: tuple[float, ...], wanted: int) -> None:
    call = time.calls(*seconds)
    assert clock.warm_up(call, time.synchronize, budget_s=1000.0) == call.made == wanted


def test_warm_up_is_bounded_by_time_and_count(time: FakeTime) -> None:
    faster_and_faster = [100 * 0.9**k for k in range(1000)]
    assert clock.warm_up(time.calls(*faster_and_faster), time.synchronize, budget_s=150.0) == 2
    assert clock.warm_up(time.calls(*faster_and_faster), time.synchronize, budget_s=1e9) == clock.MOST_BLOCKS
    assert clock.warm_up(time.calls(1.0), time.synchronize, budget_s=0.0) == 0


@pytest.mark.parametrize(
    ("first_s", "wanted"),
    [(0.0, 30), (0.001, 30), (0.1, 30), (0.133, 30), (0.4, 10), (1.0, 4), (10.0, 3), (59.0, 3), (60.0, 1), (600.0, 1)],
)
def test_samples_on_a_cpu_fit_into_a_time(first_s: float, wanted: int) -> None:
    assert clock.rounds_wanted(first_s, device="cpu", repeat=None, floor_s=1.0) == wanted


@pytest.mark.parametrize(("first_s", "wanted"), [(0.001, 1000), (0.004, 250), (0.1, 30), (100.0, 30)])
def test_samples_on_a_gpu_fill_a_time(first_s: float, wanted: int) -> None:
    assert clock.rounds_wanted(first_s, device="cuda:1", repeat=None, floor_s=1.0) == wanted


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_user_decides_when_asked(device: str) -> None:
    assert clock.rounds_wanted(100.0, device=device, repeat=7, floor_s=1.0) == 7


def test_only_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    clock.synchronizer("cpu")()
    assert waited == []
    clock.synchronizer("cuda:1")()
    assert waited == ["cuda:1"]
