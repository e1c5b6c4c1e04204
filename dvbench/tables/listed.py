"""What there is by name, for `dvbench list`: models, rivals, datasets, tasks, tables."""

from collections.abc import Callable

import torch

from dvbench.data.catalog import CATALOG, data_root, is_found
from dvbench.tables.targets import TARGETS
from models.rivals.roster import RIVALS
from models.zoo import ZOO, build_classifier
from reports.table import Table
from tasks import protocol
from tasks.roster import ROSTER


def models() -> Table:
    """Return every model with its parameters."""
    body = []
    for name, entry in ZOO.items():
        with torch.device("meta"):
            model = build_classifier(name)
        body.append([name, f"{sum(p.numel() for p in model.parameters()):,}", str(entry.classes), entry.about])
    return Table("Models", ["Name", "parameters", "of which classes", "What"], body)


def rivals() -> Table:
    """Return every rival, with its task and where its code is from."""
    body = []
    for name, one in RIVALS.items():
        rows = ", ".join(str(table) for table in one.rows)
        body.append([name, one.title, one.task, rows, one.code_of, one.paper])
    note = "Whole networks for one task, dvbench run TASK --model NAME; what differs from theirs: docs/rivals.md."
    return Table("Rivals", ["Name", "Method", "Task", "Tables", "Code of", "Paper"], body, [note])


def datasets() -> Table:
    """Return every dataset, and whether it is found."""
    cards = [entry.card for entry in CATALOG.values()]
    columns = ["Name", "Task", "Classes", "Samples", "Title", "Found"]
    body = []
    for card in cards:
        counts = " / ".join(f"{split.count:,}" for split in card.splits)
        found = "yes" if is_found(card.name) else "no"
        body.append([card.name, card.task, str(len(card.classes)), f"{counts} {card.counted}", card.title, found])
    return Table(f"Datasets, looked for in {data_root()}", columns, body)


def tasks() -> Table:
    """Return every task with its protocols."""
    found = {task: [name for name in protocol.names() if protocol.load(name).task == task] for task in ROSTER}
    return Table("Tasks", ["Name", "Protocols"], [[task, ", ".join(names)] for task, names in found.items()])


def tables() -> Table:
    """Return every table and figure that can be asked for."""
    return Table("Tables and figures", ["Name", "What"], [[name, target.about] for name, target in TARGETS.items()])


LISTED: dict[str, Callable[[], Table]] = {
    "models": models,
    "rivals": rivals,
    "datasets": datasets,
    "tasks": tasks,
    "tables": tables,
}
