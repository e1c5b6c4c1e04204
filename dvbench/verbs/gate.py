"""`dvbench gate`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvbench.verbs.common import FAILED, GOOD, OUT, Subparsers, UsageError, add_verb, print_tables, tell, wrote

if TYPE_CHECKING:
    from reports.gate_baseline import Part

PARTS = ("counts", "outputs", "accuracy", "ratios")
GROUPS = {"hard": PARTS[:3], "soft": PARTS[3:], "files": ()}


def gate(options: argparse.Namespace) -> int:
    """Compare with a baseline, or write one."""
    if options.update and not (options.reason or "").strip():
        raise UsageError("a new baseline needs a reason: add --reason 'why the figures moved'")
    if options.reason and not options.update:
        raise UsageError("--reason goes with --update")

    from dvbench.gate.measure import BASELINE, check_models
    from reports.gate import findings_table, judge
    from reports.gate_baseline import BaselineError, read_baseline, write_baseline
    from reports.gate_files import append_job_summary, write_findings

    path = options.baseline or BASELINE
    asked = options.only or ["hard", "soft"]
    if asked == ["files"] and not (options.bench or options.records):
        raise UsageError("--only files needs --bench FILE or --records DIR")
    parts = [part for name in asked for part in GROUPS.get(name, (name,))]
    try:
        baseline = read_baseline(path)
    except BaselineError as error:
        if not options.update:
            raise
        tell(f"{error}; starting anew")
        baseline = {}
    if not options.update:
        check_models(path, baseline, parts)
    measured = _measure(list(dict.fromkeys(parts)), options)
    known = {name: part for name, part in measured.items() if name in baseline}
    if options.update:
        write_baseline(path, baseline | measured)
        if known:
            print_tables(findings_table(judge(baseline, known, path), baseline))
        wrote(path)
        return GOOD
    findings = judge(baseline, measured, path)
    wrote(*write_findings(options.out, findings, baseline))
    append_job_summary(findings, baseline)
    print_tables(findings_table(findings, baseline))
    return FAILED if any(finding.verdict.failed for finding in findings) else GOOD


def _measure(parts: list[str], options: argparse.Namespace) -> "dict[str, Part]":
    """Read what is given as files, which is soon refused if it is bad, and measure the rest."""
    from dvbench.gate.measure import from_bench, from_ledger, measure
    from dvbench.progress import display
    from reports.ledger import Ledger, write_atomically

    reason = options.reason or ""
    given: dict[str, Part] = {}
    if options.bench:
        given["bench"] = from_bench(options.bench, reason=reason)
    if options.records:
        ledger = Ledger(options.records)
        given["records"] = from_ledger(ledger, reason=reason)
        for problem in ledger.problems:
            tell(f"left out: {problem}")
    if not options.update:
        write_atomically(options.out / ".writable", b"").unlink()  # better now than after minutes
    with display(len(parts)) as bar:
        return {part: measure(part, bar.tell, reason=reason) for part in bar.count(parts)} | given


def add_to(verbs: Subparsers) -> None:
    """Add `gate` to the command line."""
    sub = add_verb(
        verbs,
        "gate",
        gate,
        "compare counts, outputs, accuracy and speed ratios with the committed baseline",
        "  dvbench gate                                   everything, some minutes; code 1 when something got worse\n"
        "  dvbench gate --only hard                       what is the same on every machine\n"
        "  dvbench gate --only counts                     exact counts alone\n"
        "  dvbench gate --only ratios --bench reports/out/bench.json      after nox -s bench\n"
        "  dvbench gate --update --reason 'DynamicVis keeps one copy less'\n"
        "  dvbench gate --only counts --update --reason 'adds vim_ti'     the other parts stay as they are\n",
    )
    sub.add_argument("--baseline", type=Path, metavar="FILE", help="to compare with (default: the committed one)")
    sub.add_argument(
        "--only",
        nargs="+",
        choices=[*GROUPS, *PARTS],
        metavar="PART",
        help="hard (counts, outputs, accuracy), soft (ratios), one of these parts, or files: measure nothing and judge "
        "--bench and --records alone (default: hard soft)",
    )
    sub.add_argument("--bench", type=Path, metavar="FILE", help="also judge the ratios of nox -s bench, from its JSON")
    sub.add_argument("--records", type=Path, metavar="DIR", help="also judge the ratios of dvbench profile's records")
    sub.add_argument("--update", action="store_true", help="write a new baseline; parts that are not measured stay")
    sub.add_argument("--reason", metavar="TEXT", help="why a new baseline is made; it is kept in the file")
    sub.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help=f"gate.json, gate.xml, gate.md (default: {OUT})"
    )
