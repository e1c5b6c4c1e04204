"""`dvbench weights convert`, and weights in `profile` and `show tokens`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dvbench import cli
from models.weights import open_weights
from models.zoo import build
from tests.models.test_weight_names import rsmamba_state, vim_state, vmamba_state, wrapped
from tests.models.test_weights import RELEASED, official, tiny

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*given: object) -> tuple[object, str, str]:
        return cli.main([str(one) for one in given]), *capfd.readouterr()

    return run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "epoch_200.pth"
    torch.save({"state_dict": official(tiny(image_size=512)), "meta": {}}, path)
    return path


def test_a_checkpoint_is_rewritten_with_a_report(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    code, printed, _ = run("weights", "convert", checkpoint, out, "--model", "dynamicvis_t")
    assert code == 0
    assert f"backbone {len(tiny().state_dict())} 0 0" in " ".join(printed.split())
    with safe_open(out, "pt") as file:
        assert "backbone.position.weight" in file.keys()  # noqa: SIM118 (no mapping)
        assert file.metadata()["model"] == "dynamicvis_t"
    code, _, told = run("weights", "convert", checkpoint, out, "--model", "dynamicvis_t")
    assert (code, "--force" in told) == (2, True)


def test_what_lacks_keys_is_converted_but_fails_the_check(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state["backbone.layers.0.2.weight"]
    torch.save({"state_dict": state}, checkpoint)
    code, printed, _ = run("weights", "convert", checkpoint, tmp_path / "o.safetensors", "--model", "dynamicvis_t")
    assert code == 1
    assert "backbone.stages.0.norm.weight" in printed


@pytest.mark.parametrize(
    ("model", "official_state"), [("vim_ti", vim_state), ("vmamba_t", vmamba_state), ("rsmamba_b", rsmamba_state)]
)
def test_checkpoints_of_other_mamba_models_are_converted(
    run: Run, tmp_path: Path, model: str, official_state: Callable[..., dict[str, torch.Tensor]]
) -> None:
    family, path = model.rpartition("_")[0], tmp_path / "official.pth"
    state = official_state(build(model)) | {"layers.0.nonsense": torch.zeros(1)}
    torch.save(wrapped(family, state), path)
    code, printed, _ = run("weights", "convert", path, tmp_path / "out.safetensors")
    assert code == 0
    assert f"official.pth as {model}" in printed
    assert "layers.0.nonsense" in printed
    lost = next(key for key in state if "in_proj" in key)
    torch.save(
        wrapped(model.split("_", maxsplit=1)[0], {k: v for k, v in state.items() if k != lost}),
        tmp_path / "official.pth",
    )
    code, printed, _ = run("weights", "convert", path, tmp_path / "less.safetensors")
    assert code == 1
    assert "in_proj.weight" in printed


def test_how_a_file_was_trained_is_kept_and_told(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    torch.save({"state_dict": state, "meta": {"cfg": RELEASED}}, checkpoint)
    out = tmp_path / "o.safetensors"
    code, printed, _ = run("weights", "convert", checkpoint, out, "--model", "dynamicvis_t")
    assert code == 0
    assert "Trained with one of (1, 1, 1, 1) tokens kept by stage" in " ".join(printed.split())
    assert open_weights(str(out)).keep == (1, 1, 1, 1)


@pytest.mark.parametrize("verb", ["convert", "profile", "run"])
def test_released_files_without_selection_never_become_the_papers_dagger(verb: str, run: Run, tmp_path: Path) -> None:
    """Their gates would be lost without a word, and with them the function."""
    with torch.device("meta"):
        state = official(build("dynamicvis_b"))  # type: ignore[arg-type]
    empty = {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}
    path = tmp_path / "b_wo-token-selection.pth"
    torch.save({"state_dict": empty}, path)
    given = {
        "convert": ("weights", "convert", path, tmp_path / "o.safetensors", "--model", "dynamicvis_b_dense"),
        "profile": ("profile", "--model", "dynamicvis_b_dense", "--weights", path, "--out", tmp_path),
        "run": ("run", "classification", "--model", "dynamicvis_b_dense", "--weights", path, "--out", tmp_path),
    }
    code, _, told = run(*given[verb], *(("--scale", "smoke") if verb == "run" else ()))
    assert code == 2
    assert "no place for 'backbone.layers.0.1.0.spatial_gate.weight'" in told
    assert "needs a model with gates: dynamicvis_b_released_dense" in told


def test_an_unknown_size_asks_for_the_model(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    code, _, told = run("weights", "convert", checkpoint, tmp_path / "o.safetensors")
    assert (code, "--model" in told) == (2, True)


def test_profile_and_token_maps_take_weights(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    model = ("--model", "dynamicvis_t", "--weights", checkpoint, "--out", tmp_path)
    code, _, told = run("profile", "--res", 64, "--repeat", 3, *model)
    count = len(tiny().state_dict())
    assert (code, f"epoch_200.pth: {count} keys used, 4 missing, 0 unexpected" in told) == (0, True)
    assert '"weights_hash": "' in next((tmp_path / "records").glob("*.json")).read_text()
    code, _, told = run("show", "tokens", "--res", 64, *model)
    assert (code, f"epoch_200.pth: {count} keys used, 0 missing, 0 unexpected" in told) == (0, True)
    code, _, told = run("profile", "--res", 64, "--weights", checkpoint)
    assert (code, "--model" in told) == (2, True)


def test_weights_of_another_model_are_refused(run: Run, checkpoint: Path) -> None:
    code, _, told = run("profile", "--res", 64, "--model", "dynamicvis_b", "--weights", checkpoint)
    assert code == 2
    assert "the model wants" in told
