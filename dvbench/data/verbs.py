"""The verbs of `dvbench data`. Each imports what it needs when it runs, so that --help is instant."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Verb = Callable[[argparse.Namespace], int]

OUT = Path("reports/out")
GOOD, FAILED = 0, 1
_RASTERS = {
    "whu_cd": "A=2012.tif B=2016.tif label=change.tif",
    "massachusetts_roads": "image=scene.tif label=roads.tif",
}
_CITIES = ("oscd", "oscd_released")  # grids of OSCD, which knows its own rasters


class DataError(ValueError):
    """A dataset cannot be used as asked; the message is one line that says why and what to do."""


def info(options: argparse.Namespace) -> int:
    """Show a dataset's card, and whether it is there."""
    from dvbench.data.catalog import entry, folder, is_found
    from dvbench.data.describe import describe

    print(describe(entry(options.name).card))
    from dvbench.data.remembered import glance

    state = "found in" if is_found(options.name, options.root) else "not found in"
    print(f"{state} {folder(options.name, options.root)}")
    if is_found(options.name, options.root) and (options.root or entry(options.name).home is None):
        print(glance(options.name, folder(options.name, options.root)))
    return GOOD


def download(options: argparse.Namespace) -> int:
    """Fetch what a program can fetch, and say what is left to do by hand."""
    from dvbench.data.catalog import entry, folder
    from dvbench.data.describe import steps
    from dvbench.data.download import download as fetch
    from dvbench.data.watch import Screen

    card, place = entry(options.name).card, folder(options.name, options.root)
    if fetch(options.name, options.root, Screen()):
        print(f"{card.name} is in {place}; dvbench data verify {card.name} checks it")
        return GOOD
    print(f"{card.name} is not complete: a program can fetch no more of it. Folder: {place}")
    print(steps(card))
    return FAILED


def verify(options: argparse.Namespace) -> int:
    """Open everything, and name what is wrong."""
    from dvbench.data.provenance import verified
    from dvbench.data.watch import Screen

    report, found = verified(options.name, options.root, Screen(), fresh=options.fresh)
    for problem in report.problems:
        print(problem)
    opened = ", ".join(f"{count:,} of {split}" for split, count in report.opened.items()) or "none"
    print(f"{options.name}: {len(report.problems)} problems; samples opened: {opened}; split by: {report.made_by}")
    print(found.line)
    return FAILED if report.problems else GOOD


def tile(options: argparse.Namespace) -> int:
    """Cut large rasters into tiles."""
    from dvbench.data.catalog import folder
    from dvbench.data.tiles import GRIDS
    from dvbench.data.tiles import tile as cut
    from dvbench.data.watch import Screen

    if options.name in _CITIES:
        return _tile_cities(options)
    if options.name not in _RASTERS:
        raise DataError(f"no grid is known for '{options.name}'; use {', '.join((*_RASTERS, *_CITIES))}")
    if not options.raster:
        example = f"dvbench data tile {options.name} {_RASTERS[options.name]}"
        raise DataError(f"{options.name} is cut from rasters that you name: {example}")
    place, watch = folder(options.name, options.root), Screen()
    layers = dict(options.raster)
    names = cut(layers, place, options.name, GRIDS[options.name], lambda tiles: watch.items(tiles, "tiles"))
    print(f"{len(names):,} tiles are in {', '.join(layers)} of {place}")
    if options.name == "whu_cd":
        _list_tiles(names, place)
    return GOOD


def shards(options: argparse.Namespace) -> int:
    """Pack a dataset of many small files into tar shards."""
    from dvbench.data.catalog import dataset, folder
    from dvbench.data.folders.fmow import PACKED, FMoW
    from dvbench.data.make import MARK
    from dvbench.data.packing import pack
    from dvbench.data.watch import Screen
    from reports.ledger import write_atomically

    if options.name != "fmow":
        raise DataError(f"{options.name} is read as it lies; only fmow is packed into shards")
    place, watch = folder(options.name, options.root), Screen()
    out = options.out or place
    if (place / MARK).is_file():
        write_atomically(out / MARK, (place / MARK).read_bytes())
    for split, name in PACKED.items():
        with _one_line(options):
            opened = dataset(options.name, split, options.root, left_out=options.left_out, packed=False)
            assert isinstance(opened, FMoW)
            count = min(options.shards, len(opened))
            watch.tell(f"{split}: {len(opened):,} images into {count} shards in {out / name}")
            pack(
                opened.entries,
                out / name,
                shards=count,
                left_out=options.left_out,
                workers=options.workers,
                watch=watch,
            )
    print(f"{out} holds the shards of {options.name}; dvbench data verify {options.name} --root {out} checks them")
    return GOOD


def preview(options: argparse.Namespace) -> int:
    """Write a contact sheet."""
    import io

    from dvbench.data.preview import sheet
    from dvbench.data.watch import Screen
    from reports.ledger import write_atomically

    with _one_line(options):
        drawn = sheet(options.name, options.split, options.count, options.root, Screen())
    encoded = io.BytesIO()
    drawn.save(encoded, "PNG")
    path = write_atomically(options.out / f"preview_{options.name}_{options.split}.png", encoded.getvalue())
    print(f"wrote {path}", file=sys.stderr)
    return GOOD


def make(options: argparse.Namespace) -> int:
    """Write a small synthetic dataset in the layout of a real one."""
    from dvbench.data.make import make as write

    write(options.name, options.folder, options.count, options.seed)
    print(f"{options.folder} holds synthetic scenes in the layout of {options.name}; use it with --root")
    return GOOD


def _tile_cities(options: argparse.Namespace) -> int:
    from dvbench.data.catalog import dataset, entry, folder

    card, place = entry("oscd").card, folder("oscd", options.root)
    with _one_line(options):
        counts = {split.name: len(dataset("oscd", split.name, place, grid=options.name)) for split in card.splits}
    print(f"{' and '.join(f'{count:,} {split}' for split, count in counts.items())} tiles are in {place / 'tiles'}")
    return GOOD


def _list_tiles(names: Sequence[str], place: Path) -> None:
    """Draw a split of the published proportions, unless there are lists."""
    from dvbench.data.catalog import entry
    from dvbench.data.splits import MADE_BY, OURS, seeded
    from reports.ledger import write_atomically

    lists = place / "list"
    if any(lists.glob("*.txt")):
        return
    train, val, test = (split.count for split in entry("whu_cd").card.splits)
    first = seeded(names, train / (train + val + test))
    rest = seeded(first["test"], val / (val + test))
    for split, members in {"train": first["train"], "val": rest["train"], "test": rest["test"]}.items():
        write_atomically(lists / f"{split}.txt", "".join(f"{name}\n" for name in members).encode())
    write_atomically(place / MADE_BY, f"{OURS}\n".encode())
    print(f"{lists} holds a {OURS}: the lists that others use name the tiles of another packing")


@contextmanager
def _one_line(options: argparse.Namespace) -> Iterator[None]:
    """Turn what the readers raise into the one line that a user sees."""
    from torchgeo.datasets import DatasetNotFoundError

    from dvbench.data.verify import FAULTS

    try:
        yield
    except FAULTS as error:
        raise DataError(str(error)) from error
    except DatasetNotFoundError as error:
        from dvbench.data.catalog import CATALOG, folder

        name = options.name if options.name in CATALOG else "oscd"
        place = folder(name, options.root)
        raise DataError(
            f"{place} does not hold all of {name}: dvbench data verify {name} tells what is missing"
        ) from error


def _raster(text: str) -> tuple[str, Path]:
    layer, sign, file = text.partition("=")
    if not (layer and sign and file) or Path(layer).name != layer:
        raise argparse.ArgumentTypeError(f"'{text}' is not LAYER=FILE, such as A=2012.tif")
    return layer, Path(file)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive whole number")
    return int(text)


def add_to(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add `data` and its verbs to the command line.

    Args:
        subparsers: What `add_subparsers` of the main parser returned. Each verb sets `verb`, a function from the
            options to the exit code: 0 good, 1 a check failed or something is left to do.
    """
    group = subparsers.add_parser(
        "data",
        help="describe, fetch, check, tile and preview datasets",
        description="Describe, fetch, check, tile and preview datasets; dvbench list datasets names them.",
        epilog="Datasets lie in the folder that DVBENCH_DATA names, else in ./data, each in a folder of its own name.\n"
        "\nexamples:\n  dvbench data info uc_merced\n  dvbench data preview neon_trees\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Verb, about: str, examples: str, *, takes_root: bool = True) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(verb=verb)
        sub.add_argument("name", metavar="NAME", help="dataset; see dvbench list datasets")
        if takes_root:
            sub.add_argument(
                "--root", type=Path, metavar="DIR", help="the dataset's folder (default: $DVBENCH_DATA/NAME)"
            )
        return sub

    add("info", info, "show what is known of a dataset, and whether it is there", "  dvbench data info uc_merced\n")
    add(
        "download",
        download,
        "fetch a dataset, or say step by step how to get it",
        "  dvbench data download oscd        goes on where it broke off\n"
        "  dvbench data download aid         fetches the lists, prints the steps for the rest; exit code 1\n",
    )
    sub = add(
        "verify",
        verify,
        "count, hash and open every file of a dataset, name what is wrong, and tell whether it is the published one",
        "  dvbench data verify levir_cd      exit code 1 if anything is wrong; what it finds is remembered there\n",
    )
    sub.add_argument("--fresh", action="store_true", help="read again what has not changed since the last time")
    sub = add(
        "tile",
        tile,
        "cut large rasters into tiles, once",
        "  dvbench data tile whu_cd A=2012.tif B=2016.tif label=change.tif\n"
        "  dvbench data tile massachusetts_roads image=scene.tif label=roads.tif --root tiles\n"
        "  dvbench data tile oscd            overlapping by 128 px; oscd_released: as the released tool does\n",
    )
    sub.add_argument(
        "raster", nargs="*", type=_raster, metavar="LAYER=FILE", help="rasters that lie on top of each other"
    )
    sub = add(
        "shards",
        shards,
        "pack a dataset of many small files into tar shards, which training then reads",
        "  dvbench data shards fmow --out /mnt/fmow --workers 16      goes on where it broke off\n"
        "  dvbench data shards fmow --left-out context                by the paper's rule\n",
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="where to (default: the dataset's folder)")
    sub.add_argument("--shards", type=_positive, default=128, metavar="N", help="files a split (default: 128)")
    sub.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    sub.add_argument(
        "--left-out",
        choices=("raw_location", "context"),
        default="raw_location",
        help="which entries of an annotation are no objects (default: raw_location, as the authors packed)",
    )
    sub = add(
        "preview",
        preview,
        "write a contact sheet of samples with their labels drawn",
        "  dvbench data preview neon_trees\n  dvbench data preview synthetic_change --split test --count 4\n",
    )
    sub.add_argument("--split", default="train", help="train, val or test (default: train)")
    sub.add_argument("--count", type=_positive, default=8, metavar="N", help="samples (default: 8)")
    sub.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"where to (default: {OUT})")
    sub = add(
        "make",
        make,
        "write a small synthetic dataset in the published layout of a real one",
        "  dvbench data make whu_cd /tmp/whu_cd\n  dvbench data make fmow /tmp/fmow --count 10 --seed 1\n",
        takes_root=False,
    )
    sub.add_argument("folder", type=Path, metavar="DIR", help="where to; must be absent or empty")
    sub.add_argument(
        "--count", type=_positive, default=4, metavar="N", help="images in each split or class (default: 4)"
    )
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="which scenes (default: 0)")
