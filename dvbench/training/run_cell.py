"""One training run: everything that is chosen, and the hash by which its record is found again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Literal

from dvbench.environment import code_fingerprint
from models.zoo import family
from reports.record import Scalar
from tasks import protocol
from tasks.embeddings import RANDOM, by_content
from tasks.protocol import Protocol

Scale = Literal["full", "smoke"]
DECIDING = ("models", "tasks", "dvbench/training", "dvbench/data")  # a change of this code may change a score


@dataclass(frozen=True)
class RunCell:
    """A model trained and scored by a protocol.

    Attributes:
        model: name in `models.zoo.ZOO`.
        protocol: name of the protocol that is used; in a reduced run that of the stand-in.
        scale: `full` or `smoke`.
        variant: `released`, `paper` or `clean`, see `tasks.protocol.VARIANTS`.
        input: the paper's `1x` or `2x`; empty for the protocol's own.
        seed: of weights, batches, augmentation and noise.
        weights: where the weights come from; empty for random ones.
        weights_hash: first 12 hex digits of the file's SHA-256.
        changes: keys of the protocol that are replaced, as JSON; a file that they name is told by its content too.
        switches: fields of `DynamicVisConfig` that are replaced, as JSON.
    """

    model: str
    protocol: str
    scale: Scale = "smoke"
    variant: str = "released"
    input: str = ""
    seed: int = 0
    weights: str = ""
    weights_hash: str = ""
    changes: str = "{}"
    switches: str = "{}"

    def load_protocol(self) -> Protocol:
        """Read the protocol with everything that the cell replaces.

        Raises:
            ProtocolError: it does not exist or does not hold together.
        """
        overrides = [name for name in (self.input, family(self.model), self.model, self.variant) if name]
        return protocol.load(self.protocol, *dict.fromkeys(overrides), changes=json.loads(self.changes))

    @property
    def model_options(self) -> dict[str, Any]:
        """What of the model is replaced; lists of JSON become tuples, as the model's configuration has them."""
        options = json.loads(self.switches)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}

    @property
    def unstarted(self) -> "RunCell":
        """The cell without the files that its weights start from, which a checkpoint of it needs no more."""
        changes = json.loads(self.changes)
        if self.load_protocol().head.get("embeddings", RANDOM) != RANDOM:
            changes["head"]["embeddings"] = RANDOM
        return replace(self, weights="", changes=json.dumps(changes, sort_keys=True))

    @property
    def label(self) -> str:
        """The model as progress and plans name it, with what of it and of the protocol is replaced."""
        replaced = json.loads(self.switches) | json.loads(self.changes)
        told = ", ".join(f"{name} {json.dumps(value)}" for name, value in replaced.items())
        return f"{self.model} ({told})" if told else self.model

    def as_dict(self) -> dict[str, Scalar]:
        """The cell as plain values for a record, with task and dataset."""
        chosen = self.load_protocol()
        return {"task": chosen.task, "dataset": chosen.dataset, **asdict(self)}

    def identity(self) -> str:
        """Hash what was asked with what may change the answer: the protocol's content and our own code.

        Hardware is left out: a score is meant to be the same anywhere.
        """
        return identity(self.as_dict(), self.load_protocol().model_dump(mode="json"), deciding_code())

    def folder(self) -> str:
        """Name the folder of the run, so that a person finds it and no two cells share it."""
        parts = (self.protocol, self.model, self.variant, self.input, f"s{self.seed}", self.identity()[:8])
        return "-".join(part for part in parts if part)


def identity(cell: Mapping[str, Any], protocol: Mapping[str, Any], code: str) -> str:
    """Hash a cell, the content of its protocol, and a hash of the code that trains and scores."""
    asked = {**cell, "weights": ""}  # the hash says more than the path
    return hashlib.sha256(by_content(json.dumps([asked, protocol, code], sort_keys=True)).encode()).hexdigest()


@cache
def deciding_code() -> str:
    """Hash the code that trains and scores."""
    return code_fingerprint(folders=DECIDING, endings=(".py", ".yaml"))
