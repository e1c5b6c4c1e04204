"""`dvbench run` and `dvbench evaluate`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvbench.errors import one_line
from dvbench.verbs.common import (
    FAILED,
    GOOD,
    OUT,
    WEIGHTS_FROM,
    Subparsers,
    UsageError,
    add_verb,
    out_option,
    positive,
    print_tables,
    seed_number,
    tell,
    torch_device,
    wrote,
)

if TYPE_CHECKING:
    from dvbench.training.run_cell import RunCell
    from reports.record import Record
    from reports.table import Table
    from tasks.fit import Compute, Report


def run(options: argparse.Namespace) -> int:
    """Train and score a model on a dataset."""
    from dvbench.training import plan
    from dvbench.training.summary import summary
    from tasks import protocol
    from tasks.roster import task

    task(options.task)
    dataset = options.dataset or plan.first_protocol(options.task)
    scale, why = plan.choose_scale(options.scale, dataset)
    found = protocol.load(dataset).task
    if found != options.task:
        raise UsageError(f"{dataset} is for {found}, not {options.task}: dvbench run {found} ...")
    changes = _changes(options.set)
    if options.epochs:
        changes["epochs"] = options.epochs
    cells = [
        plan.cell(
            model,
            dataset,
            scale,
            variant=options.variant,
            size=options.input or "",
            seed=seed,
            weights=options.weights or "",
            changes=changes,
        )
        for model in options.model
        for seed in (range(options.seeds) if options.seeds else [options.seed])
    ]
    print(why, file=sys.stderr)
    if options.dry_run:
        print_tables(dry_run(cells))
        return GOOD
    compute = compute_of(options)
    records = run_cells(
        cells, compute, options.out, fresh=options.fresh, jobs=options.jobs, ray_address=options.ray_address
    )
    if compute.rank == 0:
        print_tables(summary(records), *_weights_tables(records))
    return exit_code(records)


def _weights_tables(records: "Sequence[Record]") -> "Iterator[Table]":
    """Yield what became of the keys of pretrained weights, once a model."""
    from dvbench.weights.weight_tables import weights_table

    told: dict[str, Any] = {str(record.cell["model"]): record.basis.get("weights") for record in records}
    for model, weights in told.items():
        if weights:
            yield weights_table(weights, f"{weights['name']} in {model}")


def evaluate(options: argparse.Namespace) -> int:
    """Score a checkpoint on a split."""
    from dvbench.training.batches import Source
    from dvbench.training.execute import outcomes_of
    from dvbench.training.summary import scores_table
    from dvbench.training.trained import load_cell, load_trained
    from tasks.fit import score

    task, cell = load_trained(options.checkpoint), load_cell(options.checkpoint)
    compute = compute_of(options)
    split = options.split or task.protocol.test_split
    source = Source(task.protocol, cell.seed, workers=compute.workers)
    batches = source.test(split, compute.batch_size or task.protocol.batch)
    scores = score(task, batches, compute)
    intervals = outcomes_of(task, batches, compute).intervals()
    table = scores_table(f"{cell.model} on {task.protocol.dataset}, split {split}", scores, intervals)
    print_tables(table)
    if options.out:
        wrote(*table.write(options.out, f"{options.checkpoint.parent.name}-{split}"))
    return GOOD


def run_cells(
    cells: "Sequence[RunCell]",
    compute: "Compute",
    out: Path,
    *,
    fresh: bool,
    jobs: int | str | None = None,
    ray_address: str | None = None,
    errors: "dict[RunCell, str] | None" = None,
) -> "list[Record]":
    """Run cells with a progress bar, one after the other or side by side; finished ones are taken over.

    Args:
        cells: what to run, each once.
        compute: what a run computes on.
        out: folder of records and runs.
        fresh: train again what is finished.
        jobs: how many at a time on this machine, "ray" for as many as a cluster takes, None for what suits the machine.
        ray_address: of the cluster; None to look for one.
        errors: takes in, in one line, what ended a cell that ran by itself, so that the others go on; None lets it be
            raised. A cell that ran beside others has a record of what ended it.
    """
    from dvbench.training.jobs import Pool, Processes, at_once_here, run_side_by_side

    pool: Callable[[], AbstractContextManager[Pool]]
    command = "dvbench " + shlex.join(sys.argv[1:])
    if jobs == "ray":
        from dvbench.training.cluster import ray_cluster

        title, pool = "on Ray", partial(ray_cluster, ray_address or "", compute)
    else:
        at_once = min(len(cells), int(jobs or at_once_here(cells, compute)))
        if at_once < 2:
            return _one_by_one(cells, compute, out, command=command, fresh=fresh, errors=errors)
        # Loading processes would take their processors away.
        compute = replace(compute, workers=compute.workers or 0)
        title, pool = f"{at_once} at a time", partial(Processes, at_once)
    with _bar(f"{len(cells)} runs, {title}") as report:
        return run_side_by_side(cells, compute, out, pool, command=command, fresh=fresh, report=report, tell=tell)


def _one_by_one(
    cells: "Sequence[RunCell]",
    compute: "Compute",
    out: Path,
    *,
    command: str,
    fresh: bool,
    errors: "dict[RunCell, str] | None",
) -> "list[Record]":
    from dvbench.training.execute import Place, execute

    records = []
    for number, cell in enumerate(cells, start=1):
        title = f"{number}/{len(cells)} {cell.label} on {cell.protocol}, seed {cell.seed}"
        try:
            with _bar(title) as report:
                record = execute(cell, Place(out), compute, report, command=command, fresh=fresh)
        except Exception as error:
            if errors is None:
                raise
            errors[cell] = one_line(error)
            tell(f"{title}: {errors[cell]}")
            continue
        records.append(record)
        if record.reason:
            tell(f"{title}: {record.reason}")
    return records


def dry_run(cells: "Sequence[RunCell]") -> Any:
    """Return a table of what would run and what it would take."""
    from dvbench.training.plan import cost
    from reports.table import Table

    body = []
    for cell in cells:
        chosen, estimate = cell.load_protocol(), cost(cell)
        numbers = [f"{estimate.steps:,}", f"{estimate.images:,}", f"{estimate.macs / 1e9:.1f}"]
        numbers.append(f"{estimate.gpu_hours:.2f}")
        body.append([cell.label, chosen.dataset, cell.variant, str(cell.seed), str(chosen.image_size), *numbers])
    columns = ["Model", "dataset", "variant", "seed", "px", "steps", "images", "MACs an image (G)"]
    columns.append("GPU hours (estimated)")
    note = (
        "MACs: of backbone, neck and heads, counted, both dates of a pair. Estimated: three forward passes an image, "
        "at 40 % of the bf16 peak of one A100. A lower bound: of its pretraining (fmow) the paper tells 3,000 hours."
    )
    return Table("What would run", columns, body, [note])


def compute_of(options: argparse.Namespace) -> "Compute":
    """Read what to compute on."""
    from tasks.fit import Compute

    jobs = getattr(options, "jobs", None)
    if jobs not in (None, 1) and options.devices * options.nodes > 1:
        raise UsageError(f"--jobs {jobs} gives each run one process: leave out --devices and --nodes")
    if jobs == "ray":
        return Compute(options.device, batch_size=options.batch_size, workers=options.workers)
    device = torch_device(options.device).partition(":")[0]
    return Compute(device, options.devices, options.nodes, options.batch_size, options.workers)


def exit_code(records: "Sequence[Record]") -> int:
    """Return whether every run ended as it should, and every reduced one learned."""
    from dvbench.training.summary import learned

    return FAILED if any(r.status != "ok" or learned(r) is False for r in records) else GOOD


@contextmanager
def _bar(title: str) -> "Iterator[Report]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn(title, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    if not console.is_terminal:
        print(title, file=sys.stderr)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting", total=None)
        yield lambda done, total, text: progress.update(bar, completed=done, total=total, description=text)


def _changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE, where the key may be nested by dots and the value is YAML."""
    import yaml

    changes: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign:
            raise UsageError(f"'{pair}' is not KEY=VALUE, such as optimiser.lr=0.001")
        *outer, last = key.split(".")
        place = changes
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = yaml.safe_load(text)
    return changes


