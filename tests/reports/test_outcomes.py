"""Outcomes by image: kept whole or not at all, refused when not ours, aligned, and scored as counted by hand."""

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.ledger import Ledger, LedgerError
from reports.outcomes import Outcomes, OutcomesError, align, keep
from reports.record import Measure, Record, Status

RECORD = Record(
    cell={"model": "resnet18"},
    identity="aaaaaaaaaaaa0001",
    status=Status.OK,
    reason="",
    measures={"f1": Measure(50.0, "%", "measured", interval=(40.0, 60.0))},
    environment={},
    created="2026-11-23T12:00:00+00:00",
    command="dvbench run",
    group="g",
    basis={"epochs": 3},
)


def macro(images: tuple[str, ...] = ("a.tif", "b.tif", "c.tif"), **changed: Any) -> Outcomes:
    """Three images with two regions, none and one."""
    arrays = {"classes": 2, "counts": [2, 0, 1], "predicted": [0, 1, 1], "true": [0, 0, 1]} | changed
    return Outcomes("macro", np.array(images), {name: np.array(values) for name, values in arrays.items()})


def precision(**changed: Any) -> Outcomes:
    """Two images, one class. Ranked over both: right (first image), wrong (second), right (second); three objects."""
    arrays = {
        "forms": [""],
        "areas": [""],
        "overlaps": [0.5],
        "counts": [1, 2],
        "truths": [[[0], [1]], [[0], [2]]],
        "labels": [1, 1, 1],
        "scores": [0.9, 0.8, 0.7],
        "matches": np.array([[[[1, 0, 1]]]], dtype=np.int8),
    } | changed
    return Outcomes(
        "average_precision", np.array(["a", "b"]), {name: np.array(values) for name, values in arrays.items()}
    )


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_interval_is_that_of_the_scores_of_resampled_images() -> None:
    numbers = np.random.default_rng(1)
    true, predicted = numbers.integers(2, size=60), numbers.integers(2, size=60)
    outcomes = macro(tuple(map(str, range(60))), counts=[1] * 60, true=true, predicted=predicted)
    right = 100 * (true == predicted)
    expected = np.quantile([right[numbers.integers(60, size=60)].mean() for _ in range(20_000)], (0.025, 0.975))
    assert outcomes.intervals(10_000)["accuracy"] == pytest.approx(tuple(expected), abs=2)
    assert outcomes.intervals() == outcomes.intervals()


def test_resamples_without_a_score_do_not_count() -> None:
    """Of two images the first has the only object: a resample without it has no precision."""
    outcomes = precision(truths=[[[0], [1]], [[0], [0]]], matches=np.array([[[[1, 0, 0]]]], dtype=np.int8))
    low, high = outcomes.intervals()["ap50"]
    assert (low, high) == (100, 100)
    nothing = precision(truths=[[[0], [0]], [[0], [0]]], matches=np.zeros((1, 1, 1, 3), dtype=np.int8))
    assert np.isnan(nothing.intervals()["ap50"]).all()


# Keeping and reading


def test_what_is_kept_lies_beside_the_record_and_is_found_through_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    written = keep(macro(), RECORD, ledger)
    assert ledger.records() == [written]
    told = written.basis["outcomes"]
    assert isinstance(told, dict)
    assert written.basis == {"epochs": 3, "outcomes": told}
    assert (told["images"], len(told["sha256"])) == (3, 64)
    assert contents(tmp_path) == [f"resnet18-aaaaaaaaaaaa-{told['sha256'][:8]}.npz", "resnet18-aaaaaaaaaaaa.json"]
    for found in (Outcomes.of(written, tmp_path), Outcomes.read(tmp_path / told["file"])):
        assert found.images.tolist() == ["a.tif", "b.tif", "c.tif"]
        assert {name: values.tolist() for name, values in found.arrays.items()} == {
            name: values.tolist() for name, values in macro().arrays.items()
        }


def test_equal_outcomes_are_equal_bytes() -> None:
    assert macro().to_bytes() == macro().to_bytes()


