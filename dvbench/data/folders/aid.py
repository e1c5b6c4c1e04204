"""AID dataset."""

from pathlib import Path
from typing import ClassVar

import torch
from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.card import Card
from dvbench.data.cards.classification import AID as CARD
from dvbench.data.folders.base import FolderDataset, Sample
from dvbench.data.pixels import read_rgb
from dvbench.data.splits import labelled


class AID(FolderDataset):
    """AID dataset, Aerial Image Dataset.

    The `AID <https://captain-whu.github.io/AID/>`_ dataset is a dataset for scene classification of 10,000 images from
    Google Earth, taken in many countries, by several sensors and in all seasons.

    Dataset features:

    * 10,000 images of 600x600 pixels, 0.5 to 8 m on the ground
    * three spectral bands - RGB
    * 30 classes of 220 to 420 images

    Dataset format:

    * images are three-channel JPEGs, in one folder per class

    Dataset classes, in the order of the public lists:

    0. Port
    1. Square
    2. River
    3. Pond
    4. Playground
    5. Mountain
    6. Park
    7. Airport
    8. SparseResidential
    9. Stadium
    10. Industrial
    11. Church
    12. DenseResidential
    13. Parking
    14. Farmland
    15. Desert
    16. Viaduct
    17. Forest
    18. StorageTanks
    19. Center
    20. Meadow
    21. MediumResidential
    22. School
    23. BareLand
    24. Commercial
    25. BaseballField
    26. RailwayStation
    27. Resort
    28. Bridge
    29. Beach

    The dataset comes without a split. Used is that of `RSMamba <https://github.com/KyanChen/RSMamba>`_, half of each
    class, if its lists lie in the folder, else a seeded split by the same rule:

    * train: 5,000 images
    * test: 5,000 images

    If you use this dataset in your research, please cite the following paper:

    * https://doi.org/10.1109/TGRS.2017.2685945
    """

    card: ClassVar[Card] = CARD

    def __len__(self) -> int:
        """Number of images in the split."""
        return len(self.files)

    def _verify(self) -> None:
        if not self.card.is_in(self.root):
            raise DatasetNotFoundError(self)
        self.files = labelled(self.card, self.root, self.split)
        self._require(path for path, _ in self.files)

    def sources(self, index: int) -> tuple[Path, ...]:
        """The image, whose folder is its label."""
        return (self.files[index][0],)

    def _load(self, index: int) -> Sample:
        path, label = self.files[index]
        return {"image": read_rgb(path), "label": torch.tensor(label)}
