"""One cell: what a table asks to be measured, and the hash by which its record is found again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from reports.record import Scalar

Dtype = Literal["fp32", "bf16"]
#: Of where a cell ran, what may change its answer; the same of a part of the GPU run, which names its own conditions.
WHERE = ("hardware", "threads", "torch", "numba", "mamba_ssm", "code")
PART_WHERE = ("hardware", "torch", "triton", "mamba_ssm", "code")


def identity(asked: Mapping[str, Any], environment: Mapping[str, Any], where: Sequence[str]) -> str:
    """Hash what was asked with what of the environment may change the answer.

    A record is taken over by `--resume` only when all of it is the same, so no run reuses a row that it would not have
    measured itself.
    """
    text = json.dumps([asked, {key: environment[key] for key in where}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Cell:
    """One measurement of one model: everything that is chosen, nothing that is found out.

    Attributes:
        model: name in `models.zoo.ZOO`.
        resolution: side of the square image in pixels, divisible by 32.
        batch: images in a forward pass.
        dtype: of weights and activations.
        device: a torch device.
        attention: `sdpa` or `eager`; `none` for models that have no attention to switch.
        scan: scan backend or `auto`; `none` for models that have no scan.
        image: name of the image file that is the input.
        image_hash: first 12 hex digits of its SHA-256.
        fit: how the image was brought to the resolution, `resize` or `crop`.
        bands: bands shown as red, green and blue, such as "4,3,2"; empty for the default.
        seed: of the random weights.
        weights: file of weights to load; empty for random ones.
        weights_hash: first 12 hex digits of its SHA-256.
    """

    model: str
    resolution: int
    batch: int = 1
    dtype: Dtype = "fp32"
    device: str = "cpu"
    attention: str = "sdpa"
    scan: str = "auto"
    image: str = ""
    image_hash: str = ""
    fit: Literal["resize", "crop"] = "resize"
    bands: str = ""
    seed: int = 0
    weights: str = ""
    weights_hash: str = ""

    def settled(self) -> "Cell":
        """Return the cell with the switches that its model does not have set to `none`.

        Raises:
            UnknownModelError: no such model.
        """
        from models.zoo import entry  # noqa: PLC0415 (imports torch)

        chosen = entry(self.model)
        return replace(
            self,
            attention=self.attention if chosen.attention else "none",
            scan=self.scan if chosen.scan else "none",
        )

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for `models.zoo.build`."""
        switches = {"attention": self.attention, "scan": self.scan}
        return {name: value for name, value in switches.items() if value != "none"}

    @property
    def label(self) -> str:
        """The model as tables and curves name it; says how attention runs where that can be switched."""
        return self.model if self.attention == "none" else f"{self.model} ({self.attention})"

    def as_dict(self) -> dict[str, Scalar]:
        """The cell as plain values for a record."""
        return asdict(self)

    def identity(self, environment: Mapping[str, Any]) -> str:
        """Hash what was asked with what may change the answer: hardware, threads, torch and our own code."""
        return identity(self.as_dict(), environment, WHERE)
