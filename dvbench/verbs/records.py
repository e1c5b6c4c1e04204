"""`dvbench records`: are records from somebody's machine what they say they are?"""

import argparse
from pathlib import Path

from dvbench.verbs.common import FAILED, GOOD, Subparsers, add_verb, print_tables


def check(options: argparse.Namespace) -> int:
    """Check all records below a folder."""
    from dvbench.verdicts.check import check as check_records
    from reports.table import Table

    count, findings = check_records(options.folder)
    told = f"{count} record{'s' if count != 1 else ''} below {options.folder}"
    if not findings:
        print(f"{told}: sound")
        return GOOD
    body = [[finding.file, finding.what] for finding in findings]
    print_tables(Table(f"{told}: {len(findings)} findings", ["File", "What is wrong"], body, []))
    return FAILED


def add_to(verbs: Subparsers) -> None:
    """Add `records` to the command line."""
    among = verbs.add_parser("records", help="check records before they are sent or taken in").add_subparsers(
        metavar="VERB", required=True
    )
    sub = add_verb(
        among,
        "check",
        check,
        "recompute identities, and refuse impossible values, unknown schemas and missing circumstances",
        "  dvbench records check reports/out/records        before you send them; code 1 when something is wrong\n"
        "  dvbench records check reports/records            what a pull request is checked with\n",
    )
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="with records, in it or in folders below it")
