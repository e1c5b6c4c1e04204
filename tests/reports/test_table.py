import csv
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from reports.ledger import LedgerError
from reports.table import Table, TableError


@pytest.fixture
def table() -> Table:
    return Table(
        title="Table 14: cost & size",
        columns=["model", "latency (ms)", "verdict"],
        rows=[["ViT-B_16 | eager", "1,581.18", "differs"], ["[2x] 100%", "", "not run"], ["DynamicVis-B", "97.18", ""]],
        notes=["Paper: arXiv 2503.16426v1, GPU not stated.", "Ours: 2 cores."],
        caption="Batch size 1.",
    )


def test_markdown_has_title_cells_and_provenance(table: Table) -> None:
    assert table.to_markdown() == (
        "## Table 14: cost & size\n\n"
        "Batch size 1.\n\n"
        "| model             | latency (ms) | verdict |\n"
        "| ----------------- | -----------: | ------- |\n"
        r"| ViT-B_16 \| eager |     1,581.18 | differs |" + "\n"
        r"| \[2x\] 100%       |              | not run |" + "\n"
        "| DynamicVis-B      |        97.18 |         |\n\n"
        "- Paper: arXiv 2503.16426v1, GPU not stated.\n"
        "- Ours: 2 cores.\n"
    )


def test_markdown_without_notes_or_caption_has_no_holes() -> None:
    assert Table("T", ["a"], [["x"]]).to_markdown() == "## T\n\n| a   |\n| --- |\n| x   |\n"


def test_latex_uses_booktabs_and_escapes(table: Table) -> None:
    text = table.to_latex()
    assert r"\caption{Table 14: cost \& size. Batch size 1.}" in text
    assert r"\begin{tabular}{lrl}" in text
    assert r"ViT-B\_16 | eager & 1,581.18 & differs \\" in text
    assert r"{[}2x] 100\% &  & not run \\" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert "Paper: arXiv 2503.16426v1, GPU not stated." in text


def test_latex_escapes_once() -> None:
    text = Table("T", ["a"], [["\\{×~^"]]).to_latex()  # noqa: RUF001 - the sign under test
    assert r"\textbackslash{}\{$\times$\textasciitilde{}\textasciicircum{}" in text


def test_csv_holds_the_cells_and_nothing_else(table: Table) -> None:
    assert list(csv.reader(io.StringIO(table.to_csv()))) == [table.columns, *table.rows]
    assert "\r" not in table.to_csv()


def test_what_a_stranger_wrote_is_text_in_every_format() -> None:
    told = "=1+1|<b>x</b>\n\x1b[31m$\\input{a}"
    table = Table(told, [told], [[told]], [told], told)
    assert table.to_csv() == "'=1+1|<b>x</b> \\x1b[31m$\\input{a}\n" * 2
    written = r"=1+1\|\<b>x\</b> \\x1b\[31m$\\input{a}"
    assert table.to_markdown().splitlines() == [
        *(f"## {written}", "", written, ""),
        *(f"| {written} |", f"| {'-' * len(written)} |", f"| {written} |", ""),
        f"- {written}",
    ]
    assert table.to_latex().count(r"$<$b$>$x$<$/b$>$ \textbackslash{}x1b{[}31m\$\textbackslash{}input\{a\}") == 5
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(table.to_rich())
    assert console.export_text().count(r"=1+1|<b>x</b> \x1b[31m$\input{a}") == 5


def test_terminal_shows_every_cell_and_takes_none_for_markup(table: Table) -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(table.to_rich())
    text = console.export_text()
    assert all(cell in text for row in table.rows for cell in row)
    assert "Ours: 2 cores." in text


def test_terminal_gives_notes_the_whole_width() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(Table("Two", ["a", "b"], [["1", "2"]], ["a note of many words " * 5]).to_rich())
    assert ("a note of many words " * 5).strip() in console.export_text()


def test_write_makes_three_files(table: Table, tmp_path: Path) -> None:
    paths = table.write(tmp_path / "out", "table14")
    assert [path.name for path in paths] == ["table14.md", "table14.tex", "table14.csv"]
    assert [path.read_text() for path in paths] == [table.to_markdown(), table.to_latex(), table.to_csv()]


def test_a_failed_write_leaves_no_half_file(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LedgerError, match="free some space"):
        table.write(tmp_path, "table14")
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(TableError, match="row 2 has 1 cells for 2 columns"):
        Table("T", ["a", "b"], [["1", "2"], ["3"]])
