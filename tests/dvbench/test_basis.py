"""A number stands beside the paper's only if all that makes it that row's number is known and right."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from dvbench.paper.score_rows import Ours, benchmarks
from dvbench.tables.scores import compared, tables
from dvbench.training.run_cell import RunCell
from dvbench.verdicts.basis import RULES, departures
from dvbench.verdicts.experiments import demand
from reports.compare import Verdict
from reports.record import SCHEMA, Measure, Record
from tests.dvbench.runs_on_paper import PRINTED, run, uc_merced

SEEDS = range(3)
UC_MERCED = benchmarks(2)[0]


def changed(**keys: Any) -> dict[str, str]:
    return {"changes": json.dumps(keys)}


def data(**facts: Any) -> dict[str, Any]:
    return {"basis": {"data": {"origin": "genuine", "pinned": True, "split": {"origin": "authors"}, **facts}}}


def weights(**facts: Any) -> dict[str, Any]:
    return {"basis": {"weights": {"name": "a.pth", "sha256": "f" * 64, **facts}}}


#: Kind of run that is not the row's -> what differs in it, and the words that tell a reader.
UNLIKE: Mapping[str, tuple[dict[str, Any], str]] = {
    "drawn data": (data(origin="drawn", words="scenes drawn by dvbench data make"), "drawn by dvbench data make"),
    "images missing": (data(origin="incomplete", words="12 images are missing"), "12 images are missing"),
    "never verified": (data(origin="unverified", words="never verified"), "never verified"),
    "changed data": (data(origin="changed", words="changed since it was verified"), "changed since it was verified"),
    "split by us": (data(split={"origin": "other", "made_by": "seeded split of ours"}), "split: seeded split of ours"),
    "part of the test split": ({"basis": {"outcomes": {"images": 600}}}, "scored on 600 of 630 test images"),
    "fewer epochs": (changed(epochs=1), "epochs 1 instead of 600"),
    "smaller images": (changed(image_size=64), "image_size 64 instead of 512"),
    "other crops": (
        changed(train=[{"name": "resized_crop", "size": 256}, {"name": "auto_augment"}]),
        "train.resized_crop.size 256 instead of 512",
    ),
    "smaller batch": (changed(batch=4), "batch 4 instead of 512"),
    "other step size": (changed(optimiser={"lr": 0.1}), "optimiser.lr 0.1 instead of 0.0004"),
    "other loss": (changed(losses={"balance": 0.1}), "losses.balance 0.1 instead of not set"),
    "no mixing": (changed(mix=None), "mix.name not set instead of mixup_or_cutmix"),
    "other precision": (changed(precision="bf16"), "precision bf16 instead of fp32"),
    "picked on validation": ({"variant": "clean"}, "picked on a validation split"),
    "other weights": (weights(kind="unknown"), "started from weights (a.pth), the row from none"),
    "stopped early": ({"basis": {"epochs": 40}}, "stopped after 40 of 600 epochs"),
    "other steps": ({"basis": {"batch": 64}}, "steps of 64 images instead of 512"),
    "computed in bf16": ({"basis": {"precision": "bf16"}}, "computed in bf16 instead of fp32"),
    "dirty code": ({"here": {"git_dirty": True}}, "changes that commit cccccccccc does not hold"),
    "other evaluator": ({"here": {"evaluator": "somebody's 2.0"}}, "scored by somebody's 2.0"),
    "unreadable protocol": ({"here": {"protocol": "{"}}, "does not say by which protocol"),
    "two at once": (changed(epochs=1) | {"here": {"git_dirty": True}}, "epochs 1 instead of 600"),
}


def lines(records: list[Record]) -> dict[str, dict[str, str]]:
    (_, table) = tables(2, records)[0]
    return {line[0]: dict(zip(table.columns, line, strict=True)) for line in table.rows}


def test_seeds_of_the_published_experiment_stand_in_its_row() -> None:
    row = lines([uc_merced(seed) for seed in SEEDS])["ResNet-18"]
    assert row["uc_merced_f1, paper | ours"].startswith("87.40 | 87.40 (")
    assert "3 seeds" in row["uc_merced_f1, paper | ours"]
    assert row["verdict"] == Verdict.REPRODUCED
    assert row["aid_f1, paper | ours"] == "88.30"


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_run_that_is_not_the_rows_gets_a_row_of_its_own_and_says_why(kind: str) -> None:
    spoilt, words = UNLIKE[kind]
    found = lines([uc_merced(seed, **spoilt) for seed in SEEDS])
    assert found["ResNet-18"]["verdict"] == Verdict.NOT_RUN
    assert found["ResNet-18"]["uc_merced_f1, paper | ours"] == "87.40"
    (own,) = [name for name in found if name.startswith("ResNet-18: uc_merced")]
    assert found[own]["verdict"] == Verdict.NOT_COMPARABLE
    assert words in found[own]["why"]
    assert "87.40 |" not in found[own]["uc_merced_f1, paper | ours"]


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_run_that_is_not_the_rows_is_pooled_with_none_that_is(kind: str) -> None:
    spoilt, _ = UNLIKE[kind]
    good = [uc_merced(seed) for seed in SEEDS]
    found = lines([*good, uc_merced(3, **spoilt)])
    assert found["ResNet-18"] == lines(good)["ResNet-18"]
    assert any("1 seed" in name for name in found)


@pytest.mark.parametrize("kind", UNLIKE)
def test_no_number_of_it_is_ever_reproduced_or_differs(kind: str) -> None:
    spoilt, _ = UNLIKE[kind]
    for number in (2, 15, 16, 17, 18, 19):
        found = [] if number > 2 else compared(number, [uc_merced(seed, **spoilt) for seed in SEEDS])
        assert not {one.verdict for one in found} & {Verdict.REPRODUCED, Verdict.DIFFERS}
    assert all(one.paper is None for one in compared(2, [uc_merced(**spoilt)]) if one.ours is not None)


def test_two_departures_are_both_named() -> None:
    spoilt, _ = UNLIKE["two at once"]
    (own,) = [row for name, row in lines([uc_merced(**spoilt)]).items() if ": uc_merced" in name]
    assert "epochs 1 instead of 600" in own["why"]
    assert "changes that commit" in own["why"]


def test_a_flaw_of_one_seed_is_a_flaw_of_the_mean() -> None:
    runs = [uc_merced(0), uc_merced(1, here={"git_dirty": True})]
    (own,) = [row for name, row in lines(runs).items() if ": uc_merced" in name]
    assert own["verdict"] == Verdict.NOT_COMPARABLE
    assert "changes that commit" in own["why"]


def test_a_record_of_an_older_schema_has_an_unknown_basis() -> None:
    old = replace(uc_merced(), basis={}, schema=1)
    (own,) = [row for name, row in lines([old]).items() if ": uc_merced" in name]
    assert own["verdict"] == Verdict.NOT_COMPARABLE
    assert f"(schema 1, now {SCHEMA}) does not say what it rests on" in own["why"]


def test_variants_get_rows_of_their_own_and_the_released_one_stands_in_the_papers() -> None:
    runs = [uc_merced(seed, variant=variant) for seed in SEEDS for variant in ("paper", "released")]
    found = lines(runs)
    assert "3 seeds" in found["ResNet-18"]["uc_merced_f1, paper | ours"]
    assert found["ResNet-18: uc_merced, paper, 3 seeds"]["verdict"] == Verdict.REPRODUCED
    assert "variant paper" in found["ResNet-18: uc_merced, paper, 3 seeds"]["why"]


def test_the_papers_variant_stands_in_the_row_where_only_it_was_run_and_is_named() -> None:
    row = lines([uc_merced(seed, variant="paper") for seed in SEEDS])["ResNet-18"]
    assert row["verdict"] == Verdict.REPRODUCED
    assert "variant paper" in row["why"]


def test_a_model_that_is_no_row_is_told_and_not_hidden() -> None:
    cell = RunCell("dynamicvis_t", "uc_merced", "full")
    found = lines([run(cell, **PRINTED)])
    (own,) = [row for name, row in found.items() if name.startswith("dynamicvis_t: uc_merced")]
    assert own["verdict"] == Verdict.NOT_COMPARABLE
    assert "no row of this table is dynamicvis_t" in own["why"]


def test_a_score_that_is_missing_is_no_verdict() -> None:
    broken = uc_merced()
    measures = {**broken.measures, "f1": Measure(None, "%", "measured")}
    row = lines([replace(broken, measures=measures)])["ResNet-18"]
    assert row["verdict"] == Verdict.INCONCLUSIVE
    assert "a score is missing or not a number" in row["why"]


def pretraining(protocol: str = "fmow", **basis: Any) -> Record:
    """Make a run of ours that left the weights which `weights()` tells."""
    return run(RunCell("dynamicvis_b", protocol, "full"), basis={"checkpoint": "f" * 64, **basis}, f1=60.0)


@pytest.mark.parametrize(
    ("start", "others", "words", "stands"),
    [
        ({"kind": "authors"}, [], "", True),
        ({"kind": "unknown"}, [], "weights of unknown origin: a.pth, SHA-256 ffffffffffff", False),
        ({"kind": "unknown"}, [uc_merced()], "weights of unknown origin", False),
        ({"kind": "authors", "missing": ["backbone.x"]}, [], "1 value of the backbone was not in the weights", False),
        ({"kind": "unknown"}, [pretraining()], "pretrained by us (record ", True),
        ({"kind": "unknown"}, [pretraining(epochs=3)], "that is not the paper's: stopped after 3", False),
        ({"kind": "unknown"}, [pretraining("aid")], "that is not the paper's: aid instead of fmow", False),
    ],
)
def test_a_pretrained_row_asks_where_its_weights_come_from(
    start: Mapping[str, Any], others: list[Record], words: str, stands: bool
) -> None:
    cell = RunCell("dynamicvis_b", "uc_merced", "full", weights="a.pth", weights_hash="f" * 12)
    made = run(cell, **weights(**start), **PRINTED)
    found = departures(demand(UC_MERCED, Ours("dynamicvis_b", pretrained=True), "released"), made, others)
    assert (not any(one.disqualifies for one in found)) == stands
    assert words in "; ".join(one.words for one in found)


def test_a_pretrained_row_is_not_run_from_random_weights() -> None:
    wanted = demand(UC_MERCED, Ours("dynamicvis_b", pretrained=True), "released")
    found = departures(wanted, run(RunCell("dynamicvis_b", "uc_merced", "full"), **PRINTED))
    assert [one.words for one in found if one.disqualifies] == [
        "started from random weights, the row from published ones"
    ]


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        (data(pinned=False, how="counts and sizes as published"), "data: counts and sizes as published"),
        ({"here": {"git_commit": None, "dvbench": "1.0"}}, "installed dvbench 1.0, no commit"),
        ({"basis": {"devices": 1, "at_once": 64}}, "1 device, 64 images at once"),
        ({"here": {"tf32_matmul": True}}, "products rounded to TF32"),
    ],
)
def test_what_a_score_does_not_depend_on_is_noted_and_stands(noted: dict[str, Any], words: str) -> None:
    row = lines([uc_merced(seed, **noted) for seed in SEEDS])["ResNet-18"]
    assert row["verdict"] == Verdict.REPRODUCED
    assert f"noted: {words}" in row["why"]


def test_every_rule_gives_its_reason_and_each_has_been_seen_to_find_something() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.why for rule in RULES)
    spoilers: list[Callable[[], Record]] = [lambda one=one: uc_merced(**one[0]) for one in UNLIKE.values()]
    wanted = demand(UC_MERCED, Ours("resnet18"), "released")
    seen = {one.rule for made in spoilers for one in departures(wanted, made())}
    seen |= {one.rule for one in departures(wanted, replace(uc_merced(), basis={}, schema=1))}
    seen |= {one.rule for one in departures(wanted, uc_merced(model="resnet50"))}
    seen |= {one.rule for one in departures(wanted, uc_merced(scale="smoke"))}
    seen |= {one.rule for one in departures(wanted, uc_merced(**data(pinned=False)))}
    noted = {"git_commit": None, "tf32_matmul": True}
    seen |= {one.rule for one in departures(wanted, uc_merced(here=noted, basis={"devices": 1}))}
    start = RunCell("dynamicvis_b", "uc_merced", "full", weights="a.pth", weights_hash="f" * 12)
    own = run(start, **weights(kind="unknown"))
    pretrained = demand(UC_MERCED, Ours("dynamicvis_b", pretrained=True), "released")
    seen |= {one.rule for one in departures(pretrained, own, [pretraining()])}
    assert seen == {rule.name for rule in RULES}
