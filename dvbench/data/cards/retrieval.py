"""Cards of the image retrieval datasets."""

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Archive, Card, Split, Task

_SPLITS = "https://git.tu-berlin.de/rsim/BigEarthNet-MM_19-classes_models/-/raw/9a5be07346ab0884b2d9517475c27ef9db9b5104/splits"
_BIGEARTHNET_MM = "BigEarthNet-MM's authors"
_ROLES = "Every image of val is a query, every image of test is in the database."

BIGEARTHNET = Card(
    name="bigearthnet",
    title="BigEarthNet v1 (Sentinel-2)",
    task=Task.RETRIEVAL,
    classes=(
        "Continuous urban fabric",
        "Discontinuous urban fabric",
        "Industrial or commercial units",
        "Road and rail networks and associated land",
        "Port areas",
        "Airports",
        "Mineral extraction sites",
        "Dump sites",
        "Construction sites",
        "Green urban areas",
        "Sport and leisure facilities",
        "Non-irrigated arable land",
        "Permanently irrigated land",
        "Rice fields",
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Pastures",
        "Annual crops associated with permanent crops",
        "Complex cultivation patterns",
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        "Agro-forestry areas",
        "Broad-leaved forest",
        "Coniferous forest",
        "Mixed forest",
        "Natural grassland",
        "Moors and heathland",
        "Sclerophyllous vegetation",
        "Transitional woodland/shrub",
        "Beaches, dunes, sands",
        "Bare rock",
        "Sparsely vegetated areas",
        "Burnt areas",
        "Inland marshes",
        "Peatbogs",
        "Salt marshes",
        "Salines",
        "Intertidal flats",
        "Water courses",
        "Water bodies",
        "Coastal lagoons",
        "Estuaries",
        "Sea and ocean",
    ),
    bands=("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    value_range=(0.0, 65535.0),
    units="reflectance x 10,000",
    gsd=(10.0, 60.0),
    image_size=(120, 120),
    splits=(
        Split("train", 269_695, _BIGEARTHNET_MM),
        Split("val", 123_723, _BIGEARTHNET_MM),
        Split("test", 125_866, _BIGEARTHNET_MM),
    ),
    source="https://bigearth.net",
    archives=(
        Archive(
            "BigEarthNet-S2-v1.0.tar.gz",
            "https://zenodo.org/records/12687186/files/BigEarthNet-S2-v1.0.tar.gz",
            md5="5a64e9ce38deb036a435a7b59494924c",
        ),
        Archive("bigearthnet-train.csv", f"{_SPLITS}/train.csv?inline=false", md5="623e501b38ab7b12fe44f0083c00986d"),
        Archive("bigearthnet-val.csv", f"{_SPLITS}/val.csv?inline=false", md5="22efe8ed9cbd71fa10742ff7df2b7978"),
        Archive("bigearthnet-test.csv", f"{_SPLITS}/test.csv?inline=false", md5="697fb90677e30571b9ac7699b7e5b432"),
    ),
    licence="CDLA-Permissive-1.0",
    citation="https://doi.org/10.1109/IGARSS.2019.8900532",
    layout="""\
BigEarthNet-v1.0/<patch>/<patch>_B??.tif        12 bands of 120, 60 or 20 px
BigEarthNet-v1.0/<patch>/<patch>_*.json         key labels
bigearthnet-{train,val,test}.csv                Sentinel-2 patch, Sentinel-1 patch
""",
    required=("BigEarthNet-v1.0", "bigearthnet-train.csv", "bigearthnet-val.csv", "bigearthnet-test.csv"),
    notes=(
        _ROLES,
        "Several labels an image: 43 classes, or 19 with num_classes=19.",
        "Red, green and blue are channels 3, 2 and 1. Values are mostly below 10,000.",
        "All bands are resampled to 10 m, bilinearly.",
        "About 66 GB.",
        "Unverified: the counts of the three splits.",
    ),
    obtain=("dvbench data download bigearthnet",),
)

FORESTNET = Card(
    name="forestnet",
    title="ForestNet",
    task=Task.RETRIEVAL,
    classes=(
        "Oil palm plantation",
        "Timber plantation",
        "Other large-scale plantations",
        "Grassland shrubland",
        "Small-scale agriculture",
        "Small-scale mixed plantation",
        "Small-scale oil palm plantation",
        "Mining",
        "Fish pond",
        "Logging",
        "Secondary forest",
        "Other",
    ),
    bands=RGB,
    value_range=BYTE,
    units=BYTE_UNITS,
    gsd=(15.0, 15.0),
    image_size=(332, 332),
    splits=(Split("train", 1616, "official"), Split("val", 473, "official"), Split("test", 668, "official")),
    source="https://stanfordmlgroup.github.io/projects/forestnet/",
    archives=(Archive("ForestNetDataset.zip", "http://download.cs.stanford.edu/deep/ForestNetDataset.zip"),),
    licence="CC BY 4.0",
    citation="https://arxiv.org/abs/2011.05479",
    layout="""\
deep/downloads/ForestNetDataset/
    {train,val,test}.csv                                 example_path, label, merged_label
    <example_path>/images/visible/composite.png
    <example_path>/images/infrared/composite.npy         not read
""",
    required=("**/train.csv", "**/val.csv", "**/test.csv"),
    notes=(
        _ROLES,
        "12 classes, or the 4 of merged_label with num_classes=4: plantation (labels 0 to 2), grassland shrubland (3), "
        "smallholder agriculture (4 to 6), other (7 to 11).",
        "Landsat 8, pan-sharpened, as an 8-bit picture.",
        "About 3 GB. No checksum is public.",
        "Unverified: the counts of the three splits, which sum to 2,757, while the dataset's page says 2,756 images.",
    ),
    obtain=("dvbench data download forestnet",),
)
