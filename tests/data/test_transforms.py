"""What goes into the network has the units, the bands and the keys that it was promised."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dvbench.data.augment import augmentation
from dvbench.data.card import Card
from dvbench.data.cards.change import LEVIR_CD
from dvbench.data.cards.detection import NEON_TREES
from dvbench.data.cards.instance import SSDD
from dvbench.data.cards.retrieval import BIGEARTHNET
from dvbench.data.cards.semantic import WHU_BUILDING
from dvbench.data.transforms import BYTE_STATISTICS, Sample, UnitsError, check_units, pipeline


def grey(level: float = 100.0, *shape: int) -> Tensor:
    return torch.full(shape or (3, 16, 24), level)


def test_units_that_agree_pass_unchanged() -> None:
    sample = {"image": grey(), "label": torch.tensor(1)}
    assert check_units(NEON_TREES)(sample) is sample


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (grey() / 255, "as if divided"),
        (torch.rand(3, 16, 24), "as if divided"),
        (grey(1000.0), "values from 1000 to 1000, expected 0 to 255"),
        (grey(-1.0), "values from -1"),
        (grey(float("nan")), "nan"),
        (grey().to(torch.uint8), "torch.uint8"),
        (grey(100.0, 4, 16, 24), r"\(4, 16, 24\), expected torch.float32 \(3, H, W\) of red, green, blue"),
        (grey(100.0, 2, 3, 16, 24), r"\(2, 3, 16, 24\)"),
    ],
)
def test_an_image_that_disagrees_with_its_card_is_refused(image: Tensor, said: str) -> None:
    with pytest.raises(UnitsError, match=said) as caught:
        check_units(NEON_TREES)({"image": image, "filename": "a.png"})
    assert "neon_trees, a.png" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan")])
def test_one_bad_pixel_is_enough(value: float) -> None:
    image = grey()
    image[1, 3, 5] = value
    with pytest.raises(UnitsError, match=f"{value:g}.*, expected 0 to 255"):
        check_units(NEON_TREES)({"image": image})


def test_black_and_white_masks_of_zero_and_one_are_images_too() -> None:
    check_units(NEON_TREES)({"image": grey(0.0)})
    check_units(NEON_TREES)({"image": grey(1.0)})


def test_memory_order_does_not_matter() -> None:
    image = torch.full((16, 24, 3), 300.0).permute(2, 0, 1)
    with pytest.raises(UnitsError, match="300"):
        check_units(NEON_TREES)({"image": image})


def test_change_needs_two_dates() -> None:
    check_units(LEVIR_CD)({"image": grey(100.0, 2, 3, 16, 24)})
    with pytest.raises(UnitsError, match=r"\(2, 3, H, W\)"):
        check_units(LEVIR_CD)({"image": grey()})


def test_bands_are_picked_by_name() -> None:
    image = torch.arange(len(BIGEARTHNET.bands)).float()[:, None, None].expand(-1, 8, 8)
    wanted = ("B04", "B03", "B02")
    out = pipeline(BIGEARTHNET, bands=wanted, statistics=((0, 0, 0), (1, 1, 1)))({"image": image})["image"]
    assert out[:, 0, 0].tolist() == [BIGEARTHNET.bands.index(band) for band in wanted]


def test_colours_in_another_order_are_put_right() -> None:
    card = replace(NEON_TREES, bands=("blue", "green", "red"))
    image = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(-1, 8, 8)
    out = pipeline(card, statistics=((0, 0, 0), (1, 1, 1)))({"image": image})["image"]
    assert out[:, 0, 0].tolist() == [3, 2, 1]


def test_bands_and_statistics_are_never_guessed() -> None:
    with pytest.raises(UnitsError, match="bigearthnet has no band 'red'; choose among B01"):
        pipeline(BIGEARTHNET)
    with pytest.raises(UnitsError, match="give their mean and deviation"):
        pipeline(BIGEARTHNET, bands=("B04", "B03", "B02"))
    with pytest.raises(UnitsError, match="give their mean and deviation"):
        pipeline(NEON_TREES, bands=("blue", "green", "red"))


def test_eight_bit_images_are_normalised_in_their_own_scale() -> None:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in BYTE_STATISTICS)
    image = torch.randint(0, 256, (3, 16, 24)).float()
    out = pipeline(NEON_TREES)({"image": image})["image"]
    torch.testing.assert_close(out, (image - mean) / deviation)
    assert type(out) is Tensor


@pytest.mark.parametrize("card", [NEON_TREES, BIGEARTHNET], ids=lambda card: card.name)
def test_the_sample_of_the_dataset_is_left_alone(card: Card) -> None:
    image = torch.randint(0, 200, (len(card.bands), 8, 8)).float()
    before = image.clone()
    count = len(card.bands)
    pipeline(card, bands=card.bands, statistics=([100] * count, [50] * count))({"image": image})
    assert torch.equal(image, before)


def instance() -> Sample:
    masks = torch.zeros(2, 16, 24, dtype=torch.uint8)
    masks[0, 2:6, 3:9] = masks[1, 10:14, 12:20] = 1
    boxes = torch.tensor([[3.0, 2, 9, 6], [12, 10, 20, 14]])
    return {"image": grey(), "bbox_xyxy": boxes, "label": torch.tensor([1, 1]), "mask": masks, "filename": "a.png"}


def test_keys_and_types_stay_those_of_the_task() -> None:
    given = instance()
    out = pipeline(SSDD, augmentation("horizontal_flip", p=1.0))(given)
    assert out.keys() == given.keys() | {"size"}
    assert out["size"].tolist() == [16, 24]
    assert out["filename"] == "a.png"
    for key in given.keys() - {"filename"}:
        assert type(out[key]) is Tensor
        assert (out[key].dtype, out[key].shape) == (given[key].dtype, given[key].shape)


def test_semantic_masks_come_back_as_classes() -> None:
    mask = torch.randint(0, 2, (16, 24))
    mask[0] = 255
    out = pipeline(WHU_BUILDING)({"image": grey(), "mask": mask})
    assert out["mask"].dtype == torch.int64
    assert torch.equal(out["mask"], mask)


def test_targets_can_stay_where_scores_are_taken() -> None:
    given = instance()
    out = pipeline(SSDD, augmentation("resize", size=32), keep_targets=True)(given)
    assert out["image"].shape == (3, 32, 32)
    for key in ("bbox_xyxy", "mask"):
        assert torch.equal(out[key], given[key])


def test_what_only_scores_ask_for_stays_with_the_targets_and_is_left_behind_without() -> None:
    """Boxes are left out and moved while training, and areas and crowds do not follow."""
    crowd = {"bbox_xyxy": torch.tensor([[0.0, 0, 24, 8]]), "label": torch.tensor([1]), "area": torch.tensor([192.0])}
    given = instance() | {"area": torch.tensor([24.0, 32.0]), "crowd": crowd}
    scored = pipeline(SSDD, augmentation("resize", size=32), keep_targets=True)(given)
    assert scored["area"].tolist() == [24, 32]
    assert scored["crowd"]["bbox_xyxy"].tolist() == [[0, 0, 24, 8]]
    assert not {"area", "crowd"} & pipeline(SSDD, augmentation("resize", size=32))(given).keys()


def test_steps_see_bytes_that_torchvision_understands() -> None:
    seen: list[Sample] = []

    class Look(torch.nn.Module):
        def forward(self, sample: Sample) -> Sample:
            seen.append(sample)
            return sample

    pipeline(SSDD, Look())(instance())
    kinds = {key: (type(value), value.dtype) for key, value in seen[0].items() if key != "filename"}
    assert kinds["image"] == (tv_tensors.Image, torch.uint8)
    assert kinds["mask"] == (tv_tensors.Mask, torch.uint8)
    assert kinds["bbox_xyxy"] == (tv_tensors.BoundingBoxes, torch.float32)


def test_a_pipeline_can_be_sent_to_another_process() -> None:
    steps = (v2.Resize((8, 8)), augmentation("random_crop", size=8), augmentation("photometric_distortion"))
    transforms = pickle.loads(pickle.dumps(pipeline(NEON_TREES, *steps)))  # noqa: S301 - our own
    given = instance()
    del given["mask"]
    assert transforms(given)["image"].shape == (3, 8, 8)
