"""`dvbench list` and `dvbench doctor`."""

import argparse

from dvbench.verbs.common import FAILED, GOOD, Subparsers, add_verb, print_tables


def list_things(options: argparse.Namespace) -> int:
    """List what there is by name."""
    from dvbench.tables.listed import LISTED

    for name, table in LISTED.items():
        if options.what in (name, "all"):
            print_tables(table())
    return GOOD


def doctor(options: argparse.Namespace) -> int:  # noqa: ARG001 (all verbs take options)
    """Say what works on this machine."""
    from dvbench.doctor import examine
    from dvbench.doctor import report as as_table

    checks = examine()
    print_tables(as_table(checks))
    return FAILED if any(check.failed for check in checks) else GOOD


def add_to(verbs: Subparsers) -> None:
    """Add `list` and `doctor` to the command line."""
    sub = add_verb(verbs, "list", list_things, "list models, datasets and tables by name", "  dvbench list models\n")
    things = ["models", "rivals", "datasets", "tasks", "tables", "all"]
    sub.add_argument("what", nargs="?", default="all", choices=things)

    add_verb(verbs, "doctor", doctor, "say what works on this machine, and why the rest does not", "  dvbench doctor\n")
