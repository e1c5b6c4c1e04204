"""Protocols: all of them hold together, say what is published, and name what is wrong with them."""

import pytest
import torch
from torchvision import tv_tensors

from dvbench.data.augment import augmentation
from dvbench.data.tiles import GRIDS
from dvbench.training.batches import Source
from models.zoo import ZOO, build
from tasks import protocol
from tasks.protocol import Noise, Protocol, ProtocolError, Schedule, Step, parse
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
RESIZING = ("resize", "resize_to_fit")
#: Weights of a pixel at 1/4, 3/4, 5/4 and 7/4 px from its centre, in 256ths. Bicubic is (a + 2)x³ - (a + 3)x² + 1 up to
#: 1 px, and a(x³ - 5x² + 8x - 4) up to 2 px, with a = -0.75 in OpenCV and -0.5 in Pillow.
OPENCV, PILLOW, LINEAR = (225, 67, -27, -9), (222, 58, -18, -6), (192, 64, 0, 0)
#: name: how test_pipeline of the released configuration resizes.
RESIZED = {
    "uc_merced": PILLOW,  # Resize of mmpretrain, backend pillow, interpolation bicubic
    "aid": PILLOW,
    "levir_ship": LINEAR,  # Resize of mmcv, which is bilinear where nothing is said, as in the next four
    "nwpu_vhr10": LINEAR,
    "ssdd": LINEAR,
    "massachusetts_roads": LINEAR,
    "whu_building": LINEAR,
    "levir_cd": OPENCV,  # MultiImgResize, interpolation bicubic
    "whu_cd": OPENCV,
    "oscd": OPENCV,
    "fmow": LINEAR,  # Resize of mmcv
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
            [step.options.get("size") for step in getattr(one, part) if step.name not in RESIZING]
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


def enlarged(step: Step) -> list[int]:
    """What becomes of a row with one bright pixel among dark ones when an image is enlarged to twice its size."""
    image = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    image[..., 4] = 200
    made = augmentation(step.name, **step.options | {"size": 16})({"image": tv_tensors.Image(image)})["image"]
    row: list[int] = made[2, 8].tolist()
    return row


def by_hand(weights: tuple[int, ...]) -> list[int]:
    values = [100 + round(100 * weight / 256) for weight in weights]
    return [100] * 5 + values[::-1] + values + [100] * 3


@pytest.mark.parametrize("name", RESIZED)
def test_test_images_are_resized_as_the_authors_configure_it(name: str) -> None:
    assert enlarged(protocol.load(name).test[0]) == by_hand(RESIZED[name])


def test_roads_are_enlarged_bicubically_for_training() -> None:
    """train_pipeline of dynamicvis_b_2X_massachusetts_mamba.py: Resize of mmcv, interpolation bicubic."""
    assert enlarged(protocol.load("massachusetts_roads").train[0]) == by_hand(OPENCV)


#: dynamicvis_b_2X_whu_mamba.py names no interpolation for RandomResize, and that of mmcv's Resize is bilinear.
@pytest.mark.parametrize("size", ["1x", "2x"])
def test_buildings_are_jittered_bilinearly(size: str) -> None:
    assert protocol.load("whu_building", size).train[0].options["interpolation"] == "bilinear"


def test_tiles_of_oscd_overlap_in_the_paper_but_not_as_released() -> None:
    """The grid index is multiplied by clip_size, not by stride_size (tools_data/OSCD/oscd_slice.py)."""
    released, paper = (protocol.load("oscd", name).dataset_options["grid"] for name in ("released", "paper"))
    assert GRIDS[released].starts(600) == (0, 256, 344)
    assert GRIDS[paper].starts(600) == (0, 128, 256, 344)


def test_boxes_of_fmow_are_left_out_by_the_authors_rule_as_released_only() -> None:
    assert protocol.load("fmow").dataset_options == {"left_out": "raw_location"}
    assert protocol.load("fmow", "paper").dataset_options == {"left_out": "context"}


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
    # The 20 steps of the warm-up are 19 apart (mmengine 0.10.7, LinearParamScheduler: total_iters = end - begin - 1).
    assert rates[0] == pytest.approx(0.001)
    assert rates[10] == pytest.approx(0.001 + 0.999 * 10 / 19)
    assert rates[18:21] == pytest.approx([0.001 + 0.999 * 18 / 19, 1, 1])
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
