"""Every task by name: the one list."""

from importlib import import_module

from tasks.task import Task

ROSTER: dict[str, str] = {
    "classification": "tasks.classification:Classification",
    "detection": "tasks.detection:Detection",
    "instance_segmentation": "tasks.instance_segmentation:InstanceSegmentation",
    "semantic_segmentation": "tasks.semantic_segmentation:SemanticSegmentation",
    "change_detection": "tasks.change_detection:ChangeDetection",
    "region_classification": "tasks.region_classification:RegionClassification",
    "retrieval": "tasks.retrieval:Retrieval",
}


class UnknownTaskError(ValueError):
    """No task of that name; the message lists those there are."""


def task(name: str) -> type[Task]:
    """Return the task of that name, imported when it is asked for.

    Raises:
        UnknownTaskError: no such task.
    """
    if name not in ROSTER:
        raise UnknownTaskError(f"unknown task '{name}': choose from {', '.join(ROSTER)}")
    module, attribute = ROSTER[name].split(":")
    found: type[Task] = getattr(import_module(module), attribute)
    return found
