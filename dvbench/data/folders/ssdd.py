"""SSDD dataset."""

from typing import ClassVar

from dvbench.data.card import Card
from dvbench.data.cards.instance import SSDD as CARD
from dvbench.data.folders.base import CocoDataset, Sample

_PUBLISHED = {"train": "train", "test": "val"}  # the list that everybody tests on is called val


class SSDD(CocoDataset):
    """SSDD dataset.

    The `SAR Ship Detection Dataset <https://github.com/TianwenZhang0825/Official-SSDD>`_ is a dataset of ships in radar
    images. This class reads it with the polygons and the split of
    `RSPrompter <https://github.com/KyanChen/RSPrompter>`_, for instance segmentation.

    Dataset features:

    * 1,160 images of 214x217 to 668x483 pixels from RadarSat-2, TerraSAR-X and Sentinel-1, 1 to 15 m on the ground
    * 2,586 ships with outlines
    * radar amplitude, stored as three equal channels

    Dataset format:

    * images are three-channel JPEGs
    * annotations are COCO JSON files with polygons, one per split; the annotation ids of test start at 0

    Dataset classes:

    0. background
    1. ship

    Dataset splits, which are random and not the official ones of 2021:

    * train: 928 images, 2,102 ships
    * test: 232 images, 484 ships, in a file called val

    If you use this dataset in your research, please cite the following papers:

    * https://doi.org/10.3390/rs13183690
    * https://arxiv.org/abs/2306.16269
    """

    card: ClassVar[Card] = CARD

    def _verify(self) -> None:
        name = f"SSDD_instances_{_PUBLISHED[self.split]}.json"
        self._open(self.root / "annotations" / name, self.root / "imgs")

    def _load(self, index: int) -> Sample:
        return self._load_objects(self.images[index], with_masks=True)
