"""Protocols: all of them hold together, say what is published, and name what is wrong with them."""

import pytest
import torch

from dvbench.data.augment import augmentation
from dvbench.training.batches import Source
from models.zoo import ZOO, build
from tasks import protocol
from tasks.protocol import Noise, Protocol, ProtocolError, Schedule, parse
from tasks.roster import task
from tasks.task import NonFiniteLossError, Task, rate
from tests.tasks import made_up

SETS = ((), ("paper",), ("clean",), ("dynamicvis_l", "paper"))
LEAST = "dataset: aid\ntask: detection\nsmoke: x\nimage_size: 64\ntrain: []\ntest: []\noptimiser: {lr: 1}\nepochs: 1\n"
LEAST += "batch: 1\nselect: {metric: ap50, split: test}\n"
#: name: (learning rate, epochs, batch on 8 GPUs) of the released configurations.
PUBLISHED = {
    "uc_merced": (4e-4, 600, 512),
    "aid": (4e-4, 500, 512),
    "levir_ship": (2e-4, 600, 64),
    "nwpu_vhr10": (1e-4, 800, 64),
    "ssdd": (1e-4, 800, 64),
    "massachusetts_roads": (1e-3, 1200, 64),
    "whu_building": (1e-3, 800, 64),
    "levir_cd": (5e-4, 800, 32),
    "whu_cd": (5e-4, 600, 64),
    "oscd": (4e-4, 600, 32),
    "fmow": (4e-4, 200, 512),
}


@pytest.mark.parametrize("name", protocol.names())
@pytest.mark.parametrize("overrides", SETS)
def test_every_protocol_holds_together(name: str, overrides: tuple[str, ...]) -> None:
    chosen = protocol.load(name, *overrides)
    for step in (*chosen.train, *chosen.test, *([chosen.mix] if chosen.mix else [])):
        augmentation(step.name, **step.options)
    source = Source(chosen)
    for split in (chosen.train_split, chosen.test_split, chosen.select.split):
        source.card.split(split.partition("[")[0])
    assert protocol.load(chosen.smoke).smoke == chosen.smoke
    assert set(chosen.models) <= ZOO.keys()
    with torch.device("meta"):
        made = task(chosen.task)(build("dynamicvis_t"), source.problem, chosen)
    assert chosen.losses.keys() <= set(made.LOSSES)
    if chosen.mix:
        assert chosen.mix.options["classes"] == len(source.problem.classes)


@pytest.mark.parametrize("name", [name for name in protocol.names() if protocol.load(name).upsampling == "2x"])
def test_both_input_sizes_are_defined_where_the_paper_has_both(name: str) -> None:
    if name == "levir_ship":  # table 3 has one
        return
    once, twice = protocol.load(name, "1x"), protocol.load(name, "2x")
    assert twice.image_size == 2 * once.image_size
    assert once.upsampling == "1x"


@pytest.mark.parametrize("name", ["levir_cd", "massachusetts_roads", "whu_cd"])
def test_another_input_size_scales_what_1x_and_2x_differ_in(name: str) -> None:
    once = protocol.load(name, "1x")
    changed = protocol.load(name, "2x", changes={"image_size": once.image_size})
    assert changed.window == once.window
    for part in ("train", "test"):
        sizes = [
            [step.options.get("size") for step in getattr(one, part) if step.name != "resize"]
            for one in (once, changed)
        ]
        assert sizes[0] == sizes[1]


def test_another_input_size_is_what_the_network_sees_unless_a_step_is_given_too() -> None:
    changed = protocol.load("uc_merced", changes={"image_size": 64})
    assert [step.options["size"] for step in (changed.train[0], changed.test[0])] == [64, 64]
    test = [{"name": "resize", "size": 96}]
    assert protocol.load("uc_merced", changes={"image_size": 64, "test": test}).test[0].options["size"] == 96


