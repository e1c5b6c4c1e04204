"""`dvbench show`: pictures of what a model does to an image."""

import argparse
from pathlib import Path

from dvbench.verbs.common import (
    GOOD,
    WEIGHTS_FROM,
    Subparsers,
    UsageError,
    add_verb,
    check_side,
    out_option,
    picture_options,
    tell,
    wrote,
)


def show_tokens(options: argparse.Namespace) -> int:
    """Draw which regions each stage of a model keeps."""
    import torch

    from dvbench.data.scene import default_scene, load_scene
    from dvbench.profile.cell import Cell
    from dvbench.profile.memory import available_bytes
    from dvbench.profile.sweep import counts_of
    from dvbench.show import look, save_png, token_map
    from models.dynamicvis import DynamicVis
    from models.weights import load_weights
    from models.zoo import build

    check_side(options.res)
    torch.manual_seed(options.seed)
    model = build(options.model).eval()
    if not isinstance(model, DynamicVis):
        raise UsageError(f"{options.model} does not select tokens: choose a DynamicVis, such as dynamicvis_b")
    told = f"Untrained weights (seed {options.seed}): a random gate selects."
    if options.weights:
        report = load_weights(model, options.weights)
        tell(report.line)
        told = f"Weights: {Path(report.source).name}."
    need, free = counts_of(Cell(options.model, options.res).settled()).live_bytes, available_bytes()
    if need > free:
        room = f"{need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        raise UsageError(f"{options.model} at {options.res} px needs {room}: give a smaller --res")
    scene = load_scene(options.image or default_scene(), options.res, fit=options.fit, bands=options.bands)
    figure = token_map(
        scene.image,
        look(model, scene.tensor),
        title=f"{options.model} on {scene.source}, {options.res} px",
        caption=f"{told} Image: {scene.note}.",
    )
    path = options.out / f"tokens_{Path(scene.source).stem}_{options.model}_{options.res}.png"
    save_png(figure, path)
    wrote(path)
    return GOOD


def add_to(verbs: Subparsers) -> None:
    """Add `show` and its pictures to the command line."""
    group = verbs.add_parser(
        "show",
        help="draw which regions of an image each stage of DynamicVis keeps",
        description="Draw a picture of what a model does to an image.",
        epilog="examples:\n  dvbench show tokens\n  dvbench show tokens scene.tif --res 1024\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pictures = group.add_subparsers(metavar="PICTURE", required=True)
    sub = add_verb(
        pictures,
        "tokens",
        show_tokens,
        "draw which regions of an image each stage of DynamicVis keeps",
        "  dvbench show tokens\n  dvbench show tokens scene.tif --res 1024 --bands 4,3,2\n",
    )
    sub.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="picture (default: the sample scene)")
    sub.add_argument("--model", default="dynamicvis_b", metavar="M", help="a DynamicVis (default: dynamicvis_b)")
    sub.add_argument("--res", type=int, default=512, metavar="R", help="image side in px (default: 512)")
    sub.add_argument("--weights", metavar="FILE", help=f"trained weights: {WEIGHTS_FROM}")
    picture_options(sub)
    out_option(sub)
