"""Official checkpoints of Vim, VMamba and RSMamba, in their own keys and wrapping: every key is accounted for."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.published import guess_model
from models.rsmamba import RSMamba
from models.sources import WeightsError
from models.vim import Vim
from models.vmamba import VMamba
from models.weight_names import family_of, in_our_names
from models.weights import load_weights
from models.zoo import ZOO, build, build_classifier
from tests.oracles.plain import shaken

State = dict[str, Tensor]
DIRECTION = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D")


def vim_state(model: Vim) -> State:
    """As hustvl/Vim writes it: the second direction's names end in _b, the class token's position is in the middle."""
    w = model.state_dict()
    middle = w["position.weight"].shape[1] // 2
    before, behind = w["position.weight"].split([middle, w["position.weight"].shape[1] - middle], dim=1)
    named = {
        "cls_token": w["class_token"],
        "pos_embed": torch.cat([before, w["class_position"], behind], dim=1),
        "patch_embed.proj.weight": w["patch.weight"],
        "patch_embed.proj.bias": w["patch.bias"],
        "norm_f.weight": w["norm.weight"],
        "head.weight": torch.zeros(1000, model.channels[0]),
        "head.bias": torch.zeros(1000),
    }
    for i in range(len(model.blocks)):
        named[f"layers.{i}.norm.weight"] = w[f"blocks.{i}.norm.weight"]
        for name in ("in_proj.weight", "out_proj.weight", *DIRECTION):
            named[f"layers.{i}.mixer.{name}"] = w[f"blocks.{i}.mixer.{name}"]
        for name in DIRECTION:
            layer, _, kind = name.partition(".")
            theirs = {"A_log": "A_b_log", "D": "D_b"}.get(name, f"{layer}_b.{kind}")
            named[f"layers.{i}.mixer.{theirs}"] = w[f"blocks.{i}.mixer.back.{name}"]
    return named


def vmamba_state(model: VMamba) -> State:
    """As MzeroMiko/VMamba writes it: sequences with numbers for stem and downsampling, fc1 and fc2."""
    w = model.state_dict()
    named = {"classifier.head.weight": torch.zeros(1000, 48), "classifier.head.bias": torch.zeros(1000)}
    modules = {"classifier.norm": "norm"}
    modules |= {"patch_embed.0": "stem.0.conv", "patch_embed.2": "stem.0.norm"}
    modules |= {"patch_embed.5": "stem.1.conv", "patch_embed.7": "stem.1.norm"}
    for stage, blocks in enumerate(model.stages):
        assert isinstance(blocks, nn.ModuleList)
        for block in range(len(blocks)):
            theirs, ours = f"layers.{stage}.blocks.{block}", f"stages.{stage}.{block}"
            modules |= {f"{theirs}.{name}": f"{ours}.{name}" for name in ("norm", "norm2", "op.out_norm")}
            modules |= {f"{theirs}.mlp.fc1": f"{ours}.mlp.0", f"{theirs}.mlp.fc2": f"{ours}.mlp.2"}
            for name in ("in_proj.weight", "conv2d.weight", "out_proj.weight", "x_proj_weight", "dt_projs_weight"):
                named[f"{theirs}.op.{name}"] = w[f"{ours}.op.{name}"]
            for name in ("dt_projs_bias", "A_logs", "Ds"):
                named[f"{theirs}.op.{name}"] = w[f"{ours}.op.{name}"]
        if stage < 3:
            modules[f"layers.{stage}.downsample.1"] = f"downsample.{stage}.conv"
            modules[f"layers.{stage}.downsample.3"] = f"downsample.{stage}.norm"
    for theirs, ours in modules.items():
        named |= {f"{theirs}.{kind}": w[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    return named


def rsmamba_state(model: RSMamba) -> State:
    """As KyanChen/RSMamba writes it: gates in a list of their own, the two last norms as ln1 and ln2."""
    w = model.state_dict()
    named = {
        "backbone.pos_embed": w["position.weight"],
        "backbone.patch_embed.projection.weight": w["patch.weight"],
        "head.fc.weight": torch.zeros(21, model.channels[0]),
        "head.fc.bias": torch.zeros(21),
    }
    for kind in ("weight", "bias"):
        named[f"backbone.pre_norm.{kind}"] = w[f"pre_norm.{kind}"]
        named[f"backbone.ln1.{kind}"] = w[f"norm.{kind}"]
        named[f"backbone.ln2.{kind}"] = torch.full((model.channels[0],), 2.0)
    for i in range(len(model.blocks)):
        named[f"backbone.gate_layers.{i}.0.weight"] = w[f"blocks.{i}.gate.weight"]
        for name in ("in_proj.weight", "out_proj.weight", *DIRECTION):
            named[f"backbone.layers.{i}.{name}"] = w[f"blocks.{i}.mamba.{name}"]
    return named


def in_names(state: State) -> State:
    """Return tensors under our names."""
    return {entry.name: entry.value for entry in in_our_names(state, *family_of(state))}


def vim(seed: int, image_size: int = 64) -> Vim:
    torch.manual_seed(seed)
    return shaken(Vim(24, 2, image_size=image_size), seed)  # type: ignore[return-value]


def vmamba(seed: int) -> VMamba:
    torch.manual_seed(seed)
    return shaken(VMamba((16, 24, 32, 48), (1, 2, 1, 1)), seed)  # type: ignore[return-value]


def rsmamba(seed: int, image_size: int = 64) -> RSMamba:
    torch.manual_seed(seed)
    return shaken(RSMamba(24, 12, image_size=image_size), seed)  # type: ignore[return-value]


def wrapped(family: str, state: State) -> dict[str, Any]:
    """Put weights where the project's training code puts them, with what it keeps beside them."""
    from yacs.config import CfgNode

    if family == "vim":
        return {"model": state, "optimizer": {"state": {}}, "epoch": 299, "args": argparse.Namespace(lr=5e-4)}
    if family == "vmamba":
        options = CfgNode({"MODEL": CfgNode({"NAME": "vssm1_tiny_0230"})})
        return {"model": state, "max_accuracy": 82.5, "epoch": 262, "config": options}
    return {"meta": {"epoch": 500}, "state_dict": state}


