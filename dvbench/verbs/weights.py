"""`dvbench weights`: files that people have under our names, ours under theirs, and embeddings of classes."""

import argparse
from pathlib import Path

from dvbench.verbs.common import (
    FAILED,
    GOOD,
    WEIGHTS_FROM,
    Subparsers,
    UsageError,
    add_verb,
    positive,
    print_tables,
    seed_number,
    wrote,
)


def convert(options: argparse.Namespace) -> int:
    """Rewrite a checkpoint as safetensors with our names, and say what became of each key."""
    import torch
    from safetensors.torch import save

    from dvbench.version import __version__
    from dvbench.weights.weight_tables import weights_table
    from models.weights import load_weights, open_weights
    from models.zoo import build, entry
    from reports.ledger import write_atomically

    _check_out(options, ".safetensors")
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


def embed(options: argparse.Namespace) -> int:
    """Write embeddings of a dataset's classes from a text encoder."""
    from dvbench.data import catalog
    from dvbench.weights import text_embeddings
    from reports.ledger import write_atomically

    _check_out(options, ".safetensors")
    classes, encoder = catalog.entry(options.classes).card.classes, text_embeddings.open_encoder(options.encoder)
    made = text_embeddings.embed(classes, options.prompt, encoder, options.width, options.seed)
    write_atomically(options.out, made.as_bytes())
    title = f"Class embeddings of {options.classes} from {options.encoder}"
    print_tables(text_embeddings.nearest(made, title))
    wrote(options.out)
    return GOOD


def export(options: argparse.Namespace) -> int:
    """Write a trained checkpoint under the names of DynamicVis's authors."""
    from dvbench.weights.export import in_official_names
    from dvbench.weights.weight_tables import exported_table
    from reports.ledger import write_atomically
    from tasks.files import BEST

    _check_out(options, ".pth")
    made = in_official_names(options.run / BEST if options.run.is_dir() else options.run)
    write_atomically(options.out, made.content)
    print_tables(exported_table(made))
    wrote(options.out)
    return GOOD


def _check_out(options: argparse.Namespace, ending: str) -> None:
    """Refuse a place that cannot be written as asked, before any work."""
    if options.out.suffix != ending:
        raise UsageError(f"{options.out}: the result is written as {ending}, give such a name")
    if options.out.exists() and not options.force:
        raise UsageError(f"{options.out} is there already: choose another name, or --force")


def add_to(verbs: Subparsers) -> None:
    """Add `weights` and its verbs to the command line."""
    group = verbs.add_parser(
        "weights",
        help="bring checkpoints under our names and the authors', and embed classes",
        description="Bring checkpoints under our names: those of DynamicVis, Vim, VMamba and RSMamba, and those of\n"
        "ResNet, ViT, DeiT and Swin as timm, torchvision, TorchGeo and their authors save them; bring ours\n"
        "under the names of DynamicVis's authors; make the embeddings of classes that pretraining may start from.\n"
        "Nothing that a file contains is run.",
        epilog="examples:\n  dvbench weights convert epoch_200.pth dynamicvis_b.safetensors\n"
        "  dvbench weights embed --classes fmow --encoder hf://openai/clip-vit-large-patch14 --out fmow.safetensors\n"
        "  dvbench weights export reports/out/runs/fmow-dynamicvis_b-released-s0-... epoch_200.pth\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = group.add_subparsers(metavar="VERB", required=True)
    sub = add_verb(
        group,
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
    sub = add_verb(
        group,
        "embed",
        embed,
        "make embeddings of a dataset's classes with a text encoder of CLIP, which region classification starts from",
        "  dvbench weights embed --classes fmow --encoder hf://openai/clip-vit-large-patch14 --out fmow.safetensors\n"
        "  dvbench weights embed --classes fmow --encoder clip/ --out fmow.safetensors \\\n"
        '      --prompt "An aerial image of a {}" "A satellite photo of a {}"\n'
        "  dvbench run region_classification --dataset fmow --model dynamicvis_b \\\n"
        "      --set head.embeddings=text:fmow.safetensors\n",
    )
    sub.add_argument("--classes", required=True, metavar="DATASET", help="whose classes; see dvbench list datasets")
    sub.add_argument("--encoder", required=True, metavar="E", help="hf://owner/repository, or the folder of an encoder")
    sub.add_argument("--out", required=True, type=Path, metavar="FILE", help="the .safetensors file to write")
    sub.add_argument(
        "--prompt",
        nargs="+",
        default=["An aerial image of a {}"],
        metavar="P",
        help="with {} where the name of the class goes; several are averaged (default: An aerial image of a {})",
    )
    sub.add_argument("--width", type=positive, default=256, metavar="N", help="head.width of the run (default: 256)")
    sub.add_argument("--seed", type=seed_number, default=0, help="of the rotation at the end (default: 0)")
    sub.add_argument("--force", action="store_true", help="overwrite FILE")

    sub = add_verb(
        group,
        "export",
        export,
        "write a trained DynamicVis under its authors' names, for their code",
        "  dvbench weights export reports/out/runs/fmow-dynamicvis_b-released-s0-... epoch_200.pth\n"
        "  dvbench weights export last.ckpt epoch_200.pth\n",
    )
    sub.add_argument("run", type=Path, metavar="RUN", help="folder of a run, whose best.ckpt is taken, or a checkpoint")
    sub.add_argument("out", type=Path, metavar="OUT", help="the .pth file to write")
    sub.add_argument("--force", action="store_true", help="overwrite OUT")
