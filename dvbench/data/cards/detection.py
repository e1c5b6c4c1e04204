"""Cards of the detection datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Card, Split, Task

_DRENET = "the dataset's authors (partition of DRENet)"
_NEON = "made for this package, by scene"

LEVIR_SHIP = Card(
    name="levir_ship",
    title="LEVIR-Ship",
    task=Task.DETECTION,
    classes=("background", "ship"),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(16.0, 16.0),
    image_size=(512, 512),
    splits=(Split("train", 2320, _DRENET), Split("val", 788, _DRENET), Split("test", 788, _DRENET)),
    source="https://github.com/WindVChen/LEVIR-Ship",
    archives=(),
    licence="annotations CC BY 4.0; images under the satellite centre's terms",
    citation="https://doi.org/10.1109/TGRS.2022.3180894",
    layout="""\
annotations/instances_{train,val,test}2017.json
images/{train,val,test}2017/*.png
""",
    required=(
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
        "annotations/instances_test2017.json",
        "images/train2017/*.png",
        "images/val2017/*.png",
        "images/test2017/*.png",
    ),
    notes=(
        "The authors' table counts 3,896 images, as the splits do; their text 3,876. They count 3,219 ships.",
        "Annotation ids start at 0, which pycocotools scores as unmatched: they are renumbered from 1.",
        "The annotated area is (w + 1)(h + 1) of integer boxes.",
        "Images without a ship belong to every split.",
        "There is also a YOLO packing of the same images, which is not read.",
        "No checksum is public.",
    ),
    obtain=(
        "Get the archives in COCO format from https://github.com/WindVChen/LEVIR-Ship (Google Drive or Baidu).",
        "Unpack them into the dataset's folder, so that annotations and images result.",
    ),
)

NEON_TREES = Card(
    name="neon_trees",
    title="NEON tree crowns",
    task=Task.DETECTION,
    classes=("background", "tree"),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.1, 0.1),
    image_size=None,
    splits=(Split("train", 12, _NEON), Split("val", 4, _NEON), Split("test", 6, _NEON)),
    source="https://www.neonscience.org",
    archives=(),
    licence="MIT, Copyright (c) 2019 Ben Weinstein",
    citation="https://doi.org/10.1111/2041-210X.13472",
    layout="""\
images/{train,val,test}/*.jpg
annotations/{train,val,test}.json
""",
    required=("annotations/train.json", "annotations/val.json", "annotations/test.json"),
    notes=(
        "No dataset of the paper: a small real one, so that every detection command works on a bare machine.",
        "Images are 512x512, two of test 400x400.",
        "Taken from the Python package DeepForest 2.1.0.",
    ),
    obtain=("It comes with the package.",),
)
