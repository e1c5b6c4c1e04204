"""Official checkpoints: every key is accounted for, and no code in them runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.dynamicvis import DynamicVis
from models.position import resize_position
from models.weight_names import guess_model, our_name
from models.weights import WeightsError, load_weights, read
from models.zoo import build, build_classifier

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


def test_a_file_without_gates_fits_a_model_with_them_and_the_other_way_round(tmp_path: Path) -> None:
    dense, gated = tiny(keep=(0, 0, 0, 0)), tiny(1)
    report = load_weights(gated, saved(tmp_path / "dense.pth", official(dense)))
    assert all(key.endswith("gate.weight") for key in report.missing)
    assert len(report.missing) == 5
    report = load_weights(dense, saved(tmp_path / "gated.pth", official(tiny())))
    assert all(key.endswith("spatial_gate.weight") for key in report.unexpected)
    assert report.complete


def test_weights_go_into_a_classifier_too(tmp_path: Path) -> None:
    model = build_classifier("dynamicvis_t", 3, image_size=64)
    state = official(tiny()) | {
        "backbone.post_meanpool_norm.weight": torch.full((192,), 2.0),
        "head.fc.weight": torch.zeros(63, 192),
    }
    report = load_weights(model, saved(tmp_path / "a.pth", state))
    assert torch.equal(model.norm.weight, torch.full((192,), 2.0))
    assert report.unexpected == ("head.fc.weight",)  # made for other classes


def test_weights_of_another_model_are_refused_with_its_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        base = build("dynamicvis_b")
    assert isinstance(base, DynamicVis)
    state = {key: torch.zeros(value.shape) for key, value in official(base).items()}
    assert guess_model(state) == "dynamicvis_b"
    with pytest.raises(WeightsError, match=r"is \(96.*the model wants \(24.*looks like dynamicvis_b"):
        load_weights(tiny(), saved(tmp_path / "b.pth", {k: v for k, v in state.items() if "pos" not in k}))


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_file_that_runs_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    torch.save({"state_dict": official(tiny()), "trap": _Trap(hit)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth wants to run '(posix|nt)\.system'"):
        read(tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Trap(hit)))
    with pytest.raises(WeightsError):
        read(tmp_path / "plain.pth")
    assert not hit.exists()


def test_statistics_of_the_training_framework_are_left_aside(tmp_path: Path) -> None:
    import sys
    from types import ModuleType

    framework = ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.arange(4.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = framework.__name__, "HistoryBuffer"
    framework.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    names = ("mmengine", "mmengine.logging", framework.__name__)
    sys.modules.update(zip(names, (ModuleType(names[0]), ModuleType(names[1]), framework), strict=True))
    try:
        saved(tmp_path / "a.pth", official(tiny()), message_hub={"loss": HistoryBuffer()})
    finally:
        for name in names:
            del sys.modules[name]
    assert len(read(tmp_path / "a.pth")) == len(tiny().state_dict())


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path / "a.pth", official(tiny()))).read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half.safetensors").write_bytes(b"\x10")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"unknown": torch.zeros(2)}, tmp_path / "other.pth")
    for name, reason in {
        "half.pth": "cannot be read|damaged",
        "half.safetensors": "cannot be read",
        "list.pth": "no tensors",
        "other.pth": "none of its 1 keys is known",
        "none.pth": "missing",
    }.items():
        with pytest.raises(WeightsError, match=reason) as caught:
            load_weights(tiny(), str(tmp_path / name))
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="hf://owner/repository/file"):
        load_weights(tiny(), "hf://nothing")


def test_safetensors_under_our_names_load_without_renaming(tmp_path: Path) -> None:
    source, copy = tiny(), tiny(1)
    save_file({our_name(key): value for key, value in official(source).items()}, tmp_path / "a.safetensors")
    report = load_weights(copy, str(tmp_path / "a.safetensors"))
    assert report.complete
    assert not report.unexpected
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), source.parameters(), strict=True))
