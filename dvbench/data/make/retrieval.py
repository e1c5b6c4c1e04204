"""BigEarthNet and ForestNet: lists of images to be found again."""

import csv
import json
from pathlib import Path

import numpy as np

from dvbench.data.cards.retrieval import FORESTNET
from dvbench.data.make.sentinel import BANDS, save_band
from dvbench.data.make.source import Scenes, save

_SPLITS = ("train", "val", "test")
_LAND_COVER = {
    "desert": ["Sparsely vegetated areas"],
    "farmland": ["Non-irrigated arable land", "Pastures"],
    "forest": ["Coniferous forest"],
    "harbor": ["Industrial or commercial units", "Port areas", "Sea and ocean"],
    "industrial": ["Industrial or commercial units", "Road and rail networks and associated land"],
    "parking": ["Road and rail networks and associated land"],
    "residential": ["Discontinuous urban fabric"],
    "sea": ["Sea and ocean"],
}
_DRIVERS = ("farmland", "forest", "desert", "farmland", "residential", "industrial")


def bigearthnet(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` patches of 1.2 km in each split: 12 bands as GeoTIFF, a label file each, and the lists of the splits."""
    for row, split in enumerate(_SPLITS):
        lines = []
        for number in range(count):
            look = list(_LAND_COVER)[number % len(_LAND_COVER)]
            patch = f"S2A_MSIL2A_20170613T101031_{row}_{number}"
            lines.append(f"{patch},S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{row}_{number}\n")
            image = scenes.draw(look, 120, object_size=12).image
            for band, metres in BANDS.items():
                if band != "B10":  # an atmospheric band, which surface reflectance lacks
                    save_band(folder / "BigEarthNet-v1.0" / patch / f"{patch}_{band}.tif", image, band, metres)
            content = {"labels": _LAND_COVER[look], "acquisition_date": "2017-06-13 10:10:31"}
            labels = folder / "BigEarthNet-v1.0" / patch / f"{patch}_labels_metadata.json"
            labels.write_text(json.dumps(content), encoding="utf-8")
        (folder / f"bigearthnet-{split}.csv").write_text("".join(lines), encoding="utf-8")


def forestnet(folder: Path, count: int, scenes: Scenes) -> None:
    """`count` places of 332x332 in each split: a picture, infrared bands as an array, a row in the split's table."""
    unpacked = folder / "deep" / "downloads" / "ForestNetDataset"
    unpacked.mkdir(parents=True)
    for row, split in enumerate(_SPLITS):
        with (unpacked / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["label", "merged_label", "latitude", "longitude", "year", "example_path"])
            for number in range(count):
                label = number % len(FORESTNET.classes)
                latitude, longitude = -1 - row, 100 + number
                example = f"examples/{latitude}.0_{longitude}.0"
                table.writerow([FORESTNET.classes[label], _merged(label), latitude, longitude, 2010, example])
                image = scenes.draw(_DRIVERS[label % len(_DRIVERS)], 332).image
                save(unpacked / example / "images" / "visible" / "composite.png", image)
                infrared = unpacked / example / "images" / "infrared" / "composite.npy"
                infrared.parent.mkdir(parents=True)
                np.save(infrared, image)


def _merged(label: int) -> str:
    """The group of a driver, one of four."""
    if label < 3:
        return "Plantation"
    if label == 3:
        return "Grassland shrubland"
    return "Smallholder agriculture" if label < 7 else "Other"
