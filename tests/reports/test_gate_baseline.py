import json
from dataclasses import replace
from pathlib import Path

import pytest

from reports.gate_baseline import MADE, SCHEMA, BaselineError, Part, read_baseline, write_baseline

PART = Part(dict.fromkeys(MADE, "x"), {"a/macs": (3,), "a/logits": (0.5, -1e-7)})


def test_a_baseline_comes_back_equal(tmp_path: Path) -> None:
    path = write_baseline(tmp_path / "made" / "b.json", {"counts": PART, "ratios": PART})
    assert read_baseline(path) == {"counts": PART, "ratios": PART}


def test_each_figure_has_a_line_of_its_own(tmp_path: Path) -> None:
    text = write_baseline(tmp_path / "b.json", {"counts": PART}).read_text()
    assert '      "a/macs": [3],\n      "a/logits": [0.5, -1e-07]\n' in text


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (replace(PART, failures={"b": "ValueError: no"}), r"b could not be measured \(ValueError: no\)"),
        (replace(PART, figures={}), "part counts has no figure"),
        (replace(PART, figures={"a/logits": (float("nan"),)}), "a/logits is not finite"),
    ],
)
def test_what_was_not_measured_replaces_nothing(tmp_path: Path, part: Part, names: str) -> None:
    path = write_baseline(tmp_path / "b.json", {"counts": PART})
    with pytest.raises(BaselineError, match=names):
        write_baseline(path, {"counts": part})
    assert read_baseline(path) == {"counts": PART}


def _changed(**changes: object) -> str:
    made = {"made": dict.fromkeys(MADE, "x"), "figures": {"a/macs": [3]}}
    return json.dumps({"schema": SCHEMA, "parts": {"counts": {**made, **changes}}})


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"schema": 1, "par', "cannot be read"),
        ("\x80", "cannot be read"),
        ("[]", "schema None, this version reads schema 1"),
        ('{"schema": 2, "parts": {}}', "schema 2, this version reads schema 1"),
        ('{"schema": 1}', "KeyError: 'parts'"),
        ('{"schema": 1, "parts": []}', "AttributeError"),
        (_changed(made={"commit": "abc"}), "KeyError: 'command'"),
        (_changed(figures={"a/macs": 3}), "a/macs is not a list of numbers"),
        (_changed(figures={"a/macs": []}), "a/macs is not a list of numbers"),
        (_changed(figures={"a/macs": ["3"]}), "a/macs is not a list of numbers"),
        (_changed(figures={"a/macs": [True]}), "a/macs is not a list of numbers"),
    ],
)
def test_a_bad_baseline_is_refused_in_one_line_that_says_what_to_do(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BaselineError, match="dvbench gate --update") as refusal:
        read_baseline(path)
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert names in message
    assert "\n" not in message
    assert path.read_text(encoding="latin-1") == text


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"none\.json is missing: write one with dvbench gate --update"):
        read_baseline(tmp_path / "none.json")
