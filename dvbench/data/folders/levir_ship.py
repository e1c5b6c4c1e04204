"""LEVIR-Ship dataset."""

from typing import ClassVar

from dvbench.data.card import Card
from dvbench.data.cards.detection import LEVIR_SHIP
from dvbench.data.folders.base import CocoDataset, Sample


class LEVIRShip(CocoDataset):
    """LEVIR-Ship dataset.

    The `LEVIR-Ship <https://github.com/WindVChen/LEVIR-Ship>`_ dataset is a dataset for the detection of tiny ships in
    optical satellite images of medium resolution.

    Dataset features:

    * 3,896 images of 512x512 pixels from the satellites GF-1 and GF-6, 16 m on the ground
    * 3,219 ships; about half of the images have none
    * three spectral bands - RGB

    Dataset format:

    * images are three-channel PNGs
    * annotations are COCO JSON files, one per split, with boxes in whole pixels; stored areas are (w + 1)(h + 1), and
      annotation ids start at 0

    The release has a second packing for YOLO, which is not read.

    Dataset classes:

    0. background
    1. ship

    Dataset splits:

    * train: 2,320 images
    * val: 788 images
    * test: 788 images

    If you use this dataset in your research, please cite the following paper:

    * https://doi.org/10.1109/TGRS.2022.3180894
    """

    card: ClassVar[Card] = LEVIR_SHIP

    def _verify(self) -> None:
        self._open(
            self.root / "annotations" / f"instances_{self.split}2017.json", self.root / "images" / f"{self.split}2017"
        )

    def _load(self, index: int) -> Sample:
        return self._load_objects(self.images[index], with_masks=False)