@pytest.mark.parametrize("name", PUBLISHED)
def test_released_numbers_are_those_of_the_authors(name: str) -> None:
    chosen = protocol.load(name)
    assert (chosen.optimiser.lr, chosen.epochs, chosen.batch) == PUBLISHED[name]
    assert chosen.optimiser.weight_decay == 0.05


def test_the_clean_variant_never_selects_on_the_test_split() -> None:
    for name in PUBLISHED:
        assert protocol.load(name).select.split == "test"
        clean = protocol.load(name, "clean")
        assert clean.select.split != clean.test_split


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LEAST + "epohcs: 3\n", r"protocol mine: epohcs: Extra inputs"),
        (LEAST.replace("lr: 1", "lr: 1, momentum: 2"), r"optimiser\.momentum"),
        (LEAST.replace("image_size: 64", "image_size: 65"), r"image_size: .*multiple of 32"),
        (LEAST.replace("batch: 1\n", ""), r"batch: Field required"),
        (LEAST + "overrides: {paper: {epochs: -1}}\n", r"mine, overrides\.paper: epochs"),
        (LEAST + "overrides: [1]\n", "mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(text: str, told: str) -> None:
    with pytest.raises(ProtocolError, match=told) as caught:
        parse("mine", text)
    assert "\n" not in str(caught.value)


def test_overrides_are_merged_key_by_key_and_changes_come_last() -> None:
    text = LEAST + "head: {a: 1, b: 2}\noverrides: {paper: {head: {b: 3}, epochs: 5}}\n"
    chosen = parse("mine", text, "paper", changes={"epochs": 7})
    assert chosen.head == {"a": 1, "b": 3}
    assert chosen.epochs == 7
    with pytest.raises(ProtocolError, match="input size 2x is not defined"):
        parse("mine", text, "2x")
    with pytest.raises(ProtocolError, match="there is no protocol 'nowhere'"):
        protocol.load("nowhere")


def test_noise_falls_from_its_scale_to_its_end() -> None:
    noise = Noise(kind="decay", scale=0.1, final=0.0001)
    assert [noise.at(0), noise.at(1)] == pytest.approx([0.1, 0.0001])
    assert noise.at(0.5) == pytest.approx(0.05005)
    assert Noise(kind="fixed", scale=0.3).at(0.7) == 0.3
    assert Noise(kind="none").at(0.2) == 0


def test_the_rate_rises_by_step_and_falls_by_epoch() -> None:
    schedule = Schedule(warmup_epochs=2, warmup_factor=0.001, minimum=0.1)
    rates = [rate(schedule, step, 10, 12) for step in range(120)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[10] == pytest.approx(0.5005)
    assert rates[20] == 1
    assert len(set(rates[20:30])) == 1
    assert rates[70] == pytest.approx(0.55)
    assert rates[119] == pytest.approx(0.1 + 0.9 * (1 + torch.cos(torch.tensor(torch.pi * 0.9)).item()) / 2, abs=1e-6)
    assert rates[20:] == sorted(rates[20:], reverse=True)


def small(**keys: object) -> Task:
    chosen: Protocol = made_up.protocol("classification", **keys)
    from tasks.classification import Classification
    from tasks.task import Problem

    return Classification(made_up.backbone("dynamicvis_t"), Problem(("a", "b")), chosen, pretrained=True)


def test_a_pretrained_model_keeps_its_first_stages_but_not_its_positions() -> None:
    made = small(frozen_stages=1)
    frozen = {name for name, parameter in made.backbone.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith("stages.0.") for name in frozen)
    assert made.backbone.position.weight.requires_grad


def test_a_loss_that_is_not_finite_names_step_images_and_terms() -> None:
    made = small()
    batch = {
        "image": torch.full((2, 3, 64, 64), torch.nan),
        "label": torch.tensor([0, 1]),
        "index": torch.tensor([4, 9]),
    }
    with pytest.raises(NonFiniteLossError, match=r"epoch 0, batch 3 \(images \[4, 9\]\): classification nan"):
        made.training_step(batch, 3)
