"""Where files of weights come from: a path, the Hugging Face hub, or what TorchGeo and torchvision publish by name."""

import hashlib
import json
import re
from importlib import import_module
from pathlib import Path
from urllib.parse import urlparse

import torch

LIBRARIES = {"torchgeo": "ResNet50_Weights.SENTINEL2_RGB_MOCO", "torchvision": "ViT_B_16_Weights.IMAGENET1K_V1"}
"""Library that publishes weights -> the name of some, as an example."""
INDEX = ".index.json"
"""End of the name of a file that lists the shards of weights."""

_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # of the content, as torch.hub has it in names of files


class WeightsError(ValueError):
    """Weights that cannot be used; the message is one line that names file and key."""


def locate(source: str) -> Path:
    """Return the file that a source means; what has to be downloaded is downloaded once and kept.

    Args:
        source: a path, hf://owner/repository/file, or an entry of a `WeightsEnum` of TorchGeo or torchvision, such as
            torchgeo:ResNet50_Weights.SENTINEL2_RGB_MOCO. Of weights in several files (shards), their index.

    Raises:
        WeightsError: it is not there or cannot be fetched.
    """
    library, _, name = source.partition(":")
    if library in LIBRARIES:
        return _published(library, name)
    if source.startswith("hf://"):
        return _from_hub(source)
    if "://" in source:
        raise WeightsError(
            f"'{source}' is an address that is not fetched: download it, or give hf://owner/repository/file"
        )
    path = Path(source)
    if not path.is_file():
        raise WeightsError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; give a file of weights")
    return path


def shards(index: Path) -> list[Path]:
    """Return the files that an index lists.

    Raises:
        WeightsError: it is no index, or one of them is missing or lies elsewhere.
    """
    paths = [index.with_name(name) for name in _listed(index)]
    if missing := [path for path in paths if not path.is_file()]:
        raise WeightsError(f"{missing[0]} is missing: one of {len(paths)} shards of {index.name}; download it")
    return paths


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file; of an index of shards, that of the hashes of it and of each shard in turn."""
    if not path.name.endswith(INDEX):
        return _digest(path).hex()
    return hashlib.sha256(b"".join(_digest(part) for part in (path, *shards(path)))).hexdigest()


def reason(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it has none that says anything."""
    if isinstance(error, KeyError):  # its message is the key alone
        return f"{type(error).__name__} {error}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _listed(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index} is no index of shards ({reason(error)}); download it again") from error
    if outside := [name for name in names if Path(name).name != name]:
        raise WeightsError(f"{index} lists '{outside[0]}', which lies elsewhere; shards have to lie beside their index")
    return names


def _from_hub(source: str) -> Path:
    parts = source.removeprefix("hf://").split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise WeightsError(f"'{source}' is not an address: write hf://owner/repository/file")
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 (seconds)

    repository, name = f"{parts[0]}/{parts[1]}", parts[2]
    try:
        path = Path(hf_hub_download(repository, name))
        if name.endswith(INDEX):
            for shard in _listed(path):
                hf_hub_download(repository, str(Path(name).with_name(shard)))
    except WeightsError:
        raise
    except Exception as error:  # the client has many
        raise WeightsError(f"{source} cannot be fetched ({reason(error)}); download it and give its path") from error
    return path


def _published(library: str, name: str) -> Path:
    """Return the file of a library's `WeightsEnum` entry, in the folder where torch.hub keeps such files."""
    try:
        url = import_module(f"{library}.models").get_weight(name).url
    except (ValueError, KeyError) as error:
        told = f"name an entry of its WeightsEnum, as {library}:{LIBRARIES[library]}"
        raise WeightsError(f"{library} has no weights '{name}'; {told}") from error
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    known = _HASH.search(path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), known[1] if known else None, progress=False)
    except (OSError, RuntimeError) as error:
        told = f"download {url} and give its path"
        raise WeightsError(f"{library}:{name} cannot be fetched ({reason(error)}); {told}") from error
    return path
