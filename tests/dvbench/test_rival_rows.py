"""Rivals as rows: run from the command line, counted, and beside the paper at the learning rate of their budget."""

import json
from pathlib import Path

import pytest

from dvbench import cli
from dvbench.paper.score_rows import printed
from dvbench.training.plan import Wish
from dvbench.training.wanted_runs import wanted
from models.rivals.roster import RIVALS
from reports.ledger import Ledger

SMALL = ("counts.train=6", "counts.val=4", "counts.test=4", "dataset_options.size=64", "image_size=64", "batch=2")
#: Enough to learn in a minute or two: the networks are large for a CPU.
FEW = ("image_size=64", "dataset_options.size=64", "counts.train=96", "epochs=10", "select.every=5")
SEGMENT, CHANGE = "semantic_segmentation", "change_detection"


@pytest.mark.parametrize(
    ("task", "model", "scores"),
    [
        (SEGMENT, "unet", {"mean_iou", "accuracy"}),
        (CHANGE, "fc_ef", {"precision", "recall", "f1", "iou"}),
    ],
)
def test_a_rival_trains_and_is_scored_like_any_model(
    task: str, model: str, scores: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["run", task, "--model", model, "--scale", "smoke", "--workers", "0", "--device", "cpu", "--epochs", "1"]
    assert cli.main([*given, "--out", str(tmp_path), "--set", *SMALL]) in (0, 1)
    (record,) = Ledger(tmp_path / "records").records()
    assert scores <= record.measures.keys()
    assert model in capsys.readouterr().out
    (best,) = tmp_path.glob("runs/*/best.ckpt")
    assert cli.main(["evaluate", str(best), "--split", "val", "--workers", "0", "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        (CHANGE, "unet", "unet is for semantic_segmentation, not change_detection"),
        (SEGMENT, "unett", "unknown model 'unett': did you mean unet"),
    ],
)
def test_a_rival_for_another_task_is_one_line(
    task: str, model: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", task, "--model", model, "--scale", "smoke"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_every_rival_of_a_table_has_its_row() -> None:
    for table in (6, 7, 8, 9, 10):
        found = {line.ours.model for line in printed(table) if line.ours}
        assert {name for name, one in RIVALS.items() if table in one.rows} <= found


@pytest.mark.parametrize(("rates", "lr"), [("paper", 6e-5), ("equal", None)])
def test_a_rival_learns_at_its_authors_rate_or_that_of_dynamicvis(rates: str, lr: float | None) -> None:
    (cell,) = wanted(6, Wish(scale="full", rows=("Segformer",), rates=rates))[0]
    assert cell.model == "segformer"
    assert json.loads(cell.changes).get("optimiser", {}).get("lr") == lr
    plain = wanted(6, Wish(scale="full", rows=("UperNet",)))[0][0].load_protocol().optimiser.lr
    assert cell.load_protocol().optimiser.lr == (lr or plain)


def test_a_reduced_table_runs_the_rivals_that_are_named_and_stand_ins_for_the_rest() -> None:
    def models(*rows: str) -> list[str]:
        return [cell.model for cell in wanted(6, Wish(scale="smoke", rows=rows))[0]]

    assert models() == ["dynamicvis_t", "resnet18"]
    assert models("U-Net", "SegFormer", "DynamicVis-B") == ["unet", "segformer", "dynamicvis_t"]
    assert models("UperNet") == ["resnet18"]


def test_a_rival_is_counted_by_a_dry_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ask = ["reproduce", "table8", "--scale", "full", "--rows", "FC-EF", "--dry-run", "--out", str(tmp_path)]
    assert cli.main(ask) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("fc_ef"))
    macs = float(line.split()[-2])
    assert 25 < macs < 40  # at 512 px: 19 G of ResNet-34, by its 3.67 at 224 px, and the decoder


@pytest.mark.slow
@pytest.mark.parametrize("model", RIVALS)
def test_every_rival_learns_on_its_reduced_data(model: str, tmp_path: Path) -> None:
    given = ["run", RIVALS[model].task, "--model", model, "--scale", "smoke", "--device", "cpu"]
    assert cli.main([*given, "--out", str(tmp_path), "--set", *FEW]) == 0
