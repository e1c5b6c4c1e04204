"""Weights from files: official checkpoints under our names, loaded without running anything they contain."""

import hashlib
import math
import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.backbone import Backbone
from models.position import resize_position
from models.weight_names import BODY, POSITION, State, guess_model, renamed

WRAPPERS = ("state_dict", "model")  # where mmengine, and where DeiT's and Swin's training code keep the weights


class WeightsError(ValueError):
    """Weights that cannot be used; the message is one line that names file and key."""


@dataclass(frozen=True)
class WeightsReport:
    """What became of each key.

    Attributes:
        source: where the weights came from.
        sha256: of the file.
        used: our keys that were filled.
        resized: those of them that had to be resized, with both shapes.
        missing: our keys that the file lacks; they stay as they were.
        unexpected: keys of the file that nothing was done with, under the file's names.
    """

    source: str
    sha256: str
    used: tuple[str, ...]
    resized: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the file had everything that the backbone needs."""
        return not any(key.startswith("backbone.") for key in self.missing)


def load_weights(module: nn.Module, source: str) -> WeightsReport:
    """Load weights into a backbone, a classifier or a task.

    The positional embedding is resized bicubically to the model's image size, as the authors do. The extractor of
    regions goes into both branches of an instance segmenter.

    Args:
        module: what to fill.
        source: path of an official checkpoint, one of ours or a .safetensors file, or hf://owner/repository/file.

    Raises:
        WeightsError: the file is missing, damaged, holds code, or fits another model.
    """
    path = locate(source)
    official = read(path)
    prefix = "backbone." if isinstance(module, Backbone) else ""
    wanted = {prefix + name: value for name, value in module.state_dict().items()}
    filled: dict[str, Tensor] = {}
    resized, unexpected = [], []
    for key, value in official.items():
        parts = [
            (name, part) for ours, part in renamed(key, value).items() for name in _targets(ours) if name in wanted
        ]
        if not parts:
            unexpected.append(key)
        for name, part in parts:
            if name == POSITION and part.shape != wanted[name].shape and part.shape[2:] == wanted[name].shape[2:]:
                resized.append(f"{name} {tuple(part.shape)} -> {tuple(wanted[name].shape)}")
                side = math.isqrt(wanted[name].shape[1])
                filled[name] = resize_position(part, (side, side)).to(part.dtype)
            elif part.shape == wanted[name].shape:
                filled[name] = part
            elif name.startswith(BODY):
                raise _misfit(source, key, value, wanted[name], official)
            else:
                unexpected.append(key)
    if not filled:
        raise WeightsError(f"{source}: none of its {len(official)} keys is known, such as '{next(iter(official), '')}'")
    module.load_state_dict({name.removeprefix(prefix): value for name, value in filled.items()}, strict=False)
    missing = tuple(name for name in wanted if name not in filled)
    return WeightsReport(source, sha256(path), tuple(filled), tuple(resized), missing, tuple(unexpected))


def locate(source: str) -> Path:
    """Return the file that a path or an hf:// address means; the latter is downloaded once and kept.

    Raises:
        WeightsError: it is not there or cannot be fetched.
    """
    if not source.startswith("hf://"):
        path = Path(source)
        if not path.is_file():
            raise WeightsError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give a file of weights")
        return path
    parts = source.removeprefix("hf://").split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise WeightsError(f"'{source}' is not an address: write hf://owner/repository/file")
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 (seconds)

    try:
        return Path(hf_hub_download(f"{parts[0]}/{parts[1]}", parts[2]))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{source} cannot be fetched ({reason}); download it yourself and give its path") from error


def read(path: Path) -> State:
    """Read the tensors of a file, whatever wraps them, running nothing that it contains.

    Raises:
        WeightsError: the file is damaged, holds code, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"wants to run '{found[1]}' on loading" if found else "is damaged or holds more than weights"
        raise WeightsError(f"{path} {what}; only weights are loaded: get it from a source that you trust") from error
    except (OSError, RuntimeError, SafetensorError, EOFError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be read ({reason}); download it again") from error
    state = content if isinstance(content, dict) else {}
    state = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), state)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; give a checkpoint")
    return tensors


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _targets(name: str) -> list[str]:
    if name.startswith("roi."):
        return [name, f"box_{name}", f"mask_{name}"]
    return [name]


def _misfit(source: str, key: str, found: Tensor, wanted: Tensor, state: State) -> WeightsError:
    likely = guess_model(state)
    hint = f"the file looks like {likely}" if likely else "choose the model that it was trained for"
    return WeightsError(f"{source}: '{key}' is {tuple(found.shape)}, the model wants {tuple(wanted.shape)}; {hint}")


class _Inert:
    """Stands for what training code puts beside the weights; keeps nothing alive but its fields."""


def _harmless() -> list[Any]:
    """Name what official files hold besides tensors: numbers, arrays of numpy, statistics of mmengine, and options."""
    numeric = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "b1")]
    multiarray: Any = import_module("numpy._core.multiarray")  # pickles name functions that its stubs leave out
    array, scalar = multiarray._reconstruct, multiarray.scalar
    return [
        np.ndarray,
        np.dtype,
        *numeric,
        (array, "numpy.core.multiarray._reconstruct"),
        (array, "numpy._core.multiarray._reconstruct"),
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (_Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_Inert, "argparse.Namespace"),
        (OrderedDict, "yacs.config.CfgNode"),
    ]
