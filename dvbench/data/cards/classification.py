"""Cards of the scene classification datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Archive, Card, Split, Task

_LISTS = "https://raw.githubusercontent.com/KyanChen/RSMamba/8c4a13eccd63e32691dfcaafcdd1a5a193d648c8/datainfo"
# SHA-256 of the lists
_UC_TRAIN = "d27fe666dcc1ebfd56088c8a42dcd55f88faa9ae4b22d35cfefcce84eb29561b"
_UC_TEST = "8302e2686b2f3211ee46585e4b80d6d9824aac71d7aa3ac9632daefb602dc4e4"
_AID_TRAIN = "6986fb2b6951f4baba5b88024e22264070430cd6ecf46c3b85498ecefd8d0cfa"
_AID_TEST = "ad395e5603d88a94c7bd08b3e0160c3f9612119b954f25afbade37fa13394b85"

_ORDER = (
    "Classes are in the order of the paper's confusion matrix, as in the released heads; TorchGeo's is alphabetical."
)
_BEST_ON_TEST = "The paper has two splits and picks the checkpoint on test; the public list of test is called val.txt."
_SAME_LISTS = (
    "The paper gives only the rule. The lists are those of RSMamba, by the same authors; they are likely the paper's, "
    "which is not proven."
)

UC_MERCED = Card(
    name="uc_merced",
    title="UC Merced Land Use",
    task=Task.CLASSIFICATION,
    classes=(
        "harbor",
        "parkinglot",
        "buildings",
        "mediumresidential",
        "sparseresidential",
        "forest",
        "agricultural",
        "overpass",
        "golfcourse",
        "freeway",
        "baseballdiamond",
        "beach",
        "intersection",
        "runway",
        "mobilehomepark",
        "chaparral",
        "airplane",
        "river",
        "storagetanks",
        "tenniscourt",
        "denseresidential",
    ),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.3, 0.3),
    image_size=(256, 256),
    splits=(
        Split(
            "train",
            1470,
            "RSMamba, datainfo/UC/train.txt: 70 of each class",
            "train.txt",
            _UC_TRAIN,
        ),
        Split(
            "test",
            630,
            "RSMamba, datainfo/UC/val.txt: 30 of each class",
            "val.txt",
            _UC_TEST,
        ),
    ),
    source="http://weegee.vision.ucmerced.edu/datasets/landuse.html",
    archives=(
        Archive(
            "UCMerced_LandUse.zip",
            "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
            md5="5b7ec56793786b6dc8a908e8854ac0e4",
            sha256="06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb",
        ),
        Archive(
            "train.txt",
            f"{_LISTS}/UC/train.txt",
            sha256=_UC_TRAIN,
        ),
        Archive(
            "val.txt",
            f"{_LISTS}/UC/val.txt",
            sha256=_UC_TEST,
        ),
    ),
    licence="public domain, says TorchGeo",
    citation="https://doi.org/10.1145/1869790.1869829",
    layout="""\
UCMerced_LandUse/Images/<class>/<class>NN.tif   NN = 00 to 99
train.txt                                       <class>/<class>NN.tif, one a line
val.txt
""",
    required=("UCMerced_LandUse/Images/*/*.tif",),
    notes=(
        _SAME_LISTS,
        "Without the lists a seeded split of ours is used, by the same rule.",
        "TorchGeo's own split (60/20/20) is another paper's and is not used.",
        _BEST_ON_TEST,
        _ORDER,
        "A few files differ from 256x256 by some pixels; they are resized, as TorchGeo does.",
        "Unverified: the archive is about 0.33 GB.",
    ),
    obtain=("dvbench data download uc_merced",),
)

AID = Card(
    name="aid",
    title="AID",
    task=Task.CLASSIFICATION,
    classes=(
        "Port",
        "Square",
        "River",
        "Pond",
        "Playground",
        "Mountain",
        "Park",
        "Airport",
        "SparseResidential",
        "Stadium",
        "Industrial",
        "Church",
        "DenseResidential",
        "Parking",
        "Farmland",
        "Desert",
        "Viaduct",
        "Forest",
        "StorageTanks",
        "Center",
        "Meadow",
        "MediumResidential",
        "School",
        "BareLand",
        "Commercial",
        "BaseballField",
        "RailwayStation",
        "Resort",
        "Bridge",
        "Beach",
    ),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.5, 8.0),
    image_size=(600, 600),
    splits=(
        Split(
            "train",
            5000,
            "RSMamba, datainfo/AID/train.txt: half of each class",
            "train.txt",
            _AID_TRAIN,
        ),
        Split(
            "test",
            5000,
            "RSMamba, datainfo/AID/val.txt: the other half of each class",
            "val.txt",
            _AID_TEST,
        ),
    ),
    source="https://captain-whu.com/project/AID",
    archives=(
        Archive("AID.zip"),
        Archive(
            "train.txt",
            f"{_LISTS}/AID/train.txt",
            sha256=_AID_TRAIN,
        ),
        Archive(
            "val.txt",
            f"{_LISTS}/AID/val.txt",
            sha256=_AID_TEST,
        ),
    ),
    licence="none stated; imagery of Google Earth, for research",
    citation="https://doi.org/10.1109/TGRS.2017.2685945",
    layout="""\
AID/<Class>/<class>_N.jpg   folder Port, file port_336.jpg
train.txt                   <Class>/<class>_N.jpg, one a line
val.txt
""",
    required=("AID/*/*.jpg",),
    notes=(
        _SAME_LISTS,
        "Without the lists a seeded split of ours is used, by the same rule.",
        _BEST_ON_TEST,
        _ORDER,
        "No checksum of the archive is public.",
        "Unverified: the archive is about 2.5 GB.",
    ),
    obtain=(
        "Get AID.zip from https://captain-whu.com/project/AID (OneDrive or Baidu), or from Kaggle, "
        "jiayuanchengala/aid-scene-classification-datasets.",
        "Unpack it into the dataset's folder, so that AID/Airport and 29 more folders result.",
        "dvbench data download aid fetches the two lists.",
    ),
)
