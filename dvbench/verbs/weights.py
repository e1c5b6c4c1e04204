"""`dvbench weights`: files that people have under our names."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvbench.verbs.common import FAILED, GOOD, WEIGHTS_FROM, Subparsers, UsageError, add_verb, print_tables, wrote

if TYPE_CHECKING:
    from reports.table import Table

SHOWN = 6  # keys of a part that are named; more are counted


def convert(options: argparse.Namespace) -> int:
    """Rewrite a checkpoint as safetensors with our names, and say what became of each key."""
    import torch
    from safetensors.torch import save

    from dvbench.version import __version__
    from models.weights import load_weights, open_weights
    from models.zoo import build, entry
    from reports.ledger import write_atomically

    if options.out.suffix != ".safetensors":
        raise UsageError(f"{options.out}: the result is written as .safetensors, give such a name")
    if options.out.exists() and not options.force:
        raise UsageError(f"{options.out} is there already: choose another name, or --force")
    weights = open_weights(options.checkpoint)
    model = options.model or weights.model
    if not model:
        raise UsageError(f"{options.checkpoint} is of no published size: say with --model which it is")
    entry(model)
    torch.manual_seed(0)
    report = load_weights(build(model), weights)
    about = {"format": "pt", "model": model, "source_sha256": report.sha256, "dvbench": __version__}
    if weights.keep:
        about["config"] = f"spatial_token_keep_ratios={list(weights.keep)}"
    named = {entry.name: entry.value.clone().contiguous() for entry in weights.entries if entry.name}
    write_atomically(options.out, save(named, metadata=about))
    table = weights_table(report.as_dict(), f"{Path(options.checkpoint).name} as {model}")
    table.notes = [*table.notes, "What the backbone leaves over is written too, for tasks that have a place for it."]
    print_tables(table)
    wrote(options.out)
    return GOOD if report.complete else FAILED


def weights_table(told: Mapping[str, Any], title: str) -> "Table":
    """Return what became of each key, part by part.

    Args:
        told: what `models.weights_report.WeightsReport.as_dict` returned, or a record kept of it.
        title: of the table.
    """
    from reports.table import Table

    kinds = ("used", "missing", "unexpected")
    rows = [[part, *(str(len(keys[kind])) for kind in kinds)] for part, keys in told["parts"].items()]
    notes = [f"Keys of {told['family']}, SHA-256 {told['sha256'][:12]}."]
    for part, keys in told["parts"].items():
        notes += [f"{part}, {kind}: {_some(keys[kind])}." for kind in kinds if keys[kind]]
    notes += [f"Resized: {one}." for one in told["resized"]]
    notes += [f"{note[0].upper()}{note[1:]}." for note in told["notes"]]
    return Table(title, ["Part", *kinds], rows, notes)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")


def add_to(verbs: Subparsers) -> None:
    """Add `weights` and its verbs to the command line."""
    group = verbs.add_parser(
        "weights",
        help="bring checkpoints under our names",
        description="Bring checkpoints under our names: those of DynamicVis, Vim, VMamba and RSMamba, and those of\n"
        "ResNet, ViT, DeiT and Swin as timm, torchvision, TorchGeo and their authors save them.\n"
        "Nothing that a file contains is run.",
        epilog="examples:\n  dvbench weights convert epoch_200.pth dynamicvis_b.safetensors\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = add_verb(
        group.add_subparsers(metavar="VERB", required=True),
        "convert",
        convert,
        "rewrite a checkpoint as safetensors, with a report of every key",
        "  dvbench weights convert epoch_200.pth dynamicvis_b.safetensors\n"
        "  dvbench weights convert vim_tiny.pth vim_ti.safetensors\n"
        "  dvbench weights convert hf://owner/repository/file.pth out.safetensors --model dynamicvis_l\n"
        "  dvbench weights convert torchgeo:ResNet50_Weights.SENTINEL2_RGB_MOCO resnet50.safetensors\n",
    )
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help=WEIGHTS_FROM)
    sub.add_argument("out", type=Path, metavar="OUT", help="the .safetensors file to write")
    sub.add_argument("--model", metavar="M", help="which model it is (default: seen by its shapes)")
    sub.add_argument("--force", action="store_true", help="overwrite OUT")
