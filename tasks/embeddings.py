"""Files of class embeddings, from which region classification can start instead of from random ones (section 3.4)."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from models.sources import reason, sha256

RANDOM, TEXT = "random", "text:"
OPTION = rf"^({RANDOM}|{TEXT}.+)$"
"""What `head.embeddings` may be: drawn, or `text:FILE`, behind which `pinned` puts the start of the file's SHA-256."""
NAME, ABOUT, CLASSES = "embeddings", "about", "classes"  # of the tensor, the metadata, and what names its rows there
_PIN = re.compile(r"#([0-9a-f]{12})$")


class EmbeddingsError(ValueError):
    """A file of class embeddings that cannot be used; the message is one line."""


@dataclass(frozen=True)
class ClassEmbeddings:
    """A vector for each class, and where it comes from.

    Attributes:
        rows: (classes, width), float32.
        classes: the name of each row.
        about: how they were made: encoder, prompts, projection, seed, versions.
    """

    rows: Tensor
    classes: tuple[str, ...]
    about: Mapping[str, str]

    def of(self, classes: Sequence[str]) -> Tensor:
        """Return the rows of these classes, (len(classes), width).

        Raises:
            EmbeddingsError: one of them is missing.
        """
        places = {name: place for place, name in enumerate(self.classes)}
        if missing := [name for name in classes if name not in places]:
            raise EmbeddingsError(f"there is no embedding of class '{missing[0]}' among {len(self.classes)}")
        return self.rows[[places[name] for name in classes]]

    def as_bytes(self) -> bytes:
        """Return them as a safetensors file; its metadata is one entry, as several come in any order."""
        about = json.dumps({CLASSES: self.classes, **self.about}, sort_keys=True)
        return save({NAME: self.rows.contiguous()}, {ABOUT: about})


def pinned(option: str) -> str:
    """Return the option with the first 12 hex digits of its file's SHA-256, so that it means one content for good.

    Raises:
        EmbeddingsError: there is no such file.
    """
    if not option.startswith(TEXT) or _PIN.search(option):
        return option
    return f"{option}#{sha256(_there(Path(option.removeprefix(TEXT))))[:12]}"


def by_content(told: str) -> str:
    """Return JSON without the paths of pinned files: the hash says more than the path."""
    return re.sub(rf'{TEXT}[^"]*?#(?=[0-9a-f]{{12}}\b)', f"{TEXT}#", told)


def read(option: str, classes: Sequence[str], width: int) -> ClassEmbeddings:
    """Read the embeddings of a dataset's classes, running nothing that the file contains.

    Args:
        option: `text:FILE`, pinned or not.
        classes: in the order that is wanted; the file may hold more of them, in any order.
        width: of the head.

    Returns:
        Their rows in that order; name and SHA-256 of the file are among what is told about them.

    Raises:
        EmbeddingsError: the file is missing, damaged, changed since it was pinned, of another width, or lacks a class.
    """
    place, pin = _PIN.sub("", option), _PIN.search(option)
    path = _there(Path(place.removeprefix(TEXT)))
    found = _load(path)
    digest = sha256(path)
    if pin and not digest.startswith(pin[1]):
        raise EmbeddingsError(f"{path} has changed: its SHA-256 began with {pin[1]} when the run was asked for")
    if found.rows.shape[1] != width:
        raise EmbeddingsError(
            f"{path} holds embeddings of width {found.rows.shape[1]}, the head has {width}: set head.width, or make "
            f"them with --width {width}"
        )
    try:
        rows = found.of(classes)
    except EmbeddingsError as error:
        raise EmbeddingsError(f"{path}: {error}; make them of this dataset's classes") from None
    return ClassEmbeddings(rows, tuple(classes), {"name": path.name, "sha256": digest, **found.about})


def _there(path: Path) -> Path:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "missing"
        raise EmbeddingsError(f"{path} is {what}; give a file of dvbench weights embed")
    return path


def _load(path: Path) -> ClassEmbeddings:
    try:
        with safe_open(path, "pt") as file:
            about, rows = json.loads((file.metadata() or {})[ABOUT]), file.get_tensor(NAME)
        classes = tuple(about.pop(CLASSES))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise EmbeddingsError(f"{path} holds no class embeddings ({reason(error)}); make it again") from error
    if rows.dtype != torch.float32 or rows.ndim != 2 or not len(rows) == len(classes) == len(set(map(str, classes))):
        told = f"{rows.dtype} {tuple(rows.shape)} for {len(classes)} names"
        raise EmbeddingsError(f"{path} holds no float32 row for each class but {told}; make it again")
    if not torch.isfinite(rows).all():
        raise EmbeddingsError(f"{path} holds values that are not finite; make it again")
    return ClassEmbeddings(rows, classes, about)
