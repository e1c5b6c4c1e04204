"""DynamicVis: the published function, to the last digits, and what its switches, routes, noise and errors promise."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.backbone import InputError
from models.dynamicvis import (
    DynamicVis,
    DynamicVisConfig,
    Route,
    Routes,
    SelectiveMixer,
)
from models.mamba import Mamba
from models.position import PositionalEmbedding
from models.zoo import build, build_classifier
from tests.oracles.two_pass import two_pass_forward

TINY = DynamicVisConfig(
    widths=(24, 48, 96, 192), depths=(1, 1, 2, 1), image_size=64, channel_sides=(8, 8, 4, 4), scan="reference"
)
DENSE = (0, 0, 0, 0)
THREE = ("forward", "reverse", "shuffle")
SWITCHES: dict[str, dict[str, Any]] = {
    "base": {},
    "forward path": {"paths": ("forward",)},
    "reverse path": {"paths": ("reverse",)},
    "one path, gate": {"paths": ("forward",), "merge": "gate"},
    "two paths, gate": {"merge": "gate"},
    "three paths, mean": {"paths": THREE},
    "three paths, gate": {"paths": THREE, "merge": "gate"},
    "dense": {"keep": DENSE},
    "keep 4 2 1 1": {"keep": (4, 2, 1, 1)},
    "keep 16 8 4 2": {"keep": (16, 8, 4, 2)},
    "keep 32 16 8 4": {"keep": (32, 16, 8, 4)},
    "channel": {"selection": "channel"},
    "serial": {"selection": "serial"},
    "parallel": {"selection": "parallel"},
    "channel, dense": {"selection": "channel", "channel_keep": DENSE},
    "no global tokens": {"global_tokens": "none"},
    "global tokens head and tail": {"global_tokens": "head_tail"},
    "global tokens amid": {"global_tokens": "mid"},
    "five global tokens": {"global_count": 5},
    "dropped tokens pass": {"weigh_dropped": False},
    "8 states": {"states": 8},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On tensors as small as these, threads cost more than they save, and most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(config: DynamicVisConfig = TINY) -> DynamicVis:
    torch.manual_seed(0)
    return randomised(DynamicVis(config))


def randomised(model: DynamicVis) -> DynamicVis:
    """Move every parameter off values that hide it (zero positions, equal norms); make importance and mixing strong."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or name.endswith(("A_log", "position.weight")):
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif name.endswith(("gate.weight", "out_proj.weight")):
                parameter.mul_(4)
    return model.eval()


def set_scan(model: DynamicVis, backend: str) -> None:
    for module in model.modules():
        if isinstance(module, Mamba):
            module.scan = backend