def test_another_run_of_the_same_identity_replaces_both_files(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    keep(macro(), RECORD, ledger)
    other = keep(macro(), replace(RECORD, identity="bbbbbbbbbbbb"), ledger)
    again = keep(macro(predicted=[1, 1, 1]), RECORD, ledger)
    assert len(contents(tmp_path)) == 4
    assert Outcomes.of(again, tmp_path).arrays["predicted"].tolist() == [1, 1, 1]
    assert Outcomes.of(other, tmp_path).arrays["predicted"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("ending", [".npz", ".json"])
def test_an_interruption_leaves_the_earlier_record_with_its_outcomes(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two files it falls upon."""
    ledger = Ledger(tmp_path)
    before = keep(macro(), RECORD, ledger)
    rename = os.replace

    def full(source: Path, target: Path) -> None:
        if target.suffix == ending:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LedgerError):
        keep(macro(predicted=[1, 1, 1]), RECORD, ledger)
    assert ledger.records() == [before]
    assert Outcomes.of(before, tmp_path).arrays["predicted"].tolist() == [0, 1, 1]
    assert not [name for name in contents(tmp_path) if name.endswith(".tmp")]


def test_a_file_that_is_not_what_its_record_means_is_refused(tmp_path: Path) -> None:
    written = keep(macro(), RECORD, Ledger(tmp_path))
    path = tmp_path / str(written.basis["outcomes"]["file"])  # type: ignore[index,call-overload]
    path.write_bytes(macro(predicted=[1, 1, 1]).to_bytes())
    with pytest.raises(OutcomesError, match="is not what record aaaaaaaaaaaa means; run it again"):
        Outcomes.of(written, tmp_path)
    path.unlink()
    with pytest.raises(OutcomesError, match=r"cannot be read .No such file or directory.; run it again"):
        Outcomes.of(written, tmp_path)


def test_a_record_without_outcomes_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutcomesError, match=r"record aaaaaaaaaaaa in .* has no outcomes; run it again"):
        Outcomes.of(RECORD, tmp_path)


def test_a_record_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    folder, outside = tmp_path / "records", tmp_path / "outside.npz"
    written = keep(macro(), RECORD, Ledger(folder))
    told = dict(written.basis["outcomes"])  # type: ignore[arg-type,call-overload]
    os.rename(folder / told["file"], outside)
    with pytest.raises(OutcomesError, match=f"{folder / 'outside.npz'} cannot be read"):
        Outcomes.of(replace(written, basis={"outcomes": told | {"file": "../outside.npz"}}), folder)


# What is refused


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [
        ({"counts": [2, 0, 2]}, "counts 4 samples but has 3"),
        ({"counts": [2, 1]}, "has 2 images in counts instead of 3"),
        ({"true": [0, 1]}, "has 2 samples in true instead of 3"),
        ({"true": [0, 1, 2]}, "has values in true .* not from 0 to 1"),
        ({"true": [0, -1, 1]}, "has values in true .* not from 0 to 1"),
        ({"true": [0.0, 1.0, 1.0]}, "has true as float64 of 1 axes"),
        ({"true": [[0, 1, 1]]}, "has true as int64 of 2 axes"),
        ({"true": [None, 1, 1]}, "has true as object of 1 axes"),
        ({"classes": 0}, "has values in classes"),
        ({"colours": [1]}, "has an unknown array colours"),
        ({"images": ("a", "b", "a")}, "names 1 images twice"),
        ({"images": ()}, "has no names of images"),
    ],
)
def test_outcomes_that_do_not_fit_together_are_refused(changed: dict[str, Any], flaw: str) -> None:
    with pytest.raises(OutcomesError, match=f"^outcomes of macro: {flaw}"):
        macro(**changed)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(OutcomesError, match="has values in scores that are no numbers"):
        precision(scores=[0.9, wrong, 0.7])
    with pytest.raises(OutcomesError, match="has values in precisions that are no numbers"):
        Outcomes("retrieval", np.array(["a"]), {"names": np.array(["map20"]), "precisions": np.array([[wrong]])})


def test_states_of_detections_are_three() -> None:
    with pytest.raises(OutcomesError, match="has values in matches that are no numbers, or not from -1 to 1"):
        precision(matches=np.array([[[[1, 0, 2]]]], dtype=np.int8))


def test_files_that_are_not_ours_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = macro().to_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    arrays = {"kind": np.array("macro"), "images": macro().images, **macro().arrays}
    files = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "damaged": bytes(damaged),
        "text": b"precision,recall\n",
        "array": npz(tmp_path / "array.npz", a=np.zeros(3)).read_bytes(),
        "kind": npz(tmp_path / "kind.npz", **arrays | {"kind": np.array("colours")}).read_bytes(),
        "lacking": npz(tmp_path / "lacking.npz", **{k: v for k, v in arrays.items() if k != "true"}).read_bytes(),
    }
    for name, data in files.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        with pytest.raises(OutcomesError) as caught:
            Outcomes.read(path)
        assert str(caught.value).startswith(f"{path} holds no outcomes ("), name
        assert str(caught.value).endswith("); run it again with --fresh"), name
        assert "\n" not in str(caught.value), name
    with pytest.raises(OutcomesError, match=r"none\.npz cannot be read"):
        Outcomes.read(tmp_path / "none.npz")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_nothing_in_a_file_runs(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    arrays = {"kind": np.array("macro"), "images": macro().images, **macro().arrays}
    for name in arrays:
        path = npz(tmp_path / f"{name}.npz", **arrays | {name: np.array([Trap(sprung)], dtype=object)})
        with pytest.raises(OutcomesError, match="allow_pickle=False"):
            Outcomes.read(path)
    pickled = io.BytesIO()
    np.save(pickled, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    (tmp_path / "bare.npz").write_bytes(pickled.getvalue())
    with zipfile.ZipFile(tmp_path / "member.npz", "w") as archive:
        archive.writestr("kind", b"cos\nmkdir\n")
    for path in (tmp_path / "bare.npz", tmp_path / "member.npz"):
        with pytest.raises(OutcomesError):
            Outcomes.read(path)
    assert not sprung.exists()


# Two runs


def test_runs_are_aligned_by_name() -> None:
    first, second = macro(("c", "a", "b")), macro(("b", "c", "a"))
    order = align(first, second)
    assert second.images[order].tolist() == ["c", "a", "b"]
    assert order.tolist() == [1, 2, 0]


def test_runs_over_different_images_are_refused_with_their_number_and_an_example() -> None:
    with pytest.raises(OutcomesError) as caught:
        align(macro(("a", "b", "c")), macro(("a", "x", "c")))
    assert str(caught.value) == (
        "the runs were tested on different images: 2 are in one of them only, such as b; compare runs over the same "
        "test images"
    )
    with pytest.raises(OutcomesError, match="1 are in one of them only, such as c"):
        align(macro(), Outcomes("retrieval", np.array(["a.tif", "b.tif"]), _retrieval(2)))


def _retrieval(queries: int) -> dict[str, Any]:
    return {"names": np.array(["map20", "map20_binary"]), "precisions": np.tile([0.25, 0.75], (queries, 1))}


# Scores, by hand


def test_macro_scores_of_regions() -> None:
    # All: class 0 has one hit of one predicted and two true, class 1 one hit of two predicted and one true.
    f1 = (2 / 3 + 2 / 3) / 2
    expected = {"precision": 75.0, "recall": 75.0, "f1": 100 * f1, "accuracy": 200 / 3}
    assert macro().score(np.array([0, 1, 2])) == pytest.approx(expected)
    # The first image twice: class 1 is never true.
    assert macro().score(np.array([0, 0]))["recall"] == pytest.approx(100 * (1 / 2 + 0) / 2)


def test_scores_of_pixels_are_of_their_sums() -> None:
    counts = np.array([[[5, 1], [6, 2], [6, 2]], [[4, 3], [4, 4], [5, 3]]])  # right, predicted, true of two classes
    arrays = {"counts": counts, "target": np.array(1), "mean": np.array(False)}
    found = Outcomes("dense", np.array(["a", "b"]), arrays).score(np.array([0, 1]))
    expected = {"precision": 400 / 6, "recall": 80.0, "f1": 800 / 11, "iou": 400 / 7}
    assert found == pytest.approx(expected)
    means = Outcomes("dense", np.array(["a", "b"]), arrays | {"mean": np.array(True)}).score(np.array([0, 0, 1]))
    # Sums: right 14 and 5, predicted 16 and 8, true 17 and 7.
    assert means == pytest.approx({"mean_iou": 50 * (14 / 19 + 5 / 10), "accuracy": 100 * 19 / 24})


def test_average_precision_is_the_mean_of_the_best_precision_at_101_recalls() -> None:
    # Recall 1/3 at precision 1, then 2/3 at 2/3: recalls 0 to 0.33 read 1, 0.34 to 0.66 read 2/3, the rest 0.
    assert precision().score(np.array([0, 1])) == pytest.approx({"ap50": 100 * (34 + 33 * 2 / 3) / 101})
    # The second image twice: wrong, wrong, right, right of four objects. Recalls 0 to 0.50 read 1/2.
    assert precision().score(np.array([1, 1])) == pytest.approx({"ap50": 100 * 51 / 2 / 101})


def test_an_ignored_detection_is_neither_right_nor_wrong() -> None:
    ignored = precision(matches=np.array([[[[1, -1, 1]]]], dtype=np.int8))
    assert ignored.score(np.array([0, 1])) == pytest.approx({"ap50": 100 * 67 / 101})


def test_retrieval_is_the_mean_over_queries() -> None:
    precisions = np.array([[1.0, 0.5], [0.25, 0.0]])
    arrays = {"names": np.array(["map20", "map20_binary"]), "precisions": precisions}
    found = Outcomes("retrieval", np.array(["a", "b"]), arrays).score(np.array([0, 1, 1, 1]))
    assert found == pytest.approx({"map20": 43.75, "map20_binary": 12.5})


def test_what_was_not_drawn_has_no_score() -> None:
    truths = precision(truths=[[[0], [0]], [[0], [2]]])
    assert np.isnan(truths.score(np.array([0]))["ap50"])
    assert np.isfinite(truths.score(np.array([1]))["ap50"])


def test_many_resamplings_at_once_score_as_one_by_one() -> None:
    draws = np.random.default_rng(0).integers(0, 3, (250, 3))
    together = macro().scores(draws)
    assert together.keys() == macro().score(draws[0]).keys()
    assert together["f1"].shape == (250,)
    for row in (0, 99, 100, 249):
        assert macro().score(draws[row]) == {name: values[row] for name, values in together.items()}
