"""Counts on the meta device: held against a count by hand, fvcore, the published graph, and what the paper prints."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dvbench.paper import table
from dvbench.profile.counters import Counts, UncountedOpError, count, fvcore_macs, largest_batch
from models.backbone import InputError
from models.dynamicvis import DynamicVis, DynamicVisConfig
from models.zoo import build, build_classifier
from tests.oracles.two_pass import two_pass_forward

MIB = 2**20


@cache
def counts_of(name: str, resolution: int, **options: Any) -> Counts:
    return count(partial(build, name, **options), resolution)


# -- multiply-adds and FLOPs, by hand


def vit_macs(side: int, *, width: int = 768, layers: int = 12) -> int:
    """Patch embedding, then 12 d^2 a token (qkv 3, projection 1, MLP 4 + 4) and 2 L^2 d for scores and weighted sum."""
    patches = (side // 16) ** 2
    tokens = patches + 1
    embedding = patches * 16 * 16 * 3 * width
    return embedding + layers * (12 * tokens * width**2 + 2 * tokens**2 * width)


@pytest.mark.parametrize("side", [512, 2048])  # 1,024 and 16,384 patches
def test_vit_equals_a_count_by_hand(side: int) -> None:
    counts = counts_of("vit_b16", side)
    assert counts.macs == vit_macs(side)
    assert counts.total_flops == 2 * vit_macs(side)


def dynamicvis_macs(config: DynamicVisConfig, side: int, *, published: bool) -> dict[str, int]:
    """Multiply-adds of a DynamicVis with selection, by part.

    Ours runs the projections once for both directions and counts a scan as three multiply-adds a state; the published
    graph runs everything twice, and its count has one multiply-add a state and five an element for each LayerNorm.
    """
    parts = dict.fromkeys(("merge", "gate", "in and out", "x_proj", "dt_proj", "conv", "scan", "norm"), 0)
    previous, grid, doubled = 3, side, 2 if published else 1
    for stage, (width, depth, keep) in enumerate(zip(config.widths, config.depths, config.keep, strict=True)):
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        grid //= stride
        tokens = grid**2
        sequence = tokens // keep + grid  # and a global token for each row
        inner, rank, states = 2 * width, math.ceil(width / 16), 16
        parts["merge"] += tokens * kernel**2 * previous * width
        parts["norm"] += 2 * 5 * tokens * width if published else 0
        parts["gate"] += depth * tokens * width
        parts["in and out"] += depth * doubled * sequence * 6 * width**2
        parts["x_proj"] += depth * 2 * sequence * inner * (rank + 2 * states)
        parts["dt_proj"] += depth * 2 * sequence * inner * rank
        parts["conv"] += depth * 2 * sequence * inner * 4
        parts["scan"] += depth * 2 * sequence * inner * states * (1 if published else 3)
        previous = width
    return parts


@pytest.mark.parametrize("side", [512, 2048])
def test_dynamicvis_equals_a_count_by_hand(side: int) -> None:
    counts = counts_of("dynamicvis_b", side)
    assert counts.macs == sum(dynamicvis_macs(DynamicVisConfig(), side, published=False).values())
    assert counts.tokens_kept == tuple((side // s) ** 2 // keep for s, keep in ((4, 8), (8, 4), (16, 2), (32, 1)))


def test_a_batch_multiplies_the_work() -> None:
    one, four = (count(partial(build, "dynamicvis_t"), 128, batch=batch) for batch in (1, 4))
    assert four.macs == 4 * one.macs
    assert four.paper_flops == 4 * one.paper_flops
    assert four.parameters == one.parameters


def test_half_precision_halves_the_weights_and_leaves_the_work() -> None:
    single, half = (count(partial(build, "dynamicvis_t"), 128, dtype=d) for d in (torch.float32, torch.bfloat16))
    assert half.weight_bytes == single.weight_bytes / 2
    assert half.weight_bytes == 2 * half.parameters
    assert half.flops == single.flops


def test_models_without_token_selection_keep_all_or_have_none() -> None:
    assert counts_of("dynamicvis_b_dense", 128).tokens_kept == (1024, 256, 64, 16)
    assert counts_of("resnet18", 128).tokens_kept == ()


def test_a_resolution_that_the_model_does_not_take_is_its_error() -> None:
    with pytest.raises(InputError, match="100 x 100"):
        counts_of("resnet18", 100)


# -- held against fvcore


def uninitialised(name: str, **options: Any) -> nn.Module:
    """A model on the CPU that is built at once: counting does not need sensible weights."""
    with torch.device("meta"):
        model = build(name, **options)
    model = model.to_empty(device="cpu").eval()
    for buffer in model.buffers():  # some hold indices
        buffer.zero_()
    return model


def plain_fvcore(model: nn.Module) -> FlopCountAnalysis:
    analysis = FlopCountAnalysis(model, torch.zeros(1, 3, 64, 64))
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("resnet18", {}),
    ("vit_b16", {"image_size": 64}),
    ("vit_b16", {"image_size": 64, "attention": "eager"}),
    ("swin_t", {}),
    ("dynamicvis_t", {"image_size": 64}),
    ("dynamicvis_t", {"image_size": 64, "keep": (0, 0, 0, 0)}),
    ("vim_ti", {}),
    ("vmamba_t", {}),
    ("rsmamba_b", {"merge": "mean"}),  # fvcore rounds the product of the gate, an einsum, to four digits
]


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_fvcore_counts_the_same_multiply_adds(name: str, options: dict[str, Any]) -> None:
    macs = fvcore_macs(uninitialised(name, **options), torch.zeros(1, 3, 64, 64))
    assert sum(macs.values()) == counts_of(name, 64, **options).macs
    assert all(macs.values())  # only what is counted is listed


@pytest.mark.parametrize(("name", "options"), MODELS[:3])
def test_the_papers_convention_is_fvcores_plain_total(name: str, options: dict[str, Any]) -> None:
    total = plain_fvcore(uninitialised(name, **options)).total()
    assert counts_of(name, 64, **options).paper_flops == total


# -- held against the published two-pass graph


def elements(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


PAPER_CONVENTION: dict[object, Callable[..., int]] = {
    torch.ops.aten.native_layer_norm: lambda x, *_, **__: 2 * 5 * elements(x),
    torch.ops.dvbench.selective_scan: lambda u, delta, A, *_, **__: 2 * elements(u) * A[1],  # noqa: ARG005
}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dynamicvis_b", {}),
        ("dynamicvis_b_dense", {}),
        ("dynamicvis_l", {}),
        ("dynamicvis_l_dense", {}),
        ("dynamicvis_t", {"paths": ("forward", "reverse", "shuffle"), "weigh_dropped": False}),
        ("dynamicvis_t", {"selection": "serial"}),
    ],
)
def test_the_papers_convention_counts_the_two_pass_graph(name: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        model, image = build(name, **options).eval(), torch.empty(1, 3, 512, 512)
    assert isinstance(model, DynamicVis)
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=PAPER_CONVENTION) as counter:
        two_pass_forward(model, image)
    assert counts_of(name, 512, **options).paper_flops == counter.get_total_flops() // 2


class TwoPass(nn.Module):
    """The oracle as a module, as fvcore wants it."""

    def __init__(self, model: DynamicVis) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return two_pass_forward(self.model, image)


def test_fvcore_counts_the_two_pass_graph_by_the_papers_convention() -> None:
    model = build("dynamicvis_t", image_size=64).eval()
    assert isinstance(model, DynamicVis)
    analysis = plain_fvcore(TwoPass(model)).set_op_handle(
        "dvbench::selective_scan", lambda inputs, _: math.prod(inputs[0].type().sizes()) * 16
    )
    assert counts_of("dynamicvis_t", 64, image_size=64).paper_flops == analysis.total()


def test_the_papers_figure_by_part() -> None:
    """Where DynamicVis-B's multiply-adds at 512 pixels come from, in G."""
    parts = dynamicvis_macs(DynamicVisConfig(), 512, published=True)
    assert sum(parts.values()) == counts_of("dynamicvis_b", 512).paper_flops
    assert {part: round(macs / 1e9, 2) for part, macs in parts.items()} == {
        "merge": 2.27,
        "gate": 0.01,
        "in and out": 25.51,
        "x_proj": 1.23,
        "dt_proj": 0.53,
        "conv": 0.09,
        "scan": 0.35,
        "norm": 0.03,
    }


