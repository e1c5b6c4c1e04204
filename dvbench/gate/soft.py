"""The gate's soft part: times of two cells as a ratio, taken in turn in fresh processes."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from dvbench.data.scene import Bands, default_scene
from dvbench.gate.hard import Taken, Tell
from dvbench.profile.cell import Cell
from dvbench.profile.isolate import IsolatedFailure, Worker
from dvbench.profile.subject import Subject
from reports.gate_baseline import Values
from reports.rounds import rounds

THREADS = 1  # so that neither the number of cores nor a busy neighbour on one of them changes a ratio
SAMPLES = 9  # three rounds of three
START_S, CALL_S = 300.0, 120.0

Pair = tuple[Cell, Cell]
"""What is judged, and what it is judged against."""

_OURS = Cell("dynamicvis_b", 512).settled()
_SMALL = Cell("dynamicvis_b", 256).settled()
#: Against a convolutional and an attention model; how time grows with the image; the fused scan against the loop.
PAIRS: tuple[Pair, ...] = (
    (_OURS, Cell("resnet101", 512).settled()),
    (_OURS, Cell("vit_b16", 512, attention="sdpa").settled()),
    (_OURS, _SMALL),
    (_SMALL, Cell("dynamicvis_b", 256, scan="reference").settled()),
)


class Timed(Subject):
    """A model in its process, on a fixed number of threads."""

    def __init__(self, cell: Cell, image: Path, bands: Bands | None) -> None:
        torch.set_num_threads(THREADS)
        super().__init__(cell, image, bands)


def ratios(pairs: Sequence[Pair], tell: Tell, *, passes: int = 1, subject: Callable[..., Subject] = Timed) -> Taken:
    """Measure each pair's rounds of ours / theirs.

    Args:
        pairs: what is measured. All cells stay open together and take turns, one sample each.
        tell: is told what happens.
        passes: how often it is done with fresh processes; a baseline takes several, to know how far processes differ.
        subject: makes the object that is timed, in its process.
    """
    figures: dict[str, Values] = {}
    failures: dict[str, str] = {}
    for number in range(1, passes + 1):
        taken = _samples(list(dict.fromkeys(cell for pair in pairs for cell in pair)), tell, subject, number)
        for ours, theirs in pairs:
            name = f"{label(ours)} : {label(theirs)}"
            failed = [found for cell in (ours, theirs) if isinstance(found := taken[cell], IsolatedFailure)]
            if failed:
                failures[name] = str(failed[0])
            else:
                figures[name] = (*figures.get(name, ()), *rounds(taken[ours], taken[theirs]))  # type: ignore[arg-type]
    return {name: values for name, values in figures.items() if name not in failures}, failures


def label(cell: Cell) -> str:
    """Name a cell by what tells it apart here."""
    switches = [switch for switch in (cell.attention, cell.scan) if switch not in ("none", "auto")]
    return " ".join([f"{cell.model}@{cell.resolution}", *switches])


def _samples(
    cells: Iterable[Cell], tell: Tell, subject: Callable[..., Subject], number: int
) -> dict[Cell, list[float] | IsolatedFailure]:
    """Sample cells in turn; one that fails is left out from then on."""
    taken: dict[Cell, list[float] | IsolatedFailure] = {}
    with ExitStack() as stack:
        workers: dict[Cell, Worker] = {}
        for cell in cells:
            tell(f"load {label(cell)}, pass {number}")
            taken[cell] = []
            try:
                worker = Worker(subject, cell, default_scene(), None, name=label(cell), start_timeout=START_S)
                workers[cell] = stack.enter_context(worker)
                workers[cell].call("warm", timeout=CALL_S)
            except IsolatedFailure as failure:
                taken[cell] = failure
        for turn in range(1, SAMPLES + 1):
            tell(f"round {turn} of {SAMPLES}, pass {number}")
            for cell, worker in workers.items():
                samples = taken[cell]
                if isinstance(samples, IsolatedFailure):
                    continue
                try:
                    samples.append(worker.call("sample", timeout=CALL_S))
                except IsolatedFailure as failure:
                    taken[cell] = failure
    return taken
