"""Memory figures: a tensor of known size is seen with its size, and repeats."""

from pathlib import Path

import psutil
import pytest
import torch

from dvbench.profile import memory
from dvbench.profile.isolate import Worker
from dvbench.profile.memory import CudaPeaks, ResidentPeak, allocator_peak, available_bytes

MIB = 1024**2
SIZE = 64 * MIB

needs_clear_refs = pytest.mark.skipif(
    not (memory.PROC / "clear_refs").exists(), reason="the system has no resettable peak of the resident set"
)


def fill() -> torch.Tensor:
    return torch.ones(SIZE, dtype=torch.uint8)


def grow() -> int:
    with ResidentPeak() as peak:
        fill()
    assert peak.bytes is not None
    return peak.bytes


class Fresh:
    """Measured in a process of its own: here, earlier tests leave freed memory that is used again without growth."""

    def sizes(self) -> list[int]:
        fill()  # the first call loads code
        return [grow() for _ in range(3)]


@needs_clear_refs
def test_resident_peak_sees_a_tensor_that_is_gone_again() -> None:
    with Worker(Fresh, name="fresh") as worker:
        assert worker.call("sizes") == pytest.approx([SIZE] * 3, rel=0.03)


@needs_clear_refs
def test_resident_peak_forgets_earlier_blocks() -> None:
    grow()
    with ResidentPeak() as peak:
        pass
    assert peak.bytes is not None
    assert peak.bytes < 4 * MIB


def test_resident_peak_is_none_where_the_system_lacks_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path / "missing")
    with ResidentPeak() as peak:
        fill()
    assert peak.bytes is None


def test_resident_peak_is_none_without_its_counters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmSize:\t 10 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with ResidentPeak() as peak:
        fill()
    assert peak.bytes is None


def test_allocator_peak_is_exact_and_repeats() -> None:
    def call() -> torch.Tensor:
        first = fill()
        second = fill()
        del first
        return second.view(2, -1)[0].clone()

    assert [allocator_peak(call) for _ in range(3)] == [2 * SIZE] * 3


def test_allocator_peak_leaves_out_what_was_there() -> None:
    weights = fill()
    assert allocator_peak(weights[: 8 * MIB].clone) == 8 * MIB
    assert allocator_peak(lambda: weights.view(-1)) == 0


def test_allocator_peak_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    allocator_peak(fill)
    assert capfd.readouterr() == ("", "")


def test_available_memory_is_part_of_what_the_machine_has() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        pytest.param(
            {
                "proc/cgroup": "0::/job/step\n",
                "sys/job/memory.max": "1000",
                "sys/job/memory.current": "700",
                "sys/job/memory.stat": "anon 500\ninactive_file 200\n",
                "sys/job/step/memory.max": "max",
                "sys/job/step/memory.current": "700",
                "sys/job/step/memory.stat": "anon 500\ninactive_file 200\n",
            },
            500,
            id="version 2, the limit is the parent's",
        ),
        pytest.param(
            {
                "proc/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc\n",
                "sys/memory/memory.limit_in_bytes": "1000",
                "sys/memory/memory.usage_in_bytes": "900",
                "sys/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 100\n",
            },
            200,
            id="version 1, in a container that sees only the top",
        ),
        pytest.param(
            {"proc/cgroup": "0::/\n", "sys/memory.max": "1000", "sys/memory.current": "1100", "sys/memory.stat": ""},
            0,
            id="version 2, over its limit",
        ),
        pytest.param({"proc/cgroup": "0::/\n"}, 10**6, id="no limit"),
        pytest.param({}, 10**6, id="no control groups"),
    ],
)
def test_available_memory_heeds_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], wanted: int
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**6}))
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "sys")
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert available_bytes() == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_peaks_count_what_was_there_and_forget_what_is_gone() -> None:
    weights = torch.ones(SIZE, dtype=torch.uint8, device="cuda")
    torch.ones(4 * SIZE, dtype=torch.uint8, device="cuda")
    with CudaPeaks("cuda") as peaks:
        weights.clone()
    assert peaks.allocated == pytest.approx(2 * SIZE, rel=0.03)
    assert peaks.allocated <= peaks.reserved < 4 * SIZE
    assert 0 < available_bytes("cuda") < torch.cuda.get_device_properties("cuda").total_memory
