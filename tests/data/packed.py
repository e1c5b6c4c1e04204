"""What tests of shards share."""

import io
import tarfile

from dvbench.data.folders.fmow import FMoW

COUNT = 10  # images in the small tree


def numbers(samples: FMoW) -> list[int]:
    """Which images there are, told by their boxes."""
    return [int(samples[index]["bbox_xyxy"][0, 0]) for index in range(len(samples))]


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
