"""Figures 8 to 19 from finished runs: predictions beside truth, confusion, curves, retrieval and embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dvbench.data import catalog
from dvbench.training.summary import label, newest, run_folder
from reports import pictures
from reports.pictures import Example
from reports.plot import PlotError
from reports.record import Record
from tasks import protocol
from tasks.files import LOG

if TYPE_CHECKING:
    from dvbench.training.gallery import Arrays

SURE = 0.3  # score from which the paper draws a detection
SURE_REDUCED = 0.15  # after so little training, scores are low


@dataclass(frozen=True)
class Drawn:
    """One figure of the paper.

    Attributes:
        about: what it shows.
        protocol: whose runs it shows.
        kind: `predictions`, `confusion`, `curves`, `retrieval` or `embeddings`.
    """

    about: str
    protocol: str
    kind: str = "predictions"


#: Which dataset figures 12 to 17 show is inferred from their order, which is that of the tables.
FIGURES: dict[str, Drawn] = {
    "figure8": Drawn("confusion on UC Merced", "uc_merced", "confusion"),
    "figure9": Drawn("confusion on AID", "aid", "confusion"),
    "figure10": Drawn("loss and F1 on UC Merced, from pretraining and from random weights", "uc_merced", "curves"),
    "figure11": Drawn("detections on LEVIR-Ship", "levir_ship"),
    "figure12": Drawn("instances on NWPU VHR-10", "nwpu_vhr10"),
    "figure13": Drawn("instances on SSDD", "ssdd"),
    "figure14": Drawn("roads on Massachusetts Roads", "massachusetts_roads"),
    "figure15": Drawn("buildings on WHU Building", "whu_building"),
    "figure16": Drawn("changes on LEVIR-CD", "levir_cd"),
    "figure17": Drawn("changes on WHU-CD", "whu_cd"),
    "figure18": Drawn("images retrieved from ForestNet", "forestnet", "retrieval"),
    "figure19": Drawn("embeddings of ForestNet in the plane", "forestnet", "embeddings"),
}


def draw_figure(name: str, records: Sequence[Record], out: Path) -> Figure:
    """Draw a figure from the newest runs: at full scale if there are any, else reduced ones, which its title says.

    Args:
        name: a key of `FIGURES`.
        records: oldest first.
        out: where the runs lie, in `runs`.

    Raises:
        PlotError: nothing was run for it yet.
    """
    chosen = FIGURES[name]
    runs = [run for run in newest(records) if run.cell["protocol"] == chosen.protocol and run.cell["scale"] == "full"]
    if not runs:
        smoke = protocol.load(chosen.protocol).smoke
        runs = [run for run in newest(records) if run.cell["protocol"] == smoke]
    folders = {label(run): folder for run in runs if (folder := run_folder(out, run)).is_dir()}
    if not folders:
        raise PlotError(f"{name} shows training runs, and none is there yet: dvbench reproduce {name}")
    dataset = str(runs[0].cell["dataset"])
    reduced = " (reduced scale: not the paper's data)" if runs[0].cell["scale"] == "smoke" else ""
    title = f"{chosen.about}{reduced}: {dataset}" if reduced else f"{chosen.about[0].upper()}{chosen.about[1:]}"
    return _DRAW[chosen.kind](folders, dataset, title)


def _confusion(folders: dict[str, Path], dataset: str, title: str) -> Figure:  # noqa: ARG001
    tables = {name: pd.read_csv(folder / "confusion.csv", index_col=0) for name, folder in folders.items()}
    classes = [str(name) for name in next(iter(tables.values())).columns]
    return pictures.confusion({name: table.to_numpy() for name, table in tables.items()}, classes, title=title)


def _curves(folders: dict[str, Path], dataset: str, title: str) -> Figure:  # noqa: ARG001
    logs = {name: pd.read_csv(folder / LOG) for name, folder in folders.items()}
    return pictures.curves(logs, metric="f1", title=title)


def _retrieval(folders: dict[str, Path], dataset: str, title: str) -> Figure:
    classes = catalog.entry(dataset).card.classes
    name, folder = next(iter(folders.items()))
    with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
        names = [classes[position] for position in kept["query_labels"]]
        sheets = list(zip(kept["queries"], names, kept["nearest"], kept["relevant"], strict=True))
    return pictures.retrieval_sheet(sheets, title=f"{title}, {name}")


def _embeddings(folders: dict[str, Path], dataset: str, title: str) -> Figure:
    found = {}
    for name, folder in folders.items():
        with np.load(folder / "embeddings.npz", allow_pickle=False) as kept:
            found[name] = (kept["embeddings"], kept["labels"])
    return pictures.embedding_map(found, catalog.entry(dataset).card.classes, title=title)


def _predictions(folders: dict[str, Path], dataset: str, title: str) -> Figure:
    from dvbench.training.gallery import read_examples  # noqa: PLC0415 (imports Lightning and torchvision: seconds)

    card = catalog.entry(dataset).card
    kept = {name: read_examples(folder / "examples.npz") for name, folder in folders.items()}
    first = next(iter(kept.values()))
    examples = [
        _example(arrays, {name: _named(each[i], "found_") for name, each in kept.items()})
        for i, arrays in enumerate(first)
    ]
    if card.task in ("detection", "instance"):
        least = SURE_REDUCED if "reduced" in title else SURE
        return pictures.detections(examples, title=title, least_score=least)
    if card.task in ("semantic", "change"):
        return pictures.masks(examples, title=title, classes=card.classes)
    return pictures.classified(examples, title=title, classes=card.classes)


def _example(arrays: "Arrays", found: "dict[str, Arrays]") -> Example:
    renamed = {"bbox_xyxy": "boxes", "label": "labels"}
    truth = {renamed.get(name, name): value for name, value in _named(arrays, "true_").items()}
    return Example(np.moveaxis(arrays["image"], -3, -1), truth, found)


def _named(arrays: "Arrays", prefix: str) -> "Arrays":
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


_DRAW = {
    "confusion": _confusion,
    "curves": _curves,
    "retrieval": _retrieval,
    "embeddings": _embeddings,
    "predictions": _predictions,
}
