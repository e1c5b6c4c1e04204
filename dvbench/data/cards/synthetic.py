"""Cards of the synthetic scenes, one per task."""

from dataclasses import replace

from dvbench.data.card import BYTE, BYTE_UNITS, RGB, Card, Split, Task
from dvbench.data.synthetic.canvas import KINDS, Surface
from dvbench.data.synthetic.plan import PLACES, SCENE_CLASSES

_SURFACES = tuple(surface.name.lower() for surface in Surface)
_OBJECTS = ("background", *(kind.name.lower() for kind in KINDS))
_CLASSES = {
    Task.CLASSIFICATION: SCENE_CLASSES,
    Task.DETECTION: _OBJECTS,
    Task.INSTANCE: _OBJECTS,
    Task.SEMANTIC: _SURFACES,
    Task.CHANGE: ("unchanged", "changed"),
    Task.REGION: (*PLACES, *_OBJECTS[1:]),
    Task.RETRIEVAL: _SURFACES,
}
_MADE_BY = "made for this package, from a seed of its own"


def _card(task: Task) -> Card:
    return Card(
        name=f"synthetic_{task}",
        title=f"Synthetic scenes for {task}",
        task=task,
        classes=_CLASSES[task],
        bands=RGB,
        value_range=BYTE,
        units=BYTE_UNITS,
        gsd=None,
        image_size=(512, 512),
        splits=(Split("train", 200, _MADE_BY), Split("val", 50, _MADE_BY), Split("test", 50, _MADE_BY)),
        source="dvbench.data.synthetic",
        archives=(),
        licence="Apache-2.0, as this package",
        citation="none",
        layout="nothing on disk: scenes are drawn when they are read\n",
        required=(),
        notes=(
            "No dataset of the paper: drawn by a program, so that every task has data on a bare machine.",
            "The same seed gives the same bytes on any machine.",
            "Scores on it say that code works, not how good a model is.",
        ),
        obtain=("It comes with the package.",),
        counted="image pairs" if task is Task.CHANGE else "images",
    )


SYNTHETIC = tuple(_card(task) for task in Task)
SMALL_TARGETS = replace(
    _card(Task.SEMANTIC),
    name="synthetic_small_targets",
    title="Synthetic scenes with one small target",
    classes=("background", "target"),
)
