"""Every model of the zoo keeps the backbone's contract; published models have their published parameters."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.backbone import InputError
from models.dynamicvis import DynamicVis
from models.timm_backbones import set_attention
from models.zoo import ZOO, UnknownModelError, build, build_classifier, entry


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (96, 160)])
def test_maps_are_as_channels_and_strides_say(name: str, rows: int, columns: int) -> None:
    with torch.device("meta"):
        model, image = build(name).eval(), torch.empty(2, 3, rows, columns)
    maps = model(image)
    assert model.strides in ((4, 8, 16, 32), (16,), (8,))
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, rows // stride, columns // stride)
        for channels, stride in zip(model.channels, model.strides, strict=True)
    ]


@pytest.mark.parametrize("name", ZOO)
def test_every_model_refuses_a_side_that_its_divisor_does_not_divide(name: str) -> None:
    with torch.device("meta"):
        model = build(name).eval()
        image = torch.empty(1, 3, 64, 64 + model.divisor // 2)
    wanted = {"vim_ti": 16, "rsmamba_b": 8, "rsmamba_l": 8, "rsmamba_h": 8}.get(name, 32)
    reason = f"image is 64 x {image.shape[3]} pixels: both sides must be divisible by {wanted}"
    with pytest.raises(InputError, match=reason):
        model(image)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("vit_b16", 87_203_560),
        ("vit_l16", 305_174_504),
    ],
)
def test_published_models_have_their_parameters_with_1000_classes(name: str, parameters: int) -> None:
    """At 512 pixels, so that a vision transformer has 1025 positions instead of the 197 of its first publication."""
    with torch.device("meta"):
        assert sum(p.numel() for p in build_classifier(name).parameters()) == parameters


def test_vision_transformers_at_224_pixels_have_their_first_published_parameters() -> None:
    with torch.device("meta"):
        vit = build_classifier("vit_b16", image_size=224)
        deit = build_classifier("deit_t16", image_size=224)
    assert sum(p.numel() for p in vit.parameters()) == 86_567_656
    assert sum(p.numel() for p in deit.parameters()) == 5_717_416


@pytest.mark.parametrize("name", ["vit_b16", "deit_t16", "swin_t"])
@torch.no_grad()
def test_eager_attention_computes_what_sdpa_computes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    fused = F.scaled_dot_product_attention

    def counted(*args: Any, **options: Any) -> Tensor:
        calls.append(1)
        return fused(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    model, image = build(name).eval(), torch.randn(1, 3, 64, 96)
    fused_maps = model(image)
    assert len(calls) == 12  # every layer
    set_attention(model, "eager")
    for eager_map, fused_map in zip(model(image), fused_maps, strict=True):
        torch.testing.assert_close(eager_map, fused_map, rtol=1e-4, atol=1e-5)
    assert len(calls) == 12


@pytest.mark.parametrize("name", [name for name, model in ZOO.items() if model.attention])
def test_models_marked_so_have_switchable_attention(name: str) -> None:
    with torch.device("meta"):
        model = build(name, attention="eager")
    switches = [module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")]
    assert switches
    assert not any(switches)


def test_unknown_attention_is_named() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="unknown attention 'flash': choose from sdpa, eager"):
        build("deit_t16", attention="flash")


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("dynamicvis-b", "dynamicvis_b"), ("resnet-50", "resnet50"), ("ViT_B16", "vit_b16")]
)
def test_an_unknown_name_gets_the_nearest_ones(wrong: str, nearest: str) -> None:
    for look_up in (entry, build, build_classifier):
        with pytest.raises(UnknownModelError, match=rf"unknown model '{wrong}': did you mean .*\b{nearest}\b.*\?$"):
            look_up(wrong)


def test_a_name_like_no_other_gets_the_whole_list() -> None:
    with pytest.raises(UnknownModelError) as raised:
        build("qqqq")
    assert str(raised.value) == f"unknown model 'qqqq': choose from {', '.join(ZOO)}"


@pytest.mark.parametrize(
    ("name", "option"),
    [("resnet18", "image_size"), ("resnet18", "attention"), ("vit_b16", "scan"), ("dynamicvis_t", "depth")],
)
def test_an_option_that_the_model_lacks_is_a_type_error(name: str, option: str) -> None:
    with pytest.raises(TypeError, match=option):
        build(name, **{option: 64})


def test_options_of_dynamicvis_override_the_entry() -> None:
    with torch.device("meta"):
        model = build("dynamicvis_b", keep=(0, 0, 0, 0), image_size=1024)
    assert isinstance(model, DynamicVis)
    assert (model.config.keep, model.config.image_size, model.config.depths) == ((0, 0, 0, 0), 1024, (2, 4, 16, 4))


@torch.no_grad()
def test_a_classifier_gives_logits_of_the_normalised_pooled_last_map() -> None:
    torch.manual_seed(0)
    model = build_classifier("dynamicvis_t", 7, scan="reference").eval()
    image = torch.randn(2, 3, 64, 64)
    pooled = model.backbone(image)[-1].mean(dim=(2, 3))
    normed = (pooled - pooled.mean(1, keepdim=True)) / (pooled.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model(image), normed @ model.linear.weight.T + model.linear.bias)


def test_the_same_seed_builds_the_same_weights() -> None:
    torch.manual_seed(3)
    first = build("dynamicvis_t").state_dict()
    torch.manual_seed(3)
    second = build("dynamicvis_t").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
