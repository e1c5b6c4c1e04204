"""Official checkpoints of DynamicVis: every key is accounted for, and none is lost that the model's function needs."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.dynamicvis import DynamicVis
from models.position import resize_position
from models.sources import WeightsError
from models.weight_names import DYNAMICVIS, in_our_names
from models.weights import load_weights, open_weights
from models.zoo import build, build_classifier
from tests.oracles.plain import shaken
from tests.oracles.released import released_maps

BACK = (
    (r"position.weight", "pos_embed"),
    (r".merge.", ".0.projection."),
    (r".merge_norm.", ".0.norm."),
    (r".spatial.gate.", ".spatial_gate."),
    (r".spatial.mixer.norm.", ".spatial_mamba_mixer.pre_norm."),
    (r".spatial.mixer.mamba.", ".spatial_mamba_mixer.mamba_layer."),
    (r".blocks.", ".1."),
    (r"stages.", "layers."),
)


def official(model: DynamicVis) -> dict[str, torch.Tensor]:
    """Name a backbone's weights as the authors do, by rules of the test's own."""
    named = OrderedDict()
    for key, value in model.state_dict().items():
        name = key
        if name.split(".")[2:3] == ["norm"]:  # of the stage
            name = name.replace(".norm.", ".2.")
        for ours, theirs in BACK:
            name = name.replace(ours, theirs)
        named[f"backbone.{name}"] = value
    return named


def tiny(seed: int = 0, **options: Any) -> DynamicVis:
    torch.manual_seed(seed)
    model = build("dynamicvis_t", **({"image_size": 64} | options)).eval()
    assert isinstance(model, DynamicVis)
    torch.nn.init.normal_(model.position.weight)
    return model


def saved(path: Path, state: dict[str, Any], **more: Any) -> str:
    torch.save({"meta": {"epoch": 200, "cfg": "x = 1"}, "state_dict": state, **more}, path)
    return str(path)


def test_an_official_checkpoint_gives_the_same_features_and_a_complete_report(tmp_path: Path) -> None:
    source, copy = tiny(), tiny(1)
    state = official(source)
    gate = "backbone.layers.0.1.0.spatial_gate.weight"
    assert gate in state
    extra = {"pre_neck.lateral_convs.0.conv.weight": torch.zeros(4, 24, 1, 1), "nonsense": torch.zeros(1)}
    del state["backbone.layers.3.2.bias"]
    buffer = {"message_hub": {"log": {"loss": np.float64(0.5), "curve": np.arange(3.0)}}}
    report = load_weights(copy, saved(tmp_path / "epoch_200.pth", state | extra, **buffer))
    assert report.missing == ("backbone.stages.3.norm.bias",)
    assert set(report.unexpected) == set(extra)
    assert len(report.used) == len(source.state_dict()) - 1
    assert not report.complete
    image = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(copy(image)[:3], source(image)[:3], strict=True):
        assert torch.equal(ours, theirs)


def test_positions_of_another_size_are_resized_bicubically(tmp_path: Path) -> None:
    source, larger = tiny(), tiny(1, image_size=128)
    report = load_weights(larger, saved(tmp_path / "a.pth", official(source)))
    assert report.resized == ("backbone.position.weight (1, 256, 24) -> (1, 1024, 24)",)
    image = torch.randn(1, 3, 128, 128)
    assert torch.allclose(larger(image)[-1], source(image)[-1], atol=1e-5)  # which resizes in its forward pass
    constant = resize_position(torch.ones(1, 16, 3), (8, 8))
    assert torch.allclose(constant, torch.ones(1, 64, 3), atol=1e-6)


def test_a_file_without_gates_fits_a_model_with_them_whose_gates_stay(tmp_path: Path) -> None:
    dense, gated = tiny(keep=(0, 0, 0, 0)), tiny(1)
    report = load_weights(gated, saved(tmp_path / "dense.pth", official(dense)))
    assert all(key.endswith("gate.weight") for key in report.missing)
    assert len(report.missing) == 5
    assert not report.complete


def test_gates_are_never_dropped_unseen(tmp_path: Path) -> None:
    """The paper's dagger has no gates; the released files without selection have, and use them."""
    dense = tiny(1, keep=(0, 0, 0, 0))
    before = dense.stages[0].merge.weight.clone()
    with pytest.raises(
        WeightsError, match=r"no place for 'backbone\.layers\.0\.1\.0\.spatial_gate\.weight'.*gates"
    ) as told:
        load_weights(dense, saved(tmp_path / "gated.pth", official(tiny())))
    assert "\n" not in str(told.value)
    assert torch.equal(dense.stages[0].merge.weight, before)


RELEASED = "model = dict(backbone=dict(arch='b', spatial_token_keep_ratios=[1, 1, 1, 1], is_softmax_on_x=False))"
SELECTING = RELEASED.replace("[1, 1, 1, 1]", "[8, 4, 2, 1]")


