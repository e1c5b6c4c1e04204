"""WHU Building dataset."""

from typing import ClassVar

from dvbench.data.card import Card
from dvbench.data.cards.semantic import WHU_BUILDING
from dvbench.data.folders.base import MaskDataset


class WHUBuilding(MaskDataset):
    """WHU Building dataset, the aerial part.

    The `WHU Building <https://gpcv.whu.edu.cn/data/building_dataset.html>`_ dataset is a dataset for the segmentation
    of buildings in aerial images of Christchurch, New Zealand.

    Dataset features:

    * 8,188 images of 512x512 pixels, resampled from 0.075 m to 0.3 m on the ground
    * three spectral bands - RGB

    Dataset format:

    * images are three-channel TIFFs
    * masks are single-channel TIFFs of the same names; some packings store them with 1 bit, others as 0 and 255

    Dataset classes:

    0. background
    1. building

    Dataset splits:

    * train: 4,736 images
    * val: 1,036 images
    * test: 2,416 images

    If you use this dataset in your research, please cite the following paper:

    * https://doi.org/10.1109/TGRS.2018.2858817
    """

    card: ClassVar[Card] = WHU_BUILDING

    def _verify(self) -> None:
        folder = self.root / self.split
        self._open(folder / "image", folder / "label", ".tif", ".tif")
