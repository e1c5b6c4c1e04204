"""What the report page shows: every target as it stands, curves by machine, a token map, records and their origin."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dvbench import paper
from dvbench.costs.figures import counted_memory, latency, measured_memory, paper_series
from dvbench.costs.found import Found
from dvbench.data.scene import default_scene, load_scene
from dvbench.environment import ROOT, checkout
from dvbench.kept import keep, kept_file, read_kept
from dvbench.show import heat, kept_tokens, look, told
from dvbench.tables.standing import Standing, comparisons
from dvbench.tables.targets import TARGETS
from dvbench.tables.trace import traces
from dvbench.training.unfinished import Unfinished
from dvbench.version import __version__
from models.dynamicvis import DynamicVis
from models.zoo import build
from reports.compare import Verdict
from reports.curves import Curves
from reports.page import Page, Picture, Section, Stage
from reports.record import Record
from reports.table import Table

FIGURES = range(8, 22)
SHOWN_MODEL, SHOWN_SIDE = "dynamicvis_b", 512
PICTURE_WIDTH = 1100  # px; the files beside the page have all of them
COUNTED = "counted, any machine"
LEAD = (
    "Every table and figure of DynamicVis (arXiv 2503.16426v1): the paper's number, ours, the difference and what "
    "follows from it. A gap is never filled: what was not run says so, and why."
)
NOTHING = (
    "No record yet. In a clone of the repository, nox -s quickstart measures in minutes; "
    "nox -s reproduce-all -- --scale smoke runs everything at reduced scale, and --dry-run says how long that takes."
)

Drawn = Mapping[str, tuple[Standing, Sequence[Table]]]
"""How each target stands, and its tables."""


def page(
    drawn: Drawn, records: Sequence[Record], folder: Path, problems: Sequence[str], runs: Sequence[Unfinished]
) -> Page:
    """Collect the page.

    Args:
        drawn: targets as `dvbench.tables.standing.stand` gives them.
        records: oldest first.
        folder: of the results, where figures lie.
        problems: files that could not be read as records.
        runs: that have no record yet.
    """
    found = Found.newest(records)
    newest = next(iter(found.records.values()), None)
    stages, note = token_stages()
    return Page(
        title="dvbench: DynamicVis reproduced?",
        lead=LEAD,
        made=_made(),
        sections=[_section(name, drawn, records, folder, runs) for name in names()],
        curves=_curves(records),
        stages=stages,
        stages_note=note,
        records=records,
        shown=newest.hardware if newest else "",
        environment=_environment(records),
        notices=[*([] if records else [NOTHING]), *(run.told() for run in runs)],
        problems=problems,
    )


def names() -> list[str]:
    """Return all targets of the page: the paper's tables and figures in its order, then what is ours."""
    own = [*(f"table{number}" for number in paper.TABLES), *(f"figure{number}" for number in FIGURES)]
    return [*own, *(name for name in TARGETS if name not in own)]


def _section(name: str, drawn: Drawn, records: Sequence[Record], folder: Path, runs: Sequence[Unfinished]) -> Section:
    if name not in TARGETS:
        return Section(name, _title(name), {Verdict.NOT_RUN: 1}, "cannot be reproduced yet")
    standing, tables = drawn[name]
    found = [] if standing.failed else comparisons(name, records)
    stems = [file.removesuffix(".csv") for file in standing.files if file.endswith(".csv")]
    return Section(
        name,
        TARGETS[name].about[0].upper() + TARGETS[name].about[1:],
        standing.verdicts,
        standing.why,
        found,
        traces(name, found, records, folder),
        list(zip(stems, tables, strict=True)),
        _pictures(name, folder, standing),
        standing.files,
        [run.told() for run in runs if TARGETS[name].waits_for(run)],
    )


def _title(name: str) -> str:
    if name.startswith("table"):
        return str(paper.index().set_index("table").loc[name.removeprefix("table"), "title"])
    return ""


def _pictures(name: str, folder: Path, standing: Standing) -> list[Picture]:
    png = f"{name}.png"
    if png not in standing.files:
        return []
    with Image.open(folder / png) as image:
        small = image.convert("RGB")
        small.thumbnail((PICTURE_WIDTH, 4 * PICTURE_WIDTH))
        return [_picture(f"{name}: {TARGETS[name].about}", np.asarray(small))]


