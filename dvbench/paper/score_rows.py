"""Which of our models is which row of the paper's accuracy tables, and which columns hold which score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dvbench import paper
from models.rivals.roster import RIVALS

NO_SELECTION, FROM_SCRATCH, DOUBLE = "no_selection_no_mil", "selection_no_mil", "2x"
MARKS = {NO_SELECTION: "†", FROM_SCRATCH: "‡", DOUBLE: " 2x"}
NO_SELECTION_TOLD = (
    "† by the paper's text: no gates, from random weights (dynamicvis_b_dense). The released files without selection "
    "are another function, in which gates rank and weigh all tokens (dynamicvis_b_released_dense), and released "
    "configurations of † rows (UC Merced, LEVIR-CD) start from pretraining: paper and release disagree."
)


@dataclass(frozen=True)
class Ours:
    """Our model for a row of the paper.

    Attributes:
        model: name in the zoo.
        pretrained: the row starts from the authors' pretraining, so its weights have to be given.
        input: the paper's 1x or 2x; None where a table has one size only.
        changes: keys of the protocol that the row changes, such as the detector.
        switches: fields of `DynamicVisConfig` that the row changes.
    """

    model: str
    pretrained: bool = False
    input: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    switches: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A row of the paper.

    Attributes:
        name: of the row.
        printed: what the paper prints, column by column.
        ours: our model for it, if one of ours is that row.
    """

    name: str
    printed: Mapping[str, str]
    ours: Ours | None


@dataclass(frozen=True)
class Benchmark:
    """One dataset of one of the paper's tables.

    Attributes:
        table: number of the table.
        protocol: name of the protocol.
        columns: the paper's column -> our score.
        sized: the table tells 1x from 2x.
    """

    table: int
    protocol: str
    columns: Mapping[str, str]
    sized: bool = False


def _prefixed(prefix: str, *names: str) -> dict[str, str]:
    return {f"{prefix}{name}": name for name in names}


