"""Tables for people: Markdown, LaTeX, CSV and the terminal, from the same cells."""

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reports import escape
from reports.ledger import write_atomically

if TYPE_CHECKING:
    from rich.console import Group


class TableError(ValueError):
    """A table whose cells do not fit its columns; the message is one line."""


@dataclass
class Table:
    """Cells as text, already rounded and with their marks, plus what a reader needs to judge them.

    Attributes:
        title: What the table shows, one line.
        columns: Headings, with the unit where there is one.
        rows: One list of cells a row, as many as there are columns; an empty cell is a number nobody gave.
        notes: Where the numbers come from and how to read the marks, one line each. Markdown and LaTeX print them; a
            CSV file holds nothing but cells, so a caller that wants provenance there adds a ``source`` column.
        caption: What the reader should look at.

    Raises:
        TableError: A row has not as many cells as there are columns.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                message = f"row {number} has {len(row)} cells for {len(self.columns)} columns; give one cell a column"
                raise TableError(f"table {self.title!r}: {message}")

    def to_markdown(self) -> str:
        """The table as GitHub Markdown, padded so that the source can be read too."""
        grid = [[escape.markdown(cell) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(3, *map(len, column)) for column in zip(*grid, strict=True)]
        rule = ["-" * (width - 1) + ":" if self._right(i) else "-" * width for i, width in enumerate(widths)]
        lines = [
            "| " + " | ".join(self._pad(i, cell, widths[i]) for i, cell in enumerate(row)) + " |"
            for row in [grid[0], rule, *grid[1:]]
        ]
        notes = "\n".join(f"- {escape.markdown(note)}" for note in self.notes)
        title, caption = f"## {escape.markdown(self.title)}", escape.markdown(self.caption)
        return "\n\n".join(part for part in (title, caption, "\n".join(lines), notes) if part) + "\n"

    def to_latex(self) -> str:
        r"""The table as a LaTeX ``table``; needs ``\usepackage{booktabs}``."""
        caption = ". ".join(text.rstrip(".") for text in (self.title, self.caption) if text)
        alignment = "".join("r" if self._right(i) else "l" for i in range(len(self.columns)))
        header, *body = (" & ".join(map(escape.latex, row)) + r" \\" for row in [self.columns, *self.rows])
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape.latex(caption)}.}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            *(r"\toprule", header, r"\midrule", *body, r"\bottomrule"),
            r"\end{tabular}",
            *(rf"\par\smallskip{{\footnotesize {escape.latex(note)}\par}}" for note in self.notes),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """The cells alone, one header line, for programs; what a spreadsheet would calculate has an apostrophe."""
        text = io.StringIO()
        cells = [[escape.csv_cell(cell) for cell in row] for row in [self.columns, *self.rows]]
        csv.writer(text, lineterminator="\n").writerows(cells)
        return text.getvalue()

    def to_rich(self) -> "Group":
        """The table for the terminal; its notes below take the whole width, however narrow it is."""
        from rich import box  # noqa: PLC0415 - only a terminal needs it
        from rich.console import Group  # noqa: PLC0415
        from rich.table import Table as RichTable  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        def text(words: str) -> Text:  # because a plain string may hold markup such as [2x]
            return Text(escape.printable(words))

        footer = Text("\n").join(text(words) for words in (self.caption, *self.notes) if words)
        table = RichTable(title=text(self.title), box=box.SIMPLE_HEAD)
        for i, column in enumerate(self.columns):
            table.add_column(text(column), justify="right" if self._right(i) else "left")
        for row in self.rows:
            table.add_row(*map(text, row))
        return Group(table, footer) if footer else Group(table)

    def write(self, folder: Path, stem: str) -> list[Path]:
        """Write ``stem``.md, .tex and .csv into ``folder``, each completely or not at all.

        Raises:
            LedgerError: The folder cannot be written, or the disk is full.
        """
        texts = {".md": self.to_markdown(), ".tex": self.to_latex(), ".csv": self.to_csv()}
        return [write_atomically(folder / f"{stem}{ending}", text.encode()) for ending, text in texts.items()]

    def _right(self, column: int) -> bool:
        """Whether most of the column's cells are numbers, perhaps with a mark or a unit behind them."""
        cells = [row[column] for row in self.rows if row[column]]
        return 2 * sum(bool(re.match(r"[-+\N{MINUS SIGN}±≈<>]?\s?\d", cell)) for cell in cells) > len(cells)

    def _pad(self, column: int, cell: str, width: int) -> str:
        return cell.rjust(width) if self._right(column) else cell.ljust(width)


Named = tuple[str, Table]
"""The stem of a table's files, and the table."""
