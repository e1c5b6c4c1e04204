"""Image, boxes and masks move together, and colours change as the paper's training did."""

import colorsys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from dvbench.data.augment import AUGMENTATIONS, AugmentationError, augmentation
from dvbench.data.card import Task
from dvbench.data.cards.change import LEVIR_CD
from dvbench.data.cards.detection import NEON_TREES
from dvbench.data.cards.instance import SSDD
from dvbench.data.cards.retrieval import BIGEARTHNET
from dvbench.data.cards.semantic import WHU_BUILDING
from dvbench.data.cards.synthetic import SYNTHETIC
from dvbench.data.colour import Distortion, PhotometricDistortion
from dvbench.data.geometry import RandomCrop
from dvbench.data.transforms import Sample, UnitsError, pipeline

NEUTRAL = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # so that pictures come out in bytes
CLASSIFICATION = next(card for card in SYNTHETIC if card.task is Task.CLASSIFICATION)


def raw(card: Any, *steps: nn.Module) -> v2.Compose:
    return pipeline(card, *steps, statistics=NEUTRAL)


def blocks(height: int = 96, width: int = 128) -> Sample:
    """Bright blocks on black, one in each colour band, with box and mask."""
    places = [(8, 10, 40, 30), (60, 50, 120, 90), (70, 5, 90, 25)]  # left, top, right, bottom
    image = torch.zeros(3, height, width)
    masks = torch.zeros(3, height, width, dtype=torch.uint8)
    for band, (left, top, right, bottom) in enumerate(places):
        image[band, top:bottom, left:right] = 255
        masks[band, top:bottom, left:right] = 1
    return {
        "image": image,
        "bbox_xyxy": torch.tensor(places).float(),
        "label": torch.tensor([1, 2, 3]),
        "mask": masks,
    }


def extent(seen: Tensor) -> list[int]:
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


GEOMETRY = [
    [("horizontal_flip", {"p": 1.0}), ("vertical_flip", {"p": 1.0})],
    [("resize", {"size": 192})],
    [("resize_to_fit", {"size": 256})],
    [("large_scale_jitter", {"size": 96, "scale": [0.5, 1.8], "interpolation": "bicubic"})],
    [("large_scale_jitter", {"size": 96, "scale": (0.5, 1.8)}), ("random_crop", {"size": 64}), ("pad", {"size": 64})],
    [("random_crop", {"size": 60})],
    [("pad", {"size": 200, "fill": 0})],
]


@pytest.mark.parametrize("steps", GEOMETRY, ids=lambda steps: "+".join(name for name, _ in steps))
@pytest.mark.parametrize("seed", range(5))
def test_boxes_and_masks_stay_on_their_objects(steps: list[tuple[str, dict[str, Any]]], seed: int) -> None:
    torch.manual_seed(seed)
    out = raw(SSDD, *(augmentation(name, **options) for name, options in steps))(blocks())
    assert len(out["bbox_xyxy"]) == len(out["label"]) == len(out["mask"])
    mean = torch.tensor((124.0, 116.0, 104.0))[:, None, None]
    picture = torch.where((out["image"] == mean).all(0), 0.0, out["image"])  # without the padding
    for box, label, mask in zip(out["bbox_xyxy"], out["label"], out["mask"], strict=True):
        bright = picture[label - 1] > 127
        assert mask.shape == bright.shape
        for told in (box, torch.tensor(extent(mask)).float()):  # masks are not interpolated, hence up to 1 px
            torch.testing.assert_close(torch.tensor(extent(bright)).float(), told, atol=1.01, rtol=0)


def test_boxes_are_cut_and_lost_as_the_window_shows_them() -> None:
    lost = 0
    for seed in range(20):
        torch.manual_seed(seed)
        out = raw(SSDD, augmentation("random_crop", size=40))(blocks())
        assert out["image"].shape == (3, 40, 40)
        seen = [band + 1 for band in range(3) if (out["image"][band] > 0).any()]
        assert set(out["label"].tolist()) <= set(seen)
        for box, label in zip(out["bbox_xyxy"], out["label"], strict=True):
            assert box.tolist() == extent(out["image"][label - 1] > 0)
        lost += 3 - len(out["label"])
    assert lost > 0


def test_a_crop_may_be_empty() -> None:
    sample = blocks() | {"image": torch.zeros(3, 96, 128)}
    sample["mask"] = torch.zeros_like(sample["mask"])
    out = raw(SSDD, augmentation("random_crop", size=40))(sample)
    assert out["bbox_xyxy"].shape == (0, 4)
    assert out["mask"].shape == (0, 40, 40)
    assert raw(SSDD, augmentation("large_scale_jitter", size=64, scale=(0.5, 0.6)))(out)["mask"].shape[0] == 0


