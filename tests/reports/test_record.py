import json
import subprocess
import sys

import pytest

from reports.record import MEASURES, SCHEMA, Measure, Record, RecordError, Status

RECORD = Record(
    cell={"model": "dynamicvis_b", "resolution": 2048, "dtype": "fp32", "compile": False, "image": None},
    identity="0123456789abcdef",
    status=Status.OK,
    reason="",
    measures={
        "latency_ms": Measure(97.18, "ms", "measured", samples=(97.2, 97.18, 97.1)),
        "max_batch_size": Measure(None, "1", "measured", note="not searched"),
    },
    environment={"torch": "2.15.0", "threads": 2, "gpu": None, "flags": {"tf32": False}},
    created="2026-11-23T12:00:00+00:00",
    command="dvbench profile --res 2048",
    group="a1",
)


def test_a_record_comes_back_equal() -> None:
    assert Record.from_json(RECORD.to_json(), "here") == RECORD


def test_equal_records_give_the_same_text() -> None:
    shuffled = Record.from_json(json.dumps(dict(reversed(json.loads(RECORD.to_json()).items()))), "here")
    assert shuffled.to_json() == RECORD.to_json()
    assert RECORD.to_json().endswith("}\n")


def _changed(**changes: object) -> str:
    return json.dumps(json.loads(RECORD.to_json()) | changes)


def _measured(**changes: object) -> str:
    measure = {"value": 3.0, "unit": "ms", "how": "measured", "samples": [], "note": "", "interval": None}
    return _changed(measures={"latency_ms": measure | changes})


def _nested(levels: int) -> dict[str, object]:
    return {"a": _nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (RECORD.to_json()[:-20], f"line {len(RECORD.to_json()[:-20].splitlines())}"),
        ("[]", "not a JSON object"),
        (_changed(schema=SCHEMA + 1), f"schema {SCHEMA + 1}, this version reads schema 1 to {SCHEMA}"),
        (_changed(colour="red"), "unknown colour"),
        (_changed(status="fine"), "fine"),
        (_changed(identity="../../etc"), "not a hash"),
        (_changed(cell=[]), "cell is not a JSON object"),
        (_changed(measures={"latency_ms": 3.0}), "latency_ms is not a JSON object"),
        (_changed(measures={"latency_ms": {"value": 3.0}}), "latency_ms lacks how, interval, note, samples, unit"),
        (
            _changed(
                measures={
                    "latency_ms": {
                        "value": "3",
                        "unit": "ms",
                        "how": "measured",
                        "samples": [],
                        "note": "",
                        "interval": None,
                    }
                }
            ),
            "not a number",
        ),
        (_changed(reason=["a"]), "reason of record is no text"),
        (_changed(created="yesterday"), "was created 'yesterday'"),
        (_changed(status=["ok"]), "status of record is no text"),
        (_changed(cell={"model": ["dynamicvis_b"]}), "model of the cell is no plain value"),
        (_measured(value=True), "not a number"),
        (_measured(unit=3), "unit of latency_ms is no text"),
        (_measured(note=None), "note of latency_ms is no text"),
        (_measured(samples="123"), "not a number"),
        (_measured(value=float("nan")), "NaN is not a number of JSON"),
        (_measured(value=float("-inf")), "-Infinity is not a number of JSON"),
        (_measured(value=3.25).replace("3.25", "1e999"), "number 1e999... is too large"),
        (_measured(value=3.25).replace("3.25", "9" * 5000), "number 999999999999... is too large"),
        (_changed(environment={"a": 1}).replace('"a": 1', '"a": 1, "a": 2'), "key 'a' stands twice"),
        (_changed(environment={"a": "\ud800"}), "surrogates not allowed"),
        (_changed(environment=_nested(40)), "nested deeper than 32 levels"),
        ('{"a": ' * 100_000, "nested deeper than 32 levels"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 32 levels"),
        (_changed(**{"a\nb\x1b[2J": 1}), r"unknown a b\x1b[2J"),
    ],
)
def test_corrupt_text_is_one_line_with_the_source_and_what_to_do(text: str, names: str) -> None:
    with pytest.raises(RecordError) as caught:
        Record.from_json(text, "records/x.json")
    message = str(caught.value)
    assert message.startswith("records/x.json: ")
    assert names in message
    assert message.endswith("remove it and measure the cell again")
    assert "\n" not in message


@pytest.mark.parametrize("key", sorted(json.loads(RECORD.to_json())))
def test_every_key_but_the_version_is_asked_for_by_name(key: str) -> None:
    data = json.loads(RECORD.to_json())
    del data[key]
    with pytest.raises(RecordError, match=f"record lacks {key}"):
        Record.from_json(json.dumps(data), "here")


def test_a_record_of_schema_1_is_read_and_its_basis_is_unknown() -> None:
    data = json.loads(RECORD.to_json())
    del data["basis"]
    for measure in data["measures"].values():
        del measure["interval"]
    old = Record.from_json(json.dumps(data | {"schema": 1}), "here")
    assert old.basis == {}
    assert old.measures == RECORD.measures
    assert old.schema == 1


def test_schema_1_may_not_have_what_came_later() -> None:
    with pytest.raises(RecordError, match="unknown basis"):
        Record.from_json(_changed(schema=1), "here")


def test_an_interval_comes_back_and_has_two_ends() -> None:
    scored = Record(**vars(RECORD) | {"measures": {"f1": Measure(61.5, "%", "measured", interval=(60.0, 63.0))}})
    assert Record.from_json(scored.to_json(), "here").measures["f1"].interval == (60.0, 63.0)
    with pytest.raises(RecordError, match="1 ends"):
        Measure(1.0, "%", "measured", interval=(0.0,))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_not_written(value: float) -> None:
    record = Record(**vars(RECORD) | {"measures": {"latency_ms": Measure(value, "ms", "measured")}})
    with pytest.raises(RecordError, match="store finite numbers"):
        record.to_json()


def test_a_measure_says_how_it_was_made() -> None:
    with pytest.raises(RecordError, match="use one of measured, counted, predicted, estimated"):
        Measure(1.0, "ms", "guessed")  # type: ignore[arg-type]


def test_only_settled_cells_are_done() -> None:
    assert {status for status in Status if status.done} == {Status.OK, Status.OOM}


def test_every_measure_has_a_unit_and_a_meaning() -> None:
    assert all(unit and meaning for unit, meaning in MEASURES.values())
    assert {unit for name, (unit, _) in MEASURES.items() if name.endswith("_bytes")} == {"B"}
    assert {unit for name, (unit, _) in MEASURES.items() if name.endswith("_ms")} == {"ms"}


def test_a_record_that_names_no_machine_has_an_unknown_one() -> None:
    assert RECORD.hardware == "unknown"
    assert Record(**vars(RECORD) | {"environment": {"hardware": "a card"}}).hardware == "a card"


def test_importing_the_record_pulls_in_nothing_heavy() -> None:
    code = "import sys, reports.record; print(*{'pandas', 'matplotlib', 'numpy', 'torch', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"  # noqa: S603
