"""A text encoder of CLIP with random weights, as its files lie on the hub, in kilobytes."""

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import transformers


def small_clip(folder: Path, **changes: Any) -> Path:
    """Write an encoder of 48 values, and a tokenizer that knows single letters."""
    letters = [*ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
    vocabulary = {token: place for place, token in enumerate(["<|startoftext|>", *letters, "<|endoftext|>"])}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    last = len(vocabulary) - 1
    config = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=48,
        bos_token_id=0,
        eos_token_id=last,
        pad_token_id=last,
        **changes,
    )
    torch.manual_seed(0)
    transformers.CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder
