"""Cards of the change detection datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Archive, Card, Split, Task

_CLASSES = ("unchanged", "changed")
_THIRD_PARTY = "third party: the lists of the WHU-CD-256 packing"
_LEVIR = "https://huggingface.co/datasets/satellite-image-deep-learning/LEVIR-CD/resolve/6a6bb0a5b389403d81c05e33bf08bc0b9e5f13a6"
_OSCD = "https://hf.co/datasets/hkristen/oscd/resolve/4958d786c1389ede1511d91a6ecf1a75c4074933"

LEVIR_CD = Card(
    name="levir_cd",
    title="LEVIR-CD",
    task=Task.CHANGE,
    classes=_CLASSES,
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.5, 0.5),
    image_size=(1024, 1024),
    splits=(Split("train", 445, "official"), Split("val", 64, "official"), Split("test", 128, "official")),
    source="https://justchenhao.github.io/LEVIR/",
    archives=(
        Archive("train.zip", f"{_LEVIR}/train.zip", md5="a638e71f480628652dea78d8544307e4"),
        Archive("val.zip", f"{_LEVIR}/val.zip", md5="f7b857978524f9aa8c3bf7f94e3047a4"),
        Archive("test.zip", f"{_LEVIR}/test.zip", md5="07d5dd89e46f5c1359e2eca746989ed9"),
    ),
    licence="none stated",
    citation="https://doi.org/10.3390/rs12101662",
    layout="""\
A/{train,val,test}_N.png        before
B/{train,val,test}_N.png        after
label/{train,val,test}_N.png    0 unchanged, 255 changed
or, as the authors pack it, {train,val,test}/{A,B,label} with the same names
""",
    required=("**/A/*.png", "**/B/*.png", "**/label/*.png"),
    notes=(
        "31,333 changed buildings in 637 pairs.",
        "Unverified: the archives are about 3 GB; the authors allow academic use.",
    ),
    obtain=("dvbench data download levir_cd",),
    counted="image pairs",
)

WHU_CD = Card(
    name="whu_cd",
    title="WHU-CD",
    task=Task.CHANGE,
    classes=_CLASSES,
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.3, 0.3),
    image_size=(256, 256),
    splits=(Split("train", 5947, _THIRD_PARTY), Split("val", 743, _THIRD_PARTY), Split("test", 744, _THIRD_PARTY)),
    source="https://gpcv.whu.edu.cn/data/building_dataset.html",
    archives=(),
    licence="none stated",
    citation="https://doi.org/10.1109/TGRS.2018.2858817",
    layout="""\
A/*.png                      2012
B/*.png                      2016
label/*.png                  0 unchanged, 255 changed
list/{train,val,test}.txt    one file name a line
""",
    required=("A/*.png", "B/*.png", "label/*.png", "list/train.txt", "list/val.txt", "list/test.txt"),
    notes=(
        "The paper counts 5,947 / 744 / 744, but two mosaics of 32,507 x 15,354 px have only 126 x 59 = 7,434 full "
        "tiles of 256 px.",
        "No checksum is public.",
        "Unverified: 5,947 / 743 / 744 is what other papers use; the ground sampling distance is 0.3 m in the paper "
        "and 0.2 m elsewhere.",
    ),
    obtain=(
        "Get the mosaics from https://gpcv.whu.edu.cn/data/building_dataset.html and cut them with dvbench data tile "
        "whu_cd, or get the tiles of 256 px from https://aistudio.baidu.com/datasetdetail/251669.",
        "Put the tiles into the dataset's folder, so that A, B, label and list result.",
    ),
    counted="image pairs",
)

OSCD = Card(
    name="oscd",
    title="OSCD",
    task=Task.CHANGE,
    classes=_CLASSES,
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(10.0, 10.0),
    image_size=(256, 256),
    splits=(Split("train", 14, "official"), Split("test", 10, "official")),
    source="https://rcdaudt.github.io/oscd/",
    archives=tuple(
        Archive(f"{name}.zip", f"{_OSCD}/{name.replace(' ', '%20')}.zip", md5, sha256)
        for name, md5, sha256 in (
            (
                "Onera Satellite Change Detection dataset - Images",
                "c50d4a2941da64e03a47ac4dec63d915",
                "940b87887511058a933e67cd6d0e43e2eb825a55d8e79a50983dee7f23003656",
            ),
            (
                "Onera Satellite Change Detection dataset - Train Labels",
                "4d2965af8170c705ebad3d6ee71b6990",
                "89fb54cd12ad0dbea6c447528139dec305b865294215434bf6dd170fb8fd3ca5",
            ),
            (
                "Onera Satellite Change Detection dataset - Test Labels",
                "8177d437793c522653c442aa4e66c617",
                "2e195eaa1b788b99fa93ea8073e3780bc0b763000b0c49dbf70548acf1e5d67d",
            ),
        )
    ),
    licence="CC BY 4.0, says TorchGeo",
    citation="https://doi.org/10.1109/IGARSS.2018.8518015",
    layout="""\
Onera Satellite Change Detection dataset - Images/<city>/pair/{img1,img2}.png
Onera Satellite Change Detection dataset - Train Labels/<city>/cm/<city>-cm.tif    1 unchanged, 2 changed
Onera Satellite Change Detection dataset - Test Labels/<city>/cm/<city>-cm.tif
""",
    required=(
        "Onera Satellite Change Detection dataset - Images/*/pair/*.png",
        "Onera Satellite Change Detection dataset - Train Labels/*/cm/*-cm.tif",
        "Onera Satellite Change Detection dataset - Test Labels/*/cm/*-cm.tif",
    ),
    notes=(
        "Sentinel-2, but the paper uses the 8-bit pictures that come with each city, of about 600x600 px.",
        "Samples are tiles of 256 px, which overlap by 128 px, as the paper says; the last of a row or column is moved "
        "inwards. The released tool makes only those last ones overlap, which grid='oscd_released' does. Pixels in an "
        "overlap count more than once; whole cities give other scores.",
        "The folders with labels define which city belongs to which split.",
        "MD5 are those of TorchGeo 0.8, SHA-256 those of 0.10.",
        "Unverified: the archives are about 0.5 GB.",
    ),
    obtain=("dvbench data download oscd",),
    counted="cities",
)
