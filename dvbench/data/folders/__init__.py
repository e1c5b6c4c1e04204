"""The paper's datasets that TorchGeo lacks, one file each, in TorchGeo's style."""

from dvbench.data.folders.aid import AID
from dvbench.data.folders.base import IncompleteDatasetError
from dvbench.data.folders.fmow import FMoW
from dvbench.data.folders.forestnet import ForestNet
from dvbench.data.folders.levir_ship import LEVIRShip
from dvbench.data.folders.massachusetts_roads import MassachusettsRoads
from dvbench.data.folders.ssdd import SSDD
from dvbench.data.folders.whu_building import WHUBuilding
from dvbench.data.folders.whu_cd import WHUCD

__all__ = [
    "AID",
    "SSDD",
    "WHUCD",
    "FMoW",
    "ForestNet",
    "IncompleteDatasetError",
    "LEVIRShip",
    "MassachusettsRoads",
    "WHUBuilding",
]