def error(result: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Largest relative error of a map, by its Euclidean norm."""
    assert [r.shape for r in result] == [e.shape for e in expected]
    return max(float((r - e).norm() / e.norm()) for r, e in zip(result, expected, strict=True))


def image_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


# -- parameters


@pytest.mark.parametrize(
    ("name", "backbone", "classifier"),
    [
        ("dynamicvis_b", 36_745_536, 36_770_142),
        ("dynamicvis_b_dense", 36_735_360, 36_759_966),
        ("dynamicvis_l", 91_242_240, 91_275_038),
        ("dynamicvis_l_dense", 91_220_480, 91_253_278),
    ],
)
def test_parameters_to_the_unit(name: str, backbone: int, classifier: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name).parameters()) == backbone
        assert sum(p.numel() for p in build_classifier(name).parameters()) == classifier


# -- the same function as the published graph


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
@torch.no_grad()
def test_every_switch_equals_the_two_pass_graph(switches: dict[str, Any], dtype: torch.dtype, tolerance: float) -> None:
    model = make(replace(TINY, **switches)).to(dtype)
    image = image_of(2, 3, 96, 128, dtype=dtype)
    torch.manual_seed(7)  # the shuffled path draws its permutations here
    result = model(image)
    torch.manual_seed(7)
    assert error(result, two_pass_forward(model, image, "reference")) < tolerance


@pytest.mark.parametrize("name", sorted(set(SWITCHES) - {"base"}))
@torch.no_grad()
def test_every_switch_does_something(name: str) -> None:
    """Otherwise agreement with the oracle would say little: here, a million times more than what float64 lets pass."""
    base, model = make().double(), make(replace(TINY, **SWITCHES[name])).double()
    image = image_of(1, 3, 96, 128, dtype=torch.float64)
    wanted = model.state_dict()
    shared = {
        key: weight for key, weight in base.state_dict().items() if key in wanted and weight.shape == wanted[key].shape
    }
    model.load_state_dict(shared, strict=False)
    assert error(model(image), base(image)) > 1e-6


@pytest.fixture(scope="module", params=["dynamicvis_b", "dynamicvis_l"])
def full_size(request: pytest.FixtureRequest) -> DynamicVis:
    torch.manual_seed(0)
    model = build(request.param)
    assert isinstance(model, DynamicVis)
    return randomised(model)


def assert_full_size_equals(model: DynamicVis, side: int, rounding: float = 1e-5) -> None:
    for dtype, scan, tolerance in ((torch.float32, "auto", rounding), (torch.float64, "reference", 1e-12)):
        model.to(dtype)
        set_scan(model, scan)
        image = image_of(1, 3, side, side, dtype=dtype)
        assert error(model(image), two_pass_forward(model, image, scan)) < tolerance
    model.float()


@pytest.mark.parametrize("side", [64, 96, 128])
@torch.no_grad()
def test_base_and_large_equal_the_two_pass_graph(full_size: DynamicVis, side: int) -> None:
    assert_full_size_equals(full_size, side)


@pytest.mark.slow
@pytest.mark.parametrize("side", [256, 512])
@torch.no_grad()
def test_base_and_large_equal_the_two_pass_graph_at_larger_sizes(full_size: DynamicVis, side: int) -> None:
    """In float32 two of thousands of tokens may rank so close that rounding decides which the scan meets first."""
    assert_full_size_equals(full_size, side, rounding=1e-4)


@pytest.mark.parametrize("switches", [{}, {"paths": THREE, "merge": "gate"}, {"selection": "serial"}], ids=str)
def test_gradients_equal_those_of_the_two_pass_graph(switches: dict[str, Any]) -> None:
    model = make(replace(TINY, **switches)).double()
    image = image_of(1, 3, 32, 64, dtype=torch.float64)

    def gradients(maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(maps, list(model.parameters()), [image_of(*m.shape, dtype=m.dtype) for m in maps])

    torch.manual_seed(7)
    result = gradients(model(image))
    torch.manual_seed(7)
    assert error(result, gradients(two_pass_forward(model, image, "reference"))) < 1e-11


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
@torch.no_grad()
def test_a_sequence_of_one_token_is_mixed_as_published(switches: dict[str, Any]) -> None:
    """A 32 px image has one token in the last stage; without global tokens the sequence has length 1."""
    keep = {"keep": (8, 4, 2, 1)} if switches.get("keep") != DENSE else {}
    model = make(replace(TINY, **{**switches, **keep})).double()
    image = image_of(2, 3, 32, 32, dtype=torch.float64)
    torch.manual_seed(7)
    result = model(image)
    assert result[-1].shape[2:] == (1, 1)
    torch.manual_seed(7)
    assert error(result, two_pass_forward(model, image, "reference")) < 1e-12


# -- images


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other() -> None:
    model, images = make(), image_of(3, 3, 64, 96)
    together = model(images)
    for i in range(3):
        assert error(model(images[i : i + 1]), tuple(m[i : i + 1] for m in together)) < 1e-6


@torch.no_grad()
def test_the_memory_format_of_the_image_does_not_matter() -> None:
    model, image = make(), image_of(2, 3, 64, 96)
    expected = model(image)
    assert error(model(image.contiguous(memory_format=torch.channels_last)), expected) < 1e-6
    assert error(model(image.mT.contiguous().mT), expected) < 1e-6


@pytest.mark.parametrize(
    "shape",
    [(3, 64, 64), (1, 1, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (1, 3, 0, 64), (1, 3, 64, 65), (1, 3, 48, 64)],
)
def test_bad_shapes_are_named(shape: tuple[int, ...]) -> None:
    sides = f"{shape[-2]} x {shape[-1]}"
    with pytest.raises(InputError) as raised:
        make()(torch.zeros(shape))
    message = str(raised.value)
    assert str(shape) in message or sides in message
    assert "\n" not in message


def test_an_image_too_small_to_keep_a_token_is_named() -> None:
    with pytest.raises(InputError, match="keeping one of 8 of 4 tokens leaves none: use a larger image"):
        make(replace(TINY, keep=(32, 16, 8, 4)))(torch.zeros(1, 3, 32, 32))


def test_positions_are_added_as_they_are_at_the_configured_size() -> None:
    positions = PositionalEmbedding(4, 2)
    torch.nn.init.normal_(positions.weight)
    assert torch.equal(positions(torch.zeros(3, 16, 2), (4, 4)), positions.weight.expand(3, -1, -1))


def test_positions_keep_rows_and_columns_apart_at_other_sizes() -> None:
    positions = PositionalEmbedding(4, 2)
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    positions.weight.data = torch.stack([rows, columns], dim=-1).reshape(1, 16, 2)
    resized = positions(torch.zeros(1, 8 * 12, 2), (8, 12)).unflatten(1, (8, 12))[0]
    torch.testing.assert_close(resized[..., 0], resized[:, :1, 0].expand(8, 12))
    torch.testing.assert_close(resized[..., 1], resized[:1, :, 1].expand(8, 12))
    assert (resized[2:-1, 0, 0].diff() > 0).all()  # a ramp stays a ramp; bicubic overshoots at the borders only
    assert (resized[0, 3:-2, 1].diff() > 0).all()


# -- routes


@torch.no_grad()
def test_routes_tell_stage_by_stage_what_is_kept() -> None:
    routes: Routes = []
    make()(image_of(2, 3, 64, 96), routes)
    assert [len(stage) for stage in routes] == [1, 1, 2, 1]
    grids = [(16, 24), (8, 12), (4, 6), (2, 3)]
    for stage, (rows, columns), keep in zip(routes, grids, TINY.keep, strict=True):
        for route in stage:
            assert route.grid == (rows, columns)
            assert route.importance.shape == (2, rows * columns)
            torch.testing.assert_close(route.importance.sum(dim=1), torch.ones(2))
            assert route.kept.shape == (2, rows * columns // keep)
            best = route.importance.sort(dim=1, descending=True).values[:, : route.kept.shape[1]]
            assert torch.equal(route.importance.gather(1, route.kept), best)


@torch.no_grad()
def test_equally_important_tokens_are_kept_in_the_order_of_the_map() -> None:
    model, routes = make(), Routes()
    for module in model.modules():
        if isinstance(module, SelectiveMixer):
            assert module.gate is not None
            module.gate.weight.zero_()
    model(image_of(2, 3, 96, 96), routes)
    for route in (route for stage in routes for route in stage):
        assert torch.equal(route.kept, torch.arange(route.kept.shape[1]).expand(2, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_ties_among_unequal_tokens_are_broken_in_the_order_of_the_map(dtype: torch.dtype) -> None:
    mixer = SelectiveMixer(8, 2, TINY, "none").eval()
    scores = torch.tensor([[1, 3, 3, 2, 3, 1, 2, 2], [0, 0, 0, 0, 1, 0, 0, 0]], dtype=dtype)
    assert mixer._select(scores).tolist() == [[1, 2, 4, 3], [4, 0, 1, 2]]
    assert mixer._select(scores[1:]).tolist() == [[4, 0, 1, 2]]  # alone as in a batch
    many = (torch.arange(4096) % 3).to(dtype)[None]  # more than any sort takes in one block
    expected = sorted(range(4096), key=lambda token: -(token % 3))[:2048]
    assert mixer._select(many)[0].tolist() == expected


def test_without_selection_there_are_no_gates_and_no_routes() -> None:
    model, routes = make(replace(TINY, keep=DENSE)), Routes()
    model(image_of(1, 3, 32, 32), routes)
    assert routes == [[], [], [], []]
    assert not any("gate" in name for name, _ in model.named_parameters())


# -- noise


@torch.no_grad()
def test_noise_is_added_only_in_training_and_only_above_scale_zero() -> None:
    model, image = make(replace(TINY, noise_scale=10.0)), image_of(1, 3, 64, 64)
    expected = model(image)
    assert error(model(image), expected) == 0
    model.train()
    assert error(model(image), expected) > 1e-3
    model.set_noise(0.0)
    assert error(model(image), expected) == 0
    model.set_noise(10.0)
    assert error(model(image), expected) > 1e-3


@torch.no_grad()
def test_noise_is_gumbel_noise() -> None:
    """The largest of scores + Gumbel(0, s) noise falls on each token with probability softmax(scores / s)."""
    torch.manual_seed(0)
    scale = 0.5
    mixer = SelectiveMixer(8, 4, replace(TINY, noise_scale=scale), "none").train()
    assert mixer.gate is not None
    tokens = torch.randn(1, 4, 8)
    routes: list[Route] = []
    mixer(tokens.expand(20_000, -1, -1), (2, 2), routes)
    often = torch.bincount(routes[0].kept.flatten(), minlength=4) / 20_000
    wanted = (mixer.gate(tokens).flatten() / scale).softmax(dim=0)
    assert wanted.max() < 0.9
    torch.testing.assert_close(often, wanted, atol=0.015, rtol=0)  # four standard deviations


# -- training


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_gradients_reach_every_parameter_in_training(switches: dict[str, Any]) -> None:
    model = make(replace(TINY, **switches)).train()
    maps = model(image_of(2, 3, 64, 64))
    torch.autograd.backward(maps, [image_of(*m.shape) for m in maps])
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert not idle


# -- precision


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=list(SWITCHES))
def test_every_switch_trains_under_autocast(switches: dict[str, Any]) -> None:
    """As the published pretraining does: weights and tokens in float32, products in bfloat16."""
    model = randomised(make(replace(TINY, **switches))).train()
    image = image_of(2, 3, 96, 128)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(image)
        torch.stack([one.float().square().mean() for one in maps]).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    model.eval()
    with torch.no_grad():
        exact = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(image)
    for one, other in zip(rounded, exact, strict=True):
        assert (one.float() - other).norm() < 0.05 * other.norm()


@torch.no_grad()
def test_what_is_kept_of_a_token_is_not_rounded_under_autocast() -> None:
    """Only what the mixer adds may be; else every stage would round the sum that all stages build on."""
    mixer = SelectiveMixer(8, 2, replace(TINY, weigh_dropped=False), "none").eval()
    mixer.mixer.mamba.out_proj.weight.zero_()
    tokens, routes = image_of(1, 16, 8), list[Route]()
    with torch.autocast("cpu", torch.bfloat16):
        result = mixer(tokens, (4, 4), routes)
    (route,) = routes
    kept = torch.zeros(1, 16).scatter(1, route.kept, 1.0)
    expected = tokens * (1 + route.importance * kept).unsqueeze(-1)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("keep", [DENSE, TINY.keep])
@torch.no_grad()
def test_bfloat16_stays_near_float32(keep: tuple[int, int, int, int]) -> None:
    """Rounding may exchange tokens of nearly equal importance, so this bounds the whole, not each token."""
    model, image = make(replace(TINY, keep=keep, scan="auto")), image_of(1, 3, 64, 64)
    expected = model(image)
    result = model.bfloat16()(image.bfloat16())
    assert all(m.dtype == torch.bfloat16 for m in result)
    assert error(tuple(m.float() for m in result), expected) < 0.05


# -- config


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"global_tokens": "tail"}, "unknown global_tokens 'tail': choose from none, head, head_tail, mid"),
        ({"global_count": 0}, "global_count is 0, it must be >= 1 or None"),
        ({"global_count": -1}, "global_count is -1, it must be >= 1 or None"),
        ({"selection": "both"}, "unknown selection 'both': choose from spatial, channel, serial, parallel"),
        ({"keep": (8, 4, 2, -1)}, r"keep \(8, 4, 2, -1\) .* must not be negative"),
        ({"channel_keep": (1, -2, 2, 4)}, r"channel_keep \(1, -2, 2, 4\) must not be negative"),
        ({"noise_scale": -0.1}, "noise_scale is -0.1, it must be >= 0"),
        ({"image_size": 0}, "image_size is 0, it must be a positive multiple of 32"),
        ({"image_size": 100}, "image_size is 100, it must be a positive multiple of 32"),
        ({"paths": ()}, "choose one or more of forward, reverse, shuffle, each once"),
        ({"paths": ("forward", "forward")}, r"paths \('forward', 'forward'\): choose one or more"),
        ({"paths": ("backward",)}, "choose one or more of forward, reverse, shuffle"),
        ({"merge": "sum"}, "unknown merge 'sum': choose from mean, gate"),
    ],
)
def test_configs_that_no_model_can_have(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("dynamicvis_t", **switches)


def test_a_channel_mixer_that_keeps_all_channels_has_no_gate() -> None:
    """ChannelSparseMixer of dynamicvis/models/models.py makes `channel_gate` where `reduction_ratio > 1`."""
    model = DynamicVis(DynamicVisConfig(depths=(1, 1, 1, 1), selection="channel", channel_keep=(1, 2, 0, 4)))
    gated = {int(name.split(".")[1]) for name in model.state_dict() if name.endswith("mixer.gate.weight")}
    assert gated == {1, 3}
