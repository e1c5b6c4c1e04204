"""LEVIR-CD, WHU-CD and OSCD: two dates and what changed."""

from pathlib import Path

import numpy as np

from dvbench.data.make.sentinel import BANDS, save_band
from dvbench.data.make.source import Scenes, as_mask, save
from dvbench.data.synthetic.scene import Scene

_HEIGHT = 300  # of the cities of OSCD, which are not square
_ONERA = "Onera Satellite Change Detection dataset"
_CITIES = {
    "Train": (
        "aguasclaras", "bercy", "bordeaux", "nantes", "paris", "rennes", "saclay_e", "abudhabi", "cupertino", "pisa",
        "beihai", "hongkong", "beirut", "mumbai",
    ),
    "Test": (
        "brasilia", "montpellier", "norcia", "rio", "saclay_w", "valencia", "dubai", "lasvegas", "milano", "chongqing",
    ),
}  # fmt: skip


def levir_cd(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` pairs of 1024x1024 in each split, all in one tree with the split in the file name; labels 0 or 255."""
    for split in ("train", "val", "test"):
        for number in range(1, count + 1):
            _save_pair(folder, f"{split}_{number}.png", scenes.draw("residential", 1024))


def whu_cd(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` tiles of 256x256 in each split, all in one tree, and the lists of the splits; labels 0 or 255."""
    for start, split in enumerate(("train", "val", "test")):
        names = [f"whucd_{start * count + number:05d}.png" for number in range(count)]
        for name in names:
            _save_pair(folder, name, scenes.draw("residential", 256))
        lines = folder / "list" / f"{split}.txt"
        lines.parent.mkdir(exist_ok=True)
        lines.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def oscd(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` cities in each split, as far as there are names; cm.png holds 0 or 255, -cm.tif 1 or 2."""
    for split, cities in _CITIES.items():
        for city in cities[:count]:
            drawn = scenes.draw("industrial", 384)
            _save_city(folder / f"{_ONERA} - Images" / city, drawn)
            changed = drawn.change[:_HEIGHT] == 1
            labels = folder / f"{_ONERA} - {split} Labels" / city / "cm"
            save(labels / "cm.png", as_mask(changed))
            save(labels / f"{city}-cm.tif", changed.astype(np.uint8) + 1)


def _save_city(folder: Path, drawn: Scene) -> None:
    """Both dates of a city: pictures, and bands on their own grids and on the common one."""
    for date, image in enumerate((drawn.before[:_HEIGHT], drawn.image[:_HEIGHT]), start=1):
        save(folder / "pair" / f"img{date}.png", image)
        for band, metres in BANDS.items():
            save_band(folder / f"imgs_{date}" / f"S2A_OPER_MSI_L1C_{folder.name}_{band}.tif", image, band, metres)
            save_band(folder / f"imgs_{date}_rect" / f"{band}.tif", image, band, 10)
    (folder / "dates.txt").write_text("date_1: 20160105\ndate_2: 20180305\n", encoding="utf-8")


def _save_pair(folder: Path, name: str, drawn: Scene) -> None:
    save(folder / "A" / name, drawn.before, compress_level=1)
    save(folder / "B" / name, drawn.image, compress_level=1)
    save(folder / "label" / name, as_mask(drawn.change == 1))
