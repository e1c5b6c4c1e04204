"""UC Merced and AID: one folder per class."""

from pathlib import Path

from dvbench.data.cards.classification import AID, UC_MERCED
from dvbench.data.make.source import Scenes, save

# What stands for a class; every other class looks residential.
_LOOKS = {
    "agricultural": "farmland",
    "airplane": "parking",
    "bareland": "desert",
    "beach": "sea",
    "chaparral": "desert",
    "desert": "desert",
    "farmland": "farmland",
    "forest": "forest",
    "harbor": "harbor",
    "industrial": "industrial",
    "meadow": "farmland",
    "mountain": "forest",
    "parking": "parking",
    "parkinglot": "parking",
    "port": "harbor",
    "storagetanks": "industrial",
}


def uc_merced(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images of each class, 256x256 TIFF."""
    for name in UC_MERCED.classes:
        for number in range(count):
            drawn = scenes.draw(_LOOKS.get(name, "residential"), 256)
            save(folder / "UCMerced_LandUse" / "Images" / name / f"{name}{number:02d}.tif", drawn.image)


def aid(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` images of each class, 600x600 JPEG."""
    for name in AID.classes:
        for number in range(1, count + 1):
            drawn = scenes.draw(_LOOKS.get(name.lower(), "residential"), 600, object_size=40)
            save(folder / "AID" / name / f"{name.lower()}_{number}.jpg", drawn.image, quality=90)
