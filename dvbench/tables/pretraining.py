"""Table 11 with the study of what pretraining is worth: what its reduced runs learn, and which starts differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

from dvbench.tables.scores import tables
from dvbench.training.pretraining_study import LOSSES, PRETRAINING, SCRATCH, TASKS, loss_of
from dvbench.training.summary import REDUCED, newest, newest_group, spread, told_protocol, value
from dvbench.verdicts.pairs import MARGIN, Pair, told_apart
from reports.record import Record
from reports.starts import Panel, starts_figure
from reports.table import Named, Table

TABLE = 11
STARTS = (SCRATCH, *LOSSES)
COMPARED = (("CE", SCRATCH), ("MIL", SCRATCH), ("MIL", "CE"))
TITLE = "What is pretraining worth?"


@dataclass(frozen=True)
class Test:
    """A model in one test, from every start.

    Attributes:
        name: of the test.
        model: name of the model.
        score: by which the protocol picks checkpoints.
        starts: start -> its runs, by seed.
    """

    name: str
    model: str
    score: str
    starts: Mapping[str, Sequence[Record]]

    @property
    def by_seed(self) -> dict[str, dict[int, float]]:
        """The scores in percent: start -> seed -> score."""
        return {
            start: {int(run.cell["seed"] or 0): found for run in runs if (found := value(run, self.score)) is not None}
            for start, runs in self.starts.items()
        }

    @property
    def title(self) -> str:
        """What is tested, in what."""
        return f"{self.name} of {self.model}"


def draw_pretraining(records: Sequence[Record], folder: Path) -> tuple[list[Named], Figure | None]:
    """Draw table 11, and table and figure of the study if any of its runs are there.

    Args:
        records: oldest first; the newest of each run counts.
        folder: of the records, with what came of each test image.
    """
    found = studied(newest(records))
    drawn = tables(TABLE, records)
    if not found:
        return drawn, None
    table = _table(found, folder)
    panels = [Panel(one.model, one.name, one.score, one.by_seed) for one in found]
    last = max(run.created for one in found for runs in one.starts.values() for run in runs)
    caption = f"Points: means; lines: seeds. {REDUCED} {last[:10]}."
    return [*drawn, (f"table{TABLE}_starts", table)], starts_figure(panels, STARTS, title=TITLE, caption=caption)


def studied(runs: Sequence[Record]) -> list[Test]:
    """Return the tests of the study that were run: regions as in pretraining itself, then the tasks after it.

    Args:
        runs: one record each.
    """
    reduced = [run for run in runs if run.cell["scale"] == "smoke"]
    found = []
    for model in dict.fromkeys(str(run.cell["model"]) for run in reduced if run.cell["protocol"] == PRETRAINING):
        own = [run for run in reduced if run.cell["model"] == model]
        pretrained = _pretrained([run for run in own if run.cell["protocol"] == PRETRAINING])
        found.append(_test("regions", model, pretrained))
        for name in TASKS:
            starts = _starts([run for run in own if run.cell["protocol"] == name], pretrained)
            found.append(_test(name.removeprefix("transfer_"), model, starts))
    return sorted((one for one in found if one.starts), key=lambda one: one.name != "regions")


def _test(name: str, model: str, starts: Mapping[str, Sequence[Record]]) -> Test:
    runs = next(iter(starts.values()), [])
    score = str(told_protocol(runs[0])["select"]["metric"]) if runs else ""
    return Test(name, model, score, starts)


def _pretrained(runs: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the newest runs of each loss."""
    by_loss = {
        loss: newest_group([run for run in runs if loss_of(str(run.cell["changes"])) == loss and not _start(run)])
        for loss in LOSSES
    }
    return {loss: group for loss, group in by_loss.items() if group}


def _starts(runs: Sequence[Record], pretrained: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
    """Return the newest runs of a task from scratch, and from the pretraining of the same seed by each loss."""
    found = {SCRATCH: newest_group([run for run in runs if not _start(run)])}
    for loss, group in pretrained.items():
        made = {(str(run.basis.get("checkpoint"))[:12], run.cell["seed"]) for run in group}
        found[loss] = newest_group([_unstarted(run) for run in runs if (_start(run), run.cell["seed"]) in made])
    return {start: group for start, group in found.items() if group}


def _start(run: Record) -> str:
    """The first digits of the hash of the weights that a run started from; empty for random ones."""
    return str(run.cell["weights_hash"])


def _unstarted(run: Record) -> Record:
    """Return a record without what it started from, which differs between seeds of one pretraining."""
    return replace(run, cell={**run.cell, "weights_hash": ""}, basis={**run.basis, "weights": None})


def _table(found: Sequence[Test], folder: Path) -> Table:
    words: dict[tuple[str, str], dict[str, str]] = {}
    failed: list[str] = []
    for one, other in COMPARED:  # each is a question of its own
        pairs = {
            test.title: Pair(test.starts[one], test.starts[other], test.score)
            for test in found
            if {one, other} <= test.starts.keys()
        }
        words[one, other], lost = told_apart(pairs, folder)
        failed += lost
    body = []
    for test in found:
        scores = [spread(test.starts[start], test.score) if start in test.starts else "" for start in STARTS]
        told = [words[each].get(test.title, "") for each in COMPARED]
        seeds = " / ".join(dict.fromkeys(str(len(group)) for group in test.starts.values()))
        body.append([test.name, test.model, test.score, *scores, *told, seeds])
    columns = ["Test", "model", "score", *STARTS, *(f"{one} against {other}" for one, other in COMPARED), "seeds"]
    notes = [
        REDUCED,
        "Regions: the pretraining itself, by cross-entropy (CE) or with multiple-instance matching beside it (MIL), "
        "scored on held-out scenes. Below: few images of another task, from random weights (scratch) or from that "
        "pretraining, with the same images, steps and rates. Percent: mean ± standard deviation over seeds.",
        "Against: over the same seeds and images; each column is a question of its own, and its comparisons are read "
        f"together by Holm's method. Equivalent: within {MARGIN:g} point. "
        "Cannot tell, below: a true difference of so many points would have been seen with a chance "
        "of 80 %. See dvbench compare.",
        *failed,
    ]
    return Table(f"Table {TABLE}, reduced: what pretraining is worth", columns, body, notes)