# -- held against the paper


def printed(name: str, variant: str = "") -> float:
    """FLOPs of table 13, in G."""
    rows = table(13)
    (row,) = rows[(rows["method"] == name) & (rows["variant"] == variant)].to_dict("records")
    return float(row["flops_g"])


@pytest.mark.parametrize(
    ("name", "method", "variant", "figure"),
    [
        ("dynamicvis_b", "DynamicVis-B", "", 30.07),
        ("dynamicvis_b_dense", "DynamicVis-B", "no_selection_no_mil", 54.28),
        ("dynamicvis_l", "DynamicVis-L", "", 82.31),
        ("dynamicvis_l_dense", "DynamicVis-L", "no_selection_no_mil", 151.00),
    ],
)
def test_flops_of_dynamicvis_are_near_table_13(name: str, method: str, variant: str, figure: float) -> None:
    assert printed(method, variant) == figure
    ours = counts_of(name, 512).paper_flops / 1e9
    assert ours == pytest.approx(figure, rel=0.005)


@pytest.mark.parametrize(
    ("name", "method", "figure"),
    [
        ("resnet18", "ResNet18", 9.50),
        ("resnet50", "ResNet50", 21.47),
        ("resnet101", "ResNet101", 40.92),
        ("vit_b16", "ViT-B", 87.76),
    ],
)
def test_flops_of_baselines_are_those_of_table_13(name: str, method: str, figure: float) -> None:
    assert printed(method) == figure
    assert round(count(partial(build_classifier, name), 512).paper_flops / 1e9, 2) == figure


