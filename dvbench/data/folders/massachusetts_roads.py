"""Massachusetts Roads dataset."""

from typing import ClassVar

from dvbench.data.card import Card
from dvbench.data.cards.semantic import MASSACHUSETTS_ROADS
from dvbench.data.folders.base import MaskDataset


class MassachusettsRoads(MaskDataset):
    """Massachusetts Roads dataset.

    The `Massachusetts Roads <https://www.cs.toronto.edu/~vmnih/data/>`_ dataset is a dataset for the segmentation of
    roads in aerial images of the state of Massachusetts. Labels are rasterised centre lines of OpenStreetMap.

    Dataset features:

    * 1,171 images of 1500x1500 pixels, 1 m on the ground; parts of some training images are blank
    * three spectral bands - RGB

    Dataset format, as the dataset is packed on Kaggle:

    * images are three-channel TIFFs, extension ``.tiff``
    * masks are single-channel TIFFs, extension ``.tif``, where background = 0, road = 255

    Dataset classes:

    0. background
    1. road

    Dataset splits:

    * train: 1,108 images
    * val: 14 images
    * test: 49 images

    If you use this dataset in your research, please cite the following thesis:

    * https://www.cs.toronto.edu/~vmnih/docs/Mnih_Volodymyr_PhD_Thesis.pdf
    """

    card: ClassVar[Card] = MASSACHUSETTS_ROADS

    def _verify(self) -> None:
        folder = self.root / "tiff"
        self._open(folder / self.split, folder / f"{self.split}_labels", ".tiff", ".tif")
