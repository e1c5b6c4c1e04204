"""Files of timm, torchvision, DeiT, Swin and ViT: the forward equals the source library's, and every key is named."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.models.vision_transformer import _load_weights as timm_loads_flax
from torch import Tensor, nn

from models.sources import WeightsError
from models.weights import load_weights, open_weights
from models.weights_report import WeightsReport
from models.zoo import build, build_classifier
from tests.oracles.plain import shaken

State = dict[str, Tensor]
CLASSES = 7


def of_timm(name: str, **options: Any) -> nn.Module:
    return shaken(timm.create_model(name, num_classes=CLASSES, **options))


def torchvision_vit(width: int, heads: int) -> nn.Module:
    """ViT as torchvision builds it, of any width; its published one is `vit_b_16`, width 768."""
    sizes = {"image_size": 224, "patch_size": 16, "num_layers": 12}
    model = torchvision.models.VisionTransformer(
        **sizes, num_heads=heads, hidden_dim=width, mlp_dim=4 * width, num_classes=CLASSES
    )
    return shaken(model)


def saved(path: Path, content: Any) -> str:
    torch.save(content, path)
    return str(path)


def all_named(report: WeightsReport, state: Mapping[str, Tensor]) -> bool:
    """Whether each key of a file was used or is named as unexpected: one of ours a key, as none is split or joined."""
    return len(report.used) + len(report.unexpected) == len(state)


@dataclass(frozen=True)
class Case:
    """A model of another library, and ours."""

    make: Callable[[], nn.Module]
    ours: str
    wrap: str = ""


CLASSIFIERS = {
    "timm ResNet-50": Case(lambda: of_timm("resnet50"), "resnet50"),
    "torchvision ResNet-18": Case(lambda: shaken(torchvision.models.resnet18(num_classes=CLASSES)), "resnet18"),
    "DeiT": Case(lambda: of_timm("deit_tiny_patch16_224"), "deit_t16", wrap="model"),
    "torchvision ViT": Case(lambda: torchvision_vit(192, 3), "deit_t16"),
}
LARGE = {
    "timm ViT-B": Case(lambda: of_timm("vit_base_patch16_224"), "vit_b16"),
    "torchvision ViT-B": Case(lambda: torchvision_vit(768, 12), "vit_b16"),
}


def with_slow(fast: Iterable[str], slow: Iterable[str]) -> list[Any]:
    return [*fast, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


@pytest.mark.parametrize("name", with_slow(CLASSIFIERS, LARGE))
@torch.no_grad()
def test_logits_equal_those_of_the_source_library(name: str, tmp_path: Path) -> None:
    case = (CLASSIFIERS | LARGE)[name]
    source, options = case.make(), {} if case.ours.startswith("resnet") else {"image_size": 224}
    ours = build_classifier(case.ours, CLASSES, **options).eval()
    state = source.state_dict()
    report = load_weights(ours, saved(tmp_path / "a.pth", {case.wrap: state} if case.wrap else state))
    assert (report.missing, report.unexpected, report.resized) == ((), (), ())
    assert all_named(report, state)
    assert [len(keys["used"]) for part, keys in report.by_part().items() if part == "head"] == [2]
    image = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(ours(image), source(image), rtol=1e-5, atol=1e-5)


def swin_of_its_authors(model: nn.Module) -> State:
    """As microsoft/Swin-Transformer writes it: patches are merged at the end of a stage; masks and places are kept."""
    named = {}
    for key, value in model.state_dict().items():
        parts = key.split(".")
        if parts[0] == "layers" and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        name = ".".join(parts).replace("head.fc", "head")
        named[name] = value
        if name.endswith("relative_position_bias_table"):
            named[name.replace("bias_table", "index")] = torch.zeros(49, 49, dtype=torch.int64)
    return named | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


@pytest.mark.parametrize("library", with_slow(["timm"], ["torchvision", "its authors"]))
@torch.no_grad()
def test_maps_of_swin_equal_those_of_the_source_library(library: str, tmp_path: Path) -> None:
    """At a size that windows of 7 divide on every level; otherwise the libraries pad in different places."""
    if library == "torchvision":
        source = shaken(torchvision.models.swin_t(num_classes=CLASSES))
        state = source.state_dict()
    else:
        source = of_timm("swin_tiny_patch4_window7_224", img_size=448)
        state = source.state_dict() if library == "timm" else swin_of_its_authors(source)
    ours = build("swin_t").eval()
    report = load_weights(ours, saved(tmp_path / "a.pth", {"model": state} if library == "its authors" else state))
    assert report.missing == ()
    assert all_named(report, state)
    left = {key for key in report.unexpected if "position_index" not in key and "attn_mask" not in key}
    assert {key.split(".")[0] for key in left} == {"norm", "head"}  # behind the maps
    image = torch.randn(1, 3, 448, 448)
    normed: Any = source.norm
    theirs = normed(source.features(image)) if library == "torchvision" else source.forward_features(image)  # type: ignore[operator]
    torch.testing.assert_close(normed(ours(image)[-1].permute(0, 2, 3, 1)), theirs, rtol=1e-4, atol=1e-5)


def flax(width: int, heads: int, depth: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Random weights of a ViT as its authors publish them."""
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "Transformer/posembed_input/pos_embedding": (1, 197, width),
        "embedding/kernel": (16, 16, 3, width),
        "embedding/bias": (width,),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, CLASSES),
        "head/bias": (CLASSES,),
    }
    for i in range(depth):
        block, inner = f"Transformer/encoderblock_{i}", width // heads
        attention = f"{block}/MultiHeadDotProductAttention_1"
        shapes |= {f"{block}/LayerNorm_{n}/{kind}": (width,) for n in (0, 2) for kind in ("scale", "bias")}
        shapes |= {f"{attention}/{part}/kernel": (width, heads, inner) for part in ("query", "key", "value")}
        shapes |= {f"{attention}/{part}/bias": (heads, inner) for part in ("query", "key", "value")}
        shapes |= {f"{attention}/out/kernel": (heads, inner, width), f"{attention}/out/bias": (width,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_0/kernel": (width, 4 * width)}
        shapes |= {f"{block}/MlpBlock_3/Dense_0/bias": (4 * width,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_1/kernel": (4 * width, width)}
        shapes |= {f"{block}/MlpBlock_3/Dense_1/bias": (width,)}
    return {name: draw.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


@torch.no_grad()
def test_vits_own_files_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    arrays = flax(192, 3, 12)
    np.savez(tmp_path / "ViT-Ti_16.npz", **arrays)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=CLASSES).eval()
    timm_loads_flax(theirs, str(tmp_path / "ViT-Ti_16.npz"))
    ours = build_classifier("deit_t16", CLASSES, image_size=224).eval()
    report = load_weights(ours, str(tmp_path / "ViT-Ti_16.npz"))
    assert (report.missing, report.unexpected) == ((), ())
    image = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-5)
    del arrays["Transformer/encoderblock_3/MultiHeadDotProductAttention_1/value/bias"]
    np.savez(tmp_path / "less.npz", **arrays)
    report = load_weights(ours, str(tmp_path / "less.npz"))
    assert report.missing == ("backbone.body.blocks.3.attn.qkv.bias",)
    assert len(report.unexpected) == 2  # the two thirds of it


@torch.no_grad()
def test_positions_of_another_size_are_resized_around_the_class_token(tmp_path: Path) -> None:
    source = of_timm("deit_tiny_patch16_224")
    ours = build("deit_t16", image_size=320).eval()
    report = load_weights(ours, saved(tmp_path / "a.pth", source.state_dict()))
    assert report.resized == ("backbone.body.pos_embed (1, 197, 192) -> (1, 401, 192)",)
    at_320 = timm.create_model("deit_tiny_patch16_224", num_classes=CLASSES, img_size=320).eval()
    at_320.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(source.state_dict(), at_320))
    image = torch.randn(1, 3, 320, 320)
    torch.testing.assert_close(ours.pooled(image), at_320.forward_features(image)[:, 0], rtol=1e-5, atol=1e-5)


def thin(name: str, **options: Any) -> State:
    """Weights of a model of timm, of the right shapes and no content."""
    with torch.device("meta"):
        state = timm.create_model(name, **options).state_dict()
    return {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}


PUBLISHED = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "deit_tiny_patch16_224": "deit_t16",
    "deit_small_patch16_224": "deit_s16",
    "vit_base_patch16_224": "vit_b16",
    "vit_large_patch16_224": "vit_l16",
    "swin_tiny_patch4_window7_224": "swin_t",
    "swin_small_patch4_window7_224": "swin_s",
    "swin_base_patch4_window7_224": "swin_b",
}
UNPUBLISHED = ("resnet34", "resnet152", "vit_huge_patch14_224", "swin_large_patch4_window7_224")


@pytest.mark.parametrize("name", [*PUBLISHED, *UNPUBLISHED])
def test_the_model_is_seen_by_its_shapes(name: str, tmp_path: Path) -> None:
    assert open_weights(saved(tmp_path / "a.pth", thin(name))).model == PUBLISHED.get(name, "")


def distilled() -> State:
    return thin("deit_tiny_distilled_patch16_224")


WRONG: dict[str, tuple[Callable[[], State], str, str]] = {
    "another family": (lambda: thin("resnet18"), "deit_t16", "looks like resnet18, the model is deit_t16"),
    "another size": (lambda: thin("resnet50"), "resnet18", "looks like resnet50, the model is resnet18"),
    "ViT for Vim": (lambda: thin("deit_tiny_patch16_224"), "vim_ti", "looks like deit_t16, the model is vim_ti"),
    "no published size": (lambda: thin("resnet34"), "resnet18", "no place for 'layer1.2.conv1.weight'; choose the"),
    "a distilled DeiT": (distilled, "deit_t16", r"the model wants|no place for 'dist_token'"),
    "twelve bands": (lambda: thin("resnet18", in_chans=12), "resnet18", "trained on 12 bands, and models here see red"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_model_is_refused_in_one_line_and_stays_as_it_was(name: str, tmp_path: Path) -> None:
    make, model, words = WRONG[name]
    ours = build(model)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(WeightsError, match=words) as told:
        load_weights(ours, saved(tmp_path / "a.pth", make()))
    assert "\n" not in str(told.value)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
