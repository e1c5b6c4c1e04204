"""Files in, predictions out: which kind of file a task writes, and how images are named."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvbench.data.scene import Bands
from dvbench.predict import dense, objects
from dvbench.predict.preview import draw_map, draw_objects
from dvbench.predict.raster import open_raster
from dvbench.predict.windows import View, grid, predictions
from reports.ledger import LedgerError
from reports.table import Table
from tasks.task import Task

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
OBJECTS, MAPS = ("detection", "instance_segmentation"), ("semantic_segmentation", "change_detection")
SUPPORTED = (*OBJECTS, *MAPS, "classification")


class PredictError(ValueError):
    """A task or an input that cannot be predicted; the message is one line."""


@dataclass(frozen=True)
class Settings:
    """How images are cut and what is kept.

    Attributes:
        window: side of a window in pixels of the image; None for what the task was trained with.
        overlap: least share of a window that the next one sees too.
        least_score: objects below are left out.
        batch_size: windows in a forward pass.
        bands: numbers from 1 of the bands to read as red, green and blue.
    """

    window: int | None = None
    overlap: float = 0.25
    least_score: float = 0.3
    batch_size: int = 1
    bands: Bands | None = None

    def side(self, task: Task) -> int:
        """Return the side of a window in pixels of the image."""
        return self.window or task.protocol.image_size // (2 if task.protocol.upsampling == "2x" else 1)


def images(place: Path) -> list[Path]:
    """Return an image, or those of a folder in order of their names.

    Raises:
        PredictError: there is none.
    """
    if not place.is_dir():
        return [place]
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in ENDINGS)
    if not found:
        raise PredictError(f"{place} holds no image ({', '.join(ENDINGS)}); give a folder with images, or a file")
    return found


def pairs(before: Path, after: Path) -> list[tuple[Path, Path]]:
    """Return the images of two dates, matched by name where they are folders.

    Raises:
        PredictError: an image has no partner.
    """
    if before.is_dir() != after.is_dir():
        raise PredictError(f"{before} and {after}: give two files or two folders")
    if not before.is_dir():
        return [(before, after)]
    matched = [(path, after / path.name) for path in images(before)]
    for _, partner in matched:
        if not partner.is_file():
            raise PredictError(f"{partner} is missing; both folders need the same names")
    return matched


def target(task: Task, image: Path, out: Path) -> Path:
    """Return the file that the prediction for an image goes to."""
    return out / f"{image.stem}.{'geojson' if task.protocol.task in OBJECTS else 'tif'}"


def windows(task: Task, image: Path, settings: Settings) -> int:
    """Return into how many windows an image is cut; errors as `predict`."""
    with open_raster(image, settings.bands) as raster:
        return len(grid(raster.size, settings.side(task), settings.overlap))


def predict(
    task: Task, paths: tuple[Path, ...], out: Path, settings: Settings, count: Callable[[list[View]], Iterator[View]]
) -> list[Path]:
    """Predict one image, or one pair of images, and write the result and a picture of it.

    Args:
        task: trained, in eval mode.
        paths: the image, or the images before and after.
        out: folder for the results.
        settings: how to cut it.
        count: passes windows on and shows progress.

    Returns:
        The files written: GeoJSON for objects and GeoTIFF for maps, in the image's coordinate system; and a PNG.

    Raises:
        SceneError: an image cannot be read.
        PredictError: the two images differ in size.
        LedgerError: the folder cannot be written.
    """
    with ExitStack() as stack:
        rasters = [stack.enter_context(open_raster(path, settings.bands)) for path in paths]
        if len({raster.size for raster in rasters}) > 1:
            sizes = " and ".join(f"{height} x {width}" for height, width in (raster.size for raster in rasters))
            raise PredictError(f"{paths[0]} and {paths[1]} have {sizes} pixels; align them first")
        file = target(task, paths[0], out)
        views = grid(rasters[0].size, settings.side(task), settings.overlap)
        found = predictions(task, rasters, views, settings.batch_size, count)
        picture = file.with_suffix(".png")
        if task.protocol.task in OBJECTS:
            merged = objects.collect(found, rasters[0].size, settings.least_score)
            frame = objects.table(merged, task.problem.classes, rasters[0])
            with complete(file) as temporary, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "'crs' was not provided")  # a picture has none
                frame.to_file(temporary, driver="GeoJSON")
            with complete(picture) as temporary:
                draw_objects(rasters[0], merged).save(temporary)
        else:
            with complete(file) as temporary:
                dense.write(dense.strips(found, rasters[0].size), rasters[0], task.problem.classes, temporary)
            with complete(picture) as temporary:
                draw_map(rasters[-1], file).save(temporary)
    return [file, picture]


def classify(task: Task, paths: list[Path], settings: Settings, count: Callable[[list[Path]], Iterator[Path]]) -> Table:
    """Classify whole images.

    Returns:
        One row an image: its name, the class and its probability.

    Raises:
        SceneError: an image cannot be read.
    """
    rows = []
    for path in count(paths):
        with open_raster(path, settings.bands) as raster:
            view = View(0, 0, *raster.size)
            ((_, prediction),) = predictions(task, [raster], [view], 1, iter)
        likely = prediction["logits"].softmax(-1).max(-1)
        rows.append([path.name, task.problem.classes[int(likely.indices)], f"{float(likely.values):.4f}"])
    return Table(f"{task.protocol.dataset} classes", ["Image", "class", "probability"], rows)


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Give a place to write to, which becomes `path` once it is complete.

    Raises:
        LedgerError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise LedgerError.of("write to", path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)