def compute_options(sub: argparse.ArgumentParser) -> None:
    """Add the options on what to compute on."""
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda (default: a GPU if there is one)")
    sub.add_argument("--devices", type=positive, default=1, metavar="N", help="processes, one a device (default: 1)")
    sub.add_argument("--nodes", type=positive, default=1, metavar="N", help="machines (default: 1)")
    sub.add_argument("--batch-size", type=positive, metavar="N", help="images in a forward pass of one device")
    sub.add_argument("--workers", type=int, metavar="N", help="loading processes a device (default: by the machine)")


def _jobs(text: str) -> int | str:
    return text if text == "ray" else positive(text)


def jobs_options(sub: argparse._ActionsContainer) -> None:
    """Add the options on where training runs are processed."""
    sub.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="runs at a time on this machine, or ray: as many as a Ray cluster takes (default: on a CPU, one reduced "
        "run for each processor; else one)",
    )
    sub.add_argument(
        "--ray-address", metavar="HOST:PORT", help="of the cluster (default: RAY_ADDRESS, else this machine)"
    )


def add_to(verbs: Subparsers) -> None:
    """Add `run` and `evaluate` to the command line."""
    sub = add_verb(
        verbs,
        "run",
        run,
        "train and score a model on a dataset by the paper's protocol",
        "  dvbench run detection --model dynamicvis_t                       reduced, on the trees that come with it\n"
        "  dvbench run classification --dataset aid --model dynamicvis_b --scale full --devices 8\n"
        "  dvbench run detection --dataset levir_ship --model dynamicvis_b --scale full --dry-run\n"
        "  dvbench run change_detection --dataset levir_cd --model resnet18 --seeds 3 --set optimiser.lr=0.0005\n"
        "  dvbench run classification --model resnet18 deit_t16 --seeds 3 --jobs 4\n",
    )
    sub.add_argument("task", metavar="TASK", help="classification, detection, ...; see dvbench list tasks")
    sub.add_argument("--model", nargs="+", required=True, metavar="M", help="models; see dvbench list models")
    sub.add_argument(
        "--dataset", metavar="D", help="whose protocol; see dvbench list tasks (default: the task's first)"
    )
    sub.add_argument("--scale", default="auto", choices=["auto", "full", "smoke"], help="the paper's, or reduced")
    sub.add_argument("--variant", default="released", choices=["released", "paper", "clean"], help="of the protocol")
    sub.add_argument("--input", choices=["1x", "2x"], help="the paper's input size, where it has two")
    sub.add_argument("--seed", type=seed_number, default=0, help="of weights, batches and noise (default: 0)")
    sub.add_argument("--seeds", type=positive, metavar="N", help="run seeds 0 to N-1, and give mean and spread")
    sub.add_argument("--weights", metavar="FILE", help=f"pretrained weights: {WEIGHTS_FROM}")
    sub.add_argument("--epochs", type=positive, metavar="N", help="in place of the protocol's")
    sub.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="replace keys of the protocol")
    sub.add_argument("--fresh", action="store_true", help="train again what is finished")
    sub.add_argument("--dry-run", action="store_true", help="say what would run and how long, and run nothing")
    compute_options(sub)
    jobs_options(sub)
    out_option(sub)

    sub = add_verb(
        verbs,
        "evaluate",
        evaluate,
        "score a checkpoint that dvbench run left behind",
        "  dvbench evaluate reports/out/runs/.../best.ckpt\n  dvbench evaluate best.ckpt --split val\n",
    )
    sub.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="best.ckpt or last.ckpt of a run")
    sub.add_argument("--split", metavar="S", help="split to score (default: the protocol's test split)")
    compute_options(sub)
    sub.add_argument("--out", type=Path, metavar="DIR", help=f"also write the table there, such as {OUT}")
