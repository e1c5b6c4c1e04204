"""The exact counts that README and documentation quote, written into them from the code: `nox -s counts`.

A quoted number stands between `<!-- counts:NAME -->` and `<!-- /counts -->`; `BLOCKS` says what belongs there.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from dvbench.costs.numbers import COUNT_TOLERANCE, MEMORY_TOLERANCE, MIB, PARAMETER_TOLERANCE
from dvbench.paper.cost_rows import RESOLUTIONS, ROWS, Row, printed, rows
from dvbench.profile.cell import Cell
from dvbench.profile.counters import Counts
from dvbench.profile.sweep import counts_of
from models.rivals.roster import LICENCES, RIVALS, Rival
from reports.compare import Verdict, compare
from reports.ledger import write_atomically

QUOTING = ("README.md", "docs/measuring.md", "docs/rivals.md")
_BLOCK = re.compile(r"(<!-- counts:(\w+) -->)(.*?)(<!-- /counts -->)", re.DOTALL)

BASE, DENSE, LARGE = ("DynamicVis-B", ""), ("DynamicVis-B", "no_selection_no_mil"), ("DynamicVis-L", "")
RESNET, VIT, FUSED = ("ResNet101", ""), ("ViT-B", ""), ("ViT-B, fused attention", "")


class BlockError(ValueError):
    """A block of quoted counts that nobody can fill; the message is one line."""


def refreshed(text: str) -> str:
    """Return a page with every block of counts filled anew.

    Raises:
        BlockError: no such block.
    """

    def fill(found: re.Match[str]) -> str:
        if found[2] not in BLOCKS:
            raise BlockError(f"there is no block of counts '{found[2]}': choose from {', '.join(BLOCKS)}")
        return found[1] + BLOCKS[found[2]]() + found[4]

    return _BLOCK.sub(fill, text)


def readme_table() -> str:
    """What README quotes: parameters, FLOPs and memory beside the paper's."""
    base, dense = _params(BASE), _params(DENSE)
    lines = [
        ("parameters, DynamicVis-B / dense (M)", *_both(base, dense), _verdict(PARAMETER_TOLERANCE, base, dense)),
        ("FLOPs at 512 px, DynamicVis-B, the paper's way of counting (G)", *_flops(BASE)),
        ("FLOPs at 512 px, DynamicVis-L, the paper's way of counting (G)", *_flops(LARGE)),
        (
            "multiply-adds that dvbench needs for the same function as DynamicVis-B (G)",
            "",
            f"{_counts(BASE, 512).macs / 1e9:.2f}",
            "both scan directions share their projections",
        ),
        ("memory at 2048 px, ResNet-101 (MiB)", *_memory(RESNET)),
        ("memory at 2048 px, ViT-B, eager attention (MiB)", *_memory(VIT)),
        (
            "memory at 2048 px, ViT-B, fused attention (MiB)",
            "",
            f"{_mib(FUSED, 2048):.2f}",
            "what a user runs today; not in the paper",
        ),
        ("memory at 2048 px, DynamicVis-B (MiB)", *_both(_mib_pair(BASE)), _shares()),
    ]
    return _table(("", "paper", "dvbench", ""), lines, "-::-")


def flops_table() -> str:
    """FLOPs of table 13 by the paper's convention and by ours."""
    lines = []
    for row in ROWS:
        label = f"{row[0]}{', dense' if row[1] else ''}"
        paper, counts = printed(13)[row, 512]["flops_g"], _counts(row, 512)
        found = [counts.paper_flops]
        if row[0].startswith("ViT"):
            label, found = f"{label}, fused / eager", [_counted(ROWS[row][0], "sdpa", 512).paper_flops, *found]
        shown = [f"{each / 1e9:.2f}" for each in found]
        apart = [_apart(each / 1e9 / float(paper) - 1) for each in found]
        lines.append((label, paper, " / ".join(shown), " / ".join(apart), f"{counts.macs / 1e9:.2f}"))
    heads = ("model", "paper, table 13 (G)", "`paper_flops` (G)", "difference", "`macs` (G)")
    return _table(heads, lines, "-::::")


def memory_table() -> str:
    """Live bytes over the image's side beside the memory of table 14."""
    lines = []
    for side in RESOLUTIONS:
        cells = [str(side)]
        for row in (RESNET, VIT, FUSED, BASE, DENSE):
            printed_here = [] if row == FUSED else [_paper_mb(row, side)]
            cells += [*printed_here, f"{_mib(row, side):.1f}"]
        lines.append(tuple(cells))
    heads = ("px", "ResNet-101, paper", "live", "ViT-B, paper", "eager, live", "fused, live")
    return _table((*heads, "DynamicVis-B, paper", "live", "dense, paper", "live"), lines, ":" * 10)