def test_boxes_without_masks_are_clipped() -> None:
    sample = {"image": torch.zeros(3, 50, 50), "bbox_xyxy": torch.tensor([[-5.0, 10, 60, 20]]), "label": torch.ones(1)}
    out = raw(NEON_TREES, augmentation("random_crop", size=50))(sample)
    assert out["bbox_xyxy"].tolist() == [[0, 10, 50, 20]]


def test_a_small_image_is_cropped_no_smaller() -> None:
    out = raw(SSDD, augmentation("random_crop", size=100))(blocks())
    assert out["image"].shape == (3, 96, 100)


def test_only_boxes_longer_than_the_limit_on_both_sides_stay() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 20], [0, 0, 8.01, 20], [0, 0, 20, 7], [-5, 0, 9, 60], [-5, 0, 7, 9]])
    sample = {"image": torch.zeros(3, 50, 50), "bbox_xyxy": boxes, "label": torch.arange(5)}
    out = raw(NEON_TREES, augmentation("drop_small_boxes", side=8))(sample)
    assert out["label"].tolist() == [1, 3]
    assert out["bbox_xyxy"][1].tolist() == [0, 0, 9, 50]  # only what is inside the image counts


def test_instances_are_padded_with_nothing_and_classes_with_ignore() -> None:
    out = raw(SSDD, augmentation("pad", size=200))(blocks())
    assert out["mask"][:, 150:].sum() == 0
    assert out["image"][:, -1, -1].tolist() == [124, 116, 104]  # the mean, which normalises to about 0
    out = raw(WHU_BUILDING, augmentation("pad", size=200))(semantic())
    assert (out["mask"][150:] == 255).all()


def semantic(share: float = 0.5) -> Sample:
    """The left `share` of the image is of class 1, and bright."""
    mask = torch.zeros(64, 64, dtype=torch.int64)
    mask[:, : int(64 * share)] = 1
    return {"image": (mask * 255).float().expand(3, -1, -1).clone(), "mask": mask}


def test_rotation_fills_black_and_ignores_it() -> None:
    torch.manual_seed(1)
    out = raw(WHU_BUILDING, augmentation("rotation", p=1.0))(semantic())
    ignored = out["mask"] == 255
    assert 0.02 < ignored.float().mean() < 0.3
    assert set(out["mask"].unique().tolist()) == {0, 1, 255}
    assert out["image"][0][ignored].mean() < 20
    inside = ~ignored
    assert ((out["image"][0] > 127) == (out["mask"] == 1))[inside].float().mean() > 0.95


def test_a_crop_of_mixed_classes_is_looked_for() -> None:
    crop = raw(WHU_BUILDING, augmentation("class_ratio_crop", size=16))
    shares = []
    for seed in range(40):
        torch.manual_seed(seed)
        shares.append(float((crop(semantic())["mask"] == 1).float().mean()))
    mixed = sum(0.25 < share < 0.75 for share in shares)
    assert mixed >= 20  # one window in seven is mixed, which eleven draws find in 82 of 100 images


