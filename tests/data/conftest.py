"""A small tree of fMoW, and shards of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dvbench.data import packing
from dvbench.data.folders.fmow import Entry
from tests.data.packed import COUNT


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Ten images of 40x30 px; the i-th has a box that starts at x = i."""
    made = []
    for number in range(COUNT):
        key = f"train/zoo/zoo_{number}/zoo_{number}_0_rgb.jpg"
        image = tmp_path / "fmow" / key
        image.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image)
        box = {"ID": 1, "category": "zoo", "box": [number, 2, 8, 6]}
        image.with_suffix(".json").write_text(json.dumps({"bounding_boxes": [box]}))
        made.append(Entry(key, image, image.with_suffix(".json")))
    return made


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack in a thread: starting processes takes longer than all else."""
    monkeypatch.setattr(packing, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))


@pytest.fixture
def folder(tmp_path: Path, entries: list[Entry], in_this_process: None) -> Path:  # noqa: ARG001
    """Three shards of them, where the dataset has its train split."""
    packing.pack(entries, tmp_path / "packed/pretrain_list", shards=3)
    return tmp_path / "packed/pretrain_list"
