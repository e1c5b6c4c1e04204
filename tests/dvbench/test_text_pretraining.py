"""Pretraining from class embeddings of a text encoder, from the encoder to a checkpoint for the authors' code."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dvbench import cli
from dvbench.paper.score_rows import benchmarks
from dvbench.training import plan
from dvbench.training.execute import build_task
from dvbench.training.run_cell import RunCell
from dvbench.training.summary import pool_key
from dvbench.training.trained import load_trained
from dvbench.verdicts.basis import departures
from dvbench.verdicts.experiments import demand
from models.weights import load_weights
from reports.ledger import Ledger
from reports.record import Record
from tasks.embeddings import ClassEmbeddings, EmbeddingsError, read
from tests.dvbench.runs_on_paper import run as recorded
from tests.dvbench.small_clip import small_clip

SMALL = ("image_size=64", "batch=2", "counts.train=4", "counts.val=2", "counts.test=2", "dataset_options.size=64")
DRAWN = ("run", "region_classification", "--scale", "smoke", "--epochs", "1", "--workers", "0", "--device", "cpu")


def written(path: Path, shift: float = 0.0) -> Path:
    from dvbench.data import catalog

    classes = catalog.entry("synthetic_region").card.classes
    path.parent.mkdir(exist_ok=True)
    rows = torch.arange(64.0).repeat(len(classes), 1) + shift
    path.write_bytes(ClassEmbeddings(rows, classes, {"encoder": "made up"}).as_bytes())
    return path


def asked(embeddings: str, **more: object) -> RunCell:
    changes = {"head": {"embeddings": embeddings}}
    return plan.cell("dynamicvis_t", "synthetic_region", "smoke", changes=changes, **more)  # type: ignore[arg-type]


def test_a_run_is_told_by_what_its_file_holds_and_not_by_where_it_lies(tmp_path: Path) -> None:
    here, there = written(tmp_path / "a.safetensors"), written(tmp_path / "there" / "b.safetensors")
    first = asked(f"text:{here}")
    assert asked(f"text:{there}").identity() == first.identity()
    written(here, shift=1)
    assert len({cell.identity() for cell in (first, asked(f"text:{here}"), asked("random"))}) == 3
    with pytest.raises(EmbeddingsError, match="is missing"):
        asked(f"text:{tmp_path / 'nowhere'}")


def test_a_run_whose_file_has_changed_since_it_was_asked_for_does_not_start(tmp_path: Path) -> None:
    from dvbench.training.batches import Source

    path = written(tmp_path / "a.safetensors")
    cell = asked(f"text:{path}")
    written(path, shift=1)
    with pytest.raises(EmbeddingsError, match="has changed"):
        build_task(cell, Source(cell.load_protocol()))


def fmow(name: str = "", digit: str = "") -> Record:
    """Return a record of the paper's pretraining as if it had been run, from a file of this name and content."""
    changes = {"head": {"embeddings": f"text:{name}#{digit * 12}"}} if name else {}
    cell = RunCell("dynamicvis_b", "fmow", "full", changes=json.dumps(changes))
    return recorded(cell, basis={"embeddings": {"name": name, "sha256": digit * 64} if name else None})


def test_runs_from_text_are_pooled_with_none_from_random_embeddings_or_other_text() -> None:
    drawn, one, moved, other = fmow(), fmow("a", "1"), fmow("b", "1"), fmow("a", "2")
    assert pool_key(one) == pool_key(moved)
    assert len({pool_key(run) for run in (drawn, one, other)}) == 3
    seed = replace(one, cell={**one.cell, "seed": 1})
    assert pool_key(seed) == pool_key(one)


def test_a_run_from_text_does_not_stand_for_the_released_row() -> None:
    (benchmark,) = benchmarks(11)
    from dvbench.paper.score_rows import Ours

    wanted = demand(benchmark, Ours("dynamicvis_b"), "released")
    told = [one.words for one in departures(wanted, fmow("a", "1")) if one.rule == "protocol"]
    assert told == ["head.embeddings text:a#111111111111 instead of not set"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Record]:
    """Embed, and train on it as short as can be: the run's folder, the file of embeddings, the record."""
    folder = tmp_path_factory.mktemp("text")
    encoder, file = small_clip(folder / "clip"), folder / "text.safetensors"
    given = ("--classes", "synthetic_region", "--encoder", str(encoder), "--width", "64", "--out", str(file))
    assert cli.main(["weights", "embed", *given]) == 0
    settings = ("--set", *SMALL, f"head.embeddings=text:{file}")
    assert cli.main([*DRAWN, "--model", "dynamicvis_t", "--out", str(folder / "out"), *settings]) in (0, 1)
    (record,) = Ledger(folder / "out" / "records").records()
    (best,) = folder.glob("out/runs/*/best.ckpt")
    return best.parent, file, record


