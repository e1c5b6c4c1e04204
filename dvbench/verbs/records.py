"""`dvbench records`: are records from somebody's machine what they say they are?"""

import argparse
from pathlib import Path

from dvbench.verbs.common import FAILED, GOOD, Subparsers, add_verb, print_tables

EXAMPLES = (
    "  dvbench records check reports/out/records        before you send them; code 1 when something is wrong\n"
    "  dvbench records check reports/records            what a pull request is checked with\n"
)


def check(options: argparse.Namespace) -> int:
    """Check all records below a folder."""
    from dvbench.verdicts.check import check as check_records
    from reports.table import Table

    count, findings = check_records(options.folder)
    told = f"{count} record{'s' if count != 1 else ''} below {options.folder}"
    wrong = sum(finding.fails for finding in findings)
    if findings:
        body = [[finding.file, finding.what if finding.fails else f"note: {finding.what}"] for finding in findings]
        title = f"{told}: {wrong} findings, {len(findings) - wrong} notes"
        print_tables(Table(title, ["File", "What is wrong"], body))
    if wrong:
        return FAILED
    print(f"{told}: sound")
    return GOOD


def add_to(verbs: Subparsers) -> None:
    """Add `records` and its verbs to the command line."""
    group = verbs.add_parser(
        "records",
        help="check records before they are sent or taken in",
        description="Check records before they are sent or taken in. Nothing that a file contains is run.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = add_verb(
        group.add_subparsers(metavar="VERB", required=True),
        "check",
        check,
        "recompute identities, and refuse impossible values, unknown schemas and missing circumstances",
        EXAMPLES,
    )
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="with records, in it or in folders below it")
