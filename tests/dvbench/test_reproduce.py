"""Each name stands for the cells it needs and the files it writes."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dvbench.paper.cost_rows import ROWS
from dvbench.profile.cell import Cell
from dvbench.tables.targets import TARGETS, UnknownTargetError, draw, target
from reports.ledger import LedgerError

TEMPLATE = Cell("", 0, device="cuda", dtype="bf16", scan="reference", image="scene.tif", image_hash="12ab", seed=7)
OTHER_MAMBA = [("vim_ti", "none"), ("vmamba_t", "none"), ("rsmamba_b", "none")]


def test_targets_that_measure_are_those_of_the_efficiency_part() -> None:
    measured = [name for name, chosen in TARGETS.items() if not chosen.trained]
    assert measured == ["table1", "table13", "table14", "figure20", "figure21", "audit"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("tabel3", r"did you mean table3\?$"),
        ("figure 21", r"did you mean figure21\?$"),
        ("x", "choose from table1, table13"),
    ],
)
def test_an_unknown_target_names_the_nearest_one(given: str, hint: str) -> None:
    with pytest.raises(UnknownTargetError, match=f"^cannot reproduce '{given}': {hint}"):
        target(given)


def test_table14_asks_for_the_papers_rows_and_one_of_each_other_mamba_backbone() -> None:
    cells = target("table14").cells(TEMPLATE, (128, 256))
    assert [(c.model, c.attention) for c in cells if c.resolution == 256] == [
        ("resnet101", "none"),
        ("vit_b16", "eager"),
        ("dynamicvis_b_dense", "none"),
        ("dynamicvis_b", "none"),
        ("vit_b16", "sdpa"),
        *OTHER_MAMBA,
    ]
    assert len(cells) == 16


def test_on_a_cpu_other_mamba_backbones_are_measured_up_to_512_px() -> None:
    cells = target("table14").cells(replace(TEMPLATE, device="cpu"), (512, 1024))
    models = {side: {(c.model, c.attention) for c in cells if c.resolution == side} for side in (512, 1024)}
    assert models[512] - models[1024] == set(OTHER_MAMBA)
    assert models[1024] >= {("vit_b16", "eager"), ("vit_b16", "sdpa"), ("dynamicvis_b", "none")}


def test_figure20_asks_for_what_table14_asks_for() -> None:
    assert target("figure20").cells(TEMPLATE, (128,)) == target("table14").cells(TEMPLATE, (128,))


def test_table13_asks_for_512_px_only_and_searches_batches() -> None:
    cells = target("table13").cells(TEMPLATE, (128, 256))
    assert {cell.resolution for cell in cells} == {512}
    assert {(cell.model, cell.attention) for cell in cells} >= set(ROWS.values())
    assert target("table13").max_batch


@pytest.mark.parametrize("name", ["table1", "figure21"])
def test_what_is_only_counted_asks_for_no_cell(name: str) -> None:
    assert target(name).cells(TEMPLATE, (128,)) == []


def test_cells_keep_the_conditions_that_were_chosen() -> None:
    for cell in target("table14").cells(TEMPLATE, (128,)):
        assert (cell.device, cell.dtype, cell.image, cell.image_hash, cell.seed) == (
            "cuda",
            "bf16",
            "scene.tif",
            "12ab",
            7,
        )
        assert cell.scan == ("none" if cell.model.startswith(("resnet", "vit")) else "reference")


def test_a_table_is_written_three_ways(tmp_path: Path) -> None:
    tables, written = draw("table1", [], tmp_path)
    assert [path.name for path in written] == ["table1.md", "table1.tex", "table1.csv"]
    assert set(written) == set(tmp_path.iterdir())
    assert (tmp_path / "table1.md").read_text() == tables[0].to_markdown()
    assert (tmp_path / "table1.csv").read_text().count("reproduced") == 8
    assert r"\begin{tabular}" in (tmp_path / "table1.tex").read_text()


def test_a_figure_is_written_three_ways(tmp_path: Path) -> None:
    tables, written = draw("figure20", [], tmp_path)
    assert tables == []
    assert [path.name for path in written] == ["figure20.png", "figure20.svg", "figure20.pdf"]
    assert set(written) == set(tmp_path.iterdir())
    with Image.open(written[0]) as picture:
        assert picture.width > 1000
    assert "Latency over input size (figure 20)" in written[1].read_text()
    assert written[2].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["table1", "figure20"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(LedgerError, match=r"cannot write to .*taken"):
        draw(name, [], tmp_path / "taken")
