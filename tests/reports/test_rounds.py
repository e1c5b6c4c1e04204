import json
from pathlib import Path
from typing import Any

import pytest

from reports.ledger import Ledger
from reports.record import Measure, Record, Status
from reports.rounds import RoundsError, from_benchmark, from_records, rounds
from reports.stats import StatsError

NOTES: dict[str, Any] = {"stats": {"data": [1.0]}, "extra_info": {"figure": "12 MiB"}, "name": "bench_memory"}


def side_by_side(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    extra = {"ratio": 1.0, "goal": "", "opponent_seconds": theirs}
    return {"name": "bench_x", "stats": {"data": ours}, "extra_info": extra}


def record(identity: int, model: str, samples: list[float], *, group: str = "g", hardware: str = "a CPU") -> Record:
    return Record(
        cell={"model": model, "resolution": 64, "attention": "none" if model != "vit" else "sdpa"},
        identity=f"{identity:012x}",
        status=Status.OK,
        reason="",
        measures={"latency_ms": Measure(samples[0], "ms", "measured", tuple(samples))},
        environment={"hardware": hardware},
        created=f"2026-11-23T12:00:{identity:02}Z",
        command="dvbench profile",
        group=group,
    )


def test_samples_are_cut_into_three_rounds_of_median_ratios() -> None:
    assert rounds([1, 9, 1, 4, 4, 4, 3, 3, 8], [1, 1, 1, 2, 2, 2, 1, 1, 1]) == (1, 2, 3)
    assert rounds([2, 4, 6, 99], [1, 1, 1]) == (2, 4, 6)


def test_two_pairs_are_no_three_rounds() -> None:
    with pytest.raises(StatsError, match="2 pairs of samples; take at least 3"):
        rounds([1, 2, 3], [1, 2])


def test_rounds_of_benchmarks_that_compare(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"benchmarks": [side_by_side([2, 4, 6], [1, 1, 1]), NOTES]}))
    assert from_benchmark(path) == {"bench_x": (2, 4, 6)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "is not pytest-benchmark's JSON"),
        ("[]", "is not pytest-benchmark's JSON"),
        ('{"benchmarks": [{"name": "x"}]}', "is not pytest-benchmark's JSON"),
        (json.dumps({"benchmarks": [side_by_side([1.0], [1.0])]}), "1 pairs of samples"),
        (json.dumps({"benchmarks": [NOTES]}), "holds no benchmark with a ratio"),
    ],
)
def test_a_file_that_compares_nothing_is_refused(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(RoundsError, match="make it with nox -s bench") as refusal:
        from_benchmark(path)
    assert names in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_benchmark_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RoundsError, match=r"bench\.json is missing: make it"):
        from_benchmark(tmp_path / "bench.json")


def is_ours(model: str) -> bool:
    return model.startswith("ours")


def test_records_of_one_group_are_paired(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for one in (
        record(1, "ours_a", [2, 2, 2]),
        record(2, "vit", [1, 1, 1]),
        record(3, "ours_b", [3, 3, 3]),
        record(4, "resnet", [9, 9, 9], group="another"),
    ):
        ledger.write(one)
    found, newest = from_records(ledger, is_ours)
    assert found == {"ours_a@64 : vit@64 sdpa": (2, 2, 2), "ours_b@64 : vit@64 sdpa": (3, 3, 3)}
    assert newest.cell["model"] == "resnet"


def test_a_pair_that_was_measured_twice_gives_its_newest_rounds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number, group, seconds in ((1, "old", 2.0), (3, "new", 5.0)):
        ledger.write(record(number, "ours", [seconds] * 3, group=group))
        ledger.write(record(number + 1, "vit", [1.0] * 3, group=group))
    assert from_records(ledger, is_ours)[0] == {"ours@64 : vit@64 sdpa": (5, 5, 5)}


def test_a_corrupt_record_is_named_set_aside_and_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for one in (record(1, "ours", [2, 2, 2]), record(2, "vit", [1, 1, 1]), record(3, "ours_b", [2, 2, 2])):
        corrupt = ledger.write(one)
    corrupt.write_text(corrupt.read_text()[:100])
    found, _ = from_records(ledger, is_ours)
    assert list(found) == ["ours@64 : vit@64 sdpa"]
    (problem,) = ledger.problems
    assert corrupt.name in problem
    assert corrupt.exists()


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([], "holds no record of a latency"),
        (
            [record(1, "ours", [1.0] * 3), record(2, "vit", [1.0] * 3, hardware="a GPU")],
            "holds records of a CPU and a GPU: give those of one machine",
        ),
        ([record(1, "ours", [1.0] * 3)], "no pair that was measured in turn: if its run is still going, let it end"),
        ([record(1, "ours", [1.0] * 3), record(2, "vit", [1.0])], "has 1 pairs of samples"),
    ],
    ids=["an empty ledger", "several machines", "a run that is still going", "an interrupted run"],
)
def test_records_without_a_ratio_are_refused_in_one_line(tmp_path: Path, records: list[Record], names: str) -> None:
    ledger = Ledger(tmp_path / "records")
    for one in records:
        ledger.write(one)
    with pytest.raises(RoundsError) as refusal:
        from_records(ledger, is_ours)
    assert names in str(refusal.value)
    assert str(ledger.folder) in str(refusal.value)
    assert "\n" not in str(refusal.value)