def gap() -> str:
    """How far the kinds of attention lie apart at 2048 px."""
    eager, fused, base = (_mib(row, 2048) for row in (VIT, FUSED, BASE))
    theirs, vit = (float(_paper_mb(row, 2048)) for row in (BASE, VIT))
    shares = f"{theirs:.0f} MB are {theirs / vit:.1%}, our {base:.0f} MiB are {base / eager:.1%}"
    return (
        f"At 2048 px the eager\n  ViT-B takes {eager / fused:.0f} times the memory of the fused one. Against eager, "
        f"the paper's\n  {shares}. Against fused they are {base / fused:.0%}."
    ).replace("%", " %")


def rivals() -> str:
    """Every rival: what it is, whose code runs, its size, its learning rate, and what differs."""
    lines = []
    for name, one in RIVALS.items():
        rows = ", ".join(f"{table} {row}" for table, found in one.rows.items() for row in found)
        count = f"{_size(one, 2) / 1e6:.2f}"
        if one.published:
            own = _size(one, one.published.classes, **one.published.options)
            told = f"{one.published.parameters / 1e6:.2f}, {one.published.where}"
            count += f"; {own / 1e6:.2f} with {one.published.classes} classes ({told})"
        rate = f"{one.lr:g}, {one.lr_from}" if one.lr else f"ours: {one.lr_from}"
        code = f"{one.code_of}, {LICENCES[one.code_of]}"
        lines.append((f"`{name}`", rows, one.paper, code, count, rate, one.differs))
    heads = ("model", "rows, by table", "paper", "code, licence", "parameters (M)", "learning rate", "what differs")
    return _table(heads, lines, "-------")


def _size(one: Rival, classes: int, **options: bool) -> int:
    return sum(parameter.numel() for parameter in one.build(classes=classes, **options).parameters())


BLOCKS: dict[str, Callable[[], str]] = {
    "found": readme_table,
    "flops": flops_table,
    "memory": memory_table,
    "gap": gap,
    "rivals": rivals,
}


def _table(heads: tuple[str, ...], lines: Sequence[tuple[str, ...]], right: str) -> str:
    rules = tuple("---:" if mark == ":" else "---" for mark in right)
    drawn = "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (heads, rules, *lines))
    return f"\n\n{drawn}\n\n"


def _counted(model: str, attention: str, side: int) -> Counts:
    return counts_of(Cell(model, side, attention=attention).settled())


def _counts(row: Row, side: int) -> Counts:
    return _counted(*rows(13)[row], side)


def _mib(row: Row, side: int) -> float:
    return _counts(row, side).live_bytes / MIB


def _paper_mb(row: Row, side: int) -> str:
    return printed(14)[row, side]["memory_mb"] or "OOM"


def _params(row: Row) -> tuple[str, float]:
    return printed(13)[row, 512]["params_m"], _counts(row, 512).parameters / 1e6


def _both(*pairs: tuple[str, float]) -> tuple[str, str]:
    return " / ".join(paper for paper, _ in pairs), " / ".join(f"{ours:.2f}" for _, ours in pairs)


def _verdict(tolerance: float, *pairs: tuple[str, float]) -> str:
    """Return the worse verdict of several numbers."""
    found = {
        compare("", "", paper, ours, tolerance=tolerance, comparable=True, reason="", source="counted").verdict
        for paper, ours in pairs
    }
    return Verdict.DIFFERS if Verdict.DIFFERS in found else Verdict.REPRODUCED


def _flops(row: Row) -> tuple[str, str, str]:
    pair = printed(13)[row, 512]["flops_g"], _counts(row, 512).paper_flops / 1e9
    return *_both(pair), _verdict(COUNT_TOLERANCE, pair)


def _memory(row: Row) -> tuple[str, str, str]:
    pair = _mib_pair(row)
    return *_both(pair), _verdict(MEMORY_TOLERANCE, pair)


def _mib_pair(row: Row) -> tuple[str, float]:
    return _paper_mb(row, 2048), _mib(row, 2048)


def _shares() -> str:
    eager, fused, base = (_mib(row, 2048) for row in (VIT, FUSED, BASE))
    theirs = [float(_paper_mb(row, 2048)) for row in (BASE, VIT)]
    share, paper, of_fused = base / eager, theirs[0] / theirs[1], base / fused
    verdict = _verdict(MEMORY_TOLERANCE, _mib_pair(BASE))
    return f"{verdict}: {share:.1%} of the eager ViT (paper: {paper:.1%}), {of_fused:.0%} of the fused one".replace(
        "%", " %"
    )


def _apart(relative: float) -> str:
    if abs(relative) < 5e-4:
        return "0"
    return f"{relative:+.1%}".replace("%", " %")


def main() -> None:
    """Fill the blocks of every quoting page of this checkout."""
    for name in QUOTING:
        page = Path(name)
        text = page.read_text(encoding="utf-8")
        if (fresh := refreshed(text)) != text:
            write_atomically(page, fresh.encode())
            print(f"{page}: counts changed")  # noqa: T201 (says what a command did)


if __name__ == "__main__":
    main()
