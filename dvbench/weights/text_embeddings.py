"""Embeddings of classes from a text encoder, as the paper's pretraining starts from (section 3.4).

The paper names CLIP's text encoder and prompts. It leaves open which encoder, which prompts, and how 512 or more values
become the 256 of the head; its code draws embeddings at random. What is done here is a choice of ours.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dvbench.version import __version__
from models.sources import INDEX, reason, sha256
from reports.table import Table
from tasks.embeddings import ClassEmbeddings

PROJECTION = "unit rows, leading right singular vectors without centring, random rotation, rows of norm sqrt(width)"
WEIGHTS = ("model.safetensors", f"model.safetensors{INDEX}")
SHOWN = 6  # pairs of classes
#: What is fetched of a repository: no pickle, no code.
WANTED = (*WEIGHTS, "model-*.safetensors", "config.json", "tokenizer*.json", "vocab.json", "merges.txt", "*_map.json")


class EncoderError(ValueError):
    """A text encoder that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Encoder:
    """A text encoder of CLIP.

    Attributes:
        tokenizer: cuts a text into the model's tokens.
        model: gives each text a vector in the space that it shares with images.
        about: where it comes from, and the SHA-256 of its weights.
    """

    tokenizer: Any
    model: Any
    about: dict[str, str]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return a vector of norm 1 for each text, (texts, width), float64.

        Raises:
            EncoderError: a text is too long.
        """
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        most, found = self.model.config.max_position_embeddings, tokens["input_ids"].shape[1]
        if found > most:
            raise EncoderError(f"a text has {found} tokens, the encoder takes {most}: shorten the prompt")
        features: Tensor = self.model(tokens["input_ids"], tokens["attention_mask"]).text_embeds
        return F.normalize(features.double(), dim=1)


def open_encoder(source: str) -> Encoder:
    """Load a text encoder, running nothing that its files contain.

    Args:
        source: hf://owner/repository, or a folder, with `config.json`, `model.safetensors` and a tokenizer.

    Raises:
        EncoderError: transformers is not installed, or the encoder is missing, damaged or of another kind.
    """
    try:
        transformers: Any = import_module("transformers")  # optional, and seconds
    except ImportError:
        hint = "uv sync --extra text, or pip install 'dvbench[text]'"
        raise EncoderError(f"a text encoder needs transformers: {hint}") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = _located(source)
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise EncoderError(f"{source} has no {WEIGHTS[0]}, and nothing else is read; choose an encoder that has it")
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
        model, loaded = transformers.CLIPTextModelWithProjection.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
        )
    except Exception as error:  # transformers has many
        raise EncoderError(f"{source} cannot be loaded ({reason(error)}); choose a CLIP of transformers") from error
    if missing := sorted(loaded["missing_keys"]):
        told = f"{len(missing)} weights are missing, such as '{missing[0]}'"
        raise EncoderError(f"{source} is no text encoder of CLIP ({told}); choose a CLIP of transformers")
    about = {"encoder": source, "encoder_sha256": sha256(weights), "transformers": transformers.__version__}
    if source.startswith("hf://"):
        about["encoder_revision"] = folder.name  # the hub's client names its folders by commit
    return Encoder(tokenizer, model.eval(), about)


def embed(classes: Sequence[str], prompts: Sequence[str], encoder: Encoder, width: int, seed: int) -> ClassEmbeddings:
    """Embed the names of classes.

    Args:
        classes: names as a dataset's card has them.
        prompts: each with {} where the name goes; their vectors are averaged.
        encoder: of the texts.
        width: of the embeddings.
        seed: of the rotation.

    Raises:
        EncoderError: a prompt has no place for the name, or is too long.
    """
    if wrong := [prompt for prompt in prompts if "{}" not in prompt]:
        raise EncoderError(f"prompt '{wrong[0]}' has no {{}} where the name of the class goes")
    spoken = [[prompt.replace("{}", words(name)) for name in classes] for prompt in prompts]
    features = F.normalize(torch.stack([encoder.encode(texts) for texts in spoken]).mean(0), dim=1)
    about = {
        **encoder.about,
        "prompts": json.dumps(list(prompts)),
        "projection": PROJECTION,
        "seed": str(seed),
        "dvbench": __version__,
        "torch": torch.__version__,
    }
    return ClassEmbeddings(projected(features, width, seed).float(), tuple(classes), about)


def words(name: str) -> str:
    """Return the name of a class as one says it: `multi-unit_residential` and `StorageTanks` are several words."""
    return " ".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\-\s]+", " ", name).lower().split())


def projected(features: Tensor, width: int, seed: int) -> Tensor:
    """Return features of another width with the cosines between them kept as well as can be.

    They go onto their leading right singular vectors, which keeps the inner products best of all projections
    (Eckart-Young), and exactly where there are no more classes than `width`. Without centring, as cosines are taken
    from the origin. Then zeros up to `width` and a random rotation, so that no channel stays empty.

    Rows get the norm sqrt(width), that of the random embeddings in expectation. The matching loss does not see it, but
    AdamW does: its steps are of one size, and would turn shorter rows away from where they start so much faster.

    Args:
        features: (classes, any), rows of norm 1, float64.
        width: of what is returned.
        seed: of the rotation.
    """
    _, _, axes = torch.linalg.svd(features, full_matrices=False)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # else their signs are the library's whim
    kept = features @ axes[:width].T
    drawn = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rotation, triangle = torch.linalg.qr(drawn)
    rotation = rotation * triangle.diagonal().sign()  # makes it uniform among rotations
    return F.normalize(kept @ rotation[: kept.shape[1]], dim=1) * math.sqrt(width)


def nearest(made: ClassEmbeddings, title: str) -> Table:
    """Return the pairs of classes that are most alike, so that a reader sees whether the embeddings make sense."""
    rows = F.normalize(made.rows, dim=1)
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    cosines = (rows[first] * rows[second]).sum(1)
    body = [
        [made.classes[first[pair]], made.classes[second[pair]], f"{cosines[pair]:.3f}"]
        for pair in cosines.argsort(descending=True)[:SHOWN]
    ]
    spread = f", of all from {cosines.min():.3f} to {cosines.max():.3f}" if len(cosines) else ""
    notes = [f"{len(rows)} classes, width {rows.shape[1]}. Cosines of the pairs that are most alike{spread}."]
    return Table(title, ["Class", "and", "cosine"], body, notes)


def _located(source: str) -> Path:
    if not source.startswith("hf://"):
        if not Path(source).is_dir():
            raise EncoderError(f"{source} is no folder; give the folder of an encoder, or hf://owner/repository")
        return Path(source)
    repository = source.removeprefix("hf://")
    if not re.fullmatch(r"[^/]+/[^/]+", repository):
        raise EncoderError(f"'{source}' is not an address: write hf://owner/repository")
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (seconds)

    try:
        return Path(snapshot_download(repository, allow_patterns=list(WANTED)))
    except Exception as error:  # the client has many
        told = "download it elsewhere and give its folder"
        raise EncoderError(f"{source} cannot be fetched ({reason(error)}); {told}") from error