def test_the_record_holds_which_embeddings_it_started_from(trained: tuple[Path, Path, Record]) -> None:
    _, file, record = trained
    told = record.basis["embeddings"]
    cell = RunCell(**{name: record.cell[name] for name in RunCell.__dataclass_fields__})  # type: ignore[arg-type]
    about = read(f"text:{file}", cell_classes(), 64).about
    assert told == about
    assert isinstance(told, dict)
    assert {"sha256", "encoder", "encoder_sha256", "prompts", "projection", "seed"} <= told.keys()
    assert str(told["sha256"])[:12] in cell.changes
    assert record.identity == cell.identity()


def cell_classes() -> tuple[str, ...]:
    from dvbench.data import catalog

    return catalog.entry("synthetic_region").card.classes


def test_a_checkpoint_is_exported_and_comes_back_to_the_bit(
    trained: tuple[Path, Path, Record], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, file, _ = trained
    out = tmp_path / "epoch_1.pth"
    aside = shutil.move(file, tmp_path / "aside")  # a checkpoint needs no file of embeddings any more
    try:
        assert cli.main(["weights", "export", str(run), str(out)]) == 0
        task, other = load_trained(run / "best.ckpt"), load_trained(run / "best.ckpt")
    finally:
        shutil.move(aside, file)
    content = torch.load(out, weights_only=True)
    assert content.keys() == {"state_dict", "meta"}
    assert content["meta"]["cfg"] == "spatial_token_keep_ratios=[8, 4, 2, 1]"
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    report = load_weights(other, str(out))
    assert (report.missing, report.unexpected) == ((), ())
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in task.state_dict().items())
    printed = " ".join(capfd.readouterr().out.split())
    assert "backbone 80 head 4 neck 9 pre_neck 16" in printed  # 1 + 4 x 6 + 5 x 11 of the backbone
    assert "Left out" not in printed
    assert cli.main(["weights", "export", str(run), str(out)]) == 2
    assert cli.main(["weights", "export", str(run / "best.ckpt"), str(out), "--force"]) == 0
    assert cli.main(["weights", "export", str(run), str(tmp_path / "a.safetensors")]) == 2
    assert cli.main(["weights", "export", str(tmp_path), str(tmp_path / "b.pth")]) == 2


def test_embeddings_come_from_the_weights_or_from_text_but_not_from_both(
    trained: tuple[Path, Path, Record],
) -> None:
    from dvbench.training.batches import Source

    run, file, _ = trained
    cell = asked(f"text:{file}", weights=str(run / "best.ckpt"))
    with pytest.raises(EmbeddingsError, match="has embeddings of the classes too: leave out head"):
        build_task(cell, Source(cell.load_protocol()))


@pytest.mark.slow
def test_of_another_task_what_has_a_name_is_exported_and_the_rest_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("run", "detection", "--scale", "smoke", "--epochs", "1", "--workers", "0", "--device", "cpu")
    for model in ("dynamicvis_t", "resnet18"):
        place = ("--model", model, "--out", str(tmp_path / model), "--set", "image_size=64", "batch=2")
        assert cli.main([*given, *place]) in (0, 1)
    capfd.readouterr()
    (ours,), (theirs,) = (list((tmp_path / model).glob("runs/*")) for model in ("dynamicvis_t", "resnet18"))
    assert cli.main(["weights", "export", str(ours), str(tmp_path / "a.pth")]) == 0
    assert "Left out, as the authors have no name for it: head." in " ".join(capfd.readouterr().out.split())
    parts = {key.partition(".")[0] for key in torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"]}
    assert parts == {"backbone", "pre_neck"}
    assert cli.main(["weights", "export", str(theirs), str(tmp_path / "b.pth")]) == 2
    assert "is of resnet18" in capfd.readouterr().err
