"""How each table and figure stands: drawn or not, its verdicts, and the mark by which a second run knows that."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dvbench.environment import ROOT, code_fingerprint
from dvbench.errors import one_line
from dvbench.tables.targets import draw, target
from dvbench.training.unfinished import Unfinished
from reports.compare import Comparison, Verdict
from reports.ledger import write_atomically
from reports.plot import PlotError
from reports.record import Record
from reports.table import Table

FILE = "standing.json"
ENDINGS = (".py", ".yaml", ".csv", ".html", ".css", ".js")
BY_EYE = "a picture: compared by eye"


@dataclass(frozen=True)
class Standing:
    """How a table or figure stands.

    Attributes:
        name: a key of `dvbench.tables.targets.TARGETS`.
        verdicts: how many of its numbers have which verdict.
        why: why something was not run or cannot be compared, the most frequent reason first.
        files: names of what was written for it.
        failed: the error that kept it from being drawn; empty if none did.
        seconds: that drawing took; 0 where nothing had changed.
    """

    name: str
    verdicts: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    files: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0

    def told(self) -> str:
        """The verdicts in words, such as "3 reproduced, 1 not run"."""
        return ", ".join(f"{self.verdicts[verdict]} {verdict}" for verdict in Verdict if self.verdicts.get(verdict))


def stand(
    name: str,
    records: Sequence[Record],
    folder: Path,
    runs: Sequence[Unfinished] = (),
    kept: Path | None = None,
    *,
    alone: bool = False,
) -> tuple[Standing, list[Table]]:
    """Draw a target and say how it stands; what goes wrong with it is its own affair.

    Args:
        name: a key of `TARGETS`.
        records: oldest first.
        folder: where files go.
        runs: that have no record yet.
        kept: where the records lie; None for `records` in `folder`.
        alone: it is all that was asked for, so that its errors are raised.

    Returns:
        How it stands, and its tables.

    Raises:
        LedgerError: the folder cannot be written, or the disk is full.
        PlotError: there is nothing to draw yet, and it is all that was asked for.
    """
    start = time.monotonic()
    try:
        tables, written = draw(name, records, folder, runs, kept)
        counted, why = _verdicts(name, records, tables)
    except PlotError as error:
        if alone:
            raise
        return Standing(name, {Verdict.NOT_RUN: 1}, str(error)), []
    except OSError:
        raise
    except Exception as error:
        told = one_line(error)
        return Standing(name, {Verdict.NOT_RUN: 1}, f"cannot be drawn: {told}", failed=told), []
    files = tuple(path.name for path in written)
    return Standing(name, counted, why, files, seconds=time.monotonic() - start), tables


def comparisons(name: str, records: Sequence[Record]) -> list[Comparison]:
    """Return the numbers of a target that the paper or we have."""
    compared = target(name).compared
    found = compared(records) if compared else []
    return [one for one in found if one.paper is not None or one.ours is not None]


class Standings:
    """What was drawn in a folder, and from what."""

    def __init__(
        self, folder: Path, records: Sequence[Record], runs: Sequence[Unfinished], problems: Sequence[str]
    ) -> None:
        self.folder = folder
        self._mark = _mark(records, runs, problems)
        self._known = _read(folder / FILE)

    def current(self, name: str) -> Standing | None:
        """Return how a target stands if it was drawn from these records by this code, and its files are there."""
        known = self._known.get(name, {})
        if known.get("mark") != self._mark or known.get("failed"):
            return None
        files = tuple(known["files"])
        there = all((self.folder / file).is_file() for file in files)
        return Standing(name, known["verdicts"], known["why"], files) if there else None

    def note(self, standings: Sequence[Standing]) -> None:
        """Keep how targets stand.

        Raises:
            LedgerError: the folder cannot be written.
        """
        for one in standings:
            kept = {"verdicts": dict(one.verdicts), "why": one.why, "files": one.files, "failed": one.failed}
            self._known[one.name] = {**kept, "mark": self._mark}
        write_atomically(self.folder / FILE, (json.dumps(self._known, indent=1) + "\n").encode())


def _verdicts(name: str, records: Sequence[Record], tables: Sequence[Table]) -> tuple[dict[str, int], str]:
    """Count verdicts of the paper's numbers, or of the tables' rows where a target has no numbers."""
    found = comparisons(name, records)
    if found:
        reasons = Counter(one.reason for one in found if one.reason)
        return dict(Counter(str(one.verdict) for one in found if one.paper is not None)), _listed(reasons)
    if tables:
        return dict(Counter(_in_tables(tables))), ""
    return {Verdict.NOT_COMPARABLE: 1}, BY_EYE


def _in_tables(tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        for row in table.rows:
            cells = zip(table.columns, row, strict=True)
            yield from (cell for column, cell in cells if column == "verdict" and cell in set(Verdict))


def _listed(reasons: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))


def _mark(records: Sequence[Record], runs: Sequence[Unfinished], problems: Sequence[str]) -> str:
    """Hash all that a drawing depends on: the code, the records, runs that are still going, files set aside."""
    code = drawing_code()
    seen = [(record.identity, record.created, record.status) for record in records]
    return hashlib.sha256(json.dumps([code, seen, [asdict(one) for one in runs], problems]).encode()).hexdigest()


def drawing_code(root: Path = ROOT) -> str:
    """Hash the files that decide how targets are drawn.

    Args:
        root: the folder that holds the packages.
    """
    # In a clone results lie inside the package `reports`, and are no part of the code.
    with_assets = code_fingerprint(root, ("dvbench", "models", "reports/parts", "tasks"), ENDINGS)
    return with_assets + code_fingerprint(root, ("reports",), (".py",))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Read what was kept; a file that is missing or broken only means that everything is drawn again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
