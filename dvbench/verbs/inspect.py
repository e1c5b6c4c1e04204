"""`dvbench list` and `dvbench doctor`."""

import argparse
from typing import TYPE_CHECKING

from dvbench.verbs.common import FAILED, GOOD, Subparsers, add_verb, print_tables

if TYPE_CHECKING:
    from reports.table import Table


def list_things(options: argparse.Namespace) -> int:
    """List what there is by name."""
    if options.what in ("models", "all"):
        print_tables(_models())
    if options.what in ("rivals", "all"):
        print_tables(_rivals())
    if options.what in ("datasets", "all"):
        print_tables(_datasets())
    if options.what in ("tasks", "all"):
        print_tables(_tasks())
    if options.what in ("tables", "all"):
        from dvbench.tables.targets import TARGETS
        from reports.table import Table

        print_tables(Table("Tables and figures", ["Name", "What"], [[name, t.about] for name, t in TARGETS.items()]))
    return GOOD


def doctor(options: argparse.Namespace) -> int:  # noqa: ARG001 (all verbs take options)
    """Say what works on this machine."""
    from dvbench.doctor import examine
    from dvbench.doctor import report as as_table

    checks = examine()
    print_tables(as_table(checks))
    return FAILED if any(check.failed for check in checks) else GOOD


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


def _rivals() -> "Table":
    from models.rivals.roster import RIVALS
    from reports.table import Table

    body = []
    for name, one in RIVALS.items():
        rows = ", ".join(str(table) for table in one.rows)
        body.append([name, one.title, one.task, rows, one.library, one.paper])
    note = (
        "Whole networks for one task: dvbench run TASK --model NAME. What differs from their authors': docs/rivals.md."
    )
    return Table("Rivals", ["Name", "Method", "Task", "Tables", "Code of", "Paper"], body, [note])


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


def _tasks() -> "Table":
    from reports.table import Table
    from tasks import protocol
    from tasks.roster import ROSTER

    found = {task: [name for name in protocol.names() if protocol.load(name).task == task] for task in ROSTER}
    return Table("Tasks", ["Name", "Protocols"], [[task, ", ".join(names)] for task, names in found.items()])


def add_to(verbs: Subparsers) -> None:
    """Add `list` and `doctor` to the command line."""
    sub = add_verb(verbs, "list", list_things, "list models, datasets and tables by name", "  dvbench list models\n")
    things = ["models", "rivals", "datasets", "tasks", "tables", "all"]
    sub.add_argument("what", nargs="?", default="all", choices=things)

    add_verb(verbs, "doctor", doctor, "say what works on this machine, and why the rest does not", "  dvbench doctor\n")
