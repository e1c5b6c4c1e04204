"""Which of our models is which row of the paper's efficiency tables, and what those tables print."""

from collections.abc import Mapping
from typing import TypeAlias

from dvbench import paper

Row: TypeAlias = tuple[str, str]
"""Method and variant, as the paper's tables print them."""
Ours: TypeAlias = tuple[str, str]
"""Our model and how its attention runs."""

#: (method, variant) as tables 13 and 14 print them -> (our model, attention). The paper's ViT is eager: its memory at
#: 2048 x 2048 is that of two whole score matrices.
ROWS: dict[Row, Ours] = {
    ("ResNet18", ""): ("resnet18", "none"),
    ("ResNet50", ""): ("resnet50", "none"),
    ("ResNet101", ""): ("resnet101", "none"),
    ("ViT-B", ""): ("vit_b16", "eager"),
    ("ViT-L", ""): ("vit_l16", "eager"),
    ("DynamicVis-B", "no_selection_no_mil"): ("dynamicvis_b_dense", "none"),
    ("DynamicVis-B", ""): ("dynamicvis_b", "none"),
    ("DynamicVis-L", "no_selection_no_mil"): ("dynamicvis_l_dense", "none"),
    ("DynamicVis-L", ""): ("dynamicvis_l", "none"),
}

#: The other Mamba backbones, which the paper compares by accuracy only (table 2).
OTHER_MAMBA: dict[Row, Ours] = {
    ("Vim-Ti", ""): ("vim_ti", "none"),
    ("VMamba-T", ""): ("vmamba_t", "none"),
    ("RSMamba-B", ""): ("rsmamba_b", "none"),
    ("RSMamba-L", ""): ("rsmamba_l", "none"),
    ("RSMamba-H", ""): ("rsmamba_h", "none"),
}
#: Rows of ours that the paper does not have: those, and the same ViT as a user would run it today.
EXTRA: dict[Row, Ours] = {("ViT-B, fused attention", ""): ("vit_b16", "sdpa")} | OTHER_MAMBA

RESOLUTIONS = (128, 256, 512, 1024, 2048, 4096)

#: One size of each model, so that two CPU cores need minutes.
_TABLE14 = ("ResNet101", "ViT-B", "DynamicVis-B", "ViT-B, fused attention", "Vim-Ti", "VMamba-T", "RSMamba-B")


def rows(number: int) -> dict[Row, Ours]:
    """Return the rows of table 13 or 14, the paper's first, with the model and attention that stand for them."""
    return {key: value for key, value in (ROWS | EXTRA).items() if number == 13 or key[0] in _TABLE14}


def printed(number: int) -> dict[tuple[Row, int], Mapping[str, str]]:
    """Return what table 13 or 14 prints, by row and resolution: column -> text, empty where nothing is given."""
    lines: list[dict[str, str]] = [
        {str(column): text for column, text in line.items()} for line in paper.table(number).to_dict("records")
    ]
    method = "method" if number == 13 else "model"
    return {((line[method], line["variant"]), int(line.get("resolution", "512"))): line for line in lines}


def name(row: Row) -> str:
    """Name a row as the paper does: a dagger for no selection; a star for a row that the paper does not have."""
    return row[0] + ("†" if row[1] == "no_selection_no_mil" else "*" if row in EXTRA else "")
