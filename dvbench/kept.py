"""What is worked out once for each state of the code and kept on disk: counts, pictures of an untrained model."""

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dvbench.environment import code_fingerprint
from reports.ledger import LedgerError, write_atomically

DECIDING = ("torch", "timm", "numba")  # packages that it depends on besides our code


def kept_file(kind: str) -> Path:
    """Return where something of a kind is kept for this code: in `DVBENCH_CACHE`, by default `~/.cache/dvbench`."""
    state = [code_fingerprint(), *(version(package) for package in DECIDING)]
    name = hashlib.sha256(" ".join(state).encode()).hexdigest()[:12]
    folder = Path(os.environ.get("DVBENCH_CACHE") or Path.home() / ".cache" / "dvbench")
    return folder / f"{kind}-{name}.json"


def read_kept(path: Path) -> dict[str, Any]:
    """Read what was kept; a file that is missing or damaged only means that the work is done again."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def keep(path: Path, data: dict[str, Any]) -> None:
    """Keep something; where that cannot be, nothing is kept."""
    try:
        write_atomically(path, json.dumps(data).encode())
    except LedgerError:
        return
