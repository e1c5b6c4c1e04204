"""What the verbs share: exit codes, options, and how results are shown."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.escape import printable

if TYPE_CHECKING:
    from reports.table import Table

OUT = Path("reports/out")
GOOD, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

WEIGHTS_FROM = "a path, hf://owner/repository/file, or torchgeo: or torchvision:NAME of published weights"

Verb = Callable[[argparse.Namespace], int]
"""From the options to the exit code."""
Subparsers = Any
"""What `add_subparsers` returns; argparse keeps the type private."""


class UsageError(ValueError):
    """Arguments that cannot be used together or here; the message is one line."""


def add_verb(among: Subparsers, name: str, verb: Verb, about: str, examples: str) -> argparse.ArgumentParser:
    """Add a verb with its help to a group of verbs."""
    sub: argparse.ArgumentParser = among.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(verb=verb)
    return sub


def print_tables(*tables: "Table") -> None:
    """Print tables to the terminal."""
    from rich.console import Console

    console = Console()
    # Piped output keeps whole rows: a narrow default width would fold them.
    wide = console if console.is_terminal else Console(width=220)
    for table in tables:
        wide.print(table.to_rich())


def tell(line: str) -> None:
    """Say something on stderr in one line, whoever wrote it."""
    print(f"dvbench: {printable(line)}", file=sys.stderr)


def wrote(*paths: Path) -> None:
    """Say on stderr which files were written."""
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)


def torch_device(name: str) -> str:
    """Return the torch device that a name means here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda or cuda:N")
    if name != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"device '{name}' was asked for, but torch sees no CUDA device: use --device cpu")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= torch.cuda.device_count():
        raise UsageError(f"device '{name}' was asked for, but the last one is cuda:{torch.cuda.device_count() - 1}")
    return name


def check_side(side: int) -> None:
    """Refuse an image side that no model takes."""
    if side <= 0 or side % 32:
        raise UsageError(f"resolution {side}: give a positive number of pixels divisible by 32, such as 512")


def bands(text: str) -> tuple[int, int, int]:
    """Read three band numbers, such as 4,3,2."""
    numbers = text.split(",")
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not R,G,B: three band numbers from 1, such as 4,3,2")
    red, green, blue = map(int, numbers)
    return red, green, blue


def positive(text: str) -> int:
    """Read a positive whole number."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def seed_number(text: str) -> int:
    """Read a seed."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to 2^32 - 1")
    return int(text)


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return seconds


def picture_options(sub: argparse.ArgumentParser) -> None:
    """Options on how a picture becomes an input."""
    sub.add_argument("--fit", default="resize", choices=["resize", "crop"], help="scale the picture or cut its centre")
    sub.add_argument("--bands", type=bands, metavar="R,G,B", help="band numbers from 1 to show as red, green, blue")
    sub.add_argument("--seed", type=seed_number, default=0, help="of the random weights (default: 0)")


def out_option(sub: argparse.ArgumentParser) -> None:
    """Add the option that says where results go."""
    sub.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"results and records (default: {OUT})")
