"""Who looks on while long work runs: nobody, or a person at a terminal."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Item = TypeVar("Item")


class Watch:
    """Shows nothing; what long work takes unless it is told otherwise."""

    def tell(self, line: str) -> None:
        """Take one line about what was done."""

    def items(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """Pass items on, and count each when the next is asked for."""
        del what
        yield from items

    def chunks(self, chunks: Iterable[bytes], what: str, done: int, total: int | None) -> Iterator[bytes]:
        """Pass chunks on, and count their bytes.

        Args:
            chunks: What comes.
            what: Its name.
            done: Bytes that had come before.
            total: Bytes in all, or None where nobody knows.
        """
        del what, done, total
        yield from chunks


SILENT = Watch()


class Screen(Watch):
    """Shows lines and bars on stderr, so that what goes to stdout can be piped; no bars in a log."""

    def tell(self, line: str) -> None:
        """Print the line."""
        sys.stderr.write(f"{line}\n")

    def items(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """Show how many have passed."""
        with _bars(MofNCompleteColumn()) as bars:
            yield from bars.track(items, len(items), description=what)

    def chunks(self, chunks: Iterable[bytes], what: str, done: int, total: int | None) -> Iterator[bytes]:
        """Show how much has passed, and how fast."""
        with _bars(DownloadColumn(), TransferSpeedColumn()) as bars:
            task = bars.add_task(what, total=total, completed=done)
            for chunk in chunks:
                bars.advance(task, len(chunk))
                yield chunk


def _bars(*columns: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    text = TextColumn("{task.description}", markup=False)
    return Progress(
        text, BarColumn(), *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )
