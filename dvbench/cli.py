"""The command line. Every verb imports what it needs when it runs, so that --help is instant."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dvbench.data.verbs import add_to as add_data_verbs
from dvbench.version import __version__

if TYPE_CHECKING:
    from dvbench.cell import Cell
    from dvbench.profile.sweep import Plan
    from reports.record import Record
    from reports.table import Table

OUT = Path("reports/out")
MODELS = ("resnet101", "vit_b16", "dynamicvis_b_dense", "dynamicvis_b")
GOOD, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """Arguments that cannot be used together or here; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """Reports bad usage as every other error is reported: in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"dvbench: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 good, 1 a check failed, 2 bad usage or input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        verb: Callable[[argparse.Namespace], int] = options.verb
        return verb(options)
    except KeyboardInterrupt:
        kept = "what was measured is kept; reproduce, and profile with --resume, go on from there"
        print(f"dvbench: interrupted: {kept}", file=sys.stderr)
        return INTERRUPTED
    except _expected() as error:
        print(f"dvbench: {error}", file=sys.stderr)
        return BAD_INPUT


def profile(options: argparse.Namespace) -> int:
    """Measure models over resolutions."""
    from dataclasses import replace

    from dvbench.profile.summary import counts, summary

    template, plan = _template(options), _plan(options)
    attentions = options.attention or ["sdpa", "eager"]
    cells = [
        replace(template, model=model, resolution=side, attention=attention).settled()
        for side in options.res or [512]
        for model in options.model or MODELS
        for attention in attentions
    ]
    records = _measure(list(dict.fromkeys(cells)), plan, options.out)
    table = counts(records) if plan.dry_run else summary(records)
    if not plan.dry_run:
        _say(*table.write(options.out, "profile"))
    _print(table)
    return _exit_code(records)


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing for tables and figures, then draw them."""
    from dvbench.paper.cells import LAPTOP_RESOLUTIONS, RESOLUTIONS
    from dvbench.reproduce import target

    names = _targets(options.target)
    template = _template(options)
    sides = tuple(options.res or (LAPTOP_RESOLUTIONS if template.device == "cpu" else RESOLUTIONS))
    records: list[Record] = []
    asked: set[Cell] = set()
    # The search for the largest batch comes with a table's cells, so tables that want it are measured first.
    for name in sorted(names, key=lambda name: not target(name).max_batch):
        plan = _plan(options, resume=not options.fresh, max_batch=target(name).max_batch)
        wanted = [cell for cell in target(name).cells(template, sides) if cell not in asked]
        asked.update(wanted)
        records += _measure(wanted, plan, options.out)
    if options.dry_run:
        from dvbench.profile.summary import counts

        if records:
            _print(counts(records))
        return GOOD
    _draw(names, options.out)
    return _exit_code(records)


def report(options: argparse.Namespace) -> int:
    """Draw tables and figures again from records, running nothing."""
    return _draw(_targets(options.target), options.out)


def list_things(options: argparse.Namespace) -> int:
    """List what there is by name."""
    if options.what in ("models", "all"):
        _print(_models())
    if options.what in ("datasets", "all"):
        _print(_datasets())
    if options.what in ("tables", "all"):
        from dvbench.reproduce import TARGETS
        from reports.table import Table

        _print(Table("Tables and figures", ["Name", "What"], [[name, t.about] for name, t in TARGETS.items()]))
    return GOOD


def doctor(options: argparse.Namespace) -> int:  # noqa: ARG001 (all verbs take options)
    """Say what works on this machine."""
    from dvbench.doctor import examine
    from dvbench.doctor import report as as_table

    checks = examine()
    _print(as_table(checks))
    return FAILED if any(check.failed for check in checks) else GOOD


def show_tokens(options: argparse.Namespace) -> int:
    """Draw which regions each stage of a model keeps."""
    import torch

    from dvbench.cell import Cell
    from dvbench.data.scene import default_scene, load_scene
    from dvbench.profile.memory import available_bytes
    from dvbench.profile.sweep import counts_of
    from dvbench.show import save_png, token_map
    from models.dynamicvis import DynamicVis, Routes
    from models.zoo import build

    _check_side(options.res)
    torch.manual_seed(options.seed)
    model = build(options.model).eval()
    if not isinstance(model, DynamicVis):
        raise UsageError(f"{options.model} does not select tokens: choose a DynamicVis, such as dynamicvis_b")
    need, free = counts_of(Cell(options.model, options.res).settled()).live_bytes, available_bytes()
    if need > free:
        room = f"{need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        raise UsageError(f"{options.model} at {options.res} px needs {room}: give a smaller --res")
    scene = load_scene(options.image or default_scene(), options.res, fit=options.fit, bands=options.bands)
    routes: Routes = []
    with torch.inference_mode():
        model(scene.tensor, routes)
    figure = token_map(
        scene.image,
        routes,
        title=f"{options.model} on {scene.source}, {options.res} px",
        caption=f"Untrained weights (seed {options.seed}): a random gate selects. Image: {scene.note}.",
    )
    path = options.out / f"tokens_{Path(scene.source).stem}_{options.model}_{options.res}.png"
    save_png(figure, path)
    _say(path)
    return GOOD


def _measure(cells: "list[Cell]", plan: "Plan", out: Path) -> "list[Record]":
    """Measure cells with a progress display; a second call with the same plan and resume set runs nothing."""
    from dvbench.profile.sweep import sweep
    from dvbench.progress import display
    from reports.ledger import Ledger, write_atomically

    folder = out / "records"
    if not plan.dry_run:
        write_atomically(folder / ".writable", b"").unlink()  # better now than after an hour of measuring
    with display(len(cells)) as bar:
        return list(bar.count(sweep(cells, Ledger(folder), plan, bar.tell)))


def _template(options: argparse.Namespace) -> "Cell":
    """Check what all cells share, and return it as a cell without model and resolution."""
    import hashlib

    import torch

    from dvbench.cell import Cell
    from dvbench.data.scene import default_scene, load_scene
    from models.scan import choose
    from models.zoo import entry

    for model in getattr(options, "model", None) or ():
        entry(model)
    for side in options.res or ():
        _check_side(side)
    device = _device(options.device)
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


def _plan(options: argparse.Namespace, *, resume: bool | None = None, max_batch: bool | None = None) -> "Plan":
    from dvbench.data.scene import default_scene
    from dvbench.profile.sweep import Plan

    return Plan(
        image=options.image or default_scene(),
        bands=options.bands,
        budget_s=options.budget,
        repeat=options.repeat,
        resume=options.resume if resume is None else resume,
        max_batch=options.max_batch if max_batch is None else max_batch,
        dry_run=options.dry_run,
    )


def _device(name: str) -> str:
    """Return the torch device that a name means here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda or cuda:N")
    if name != "cpu" and not torch.cuda.is_available():
        raise UsageError(f"device '{name}' was asked for, but torch sees no CUDA device: use --device cpu")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= torch.cuda.device_count():
        raise UsageError(f"device '{name}' was asked for, but the last one is cuda:{torch.cuda.device_count() - 1}")
    return name


def _check_side(side: int) -> None:
    if side <= 0 or side % 32:
        raise UsageError(f"resolution {side}: give a positive number of pixels divisible by 32, such as 512")


def _exit_code(records: "list[Record]") -> int:
    from reports.record import Status

    return FAILED if any(r.status in (Status.ERROR, Status.CRASHED) for r in records) else GOOD


def _targets(names: Sequence[str]) -> list[str]:
    from dvbench.reproduce import TARGETS, target

    chosen = list(TARGETS) if "all" in names else list(names)
    for name in chosen:
        target(name)
    return chosen


def _draw(names: Sequence[str], out: Path) -> int:
    from dvbench.reproduce import draw
    from reports.ledger import Ledger

    ledger = Ledger(out / "records")
    records = ledger.records()
    for problem in ledger.problems:
        print(f"dvbench: {problem}", file=sys.stderr)
    for name in names:
        tables, written = draw(name, records, out)
        _print(*tables)
        _say(*written)
    return GOOD


def _models() -> "Table":
    import torch

    from models.zoo import ZOO, build_classifier
    from reports.table import Table

    body = []
    for name, entry in ZOO.items():
        with torch.device("meta"):
            model = build_classifier(name)
        body.append([name, f"{sum(p.numel() for p in model.parameters()):,}", str(entry.classes), entry.about])
    return Table("Models", ["Name", "parameters", "of which classes", "What"], body)


def _datasets() -> "Table":
    from dvbench.data.catalog import CATALOG, data_root, is_found
    from reports.table import Table

    cards = [entry.card for entry in CATALOG.values()]
    columns = ["Name", "Task", "Classes", "Samples", "Title", "Found"]
    body = []
    for card in cards:
        counts = " / ".join(f"{split.count:,}" for split in card.splits)
        found = "yes" if is_found(card.name) else "no"
        body.append([card.name, card.task, str(len(card.classes)), f"{counts} {card.counted}", card.title, found])
    return Table(f"Datasets, looked for in {data_root()}", columns, body)


def _print(*tables: "Table") -> None:
    from rich.console import Console

    console = Console()
    # Piped output keeps whole rows: a narrow default width would fold them.
    wide = console if console.is_terminal else Console(width=220)
    for table in tables:
        wide.print(table.to_rich())


def _say(*paths: Path) -> None:
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)


def _expected() -> tuple[type[Exception], ...]:
    """The errors that a user can mend, whose message is the whole story."""
    from dvbench.data.archives import ArchiveError, UnsafeNameError
    from dvbench.data.card import UnknownSplitError
    from dvbench.data.catalog import MissingDatasetError, UnknownDatasetError
    from dvbench.data.download import DownloadError
    from dvbench.data.make import MakeError
    from dvbench.data.scene import SceneError
    from dvbench.data.synthetic import SyntheticError
    from dvbench.data.tiles import TileError
    from dvbench.data.verbs import DataError
    from dvbench.profile.counters import UncountedOpError
    from dvbench.reproduce import UnknownTargetError
    from dvbench.show import ShowError
    from models.backbone import InputError
    from models.scan import ScanBackendError
    from models.zoo import UnknownModelError
    from reports.ledger import LedgerError
    from reports.plot import PlotError

    return (
        UsageError,
        ArchiveError,
        UnsafeNameError,
        UnknownSplitError,
        MissingDatasetError,
        UnknownDatasetError,
        DownloadError,
        MakeError,
        SyntheticError,
        TileError,
        DataError,
        SceneError,
        UnknownTargetError,
        ShowError,
        InputError,
        ScanBackendError,
        UnknownModelError,
        UncountedOpError,
        LedgerError,
        PlotError,
    )


def _bands(text: str) -> tuple[int, int, int]:
    numbers = text.split(",")
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not R,G,B: three band numbers from 1, such as 4,3,2")
    red, green, blue = map(int, numbers)
    return red, green, blue


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to 2^32 - 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dvbench",
        description="Benchmark and efficiency profiler for DynamicVis (arXiv 2503.16426).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dvbench doctor                          what works on this machine\n"
        "  dvbench profile --res 256 512           measure DynamicVis, ViT and ResNet on the sample scene\n"
        "  dvbench reproduce table14               the paper's table 14 beside your machine's\n"
        "  dvbench show tokens my_scene.tif        which regions each stage keeps\n",
    )
    parser.add_argument("--version", action="version", version=f"dvbench {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(
        name: str, verb: Callable[[argparse.Namespace], int], about: str, examples: str, among: Any = verbs
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = among.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(verb=verb)
        return sub

    sub = add(
        "profile",
        profile,
        "measure latency, memory and cost of models over resolutions",
        "  dvbench profile                                   the default models at 512 px\n"
        "  dvbench profile --res 2048                        on the real 2048 x 2048 scene\n"
        "  dvbench profile --model dynamicvis_b swin_t --res 128 256 512 --repeat 10\n"
        "  dvbench profile --res 16384 --dry-run             exact counts, in seconds\n"
        "  dvbench profile --image scene.tif --bands 4,3,2   your own image\n",
    )
    sub.add_argument("--model", nargs="+", metavar="M", help=f"models (default: {' '.join(MODELS)}); see dvbench list")
    sub.add_argument(
        "--res", nargs="+", type=int, metavar="R", help="image sides in px, divisible by 32 (default: 512)"
    )
    sub.add_argument("--attention", nargs="+", choices=["sdpa", "eager"], help="how attention runs (default: both)")
    sub.add_argument("--max-batch", action="store_true", help="also find the largest batch (predicted on a CPU)")
    sub.add_argument("--resume", action="store_true", help="take over what an earlier run has measured here")
    _conditions(sub)

    sub = add(
        "reproduce",
        reproduce,
        "run what is missing for the paper's tables and figures, and draw them",
        "  dvbench reproduce table14\n  dvbench reproduce table13 figure21\n  dvbench reproduce all --dry-run\n",
    )
    sub.add_argument("target", nargs="+", metavar="TARGET", help="table1, table13, table14, figure20, figure21 or all")
    sub.add_argument(
        "--res", nargs="+", type=int, metavar="R", help="sides (default: 128-1024 on a CPU, 128-4096 on a GPU)"
    )
    sub.add_argument("--fresh", action="store_true", help="measure again what has been measured")
    _conditions(sub)

    sub = add(
        "report",
        report,
        "draw tables and figures again from records, running nothing",
        "  dvbench report all\n  dvbench report table14 --out reports/out\n",
    )
    sub.add_argument("target", nargs="*", default=["all"], metavar="TARGET", help="as for reproduce (default: all)")
    _out(sub)

    sub = add("list", list_things, "list models, datasets and tables by name", "  dvbench list models\n")
    sub.add_argument("what", nargs="?", default="all", choices=["models", "datasets", "tables", "all"])

    add("doctor", doctor, "say what works on this machine, and why the rest does not", "  dvbench doctor\n")

    show = verbs.add_parser(
        "show",
        help="draw which regions of an image each stage of DynamicVis keeps",
        description="Draw a picture of what a model does to an image.",
        epilog="examples:\n  dvbench show tokens\n  dvbench show tokens scene.tif --res 1024\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pictures = show.add_subparsers(metavar="PICTURE", required=True)
    sub = add(
        "tokens",
        show_tokens,
        "draw which regions of an image each stage of DynamicVis keeps",
        "  dvbench show tokens\n  dvbench show tokens scene.tif --res 1024 --bands 4,3,2\n",
        among=pictures,
    )
    sub.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="picture (default: the sample scene)")
    sub.add_argument("--model", default="dynamicvis_b", metavar="M", help="a DynamicVis (default: dynamicvis_b)")
    sub.add_argument("--res", type=int, default=512, metavar="R", help="image side in px (default: 512)")
    _picture(sub)
    _out(sub)

    add_data_verbs(verbs)
    return parser


def _conditions(sub: argparse.ArgumentParser) -> None:
    """Options of the verbs that measure."""
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: a GPU if there is one)")
    sub.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="of weights and image (default: fp32)")
    sub.add_argument("--batch-size", type=_positive, default=1, metavar="N", help="images a forward pass (default: 1)")
    sub.add_argument("--scan", default="auto", metavar="B", help="scan backend: auto, cpu, mamba_ssm or reference")
    sub.add_argument("--image", type=Path, metavar="FILE", help="input picture (default: the sample scene)")
    sub.add_argument("--repeat", type=_positive, metavar="N", help="samples of each cell (default: by its speed)")
    sub.add_argument(
        "--budget", type=_seconds, default=1800.0, metavar="S", help="seconds a cell may take (default: 1800)"
    )
    sub.add_argument("--dry-run", action="store_true", help="exact counts only: nothing is run or written")
    _picture(sub)
    _out(sub)


def _picture(sub: argparse.ArgumentParser) -> None:
    """Options on how a picture becomes an input."""
    sub.add_argument("--fit", default="resize", choices=["resize", "crop"], help="scale the picture or cut its centre")
    sub.add_argument("--bands", type=_bands, metavar="R,G,B", help="band numbers from 1 to show as red, green, blue")
    sub.add_argument("--seed", type=_seed, default=0, help="of the random weights (default: 0)")


def _out(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"results and records (default: {OUT})")
