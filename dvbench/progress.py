"""The progress display of long work, on stderr so that tables can be piped."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Item = TypeVar("Item")


class Display(Protocol):
    """What long work tells its progress to."""

    def tell(self, what: str) -> None:
        """Say in a few words what happens now."""

    def count(self, items: Iterable[Item]) -> Iterator[Item]:
        """Pass items on, and count each when the next is asked for."""


class _Bar:
    def __init__(self, progress: Progress, total: int, plain: bool) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=total)
        self._plain = plain

    def tell(self, what: str) -> None:
        self._progress.update(self._task, description=what)
        if self._plain and "round" not in what:
            self._progress.console.print(what, markup=False, highlight=False)

    def count(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._progress.advance(self._task)
            yield item


@contextmanager
def display(total: int) -> Iterator[Display]:
    """Show a bar over `total` items on a terminal, and plain lines in a log."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield _Bar(progress, total, plain=not console.is_terminal)
