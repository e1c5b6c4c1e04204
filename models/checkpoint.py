"""Files of weights, told from other files and read without running anything that they contain."""

import pickle
import re
import tarfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.flax_vit import as_timm
from models.sources import INDEX, WeightsError, reason, shards

State = Mapping[str, Tensor]

WRAPPERS = ("state_dict", "model", "module")  # where mmengine and Lightning, DeiT and Swin, and DeepSpeed keep weights

_EMA = re.compile(r"(.*_)?ema(_.*)?")
_SHARD = re.compile(r"-\d+-of-(\d+)\.\w+$")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        state: its tensors under the file's own names.
        config: the configuration that training code put beside them, as text; empty where there is none.
        notes: what was taken where the file holds more than one set of weights, a line each.
    """

    state: State
    config: str = ""
    notes: tuple[str, ...] = ()


def read(path: Path) -> Checkpoint:
    """Read the tensors of a file, whatever wraps them, running nothing that it contains.

    Raises:
        WeightsError: the file is damaged, of another kind, one shard of several, holds code, or holds no weights.
    """
    if path.name.endswith(INDEX):
        parts = [_choose(shard, _load(shard)[0])[0] for shard in shards(path)]
        return Checkpoint({key: value for part in parts for key, value in part.items()})
    if found := _SHARD.search(path.name):
        raise WeightsError(f"{path} is one of {int(found[1])} shards; give the file *{INDEX} that lists them")
    content, config = _load(path)
    state, notes = _choose(path, content)
    return Checkpoint(state, config, notes)


def _load(path: Path) -> tuple[Mapping[Any, Any], str]:
    """Return what a file holds, and the configuration in it."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
        members = _members(path) if head.startswith(b"PK") else []
        if wrong := _other_format(path, head, members):
            raise WeightsError(f"{path} is {wrong}")
        if head[8:9] == b"{":  # behind the length of its header: safetensors
            with safe_open(path, "pt") as opened:
                config = (opened.metadata() or {}).get("config", "")
                return {key: opened.get_tensor(key) for key in opened.keys()}, config  # noqa: SIM118 (no mapping)
        if _is_npz(members):
            with np.load(path, allow_pickle=False) as arrays:
                return as_timm({key: torch.from_numpy(arrays[key]) for key in arrays.files}), ""
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"wants to run '{found[1]}' on loading" if found else "is damaged or holds more than weights"
        raise WeightsError(f"{path} {what}; only weights are loaded: get it from a source that you trust") from error
    except WeightsError:
        raise
    except (OSError, RuntimeError, SafetensorError, EOFError, KeyError, ValueError, TypeError, BadZipFile) as error:
        raise WeightsError(f"{path} cannot be read ({reason(error)}); download it again") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no tensors; give a checkpoint")
    meta = content.get("meta")
    return content, str(meta.get("cfg", "")) if isinstance(meta, Mapping) else ""


def _members(path: Path) -> list[str]:
    with ZipFile(path) as archive:
        return [name.rpartition("/")[2] for name in archive.namelist()]


def _is_npz(members: list[str]) -> bool:
    return bool(members) and all(name.endswith(".npy") for name in members)


def _other_format(path: Path, head: bytes, members: list[str]) -> str:
    """Say what a file is, and what to do, where it is no checkpoint; empty where it may be one."""
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer and not the file itself; run git lfs pull"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page and not the file; download the file itself ('resolve' or 'raw' in its address)"
    if "constants.pkl" in members:
        return "a TorchScript program, which is code; save its state_dict()"
    if members and not _is_npz(members) and "data.pkl" not in members:
        return "a zip archive and no checkpoint; unpack it"
    if head[:2] == b"\x1f\x8b" or tarfile.is_tarfile(path):
        return "a tar or gzip archive and no checkpoint; unpack it"
    return ""


def _choose(path: Path, content: Mapping[Any, Any]) -> tuple[State, tuple[str, ...]]:
    """Return the weights among what a file holds, and what else there was to choose from.

    The weights themselves go before their running mean (EMA), which is taken only where it is alone.
    """
    copies = _copies(content)
    plain = [name for name in copies if not _EMA.fullmatch(name)]
    wrapped = [name for name in WRAPPERS if name in plain]
    if not wrapped and (own := _tensors(content)):
        return own, (f"left '{', '.join(copies)}' aside",) if copies else ()
    if not copies:
        optimiser = any("optim" in str(key) for key in content) or {"state", "param_groups"} <= content.keys()
        what = "an optimiser and no weights" if optimiser else "no tensors"
        raise WeightsError(f"{path} holds {what}; give a checkpoint of the model")
    if len(plain) > 1 and not wrapped:
        raise WeightsError(f"{path} holds several sets of weights ({', '.join(plain)}); save the one that you mean")
    taken = (wrapped or plain or list(copies))[0]
    if others := [name for name in copies if name != taken]:
        return copies[taken], (f"took '{taken}', left '{', '.join(others)}' aside",)
    alone = f"took '{taken}', a running mean (EMA): the weights themselves are missing"
    return copies[taken], () if plain else (alone,)


def _copies(content: Mapping[Any, Any]) -> dict[str, State]:
    """Return the sets of weights that a checkpoint holds by name; what belongs to an optimiser is none."""
    found: dict[str, State] = {}
    for key, value in content.items():
        name = str(key)
        if not isinstance(value, Mapping) or "optim" in name:
            continue
        if tensors := _tensors(value):
            found[name] = tensors
        elif name in WRAPPERS or _EMA.fullmatch(name):  # such as {"ema": {"module": ...}}
            inner = list(_copies(value).values())
            found |= {name: inner[0]} if inner else {}
    return found


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


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
