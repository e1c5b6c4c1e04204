"""The name of a sample, by which the same image is found again in other runs and on other machines."""

import os
from pathlib import Path
from typing import Any


def sample_names(opened: Any) -> list[str]:
    """Name the samples of an open split, in its order.

    Returns:
        The split, and the file of the image, or of its first date, below the folder that all of them share, so that it
        does not matter where and how the dataset was unpacked. A dataset whose samples are no files, or several of one
        file, names them itself; one that tells neither has its samples numbered.
    """
    paths = [Path(name) for name in _named(opened)]
    shared = os.path.commonpath([path.parent for path in paths])
    return [f"{opened.split}/{path.relative_to(shared).as_posix()}" for path in paths]


def image_of(opened: Any, index: int) -> Path:
    """Return the path of the image of a sample as it was published, by which it is told apart and counted.

    The file that a sample is read from, unless the dataset says otherwise: a shard holds many images.
    """
    if hasattr(opened, "image_path"):
        own: Path = opened.image_path(index)
        return own
    return Path(opened.sources(index)[0])


def _named(opened: Any) -> list[Any]:
    if hasattr(opened, "names"):
        return list(opened.names)
    if hasattr(opened, "sources"):
        return [image_of(opened, index) for index in range(len(opened))]
    return list(map(str, range(len(opened))))
