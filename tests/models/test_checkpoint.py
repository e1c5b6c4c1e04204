"""Files of weights: what is taken from each kind, what is refused in one line, and that nothing in them runs."""

import gzip
import json
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.checkpoint import read
from models.sources import WeightsError, locate, sha256
from models.weights import load_weights, open_weights
from tests.models.test_weights import official, tiny

State = dict[str, Tensor]


def state(value: float = 0.0) -> State:
    """A file of a DynamicVis, all of one value."""
    return {name: torch.full_like(each, value) for name, each in official(tiny()).items()}


def kept(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_file_that_runs_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    hit = tmp_path / "hit"
    torch.save({"state_dict": state(), "trap": _Trap(hit)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth wants to run '(posix|nt)\.system'"):
        read(tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Trap(hit), protocol=2))
    with pytest.raises(WeightsError):
        read(tmp_path / "plain.pth")
    assert not hit.exists()


def test_statistics_and_configuration_of_the_training_framework_are_left_aside(tmp_path: Path) -> None:
    framework = ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.arange(4.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = framework.__name__, "HistoryBuffer"
    framework.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    names = ("mmengine", "mmengine.logging", framework.__name__)
    sys.modules.update(zip(names, (ModuleType(names[0]), ModuleType(names[1]), framework), strict=True))
    try:
        content = {"state_dict": state(), "message_hub": {"loss": HistoryBuffer()}, "meta": {"cfg": "model = dict()"}}
        path = kept(tmp_path / "a.pth", content)
    finally:
        for name in names:
            del sys.modules[name]
    found = read(path)
    assert (len(found.state), found.config, found.notes) == (len(state()), "model = dict()", ())


@pytest.mark.parametrize(
    ("content", "taken", "note"),
    [
        ({"model": 1.0, "model_ema": 2.0}, 1.0, "took 'model', left 'model_ema' aside"),
        ({"state_dict_ema": 2.0, "state_dict": 1.0}, 1.0, "took 'state_dict', left 'state_dict_ema' aside"),
        ({"ema": 2.0}, 2.0, "took 'ema', a running mean (EMA): the weights themselves are missing"),
        ({"model": 1.0, "ema": {"module": 2.0, "updates": 5}}, 1.0, "took 'model', left 'ema' aside"),
        ({"teacher": 3.0, "epoch": 5}, 3.0, ""),
        ({"module": 4.0}, 4.0, ""),
        (state(1.0) | {"ema": 2.0}, 1.0, "left 'ema' aside"),
    ],
)
def test_of_several_copies_the_weights_themselves_are_taken_and_it_is_said(
    content: dict[str, Any], taken: float, note: str, tmp_path: Path
) -> None:
    def filled(what: Any) -> Any:
        if isinstance(what, dict):
            return {name: filled(each) for name, each in what.items()}
        return state(what) if isinstance(what, float) else what

    found = read(kept(tmp_path / "a.pth", filled(content)))
    assert {float(each.flatten()[0]) for each in found.state.values()} == {taken}
    assert found.notes == ((note,) if note else ())


def test_several_sets_of_weights_without_a_first_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds several sets of weights \(student, teacher\)"):
        read(kept(tmp_path / "a.pth", {"student": state(), "teacher": state()}))


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module.model."])
def test_what_a_wrapper_puts_before_each_key_is_taken_off_and_said(wrapper: str, tmp_path: Path) -> None:
    source, copy = tiny(), tiny(1)
    wrapped = {f"{wrapper}{name}": value for name, value in official(source).items()}
    report = load_weights(copy, str(kept(tmp_path / "a.pth", wrapped)))
    assert report.complete
    assert report.unexpected == ()
    assert report.notes[0] == f"'{wrapper}' before the keys was left away"
    assert torch.equal(copy.stages[3].merge.weight, source.stages[3].merge.weight)


def test_keys_of_two_models_are_refused(tmp_path: Path) -> None:
    both = state() | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(WeightsError, match=r"a\.pth: holds keys of 2 models, DynamicVis and ResNet") as told:
        open_weights(str(kept(tmp_path / "a.pth", both)))
    assert "\n" not in str(told.value)
    twins = {f"{side}.{name}": value for side in ("online", "target") for name, value in state().items()}
    with pytest.raises(WeightsError, match=r"DynamicVis \(under 'online\.'\) and DynamicVis \(under 'target\.'\)"):
        open_weights(str(kept(tmp_path / "b.pth", twins)))


def test_two_different_tensors_for_one_place_are_refused(tmp_path: Path) -> None:
    state = official(tiny()) | {"neck.pre_module.conv.weight": torch.zeros(1)}
    ours = "backbone.stages.0.norm.weight"
    assert load_weights(tiny(1), str(kept(tmp_path / "a.pth", state))).complete
    named = {
        "backbone.stages.0.merge.weight": torch.zeros(24, 3, 7, 7),
        ours: torch.zeros(24),
        f"x.{ours}": torch.ones(24),
    }
    report = load_weights(tiny(1), str(kept(tmp_path / "b.pth", named)))
    assert report.unexpected == (f"x.{ours}",)


def archive(path: Path, kind: str) -> None:
    inside = path.with_name("inside.txt")
    inside.write_text("weights")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as whole:
            whole.write(inside, "inside.txt")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"weights"))
    else:
        with tarfile.open(path, "w") as whole_tar:
            whole_tar.add(inside)


def half(path: Path) -> None:
    whole = kept(path, {"state_dict": state()}).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "half.pth": (half, "cannot be read|damaged"),
    "empty.pth": (lambda path: path.write_bytes(b""), "cannot be read"),
    "half.safetensors": (lambda path: path.write_bytes(b"\x10"), "cannot be read|damaged"),
    "zip.pth": (lambda path: archive(path, "zip"), "is a zip archive and no checkpoint; unpack it"),
    "tar.pth": (lambda path: archive(path, "tar"), "is a tar or gzip archive and no checkpoint; unpack it"),
    "gzip.pth": (lambda path: archive(path, "gzip"), "is a tar or gzip archive and no checkpoint; unpack it"),
    "page.pth": (lambda path: path.write_text("\n<!DOCTYPE html><html>"), "is a web page and not the file"),
    "pointer.safetensors": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "is a git-lfs pointer and not the file itself; run git lfs pull",
    ),
    "script.pt": (lambda path: torch.jit.script(nn.Linear(2, 2)).save(path), "is a TorchScript program"),
    "list.pth": (lambda path: torch.save([1, 2], path), "no tensors"),
    "other.pth": (lambda path: torch.save({"unknown": torch.zeros(2)}, path), "none of its 1 keys is known, such as"),
    "optimiser.pth": (
        lambda path: torch.save({"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": []}, path),
        "holds an optimiser and no weights",
    ),
    "steps.pth": (
        lambda path: torch.save({"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "epoch": 3}, path),
        "holds an optimiser and no weights",
    ),
    "model-00001-of-00002.safetensors": (lambda path: save_file(state(), path), "is one of 2 shards; give the file"),
    "bare.index.json": (lambda path: path.write_text("[]"), "is no index of shards"),
    "loose.index.json": (
        lambda path: path.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}})),
        r"gone\.safetensors is missing: one of 1 shards",
    ),
    "away.index.json": (
        lambda path: path.write_text(json.dumps({"weight_map": {"a": "../up.safetensors"}})),
        r"lists '\.\./up\.safetensors', which lies elsewhere",
    ),
    "objects.npz": (lambda path: np.savez(path, a=np.array([{}], dtype=object)), "cannot be read"),
    "words.npz": (lambda path: np.savez(path, a=np.array(["weights"])), "cannot be read"),
    "half.npz": (lambda path: path.write_bytes(b"PK\x03\x04weights"), "cannot be read"),
    "none.pth": (lambda _: None, "is missing; give a file of weights"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_file_of_another_kind_is_named_in_one_line_and_changes_nothing(name: str, tmp_path: Path) -> None:
    write, reason = WRONG[name]
    write(tmp_path / name)
    model = tiny()
    before = model.stages[0].merge.weight.clone()
    with pytest.raises(WeightsError, match=reason) as told:
        load_weights(model, str(tmp_path / name))
    assert "\n" not in str(told.value)
    assert str(tmp_path) in str(told.value)
    assert torch.equal(model.stages[0].merge.weight, before)


def test_the_content_of_a_file_decides_and_not_its_name(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "a.bin")
    assert read(tmp_path / "a.bin").state.keys() == state().keys()


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_read_by_their_index_all_or_none(ending: str, tmp_path: Path) -> None:
    whole = official(tiny())
    names = [f"model-0000{i}-of-00002.{ending}" for i in (1, 2)]
    halves = [dict(list(whole.items())[i::2]) for i in (0, 1)]
    for name, part in zip(names, halves, strict=True):
        (save_file if ending == "safetensors" else torch.save)(part, tmp_path / name)
    told = {key: name for name, part in zip(names, halves, strict=True) for key in part}
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": told}))
    report = load_weights(tiny(1), str(index))
    assert (report.complete, report.unexpected) == (True, ())
    first = report.sha256
    (save_file if ending == "safetensors" else torch.save)(state(7), tmp_path / names[1])
    assert sha256(index) != first  # though the index is the same


def test_addresses_that_cannot_be_understood_say_how_to_write_them() -> None:
    with pytest.raises(WeightsError, match="hf://owner/repository/file"):
        locate("hf://nothing")
    for library, known in {"torchgeo": "ResNet50_Weights", "torchvision": "ViT_B_16_Weights"}.items():
        with pytest.raises(WeightsError, match=rf"has no weights 'ResNet9_Weights\.BEST'.*{library}:{known}\.") as told:
            locate(f"{library}:ResNet9_Weights.BEST")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "source", ["torchgeo:ResNet50_Weights.SENTINEL2_RGB_MOCO", "torchvision:ViT_B_16_Weights.IMAGENET1K_V1"]
)
def test_published_weights_are_downloaded_once_and_a_missing_network_is_one_line(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    fetched: list[str] = []

    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    def fetch(url: str, path: str, hash_prefix: str | None, progress: bool) -> None:  # noqa: ARG001
        assert hash_prefix
        assert f"-{hash_prefix}." in url
        fetched.append(url)
        torch.save(state(), path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"cannot be fetched \(.*no route to host.*\); download https://") as told:
        locate(source)
    assert "\n" not in str(told.value)
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert locate(source) == locate(source)
    assert len(fetched) == 1
