"""`dvbench compare`: a planted difference is found, equal models are not told apart, and bad input is one line."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvbench import cli
from dvbench.training.run_cell import RunCell
from dvbench.verdicts.pairs import compare, named
from reports.ledger import Ledger
from reports.outcomes import Outcomes, keep
from reports.paired import Difference, Verdict
from reports.record import Record
from tests.dvbench.runs_on_paper import run

IMAGES = 100
PROTOCOL = "synthetic_classification"
Command = Callable[..., tuple[int, str, str]]


def hits(share: float, seed: int, images: int = IMAGES, luck: float = 0.1) -> Outcomes:
    """Right on a share of the images: on most of them the same for all, on some by chance."""
    hard = (np.arange(images) + 0.5) / images  # the same images are hard for every run
    by_chance = np.random.default_rng([seed, int(1000 * share)]).normal(0, luck, images)
    true = np.arange(images) % 2
    predicted = np.where(hard + by_chance < share, true, 1 - true)
    names = np.array([f"test/{number}.png" for number in range(images)])
    counts = {"classes": np.array(2), "counts": np.ones(images, dtype=np.int64)}
    return Outcomes("macro", names, {**counts, "true": true, "predicted": predicted})


def put(folder: Path, model: str, outcomes: Outcomes, seed: int = 0, *, fingerprint: str = "ab", place: str = "a card",
        **changed: str) -> Record:  # fmt: skip
    cell = replace(RunCell(model, PROTOCOL, seed=seed), **changed)
    stands: dict[str, Any] = {"basis": {"data": {"fingerprint": fingerprint}}, "here": {"hardware": place}}
    scores = outcomes.score(np.arange(len(outcomes.images)))
    scores = {name: score for name, score in scores.items() if np.isfinite(score)}
    return keep(outcomes, run(cell, **stands, **scores), Ledger(folder / "records"))


def seeds(folder: Path, model: str, share: float, count: int = 3, first: int = 0, **changed: str) -> None:
    for seed in range(count):
        put(folder, model, hits(share, first + seed), seed, **changed)


def found(folder: Path, *words: str, metric: str = "accuracy", margin: float = 1.0) -> list[Difference]:
    groups = named(words, Ledger(folder / "records").records())
    return compare(groups, folder / "records", metric, margin)


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*words: str) -> tuple[int, str, str]:
        code = cli.main(["compare", *words, "--out", str(tmp_path)])
        return code, *capsys.readouterr()

    return command


def test_a_planted_difference_is_found(tmp_path: Path, command: Command) -> None:
    seeds(tmp_path, "resnet18", 0.8)
    seeds(tmp_path, "deit_t16", 0.6, first=10)
    (one,) = found(tmp_path, "resnet18", "deit_t16")
    assert one.verdict == Verdict.BETTER
    assert one.mean == pytest.approx(20, abs=6)
    assert one.low < 20 < one.high
    assert one.image_interval[0] < 20 < one.image_interval[1]
    (back,) = found(tmp_path, "deit_t16", "resnet18")
    assert (back.verdict, back.mean) == (Verdict.WORSE, pytest.approx(-one.mean))
    code, printed, _ = command("resnet18", "deit_t16", "--metric", "accuracy")
    assert code == 0
    assert f"{one.mean:+.2f}" in printed
    assert "better" in printed
    assert "100 test images" in printed
    assert "Reduced scale" in printed


def test_both_scores_stand_beside_their_difference(tmp_path: Path, command: Command) -> None:
    """Of the seeds that both have: 80, 81 and 82 of 100 images right, and 60, 62 and 64."""
    for seed in range(3):
        put(tmp_path, "resnet18", hits(0.8 + seed / 100, 0, luck=0), seed)
        put(tmp_path, "deit_t16", hits(0.6 + seed / 50, 0, luck=0), seed)
    put(tmp_path, "deit_t16", hits(0.1, 0, luck=0), 3)
    code, printed, _ = command("resnet18", "deit_t16", "--metric", "accuracy")
    assert code == 0
    (row,) = [line for line in printed.splitlines() if line.strip().startswith("deit_t16  ")]
    assert re.split(r"\s{2,}", row.strip())[1:4] == ["62.00 ± 2.00", "81.00 ± 1.00", "+19.00"]
    assert "deit_t16: left out, as the other side has no run of that seed: 1." in printed


@pytest.mark.parametrize(("count", "told"), [(3, "no p below 0.25,"), (5, "no p below 0.062,"), (6, "below 0.031.")])
def test_what_sign_flips_of_so_many_seeds_can_show_is_said(
    count: int, told: str, tmp_path: Path, command: Command
) -> None:
    """The least p of k seeds is 2 of 2^k flips; below 5 % from six seeds on."""
    seeds(tmp_path, "resnet18", 0.8, count)
    seeds(tmp_path, "deit_t16", 0.6, count)
    _, printed, _ = command("resnet18", "deit_t16")
    assert told in printed
    assert ("it takes 6 seeds to come below 0.05" in printed) == (count < 6)


def test_a_difference_of_place_is_said(tmp_path: Path, command: Command) -> None:
    put(tmp_path, "resnet18", hits(0.8, 0))
    put(tmp_path, "deit_t16", hits(0.6, 0), place="another card")
    _, printed, _ = command("resnet18", "deit_t16")
    assert "deit_t16: run elsewhere than the first, which may move scores: hardware." in printed


def test_two_groups_of_one_kind_are_not_told_apart(tmp_path: Path) -> None:
    seeds(tmp_path, "resnet18", 0.7)
    seeds(tmp_path, "resnet18", 0.7, first=10, changes='{"epochs": 3}')
    words = ("resnet18", "resnet18 (epochs 3)")
    (one,) = found(tmp_path, *words, margin=0.5)
    assert one.verdict == Verdict.CANNOT_TELL
    assert one.low < 0 < one.high
    assert one.detectable > 0.5
    (wide,) = found(tmp_path, *words, margin=30)
    assert wide.verdict == Verdict.EQUIVALENT


def test_two_runs_speak_of_themselves_and_not_of_their_models(tmp_path: Path) -> None:
    one = put(tmp_path, "resnet18", hits(0.9, 1), seed=1)
    two = put(tmp_path, "resnet18", hits(0.5, 2), seed=2)
    (apart,) = found(tmp_path, one.identity[:12], two.identity[:8])
    assert apart.verdict == Verdict.BETTER
    assert apart.scope.startswith("these two runs, not the models")


def test_images_are_aligned_by_name(tmp_path: Path) -> None:
    outcomes = hits(0.7, 0)
    order = np.random.default_rng(3).permutation(IMAGES)
    shuffled = {name: array[order] if array.ndim else array for name, array in outcomes.arrays.items()}
    put(tmp_path, "resnet18", outcomes)
    put(tmp_path, "deit_t16", Outcomes("macro", outcomes.images[order], shuffled))
    (one,) = found(tmp_path, "resnet18", "deit_t16")
    assert (one.mean, one.image_interval) == (0, (0, 0))
    assert one.verdict == Verdict.EQUIVALENT


def test_several_are_read_together_by_holms_method(tmp_path: Path, command: Command) -> None:
    for model, share in (("resnet18", 0.75), ("deit_t16", 0.72), ("dynamicvis_t", 0.6)):
        seeds(tmp_path, model, share)
    near, far = found(tmp_path, "resnet18", "deit_t16", "dynamicvis_t")
    assert near.adjusted_p >= near.p
    assert far.adjusted_p == pytest.approx(2 * far.p)  # the smaller of two counts twice
    assert "adjusted for the number of comparisons" in command("resnet18", "deit_t16", "dynamicvis_t")[1]


def alone(folder: Path) -> None:
    put(folder, "resnet18", hits(0.7, 0))


def others(folder: Path) -> None:
    alone(folder)
    outcomes = hits(0.6, 0)
    put(folder, "deit_t16", replace(outcomes, images=np.array([f"test/other{i}.png" for i in range(IMAGES)])))


def single(folder: Path) -> None:
    for model in ("resnet18", "deit_t16"):
        put(folder, model, hits(0.7, 0, images=1))


def other_seeds(folder: Path) -> None:
    alone(folder)
    put(folder, "deit_t16", hits(0.6, 0), seed=5)


def twice(folder: Path) -> None:
    for changes in ('{"epochs": 3}', '{"epochs": 4}'):
        put(folder, "resnet18", hits(0.6, 0), changes=changes)
    put(folder, "deit_t16", hits(0.6, 0))


def gone(folder: Path) -> None:
    alone(folder)
    record = put(folder, "deit_t16", hits(0.6, 0))
    next((folder / "records").glob(f"deit_t16*{record.identity[:12]}*.npz")).unlink()


def before(folder: Path) -> None:
    alone(folder)
    record = put(folder, "deit_t16", hits(0.6, 0))
    Ledger(folder / "records").write(replace(record, basis={}))


def damaged(folder: Path) -> None:
    alone(folder)
    record = put(folder, "deit_t16", hits(0.6, 0))
    path = next((folder / "records").glob(f"deit_t16*{record.identity[:12]}*.npz"))
    path.write_bytes(path.read_bytes()[:-40])


def other_split(folder: Path) -> None:
    alone(folder)
    put(folder, "deit_t16", hits(0.6, 0), changes='{"test_split": "val"}')


def other_data(folder: Path) -> None:
    alone(folder)
    put(folder, "deit_t16", hits(0.6, 0), fingerprint="cd")


def elsewhere(folder: Path) -> None:
    alone(folder)
    put(folder, "deit_t16", hits(0.6, 0), protocol="synthetic_semantic")


A, B = "resnet18", "deit_t16"
#: What is wrong -> what there is, what is asked, and the words of the one line.
BAD = {
    "one word": (alone, [A], "give two or more"),
    "nothing there": (lambda _: None, [A, B], "no finished run is named 'resnet18': there is nothing yet"),
    "unknown": (alone, [A, "resnet19"], "no finished run is named 'resnet19': there is resnet18"),
    "the same": (alone, [A, A], "is on both sides"),
    "other images": (others, [A, B], "tested on different images: 200 are in one of them only"),
    "a single image": (single, [A, B], "1 image: no interval over images can be taken"),
    "other seeds": (other_seeds, [A, B], "A has seeds [0], B has [5]: none in common"),
    "ambiguous": (
        twice,
        [A, B],
        "means several experiments on synthetic_classification: name one of 'resnet18 (epochs ",
    ),
    "outcomes gone": (gone, [A, B], "cannot be read (No such file or directory); run it again"),
    "record without outcomes": (before, [A, B], "has no outcomes; run it again with --fresh"),
    "outcomes damaged": (damaged, [A, B], "is not what record"),
    "other test": (
        other_split,
        [A, B],
        "not tested alike: test_split is test for resnet18 and val for deit_t16 (test_split",
    ),
    "other data": (other_data, [A, B], "not tested alike: fingerprint of the data is ab for resnet18 and cd for deit"),
    "other protocol": (elsewhere, [A, B], "no protocol has all of them"),
    "unknown metric": (others, [A, B, "--metric", "ap50"], "has no score 'ap50': choose --metric from"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_compared_is_one_line(what: str, tmp_path: Path, command: Command) -> None:
    prepare, words, told = BAD[what]
    prepare(tmp_path)
    code, _, error = command(*words)
    assert code == 2
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_score_that_is_not_a_number_is_one_line(tmp_path: Path, command: Command) -> None:
    """Of change detection, where no image shows a change and none is found."""
    for model in ("resnet18", "deit_t16"):
        counts = {"counts": np.zeros((3, 3, 2), dtype=np.int64), "target": np.array(1), "mean": np.array(False)}
        names = np.array([f"test/{number}" for number in range(3)])
        put(tmp_path, model, Outcomes("dense", names, counts))
    code, _, error = command("resnet18", "deit_t16", "--metric", "f1")
    assert code == 2
    assert "a run has no score on all 3 images (NaN)" in error


@pytest.mark.slow
def test_three_reduced_runs_of_two_models_are_compared(tmp_path: Path, command: Command) -> None:
    models = ("dynamicvis_t", "resnet18")
    asked = ["run", "classification", "--scale", "smoke", "--model", *models, "--seeds", "3", "--workers", "0"]
    cli.main([*asked, "--out", str(tmp_path)])
    (one,) = found(tmp_path, *models, metric="f1")
    assert one.seeds == (0, 1, 2)
    assert one.images == 96  # of the stand-in's test split
    assert one.low < one.mean < one.high
    records = Ledger(tmp_path / "records").records()
    scores = {(run.cell["model"], run.cell["seed"]): run.measures["f1"].value or 0 for run in records}
    apart = [scores[models[0], seed] - scores[models[1], seed] for seed in range(3)]
    assert one.by_seed == pytest.approx(apart)
    code, printed, _ = command(*models)
    assert code == 0
    assert f"{one.verdict}" in printed