def test_table_13_counts_attention_in_vit_l_though_not_in_vit_b() -> None:
    """So that row holds another count than its neighbours: ours, with attention, and not the paper's convention."""
    counts = count(partial(build_classifier, "vit_l16"), 512)
    assert printed("ViT-L") == 362.00
    assert counts.macs / 1e9 == pytest.approx(362.00, abs=0.02)
    assert counts.paper_flops / 1e9 == pytest.approx(310.60, abs=0.01)


def printed_mib(method: str, resolution: int) -> float:
    """Memory of table 14, in MB, read as 2^20 bytes."""
    rows = table(14)
    found = rows[(rows["model"] == method) & (rows["variant"] == "") & (rows["resolution"] == str(resolution))]
    (row,) = found.to_dict("records")
    return float(row["memory_mb"])


# -- live bytes


class Steps(nn.Module):
    """One weight of 4,000 bytes; the sequence of tensors is given step by step."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1000))
        self.step = step

    def forward(self, image: Tensor) -> Tensor:
        return self.step(image)


def two_copies_then_freed(image: Tensor) -> Tensor:
    double = torch.cat([image, image])  # image + 2
    return double * 2  # image + 2 + 2, the peak


def freed_before_the_next(image: Tensor) -> Tensor:
    for _ in range(5):
        image = image * 2  # the caller's image, the old one and the new one
    return image


def views_cost_nothing(image: Tensor) -> Tensor:
    return image.flatten(2).transpose(1, 2)[:, ::2].unsqueeze(0)


def in_place_costs_nothing(image: Tensor) -> Tensor:
    return (image * 2).mul_(3).add_(1)


@pytest.mark.parametrize(
    ("step", "images"),
    [(two_copies_then_freed, 5), (freed_before_the_next, 3), (views_cost_nothing, 1), (in_place_costs_nothing, 2)],
)
def test_live_bytes_of_a_known_sequence(step: Callable[[Tensor], Tensor], images: int) -> None:
    image_bytes = 3 * 32 * 32 * 4
    assert count(lambda: Steps(step), 32).live_bytes == 4000 + images * image_bytes


def test_eager_attention_does_the_same_work_in_far_more_memory() -> None:
    sdpa, eager = (counts_of("vit_b16", 2048, attention=attention) for attention in ("sdpa", "eager"))
    assert sdpa.total_flops == eager.total_flops
    assert eager.live_bytes > 20 * sdpa.live_bytes
    scores = 12 * 16_385**2 * 4  # bytes: heads x tokens^2
    assert eager.live_bytes > 2 * scores


@pytest.mark.parametrize(
    ("name", "options", "method", "tolerance"),
    [("resnet101", {}, "ResNet101", 0.01), ("vit_b16", {"attention": "eager"}, "ViT-B", 0.01)],
)
def test_live_bytes_at_2048_are_near_table_14(
    name: str, options: dict[str, Any], method: str, tolerance: float
) -> None:
    ours = count(partial(build_classifier, name, **options), 2048).live_bytes / MIB
    assert ours == pytest.approx(printed_mib(method, 2048), rel=tolerance)


def test_dynamicvis_at_2048_needs_less_than_the_paper_and_a_twenty_fifth_of_eager_vit() -> None:
    ours = counts_of("dynamicvis_b", 2048).live_bytes
    assert ours < 833e6 < printed_mib("DynamicVis-B", 2048) * MIB
    assert ours < 0.04 * counts_of("vit_b16", 2048, attention="eager").live_bytes


# -- ops that nobody could count


def test_an_op_without_a_formula_is_refused() -> None:
    with pytest.raises(UncountedOpError, match=r"operator aten\.\w*cumsum\w* has no FLOP formula") as raised:
        count(lambda: Steps(lambda image: image.cumsum(0)), 32)
    assert "\n" not in str(raised.value)


# -- largest batch


@given(capacity=st.integers(0, 6000), limit=st.integers(1, 5000))
def test_largest_batch_is_found_in_few_trials_and_never_beyond_the_limit(capacity: int, limit: int) -> None:
    trials: list[int] = []

    def fits(batch: int) -> bool:
        trials.append(batch)
        return batch <= capacity

    assert largest_batch(fits, limit=limit) == min(capacity, limit)
    assert len(set(trials)) == len(trials) <= 2 * math.log2(limit) + 2
    assert all(1 <= batch <= limit for batch in trials)


@given(capacity=st.integers(0, 6000))
def test_largest_batch_tries_at_most_twice_what_fits(capacity: int) -> None:
    """So that a machine is never asked for much more than it has."""
    tried = 0

    def fits(batch: int) -> bool:
        nonlocal tried
        tried = max(tried, batch)
        return batch <= capacity

    largest_batch(fits)
    assert tried <= max(1, 2 * capacity)
