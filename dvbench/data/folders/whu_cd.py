"""WHU-CD dataset."""

from pathlib import Path
from typing import ClassVar

from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.archives import safe_name
from dvbench.data.card import Card
from dvbench.data.cards.change import WHU_CD
from dvbench.data.folders.base import FolderDataset, Sample, change_sample
from dvbench.data.pixels import read_mask

_LAYERS = ("A", "B", "label")


class WHUCD(FolderDataset):
    """WHU-CD dataset.

    The `WHU-CD <https://gpcv.whu.edu.cn/data/building_dataset.html>`_ dataset is a dataset for the detection of changed
    buildings in two aerial mosaics of Christchurch, New Zealand, taken in 2012 and in 2016, after an earthquake.

    Dataset features:

    * two mosaics of 32507x15354 pixels, cut into pairs of 256x256 pixels
    * three spectral bands - RGB

    Dataset format, as the tiles are commonly packed:

    * images are three-channel PNGs in ``A`` (2012) and ``B`` (2016)
    * masks are single-channel PNGs in ``label``, where unchanged = 0, changed = 255
    * ``list`` holds a text file per split, with a file name a line

    Dataset classes:

    0. unchanged
    1. changed

    Dataset splits, made by a third party:

    * train: 5,947 pairs
    * val: 743 pairs
    * test: 744 pairs

    If you use this dataset in your research, please cite the following paper:

    * https://doi.org/10.1109/TGRS.2018.2858817
    """

    card: ClassVar[Card] = WHU_CD

    def __len__(self) -> int:
        """Number of image pairs in the split."""
        return len(self.files)

    def _verify(self) -> None:
        self._list = self.root / "list" / f"{self.split}.txt"
        if not self._list.is_file():
            raise DatasetNotFoundError(self)
        lines = [line for line in self._list.read_text(encoding="utf-8").splitlines() if line.strip()]
        self.files = [safe_name(line, self._list) for line in lines]
        self._require(self.root / layer / name for name in self.files for layer in _LAYERS)

    def sources(self, index: int) -> tuple[Path, ...]:
        """Both dates, the list of the split, and the label."""
        before, after, label = (self.root / layer / self.files[index] for layer in _LAYERS)
        return before, after, self._list, label

    def _load(self, index: int) -> Sample:
        before, after, label = (self.root / layer / self.files[index] for layer in _LAYERS)
        return change_sample(before, after, label, read_mask(label))
