"""Cards of the instance segmentation datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Archive, Card, Split, Task

_RSPROMPTER = "https://raw.githubusercontent.com/KyanChen/RSPrompter/f4e73c359b4a070648f688856a6af437c6d1b940/data"
# SHA-256 of the lists
_NWPU_TRAIN = "50b97c1cbdf3baa01ef082068cf9db353a63b27bd79d611c0f66e8dc91b6d54d"
_NWPU_TEST = "20d8fdb52d2b9e6659635a49490517a97313e96d156ccadd2eb7946e9d53a18b"
_SSDD_TRAIN = "81614ba4c346236cf3552151650e9e77769a6cae8a19b40b372d7533a3ac3589"
_SSDD_TEST = "7f6625af97429c6634bcc279a83391b1d21c22e30f11516365e92700ca3105de"

_BEST_ON_TEST = "The paper has two splits and picks the checkpoint on test; the public list of test is called val."
_ID_ZERO = "Annotation ids of test start at 0, which pycocotools scores as unmatched: they are renumbered from 1."

NWPU_VHR10 = Card(
    name="nwpu_vhr10",
    title="NWPU VHR-10",
    task=Task.INSTANCE,
    classes=(
        "background",
        "airplane",
        "ship",
        "storage_tank",
        "baseball_diamond",
        "tennis_court",
        "basketball_court",
        "ground_track_field",
        "harbor",
        "bridge",
        "vehicle",
    ),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(0.08, 2.0),
    image_size=None,
    splits=(
        Split("train", 520, "RSPrompter, NWPU: 3,178 instances", "annotations/NWPU_instances_train.json", _NWPU_TRAIN),
        Split("test", 130, "RSPrompter, NWPU: 743 instances", "annotations/NWPU_instances_val.json", _NWPU_TEST),
    ),
    source="https://github.com/chaozhong2010/VHR-10_dataset_coco",
    archives=(
        Archive(
            "NWPU VHR-10 dataset.zip",
            "https://hf.co/datasets/isaaccorley/vhr10/resolve/60ecc4be33609184e2224606858cd00b7daba8df/NWPU%20VHR-10%20dataset.zip",
            md5="6add6751469c12dd8c8d6223064c6c4d",
            sha256="3e8c0299bad6b5d2b4d4034095c3581f50a02bc0dcb97fca70f6ad739f7cbf53",
        ),
        Archive(
            "NWPU VHR-10 dataset/annotations.json",
            "https://hf.co/datasets/isaaccorley/vhr10/resolve/7e7968ad265dadc4494e0ca4a079e0b63dc6f3f8/annotations.json",
            md5="7c76ec50c17a61bb0514050d20f22c08",
            sha256="dde27d9362d9c6aa358a1cab160c9e075e57405d3fe876de049973c6e6150f0e",
        ),
        Archive(
            "annotations/NWPU_instances_train.json",
            f"{_RSPROMPTER}/NWPU/annotations/NWPU_instances_train.json",
            sha256=_NWPU_TRAIN,
        ),
        Archive(
            "annotations/NWPU_instances_val.json",
            f"{_RSPROMPTER}/NWPU/annotations/NWPU_instances_val.json",
            sha256=_NWPU_TEST,
        ),
    ),
    licence="CC BY-NC 4.0, says TorchGeo",
    citation="https://doi.org/10.1016/j.isprsjprs.2014.10.002",
    layout="""\
NWPU VHR-10 dataset/
    positive image set/NNN.jpg           001 to 650
    negative image set/NNN.jpg           not used
    ground truth/                        not used
    annotations.json                     COCO polygons of all positive images
annotations/NWPU_instances_train.json    the same polygons, split
annotations/NWPU_instances_val.json
""",
    required=("NWPU VHR-10 dataset/positive image set/*.jpg", "NWPU VHR-10 dataset/annotations.json"),
    notes=(
        "The paper says 8:2 of 800 images; the public lists split the 650 positive ones, and the 150 negative ones are "
        "not used.",
        "Without the lists a seeded split of ours is used, by the same rule.",
        _BEST_ON_TEST,
        _ID_ZERO,
        "True colour images at 0.5 to 2 m are mixed with 85 colour infrared ones at 0.08 m.",
        "Unverified: the archive is some tens of MB.",
    ),
    obtain=("dvbench data download nwpu_vhr10",),
)

SSDD = Card(
    name="ssdd",
    title="SSDD",
    task=Task.INSTANCE,
    classes=("background", "ship"),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(1.0, 15.0),
    image_size=None,
    splits=(
        Split("train", 928, "RSPrompter, SSDD: 2,102 instances", "annotations/SSDD_instances_train.json", _SSDD_TRAIN),
        Split("test", 232, "RSPrompter, SSDD: 484 instances", "annotations/SSDD_instances_val.json", _SSDD_TEST),
    ),
    source="https://github.com/TianwenZhang0825/Official-SSDD",
    archives=(
        Archive(
            "annotations/SSDD_instances_train.json",
            f"{_RSPROMPTER}/SSDD/annotations/SSDD_instances_train.json",
            sha256=_SSDD_TRAIN,
        ),
        Archive(
            "annotations/SSDD_instances_val.json",
            f"{_RSPROMPTER}/SSDD/annotations/SSDD_instances_val.json",
            sha256=_SSDD_TEST,
        ),
    ),
    licence="none stated",
    citation="https://doi.org/10.3390/rs13183690",
    layout="""\
imgs/NNNNNN.jpg                            000001 to 001160
annotations/SSDD_instances_{train,val}.json
""",
    required=("imgs/*.jpg", "annotations/SSDD_instances_train.json", "annotations/SSDD_instances_val.json"),
    notes=(
        "Radar images, stored as JPEG of three equal channels.",
        "The lists are RSPrompter's random ones, not the official rule of 2021.",
        "The paper counts 2,456 instances, as SSDD's first release does; the lists hold 2,586.",
        _BEST_ON_TEST,
        _ID_ZERO,
        "No checksum of the images is public.",
        "Unverified: the official rule puts images whose number ends in 1 or 9 into test.",
    ),
    obtain=(
        "Get the images from https://aistudio.baidu.com/datasetdetail/56503 or from Official-SSDD.",
        "Put them into imgs of the dataset's folder, so that imgs/000001.jpg to imgs/001160.jpg result.",
        "dvbench data download ssdd fetches the two lists with the polygons.",
    ),
)