_MACRO = ("precision", "recall", "f1")
_DENSE = _prefixed("", *_MACRO, "iou")
_INSTANCES = _prefixed("", *(f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap75")))

BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(2, "uc_merced", _prefixed("uc_merced_", *_MACRO)),
    Benchmark(2, "aid", _prefixed("aid_", *_MACRO)),
    Benchmark(3, "levir_ship", _prefixed("", "ap50", "ap50_small", "ap50_medium")),
    Benchmark(4, "nwpu_vhr10", _INSTANCES),
    Benchmark(5, "ssdd", _INSTANCES),
    Benchmark(6, "massachusetts_roads", _DENSE, sized=True),
    Benchmark(7, "whu_building", _DENSE, sized=True),
    Benchmark(8, "levir_cd", _DENSE, sized=True),
    Benchmark(9, "whu_cd", _DENSE, sized=True),
    Benchmark(10, "oscd", _DENSE, sized=True),
    Benchmark(11, "fmow", _prefixed("", *_MACRO)),
    Benchmark(12, "bigearthnet", {"map20_bigearthnet43": "map20"}),
    Benchmark(12, "bigearthnet19", {"map20_bigearthnet19": "map20"}),
    Benchmark(12, "forestnet", {"map20_forestnet12": "map20"}),
    Benchmark(12, "forestnet4", {"map20_forestnet4": "map20"}),
)

TABLES: dict[int, str] = {
    2: "scene classification on UC Merced and AID",
    3: "tiny ship detection on LEVIR-Ship",
    4: "instance segmentation on NWPU VHR-10",
    5: "instance segmentation on SSDD",
    6: "road extraction on Massachusetts Roads",
    7: "building extraction on WHU Building",
    8: "change detection on LEVIR-CD",
    9: "change detection on WHU-CD",
    10: "change detection on OSCD",
    11: "region classification on fMoW",
    12: "image retrieval on BigEarthNet and ForestNet",
}

_DYNAMICVIS = {"DynamicVis-B": "dynamicvis_b", "DynamicVis-L": "dynamicvis_l"}
_CLASSIFIERS = {
    **{f"ResNet-{depth}": f"resnet{depth}" for depth in (18, 50, 101)},
    **{f"DeiT-{size}": f"deit_{size.lower()}16" for size in "TSB"},
    **{f"ViT-{size}": f"vit_{size.lower()}16" for size in "BL"},
    **{f"Swin-{size}": f"swin_{size.lower()}" for size in "TSB"},
    "Vim-Ti†": "vim_ti",
    "VMamba-T": "vmamba_t",
    **{f"RSMamba-{size}": f"rsmamba_{size.lower()}" for size in "BLH"},
}
#: The paper names the method and not its backbone; ResNet-50 is what these methods are published with.
_DETECTORS = {"Faster R-CNN": "faster_rcnn", "RetinaNet": "retinanet", "FCOS": "fcos"}
_REPRESENTATIONS = {"Embedding": "map20", "Binary emb.": "map20_binary", "64-bit hash": "map20_hash64"}


def benchmarks(table: int) -> list[Benchmark]:
    """Return the datasets of a table, in the order of its columns."""
    return [benchmark for benchmark in BENCHMARKS if benchmark.table == table]


def printed(table: int) -> Iterator[Line]:
    """Yield the rows of a table, in the paper's order."""
    for line in paper.table(table).to_dict("records"):
        text = {str(column): str(value) for column, value in line.items()}
        yield Line(_name(table, text), text, _ours(table, text))


def score(benchmark: Benchmark, column: str, line: Mapping[str, str]) -> str:
    """Return which score of a record belongs to a column of the paper, in this row."""
    if benchmark.table == 12:
        return _REPRESENTATIONS[line["representation"]]
    return benchmark.columns[column]


def _name(table: int, line: Mapping[str, str]) -> str:
    if table == 11:
        return " ".join(part for part in (line["method"], line["loss"]) if part)
    if table == 12:
        return f"{line['model']}, {line['bands']}, {line['representation']}"
    return line["method"] + MARKS.get(line["variant"], "")


def _ours(table: int, line: Mapping[str, str]) -> Ours | None:
    method = line.get("method", line.get("model", ""))
    if table == 12:
        return _retrieval(method, line["bands"])
    if method in _DYNAMICVIS:
        return _dynamicvis(table, _DYNAMICVIS[method], line)
    return (_others(table) | _rivals(table)).get(method)


def _others(table: int) -> dict[str, Ours]:
    """Return the methods of a table, other than DynamicVis, that can be run here."""
    match table:
        case 2:
            return {method: Ours(model) for method, model in _CLASSIFIERS.items()}
        case 3:
            return {method: Ours("resnet50", changes={"head": {"kind": kind}}) for method, kind in _DETECTORS.items()}
        case 4 | 5:
            return {"Mask R-CNN": Ours("resnet50", changes={"head": {"extractor": "align"}})}
        case 6 | 7:
            return {"UperNet": Ours("resnet50", input="1x")}
        case 11:
            models = {"ResNet-50": "resnet50", "ViT-B": "vit_b16"}
            return {method: Ours(model, changes={"losses": {"mil": 0.0}}) for method, model in models.items()}
        case _:
            return {}


def _rivals(table: int) -> dict[str, Ours]:
    """Return the rows that are rivals, trained at their authors' learning rate where that can be used."""
    return {
        row: Ours(name, input="1x", changes={"optimiser": {"lr": one.lr}} if one.lr else {})
        for name, one in RIVALS.items()
        for row in one.rows.get(table, ())
    }


def _dynamicvis(table: int, model: str, line: Mapping[str, str]) -> Ours:
    if table == 11:
        return Ours(model, changes={"losses": {"mil": 0.5 if line["loss"] == "MIL" else 0.0}})
    variant = line["variant"]
    sized = any(benchmark.sized for benchmark in benchmarks(table))
    size = ("2x" if variant == DOUBLE else "1x") if sized else None
    if variant == NO_SELECTION:
        return Ours(f"{model}_dense", input=size)
    return Ours(model, pretrained=variant != FROM_SCRATCH, input=size)


def _retrieval(method: str, bands: str) -> Ours | None:
    if bands != "RGB" or method not in (*_DYNAMICVIS, "ViT-B"):
        return None
    return Ours(_DYNAMICVIS.get(method, "vit_b16"), pretrained=True)
