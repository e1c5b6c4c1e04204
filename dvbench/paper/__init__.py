"""The numbers that the DynamicVis paper prints, as data: tables 1 to 19, and what its figures and abstract state."""

from importlib.resources import files
from io import StringIO
from typing import NamedTuple

import pandas as pd


class Citation(NamedTuple):
    """Where to find a paper."""

    title: str
    arxiv: str
    version: int
    date: str
    url: str


PAPER = Citation(
    title="DynamicVis: An Efficient and General Visual Foundation Model for Remote Sensing Image Understanding",
    arxiv="2503.16426",
    version=1,
    date="2025-03-20",
    url="https://arxiv.org/abs/2503.16426v1",
)

TABLES = range(1, 20)
"""Numbers of the paper's tables."""


class UnknownTableError(ValueError):
    """A table number that the paper does not have; the message is one line."""


def table(number: int) -> pd.DataFrame:
    """One of the paper's tables, cell by cell as printed.

    Args:
        number: The paper's table number, 1 to 19.

    Returns:
        Strings with every printed digit ("87.40" stays "87.40"), empty where the paper gives no value, in the paper's
        order. Columns and units are described in ``tables/README.md``.

    Raises:
        UnknownTableError: The paper has no such table.
    """
    if number not in TABLES:
        raise UnknownTableError(f"the paper has no table {number}; choose one from {TABLES[0]} to {TABLES[-1]}")
    return _read(f"table{number:02}.csv")


def index() -> pd.DataFrame:
    """One row a table, as strings: number, file, title, kind, dataset, rows, and columns separated by blanks."""
    return _read("index.csv")


def figures() -> pd.DataFrame:
    """What the figures and the abstract state in numbers, as strings: source, item, quantity, value, unit, kind, note.

    The curves of the figures are not among them, as the paper prints no numbers for these.
    """
    return _read("figures.csv")


def _read(name: str) -> pd.DataFrame:
    text = (files(__name__) / "tables" / name).read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
