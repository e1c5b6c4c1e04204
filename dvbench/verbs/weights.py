"""`dvbench weights`: official checkpoints under our names."""

import argparse
from pathlib import Path

from dvbench.verbs.common import FAILED, GOOD, Subparsers, UsageError, add_verb, print_tables, wrote


def convert(options: argparse.Namespace) -> int:
    """Rewrite an official checkpoint as safetensors with our names, and say what became of each key."""
    import torch
    from safetensors.torch import save

    from dvbench.version import __version__
    from models.weight_names import guess_model, in_our_names
    from models.weights import WeightsReport, load_weights, locate, read
    from models.zoo import build, entry
    from reports.ledger import write_atomically
    from reports.table import Table

    if options.out.suffix != ".safetensors":
        raise UsageError(f"{options.out}: the result is written as .safetensors, give such a name")
    if options.out.exists() and not options.force:
        raise UsageError(f"{options.out} is there already: choose another name, or --force")
    state = read(locate(options.checkpoint))
    model = options.model or guess_model(state)
    if not model:
        raise UsageError(f"{options.checkpoint} is of no published size: say with --model which it is")
    entry(model)
    torch.manual_seed(0)
    report: WeightsReport = load_weights(build(model), options.checkpoint)
    renamed = {name: value.contiguous() for name, value in in_our_names(state).items()}
    about = {"format": "pt", "model": model, "source_sha256": report.sha256, "dvbench": __version__}
    write_atomically(options.out, save(renamed, metadata=about))
    rows = [["used by the backbone", str(len(report.used)), ""]]
    for kind, keys in (("resized", report.resized), ("missing", report.missing), ("of other parts", report.unexpected)):
        rows.append([kind, str(len(keys)), ", ".join(keys[:6]) + (" ..." if len(keys) > 6 else "")])
    print_tables(Table(f"{Path(options.checkpoint).name} as {model}", ["Keys", "count", "which"], rows))
    wrote(options.out)
    return GOOD if report.complete else FAILED


def add_to(verbs: Subparsers) -> None:
    """Add `weights` and its verbs to the command line."""
    group = verbs.add_parser(
        "weights",
        help="bring official checkpoints under our names",
        description="Bring official checkpoints under our names. Nothing that a file contains is run.",
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
        "  dvbench weights convert hf://owner/repository/file.pth out.safetensors --model dynamicvis_l\n",
    )
    sub.add_argument("checkpoint", metavar="CHECKPOINT", help="file, or hf://owner/repository/file")
    sub.add_argument("out", type=Path, metavar="OUT", help="the .safetensors file to write")
    sub.add_argument("--model", metavar="M", help="which model it is (default: seen by its shapes)")
    sub.add_argument("--force", action="store_true", help="overwrite OUT")
