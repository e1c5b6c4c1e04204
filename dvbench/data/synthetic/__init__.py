"""Procedural aerial scenes in which every label is known exactly, for tests and for machines without data.

A scene is planned as one list of objects (`layout`, `places`), painted with its labels (`painter`, `objects`), and
photographed (`exposure`). All of it is integer arithmetic, so that a seed gives the same bytes on any machine.
`scene` makes one; `dataset` serves them in TorchGeo's style, and is imported late, since TorchGeo takes seconds.
"""

from dvbench.data.synthetic.scene import Scene, SyntheticError, scene

__all__ = ["Scene", "SyntheticError", "scene"]
