"""Cards of the semantic segmentation datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Card, Split, Task

MASSACHUSETTS_ROADS = Card(
    name="massachusetts_roads",
    title="Massachusetts Roads",
    task=Task.SEMANTIC,
    classes=("background", "road"),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(1.0, 1.0),
    image_size=(1500, 1500),
    splits=(Split("train", 1108, "official"), Split("val", 14, "official"), Split("test", 49, "official")),
    source="https://www.cs.toronto.edu/~vmnih/data/",
    archives=(),
    licence="none stated",
    citation="https://www.cs.toronto.edu/~vmnih/docs/Mnih_Volodymyr_PhD_Thesis.pdf",
    layout="""\
tiff/{train,val,test}/*.tiff            images
tiff/{train,val,test}_labels/*.tif      0 background, 255 road; note the other extension
""",
    required=(
        "tiff/train/*.tiff",
        "tiff/val/*.tiff",
        "tiff/test/*.tiff",
        "tiff/train_labels/*.tif",
        "tiff/val_labels/*.tif",
        "tiff/test_labels/*.tif",
    ),
    notes=(
        "No checksum is public.",
        "Unverified: the files are several GB.",
    ),
    obtain=(
        "Get it from Kaggle, balraj98/massachusetts-roads-dataset, and unpack it into the dataset's folder, so that "
        "tiff/train and five more folders result.",
        "Or fetch the single files under {train,valid,test}/{sat,map} of https://www.cs.toronto.edu/~vmnih/data/ and "
        "put them into the same tree, with valid renamed to val.",
    ),
)

WHU_BUILDING = Card(
    name="whu_building",
    title="WHU Building (aerial)",
    task=Task.SEMANTIC,
    classes=("background", "building"),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.3, 0.3),
    image_size=(512, 512),
    splits=(Split("train", 4736, "official"), Split("val", 1036, "official"), Split("test", 2416, "official")),
    source="https://gpcv.whu.edu.cn/data/building_dataset.html",
    archives=(),
    licence="none stated; for research",
    citation="https://doi.org/10.1109/TGRS.2018.2858817",
    layout="""\
{train,val,test}/image/*.tif
{train,val,test}/label/*.tif    same names; 1-bit, or 0 and 255
""",
    required=tuple(f"{split}/{kind}/*.tif" for split in ("train", "val", "test") for kind in ("image", "label")),
    notes=(
        "The splits sum to 8,188; the paper and the dataset's page say 8,189.",
        "Labels are 1-bit TIFF in the packing that was seen: anything above 0 is building.",
        "No checksum is public.",
        "Unverified: the archive is several GB.",
    ),
    obtain=(
        "Get the cropped aerial images from https://gpcv.whu.edu.cn/data/building_dataset.html, or from "
        "https://aistudio.baidu.com/datasetdetail/56502.",
        "Unpack them into the dataset's folder, so that {train,val,test}/{image,label} result.",
    ),
)