@torch.no_grad()
def test_no_selection_as_released_is_the_authors_function_and_not_the_daggers(tmp_path: Path) -> None:
    """Held against a reading of their code in float64, from a file under their names."""
    with torch.device("meta"):
        published = build("dynamicvis_b_released_dense"), build("dynamicvis_b_dense")
    assert all(isinstance(model, DynamicVis) for model in published)
    released, dagger = (
        DynamicVis(replace(model.config, widths=(8, 12, 16, 24), depths=(1, 1, 2, 1), image_size=64, scan="reference"))  # type: ignore[arg-type]
        for model in published
    )
    source = shaken(DynamicVis(released.config))
    state = official(source)  # type: ignore[arg-type]
    assert load_weights(released.double().eval(), saved(tmp_path / "released.pth", state)).complete
    without = {key: value for key, value in state.items() if "spatial_gate" not in key}
    assert load_weights(dagger.double().eval(), saved(tmp_path / "dagger.pth", without)).complete
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    for ours, theirs, other in zip(released(image), released_maps(state, image), dagger(image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        assert (other - theirs).norm() > 0.1 * theirs.norm()


@pytest.mark.parametrize("size", ["b", "l"])
@pytest.mark.parametrize(
    ("config", "name", "seen"),
    [
        (RELEASED, "epoch_200.pth", "_released_dense"),
        (SELECTING, "epoch_200.pth", ""),
        ("", "b_wo-token-selection_200-epoch.pth", "_released_dense"),
        ("", "epoch_200.pth", ""),
    ],
)
def test_files_with_gates_are_told_apart_by_what_they_say_of_their_training(
    size: str, config: str, name: str, seen: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        state = official(build(f"dynamicvis_{size}"))  # type: ignore[arg-type]
    small = {key: value for key, value in state.items() if "mamba_layer" not in key and "pos" not in key}
    thin = {key: torch.zeros(1).expand(value.shape) for key, value in small.items()}
    torch.save({"state_dict": thin, "meta": {"cfg": config}}, tmp_path / name)
    weights = open_weights(str(tmp_path / name))
    assert weights.model == f"dynamicvis_{size}{seen}"
    assert any("does not say which tokens" in note for note in weights.notes) == (not config and not seen)


def test_a_model_that_keeps_other_tokens_than_in_training_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": official(tiny()), "meta": {"cfg": RELEASED}}, path)
    (note,) = load_weights(tiny(1), str(path)).notes
    assert note == "trained with one of (1, 1, 1, 1) tokens kept by stage, the model keeps one of (8, 4, 2, 1)"
    assert load_weights(tiny(1, keep=(1, 1, 1, 1)), str(path)).notes == ()


def test_weights_go_into_a_classifier_too(tmp_path: Path) -> None:
    model = build_classifier("dynamicvis_t", 3, image_size=64)
    state = official(tiny()) | {
        "backbone.post_meanpool_norm.weight": torch.full((192,), 2.0),
        "head.fc.weight": torch.zeros(63, 192),  # made for other classes, of which the bias knows nothing
        "head.fc.bias": torch.full((3,), 9.0),
    }
    report = load_weights(model, saved(tmp_path / "a.pth", state))
    assert torch.equal(model.norm.weight, torch.full((192,), 2.0))
    assert not (model.linear.bias == 9).any()
    assert report.unexpected == ("head.fc.weight", "head.fc.bias")
    assert report.by_part()["head"]["unexpected"] == ["head.fc.weight", "head.fc.bias"]
    assert "left out, made for another size: linear" in report.notes
    assert report.complete


def test_weights_of_another_model_are_refused_with_its_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        base = build("dynamicvis_b")
    assert isinstance(base, DynamicVis)
    state = {key: torch.zeros(value.shape) for key, value in official(base).items()}
    with pytest.raises(WeightsError, match=r"is \(96.*the model wants \(24.*looks like dynamicvis_b"):
        load_weights(tiny(), saved(tmp_path / "b.pth", {k: v for k, v in state.items() if "pos" not in k}))


def test_safetensors_under_our_names_load_without_renaming(tmp_path: Path) -> None:
    source, copy = tiny(), tiny(1)
    named = {entry.name: entry.value for entry in in_our_names(official(source), DYNAMICVIS)}
    save_file(named, tmp_path / "a.safetensors")
    report = load_weights(copy, str(tmp_path / "a.safetensors"))
    assert report.complete
    assert not report.unexpected
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), source.parameters(), strict=True))


def test_half_precision_is_widened_and_said(tmp_path: Path) -> None:
    source, copy = tiny(), tiny(1)
    report = load_weights(copy, saved(tmp_path / "a.pth", {k: v.half() for k, v in official(source).items()}))
    assert "float16 was widened to the model's dtype" in report.notes
    assert {p.dtype for p in copy.parameters()} == {torch.float32}
    torch.testing.assert_close(copy.stages[1].merge.weight, source.stages[1].merge.weight, rtol=1e-3, atol=1e-4)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    state = official(tiny()) | {"backbone.layers.0.2.weight": torch.ones(24, dtype=torch.int8)}
    with pytest.raises(WeightsError, match=r"'backbone\.layers\.0\.2\.weight' is torch\.int8"):
        load_weights(tiny(1), saved(tmp_path / "a.pth", state))


def test_a_file_of_another_model_changes_nothing(tmp_path: Path) -> None:
    model = tiny(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = official(tiny())
    state["backbone.layers.3.2.weight"] = torch.zeros(7)  # the last but one
    with pytest.raises(WeightsError, match=r"is \(7,\), the model wants \(192,\)"):
        load_weights(model, saved(tmp_path / "a.pth", state))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
