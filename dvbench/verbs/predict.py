"""`dvbench predict`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import (
    GOOD,
    Subparsers,
    UsageError,
    add_verb,
    bands,
    positive,
    print_tables,
    torch_device,
    wrote,
)

if TYPE_CHECKING:
    from dvbench.predict.job import Settings
    from tasks.task import Task


def predict(options: argparse.Namespace) -> int:
    """Predict images with a trained checkpoint."""
    from dvbench.predict.job import SUPPORTED, PredictError, Settings
    from dvbench.training.trained import load_trained

    task = load_trained(options.checkpoint).to(torch_device(options.device)).eval()
    kind = task.protocol.task
    if kind not in SUPPORTED:
        raise PredictError(f"{kind} needs more than an image: choose a checkpoint of {', '.join(SUPPORTED)}")
    if (kind == "change_detection") != (options.after is not None):
        raise UsageError("change detection compares two dates: give --after with it, and with no other task")
    settings = Settings(options.window, options.overlap, options.score, options.batch_size, options.bands)
    return _classify(task, settings, options) if kind == "classification" else _predict(task, settings, options)


def _predict(task: "Task", settings: "Settings", options: argparse.Namespace) -> int:
    from dvbench.predict import job
    from dvbench.progress import display

    inputs: list[tuple[Path, ...]] = [(path,) for place in options.image for path in job.images(place)]
    if options.after:
        inputs = [pair for place in options.image for pair in job.pairs(place, options.after)]
    for paths in inputs:
        if job.target(task, paths[0], options.out).exists() and not options.fresh:
            print(f"{job.target(task, paths[0], options.out)} is there already: --fresh makes it again")
            continue
        with display(job.windows(task, paths[0], settings)) as bar:
            bar.tell(f"{paths[0].name}: windows of {settings.side(task)} px")
            wrote(*job.predict(task, paths, options.out, settings, bar.count))
    return GOOD


def _classify(task: "Task", settings: "Settings", options: argparse.Namespace) -> int:
    from dvbench.predict import job
    from dvbench.progress import display

    paths = [path for place in options.image for path in job.images(place)]
    with display(len(paths)) as bar:
        table = job.classify(task, paths, settings, bar.count)
    print_tables(table)
    wrote(*table.write(options.out, "classes"))
    return GOOD


def add_to(verbs: Subparsers) -> None:
    """Add `predict` to the command line."""
    sub = add_verb(
        verbs,
        "predict",
        predict,
        "find objects, classes or changes in images of any size with a trained checkpoint",
        "  dvbench predict last.ckpt scene.tif                    GeoJSON or GeoTIFF in the scene's coordinates\n"
        "  dvbench predict last.ckpt folder/ --score 0.5          every image of a folder\n"
        "  dvbench predict last.ckpt 2012.tif --after 2016.tif    change between two dates\n",
    )
    sub.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="what dvbench run left behind")
    sub.add_argument("image", nargs="+", type=Path, metavar="IMAGE", help="GeoTIFF, PNG or JPEG of any size, or folder")
    sub.add_argument("--after", type=Path, metavar="IMAGE", help="the later image, or folder, for change detection")
    sub.add_argument("--window", type=positive, metavar="N", help="side in px of a window (default: as trained)")
    sub.add_argument("--overlap", type=_share, default=0.25, metavar="S", help="share that windows overlap (0.25)")
    sub.add_argument("--score", type=_share, default=0.3, metavar="S", help="least score of an object (default: 0.3)")
    sub.add_argument("--batch-size", type=positive, default=1, metavar="N", help="windows a forward pass (default: 1)")
    sub.add_argument("--bands", type=bands, metavar="R,G,B", help="band numbers from 1 to read as red, green, blue")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")
    sub.add_argument("--fresh", action="store_true", help="make again what is there already")
    sub.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="results (predictions)")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share from 0 to below 1")
    return share
