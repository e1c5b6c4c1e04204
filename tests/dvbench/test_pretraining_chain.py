"""What region classification has learned goes on into every other task, reduced, and each says what it took."""

from pathlib import Path

import pytest

from dvbench import cli
from reports.ledger import Ledger

SMALL = ("image_size=64", "batch=2")
DRAWN = ("counts.train=4", "counts.val=2", "counts.test=2", "dataset_options.size=64")
#: Task -> tensors of pyramid and extractor that it takes: four levels of 4, and 9 of each extractor.
TAKEN = {
    "detection": {"pyramid": 16},
    "instance_segmentation": {"pyramid": 16, "extractor": 2 * 9},
    "semantic_segmentation": {"pyramid": 16},
    "change_detection": {"pyramid": 16},
    "classification": {},
}


def trained(task: str, out: Path, *more: str) -> Path:
    """Train a reduced run as short as can be, with the widths of its protocol, and return its checkpoint."""
    settings = (*SMALL, *(DRAWN if task != "detection" else ()))  # whose trees come with the package
    place = ("--workers", "0", "--device", "cpu", "--out", str(out), "--epochs", "1", "--set", *settings)
    assert cli.main(["run", task, "--model", "dynamicvis_t", "--scale", "smoke", *more, *place]) in (0, 1)
    (best,) = out.glob("runs/*/best.ckpt")
    return best


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained("region_classification", tmp_path_factory.mktemp("pretraining"))


@pytest.mark.parametrize(
    "task", ["detection", *(pytest.param(name, marks=pytest.mark.slow) for name in TAKEN if name != "detection")]
)
def test_a_task_starts_from_pretraining_and_tells_part_by_part_what_it_took(
    task: str, pretrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(task, tmp_path, "--weights", str(pretrained))
    (record,) = Ledger(tmp_path / "records").records()
    told = record.basis["weights"]
    assert isinstance(told, dict)
    used = {part: len(keys["used"]) for part, keys in told["parts"].items() if keys["used"]}  # type: ignore[index]
    assert used.pop("backbone") > 0
    assert told["missing"] == []
    assert {part: count for part, count in used.items() if part != "head"} == TAKEN[task]
    printed = " ".join(capfd.readouterr().out.split())
    assert "best.ckpt in dynamicvis_t" in printed
    assert all(f"{part} {count} 0" in printed for part, count in TAKEN[task].items())