def _picture(title: str, pixels: NDArray[np.uint8]) -> Picture:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=82, optimize=True)
    return Picture(title, data.getvalue())


def _curves(records: Sequence[Record]) -> list[Curves]:
    """Return latency and memory, by machine, that of the newest measurement first."""
    measured = [record for record in records if record.cell.get("batch") == 1]
    machines = list(dict.fromkeys(record.hardware for record in reversed(measured)))
    found = {name: Found.newest([r for r in measured if r.hardware == name]) for name in machines}
    stamps = " ".join(one.stamp for one in found.values()) or "Ours: nothing has been measured yet."
    theirs = "Paper: arXiv 2503.16426v1, table 14; which GPU is not stated."
    peaks = {f"{name}, measured peak": measured_memory(one) for name, one in found.items()}
    return [
        Curves(
            "latency",
            "Latency over image side (px), batch 1",
            "Latency (ms)",
            list(paper_series("latency_ms")),
            {name: latency(one) for name, one in found.items()},
            f"{stamps} {theirs}",
        ),
        Curves(
            "memory",
            "Memory over image side (px), batch 1",
            "Memory (MiB)",
            list(paper_series("memory_mb")),
            {COUNTED: counted_memory(), **peaks},
            f"Counted: live bytes, weights included, exact on any machine. {theirs}",
        ),
    ]


def token_stages() -> tuple[list[Stage], str]:
    """Return what each stage of an untrained model selects on the embedded scene, drawn once by the same code."""
    path = kept_file(f"tokens-{SHOWN_MODEL}-{SHOWN_SIDE}")
    try:
        told = read_kept(path)
        return [_stage(one) for one in told["stages"]], str(told["note"])
    except (KeyError, TypeError, ValueError):
        stages, note = _draw_stages()
        keep(path, {"stages": [_told_stage(one) for one in stages], "note": note})
        return stages, note


def _stage(told: Mapping[str, Any]) -> Stage:
    pictures = [Picture(one["title"], base64.b64decode(one["data"], validate=True)) for one in told["pictures"]]
    return Stage(str(told["title"]), str(told["note"]), pictures)


def _told_stage(stage: Stage) -> dict[str, Any]:
    pictures = [{"title": one.title, "data": base64.b64encode(one.data).decode()} for one in stage.pictures]
    return {"title": stage.title, "note": stage.note, "pictures": pictures}


def _draw_stages() -> tuple[list[Stage], str]:
    torch.manual_seed(0)
    model = build(SHOWN_MODEL).eval()
    assert isinstance(model, DynamicVis)
    scene = load_scene(default_scene(), SHOWN_SIDE)
    stages = [Stage("the scene", "What goes in.", [_picture("the scene", scene.image)])]
    for number, blocks in enumerate(look(model, scene.tensor), start=1):
        pictures = [
            _picture(
                f"stage {number}: tokens kept, clear where every block keeps them", kept_tokens(scene.image, blocks)
            ),
            _picture(f"stage {number}: importance in its last block, bright is high", heat(scene.image, blocks[-1])),
        ]
        stages.append(Stage(f"{number} of 4", f"Stage {number} {told(blocks)}.", pictures))
    note = (
        f"{SHOWN_MODEL} at {SHOWN_SIDE} px, untrained (seed 0): a random gate selects, so this shows the mechanism and "
        f"not what a trained model looks for. Image: {scene.note}."
    )
    return stages, note


def _environment(records: Sequence[Record]) -> dict[str, dict[str, object]]:
    """Return what the newest record of each machine says of it, without what tells runs apart."""
    found: dict[str, dict[str, object]] = {}
    for record in records:
        skipped = ("protocol", "run_folder", "hardware", "evaluator", "splits_made_by", "reduced")
        facts: dict[str, object] = {
            key: value for key, value in record.environment.items() if key not in skipped and "weights" not in key
        }
        found[record.hardware] = facts
    return found


def _made() -> str:
    commit, dirty = checkout(ROOT)
    code = f"commit {commit[:10]}{', with local changes' if dirty else ''}" if commit else "installed, no checkout"
    return f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by dvbench {__version__}, {code}."
