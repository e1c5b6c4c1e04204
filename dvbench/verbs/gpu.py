"""`dvbench gpu`."""

import argparse
import re
import time
from pathlib import Path

from dvbench.verbs.common import FAILED, GOOD, OUT, Subparsers, UsageError, add_verb, print_tables, seconds, tell, wrote

RECORDS = Path("reports/records")


def gpu(options: argparse.Namespace) -> int:
    """Check and measure everything that needs a GPU."""
    device = _device(options)

    from dvbench.gpu import summary
    from dvbench.gpu.run import Run, take
    from dvbench.gpu.scale import FULL, REHEARSAL
    from dvbench.gpu.steps import steps
    from dvbench.progress import display

    out = options.out or OUT / ("gpu-rehearsal" if options.rehearse else "gpu")
    scale = REHEARSAL if options.rehearse else FULL
    with display(1) as bar:
        run = Run(scale, device, options.dtype, out, bar.tell, time.monotonic() + 60 * options.minutes)
        written = summary.write(run)  # better now than after minutes of measuring
        take(steps(run), run, summary.write)
        written = summary.write(run)
    print_tables(summary.goals(run), summary.errors(run), summary.scan_times(run), summary.variants(run))
    wrote(*written)
    for outcome in run.outcomes:
        if outcome.reason:
            tell(f"{outcome.step}: {outcome.reason}")
    if not options.rehearse:
        print(f"to commit the records: cp -r {out / 'records'} {RECORDS / _slug(str(run.here['hardware']))}")
    return FAILED if any(outcome.reason for outcome in run.outcomes) else GOOD


def _device(options: argparse.Namespace) -> str:
    import torch

    from dvbench.verbs.common import torch_device

    if options.rehearse:
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError("torch sees no CUDA device: 'dvbench gpu --rehearse' takes the same way on this CPU, tiny")
    return torch_device(options.device)


def _slug(hardware: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")


def add_to(verbs: Subparsers) -> None:
    """Add `gpu` to the command line."""
    sub = add_verb(
        verbs,
        "gpu",
        gpu,
        "check and measure on a GPU: scans, variants of the model, tables 13 and 14, figures 20 and 21, in ten minutes",
        "  dvbench gpu                              everything, to reports/out/gpu\n"
        "  dvbench gpu --out DIR --minutes 8        stop in time; the same command goes on where it stopped\n"
        "  dvbench gpu --rehearse                   the same way on a CPU, with tiny shapes\n",
    )
    sub.add_argument("--device", default="cuda", help="cuda or cuda:N (default: cuda)")
    sub.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="of the models (default: fp32)")
    sub.add_argument("--minutes", type=seconds, default=9.5, metavar="M", help="that it may take (default: 9.5)")
    sub.add_argument("--rehearse", action="store_true", help="run on the CPU at tiny sizes; no number of it counts")
    sub.add_argument(
        "--out", type=Path, metavar="DIR", help=f"results (default: {OUT / 'gpu'}, or {OUT / 'gpu-rehearsal'})"
    )
