"""dvbench: benchmark and efficiency profiler for DynamicVis (arXiv 2503.16426v1).

The package is the roof of a house of plain top-level packages. Their names are common words, so importing dvbench first
makes sure that each of them is ours.
"""

from importlib.util import find_spec
from pathlib import Path

from dvbench.version import __version__

__all__ = ["__version__"]


def _check_siblings() -> None:
    """Raise ImportError when a sibling package name resolves to somebody else's folder."""
    house = Path(__file__).resolve().parent.parent
    for name in ("models", "reports", "tasks"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != house / name:
            where = found or "nowhere"
            raise ImportError(
                f"dvbench needs its own package '{name}' in {house}, but Python finds '{name}' in {where}: "
                "start Python from another folder or take that folder off PYTHONPATH"
            )


_check_siblings()
