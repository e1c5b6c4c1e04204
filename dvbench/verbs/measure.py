"""What `profile` and `reproduce` share: their conditions, and measuring with a progress display."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import FAILED, GOOD, check_side, out_option, picture_options, positive, seconds, torch_device

if TYPE_CHECKING:
    from dvbench.profile.cell import Cell
    from dvbench.profile.sweep import Plan
    from reports.record import Record


def measure(cells: "list[Cell]", plan: "Plan", out: Path) -> "list[Record]":
    """Measure cells with a progress display; a second call with the same plan and resume set runs nothing."""
    from dvbench.profile.sweep import command, sweep
    from dvbench.progress import display
    from dvbench.training.unfinished import begin_measuring
    from reports.ledger import Ledger

    ledger = Ledger(out / "records")
    # The mark also shows that the folder can be written: better now than after an hour of measuring.
    mark = begin_measuring(out, command()) if cells and not plan.dry_run else None
    try:
        with display(len(cells)) as bar:
            return list(bar.count(sweep(cells, ledger, plan, bar.tell)))
    finally:
        if mark:
            mark.unlink(missing_ok=True)


def template_cell(options: argparse.Namespace) -> "Cell":
    """Check what all cells share, and return it as a cell without model and resolution."""
    import hashlib

    import torch

    from dvbench.data.scene import default_scene, load_scene
    from dvbench.profile.cell import Cell
    from models.scan import choose
    from models.zoo import entry

    for model in getattr(options, "model", None) or ():
        entry(model)
    for side in options.res or ():
        check_side(side)
    device = torch_device(options.device)
    if options.scan != "auto":
        choose(options.scan, torch.device(device).type, torch.float32)
    image = options.image or default_scene()
    if not options.dry_run:
        sides = options.res or [512]
        # Whether it can be cropped depends on the largest side; any other flaw shows at the smallest at little cost.
        side = max(sides) if options.fit == "crop" else min(sides)
        scene = load_scene(image, side, fit=options.fit, bands=options.bands)
        print(f"image {scene.source}: {scene.note}", file=sys.stderr)
    return Cell(
        model="",
        resolution=0,
        batch=options.batch_size,
        dtype=options.dtype,
        device=device,
        scan=options.scan,
        image=image.name,
        image_hash=hashlib.sha256(image.read_bytes()).hexdigest()[:12] if image.is_file() else "",
        fit=options.fit,
        bands=",".join(map(str, options.bands)) if options.bands else "",
        seed=options.seed,
    )


def plan_of(options: argparse.Namespace, *, resume: bool | None = None, max_batch: bool | None = None) -> "Plan":
    """Return how the cells are measured."""
    from dvbench.data.scene import default_scene
    from dvbench.profile.sweep import Plan

    return Plan(
        image=options.image or default_scene(),
        bands=options.bands,
        budget_s=options.budget,
        repeat=options.repeat,
        resume=options.resume if resume is None else resume,
        max_batch=options.max_batch if max_batch is None else max_batch,
        roofline=getattr(options, "roofline", False),
        dry_run=options.dry_run,
    )


def exit_code(records: "list[Record]") -> int:
    """Return the exit code of a run: failed if a cell failed for a reason that should not be."""
    from reports.record import Status

    return FAILED if any(r.status in (Status.ERROR, Status.CRASHED) for r in records) else GOOD


def condition_options(sub: argparse.ArgumentParser) -> None:
    """Options of the verbs that measure."""
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")
    sub.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="of weights and image (default: fp32)")
    sub.add_argument("--batch-size", type=positive, default=1, metavar="N", help="images a forward pass (default: 1)")
    sub.add_argument(
        "--scan", default="auto", metavar="B", help="scan backend: auto, mamba_ssm, triton, cpu or reference"
    )
    sub.add_argument("--image", type=Path, metavar="FILE", help="input picture (default: the sample scene)")
    sub.add_argument("--repeat", type=positive, metavar="N", help="samples of each cell (default: by its speed)")
    sub.add_argument(
        "--budget", type=seconds, default=1800.0, metavar="S", help="seconds a cell may take (default: 1800)"
    )
    sub.add_argument("--dry-run", action="store_true", help="exact counts only: nothing is run or written")
    picture_options(sub)
    out_option(sub)