@pytest.mark.parametrize(
    ("left", "right", "share", "draws"),
    [(1, 0, 0.5, 1), (1, 0, 0.73, 1), (1, 0, 0.75, 11), (0, 0, 0.5, 11), (255, 0, 0.5, 11), (255, 255, 0.5, 11)],
)
def test_windows_of_one_class_are_drawn_again_ten_times(
    left: int, right: int, share: float, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = []

    def draw(crop: RandomCrop, flat_inputs: list[Any]) -> dict[str, int]:
        windows.append(one_window(crop, flat_inputs))
        return windows[-1]

    one_window = RandomCrop.make_params
    monkeypatch.setattr(RandomCrop, "make_params", draw)
    sample = semantic(share)
    sample["mask"] = torch.where(sample["mask"] == 1, left, right)
    assert raw(WHU_BUILDING, augmentation("class_ratio_crop", size=64))(sample)["mask"].shape == (64, 64)
    assert len(windows) == draws


def test_both_dates_get_one_geometry_and_two_exposures() -> None:
    date = torch.randint(0, 256, (3, 8, 8)).float().repeat_interleave(8, 1).repeat_interleave(8, 2)
    pair = {"image": torch.stack((date, date)), "mask": torch.zeros(64, 64, dtype=torch.int64)}
    moves = [
        augmentation("rotation", p=1.0),
        augmentation("large_scale_jitter", size=64, scale=(0.8, 1.5), interpolation="bicubic"),
        augmentation("class_ratio_crop", size=48),
        augmentation("horizontal_flip"),
        augmentation("pad", size=64, fill=0),
    ]
    torch.manual_seed(0)
    before, after = raw(LEVIR_CD, *moves)(pair)["image"]
    assert torch.equal(before, after)
    assert before.shape == (3, 64, 64)
    before, after = raw(LEVIR_CD, augmentation("photometric_distortion"))(pair)["image"]
    assert not torch.equal(before, after)


def distorted(image: Tensor, **draw: Any) -> Tensor:
    return Distortion(**draw)(image.to(torch.uint8)).float()


def test_photometric_distortion_is_that_of_mmseg() -> None:
    image = torch.randint(0, 256, (3, 12, 12)).float()
    assert torch.equal(distorted(image), image)
    torch.testing.assert_close(distorted(image, brightness=32 / 255), (image + 32).clamp(0, 255))
    torch.testing.assert_close(distorted(image, contrast=1.5), (image * 1.5).clamp(0, 255), atol=0.51, rtol=0)
    late = distorted(image, contrast=0.5, brightness=100 / 255, contrast_first=False)
    torch.testing.assert_close(late, (image + 100).clamp(0, 255) * 0.5, atol=0.51, rtol=0)
    for name, change in (("saturation", 0.5), ("saturation", 1.5), ("hue", 0.1), ("hue", -0.1)):
        expected = torch.empty_like(image)
        for row in range(12):
            for column in range(12):
                hue, saturation, value = colorsys.rgb_to_hsv(*(image[:, row, column] / 255).tolist())
                hue, saturation = (hue + change, saturation) if name == "hue" else (hue, min(saturation * change, 1))
                expected[:, row, column] = torch.tensor(colorsys.hsv_to_rgb(hue % 1, saturation, value)) * 255
        torch.testing.assert_close(distorted(image, **{name: change}), expected, atol=0.51, rtol=0)


def test_each_distortion_happens_half_of_the_time_and_within_its_range() -> None:
    torch.manual_seed(0)
    draws = PhotometricDistortion().make_params([torch.zeros(400, 3, 1, 1)])["distortions"]
    for name, neutral, low, high in (
        ("brightness", 0, -32 / 255, 32 / 255),
        ("contrast", 1, 0.5, 1.5),
        ("saturation", 1, 0.5, 1.5),
        ("hue", 0, -0.1, 0.1),
    ):
        drawn = [getattr(draw, name) for draw in draws if getattr(draw, name) != neutral]
        assert 150 < len(drawn) < 250
        assert low <= min(drawn) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(drawn) <= high


@pytest.mark.parametrize("name", ["photometric_distortion", "auto_augment"])
def test_colours_of_reflectance_are_not_touched(name: str) -> None:
    image = torch.full((len(BIGEARTHNET.bands), 8, 8), 1000.0)
    with pytest.raises(UnitsError, match="8-bit RGB"):
        pipeline(BIGEARTHNET, augmentation(name), bands=("B04", "B03", "B02"), statistics=NEUTRAL)({"image": image})


def test_auto_augment_keeps_the_size_and_changes_the_picture() -> None:
    image = torch.randint(0, 256, (3, 32, 32)).float()
    changed = 0
    for seed in range(25):
        torch.manual_seed(seed)
        out = raw(CLASSIFICATION, augmentation("auto_augment"))({"image": image, "label": torch.tensor(3)})
        assert (out["image"].shape, int(out["label"])) == (image.shape, 3)
        changed += not torch.equal(out["image"], image)
    assert changed > 12


def test_resized_crop_keeps_between_a_third_and_all() -> None:
    ramp = torch.arange(256).float().expand(3, 256, 256).clone()
    for seed in range(10):
        torch.manual_seed(seed)
        out = raw(CLASSIFICATION, augmentation("resized_crop", size=64))({"image": ramp, "label": torch.tensor(0)})
        assert out["image"].shape == (3, 64, 64)
        assert 100 < out["image"].max() - out["image"].min() <= 255


def test_batches_are_mixed_with_soft_labels() -> None:
    images = torch.arange(4).float()[:, None, None, None].expand(-1, 3, 16, 16).clone()
    mix = augmentation("mixup_or_cutmix", classes=4)
    kinds = set()
    for seed in range(10):
        torch.manual_seed(seed)
        out = mix({"image": images, "label": torch.arange(4)})
        assert out["label"].shape == (4, 4)
        torch.testing.assert_close(out["label"].sum(1), torch.ones(4))
        torch.testing.assert_close(out["image"].mean((1, 2, 3)), out["label"] @ torch.arange(4).float())
        kinds.add("cutmix" if out["image"][1].unique().numel() == 2 else "mixup")
    assert kinds == {"mixup", "cutmix"}


def test_names_and_options_are_checked() -> None:
    with pytest.raises(AugmentationError, match="no augmentation 'random_crops'; choose among random_crop"):
        augmentation("random_crops", size=3)
    with pytest.raises(AugmentationError, match="no augmentation 'zzz'; choose among auto_augment, class_ratio_crop"):
        augmentation("zzz")
    with pytest.raises(AugmentationError, match=r"'large_scale_jitter' takes .*size.*scale.*missing.*'scale'"):
        augmentation("large_scale_jitter", size=512)
    assert sorted(AUGMENTATIONS) == list(AUGMENTATIONS)
