"""Small synthetic datasets in the layout of the real ones, to try out and to test everything that reads them.

Folders, file names, formats and encodings are those of the published datasets; the pictures are synthetic scenes.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dvbench.data.make.classification import aid, uc_merced
from dvbench.data.make.fmow import fmow
from dvbench.data.make.masks import massachusetts_roads, whu_building
from dvbench.data.make.objects import levir_ship, nwpu_vhr10, ssdd
from dvbench.data.make.pairs import levir_cd, oscd, whu_cd
from dvbench.data.make.retrieval import bigearthnet, forestnet
from dvbench.data.make.source import Scenes

MARK = "SYNTHETIC.txt"
WRITERS: dict[str, Callable[[Path, int, Scenes], None]] = {
    writer.__name__: writer
    for writer in (
        uc_merced,
        aid,
        levir_ship,
        nwpu_vhr10,
        ssdd,
        massachusetts_roads,
        whu_building,
        levir_cd,
        whu_cd,
        oscd,
        fmow,
        bigearthnet,
        forestnet,
    )
}


class MakeError(ValueError):
    """A dataset cannot be made; the message is one line that says why and what to do."""


def make(name: str, folder: str | Path, count: int, seed: int = 0) -> None:
    """Write a small synthetic dataset in the layout of a published one.

    Args:
        name: Name of the published dataset in the catalog.
        folder: The dataset's folder, which must be absent or empty; it appears when the dataset is complete.
        count: Images in each split, 1 or more; for datasets that come without splits, images in each class (UC Merced,
            AID) or annotated images in all (NWPU VHR-10); cities for OSCD, places for fMoW.
        seed: Which scenes to take.

    Raises:
        MakeError: The name is unknown, the count is too small, or the folder holds something.
    """
    folder = Path(folder)
    if name not in WRITERS:
        raise MakeError(f"'{name}' has no layout to imitate; choose one of {', '.join(WRITERS)}")
    if count < 1:
        raise MakeError(f"{count} images are too few for a dataset; ask for 1 or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MakeError(f"{folder} is not an empty folder, and nothing there is overwritten; name another")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        WRITERS[name](part, count, Scenes(seed))
        text = (
            f"This is not {name}: synthetic scenes in its layout, made with seed {seed}. Do not report scores on it.\n"
        )
        (part / MARK).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
