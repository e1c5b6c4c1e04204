"""The numbers that the DynamicVis paper prints, as data: tables 1 to 19, and what its figures and abstract state."""

from importlib.resources import files
from io import StringIO
from typing import NamedTuple

import pandas as pd


class Citation(NamedTuple):
    """Where to find a version of a paper."""

    title: str
    arxiv: str
    version: int
    date: str

    @property
    def url(self) -> str:
        """The page of this very version."""
        return f"https://arxiv.org/abs/{self.cited}"

    @property
    def cited(self) -> str:
        """The version as notes cite it, such as "2503.16426v1"."""
        return f"{self.arxiv}v{self.version}"


#: Versions by number. A folder `v1`, `v2`, ... beside this file holds what a version prints. The tables of version 2
#: are not at hand, so it is known by name only.
VERSIONS = {
    1: Citation(
        "DynamicVis: An Efficient and General Visual Foundation Model for Remote Sensing Image Understanding",
        "2503.16426",
        1,
        "2025-03-20",
    ),
    2: Citation(
        "DynamicVis: Dynamic Visual Perception for Efficient Remote Sensing Foundation Models",
        "2503.16426",
        2,
        "2026-03-18",
    ),
}
PAPER = VERSIONS[1]
"""The version whose numbers everything is set beside."""

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
        order. Columns and units are described in ``v1/README.md``.

    Raises:
        UnknownTableError: The paper has no such table.
    """
    if number not in TABLES:
        raise UnknownTableError(f"the paper has no table {number}; choose one from {TABLES[0]} to {TABLES[-1]}")
    return _read(f"tables/table{number:02}.csv")


def index() -> pd.DataFrame:
    """One row a table, as strings: number, file, title, kind, dataset, rows, and columns separated by blanks."""
    return _read("index.csv")


def figures() -> pd.DataFrame:
    """What the figures and the abstract state in numbers, as strings: source, item, quantity, value, unit, kind, note.

    The curves of the figures are not among them, as the paper prints no numbers for these.
    """
    return _read("figures.csv")


def _read(name: str) -> pd.DataFrame:
    text = (files(__name__) / f"v{PAPER.version}" / name).read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
