"""Table 1."""

import torch

from dvbench import paper
from models.dynamicvis import DynamicVis, Stage
from models.zoo import build
from reports.compare import Verdict
from reports.table import Named, Table


def table1() -> list[Named]:
    """Table 1: the layout of both backbones, read off the modules as built, beside the paper's."""
    body = []
    for model, line in zip(("dynamicvis_b", "dynamicvis_l"), paper.table(1).to_dict("records"), strict=True):
        with torch.device("meta"):
            backbone = build(model)
        assert isinstance(backbone, DynamicVis)
        for number, (stage, keep) in enumerate(zip(backbone.stages, backbone.config.keep, strict=True), start=1):
            assert isinstance(stage, Stage)
            ours = {
                "layers": str(len(stage.blocks)),
                "dim": str(stage.merge.out_channels),
                "reduction_ratio": f"{keep - 1}/{keep}" if keep > 1 else "0",
                "patch_size": str(stage.merge.kernel_size[0]),
                "stride": str(stage.merge.stride[0]),
            }
            theirs = {key: line[f"{key}_stage{number}"] for key in ours}
            pairs = [f"{theirs[key]} | {ours[key]}" for key in ours]
            verdict = Verdict.REPRODUCED if ours == theirs else Verdict.DIFFERS
            body.append([line["version"], str(number), *pairs, verdict])
    headings = ("layers", "dim", "reduction ratio", "patch size", "stride")
    columns = ["Version", "Stage", *(f"{heading}, paper | ours" for heading in headings), "verdict"]
    note = "Ours: read off the modules that `models.zoo.build` makes. Paper: arXiv 2503.16426v1, table 1."
    return [("table1", Table("Table 1: layout of the DynamicVis backbones", columns, body, [note]))]