Family = tuple[str, Callable[[int], Any], Callable[[Any], State]]
FAMILIES: list[Family] = [
    ("vim", vim, vim_state),
    ("vmamba", vmamba, vmamba_state),
    ("rsmamba", rsmamba, rsmamba_state),
]


@pytest.mark.parametrize(("family", "make", "official"), FAMILIES)
@torch.no_grad()
def test_an_official_checkpoint_gives_the_same_features(family: str, make: Any, official: Any, tmp_path: Path) -> None:
    source, copy = make(0), make(1)
    torch.save(wrapped(family, official(source)), tmp_path / "official.pth")
    report = load_weights(copy, str(tmp_path / "official.pth"))
    assert report.complete
    assert set(report.used) == {f"backbone.{key}" for key in source.state_dict()}
    assert all("head" in key or "ln2" in key for key in report.unexpected)
    image = torch.randn(1, 3, 64, 32)
    for ours, theirs in zip(_maps(copy, image), _maps(source, image), strict=True):
        assert torch.equal(ours, theirs)


def _maps(model: Any, image: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(5)  # for shuffled paths
    return (*model(image), model.pooled(image))


@pytest.mark.parametrize(("family", "make", "official"), FAMILIES)
def test_extra_and_missing_keys_are_reported(family: str, make: Any, official: Any, tmp_path: Path) -> None:
    source, copy = make(0), make(1)
    state = official(source) | {"layers.0.nonsense.weight": torch.zeros(1)}
    lost = next(key for key in state if "dt_proj" in key)
    del state[lost]
    torch.save(wrapped(family, state), tmp_path / "official.pth")
    report = load_weights(copy, str(tmp_path / "official.pth"))
    assert len(report.missing) == 1
    assert "dt_proj" in report.missing[0]
    assert "layers.0.nonsense.weight" in report.unexpected
    assert not report.complete


def test_the_head_and_the_pooled_norm_go_into_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_classifier("rsmamba_b", 21)
    torch.save(wrapped("rsmamba", rsmamba_state(model.backbone)), tmp_path / "a.pth")  # type: ignore[arg-type]
    report = load_weights(model, str(tmp_path / "a.pth"))
    assert (report.missing, report.unexpected) == ((), ())
    assert torch.equal(model.norm.weight, torch.full((192,), 2.0))


@pytest.mark.parametrize(("make", "official"), [(vim, vim_state), (rsmamba, rsmamba_state)])
@torch.no_grad()
def test_positions_of_another_size_are_resized_around_the_class_token(make: Any, official: Any, tmp_path: Path) -> None:
    source, larger = make(0), make(1, image_size=96)
    torch.save({"model": official(source)}, tmp_path / "a.pth")
    report = load_weights(larger, str(tmp_path / "a.pth"))
    assert len(report.resized) == 1
    assert report.complete
    image = torch.randn(1, 3, 96, 96)
    for ours, theirs in zip(_maps(larger, image), _maps(source, image), strict=True):  # which resizes as it runs
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("vim_ti", vim_state),
        ("vmamba_t", vmamba_state),
        *((f"rsmamba_{size}", rsmamba_state) for size in "blh"),
    ],
)
def test_published_models_are_seen_by_their_shapes(name: str, official: Any) -> None:
    with torch.device("meta"):
        state = official(build(name))
    assert guess_model(in_names(state)) == name


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_files_of_ours_are_known_for_every_model(name: str, wrapper: str) -> None:
    with torch.device("meta"):
        state = build_classifier(name).state_dict()
    family, prefix = family_of(f"{wrapper}{key}" for key in state)
    assert (family.name, prefix) == ("dvbench", wrapper)


def test_a_larger_vmamba_is_not_taken_for_the_tiny_one() -> None:
    with torch.device("meta"):
        state = vmamba_state(VMamba(depths=(2, 2, 15, 2)))
    assert guess_model(in_names(state)) == ""


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    torch.save(wrapped("vmamba", vmamba_state(vmamba(0))), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="the model wants"):
        load_weights(VMamba((16, 24, 32, 40), (1, 2, 1, 1)), str(tmp_path / "a.pth"))
