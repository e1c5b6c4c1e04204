"""One DynamicVis, run in several ways on the same weights and image; lives in a process of its own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dvbench.data.scene import default_scene, load_scene
from dvbench.gpu.published import published, twin
from dvbench.gpu.race import race
from dvbench.gpu.scans import Times
from dvbench.profile.memory import CudaPeaks, allocator_peak
from dvbench.profile.subject import DTYPES
from models.dynamicvis import DynamicVis
from models.graphs import Graphed
from models.scan import BACKENDS
from models.zoo import build_classifier

OURS, PLAIN, GRAPHED, COMPILED = "ours", "ours, plain path", "ours, CUDA graph", "ours, compiled"
TWO_PASS = "two-pass on "  # noqa: S105 (followed by a backend; no password)


class Variants:
    """The ways to run a model.

    Args:
        model: name in the zoo, a DynamicVis.
        side: of the image in pixels.
        dtype: `fp32` or `bf16`.
        device: a torch device.
    """

    def __init__(self, model: str, side: int, dtype: str, device: str) -> None:
        torch.manual_seed(0)
        self.device = device
        # Ours is ours: with the other scans it runs as `two-pass`, which is what they are made for.
        scan = "triton" if "triton" in self._scans(DTYPES[dtype]) else "auto"
        self.model = build_classifier(model, scan=scan).eval().to(device, DTYPES[dtype])
        self.image = load_scene(default_scene(), side).tensor.to(device, DTYPES[dtype])
        self._made: dict[str, Callable[[Tensor], Tensor]] = {}

    def names(self) -> list[str]:
        """Return the variants that can run here; compiling takes minutes and is asked for by name."""
        graphed = [GRAPHED] if self.device.startswith("cuda") else []
        return [OURS, PLAIN, *graphed, *(TWO_PASS + scan for scan in self._scans(self.image.dtype))]

    def error(self, name: str) -> float:
        """Return the relative error of a variant's logits against those of the plain path."""
        with torch.inference_mode():
            exact, result = self._variant(PLAIN)(self.image).double(), self._variant(name)(self.image).double()
            return float((result - exact).norm() / exact.norm())

    def peak(self, name: str) -> int:
        """Return the peak bytes of one warm forward pass, weights of one model included."""
        call = self._call(name)
        call()
        if not self.device.startswith("cuda"):
            return sum(p.nbytes for p in self.model.parameters()) + allocator_peak(call)
        with CudaPeaks(self.device) as peaks:
            before = torch.cuda.memory_allocated(self.device)
            call()
        # Other variants' copies of the weights lie there too.
        return peaks.allocated - before + sum(p.nbytes for p in self.model.parameters()) + self.image.nbytes

    def times(self, names: Sequence[str], rounds: int, least_s: float) -> Times:
        """Time variants in turn, in ms a forward pass."""
        return race({name: self._call(name) for name in names}, self.device, rounds=rounds, least_s=least_s)

    def _scans(self, dtype: torch.dtype) -> list[str]:
        kind = torch.device(self.device).type
        return [name for name, b in BACKENDS.items() if name != "reference" and not b.refuses(kind, dtype)]

    def _call(self, name: str) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode():
                return self._variant(name)(self.image)

        return call

    def _variant(self, name: str) -> Callable[[Tensor], Tensor]:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Callable[[Tensor], Tensor]:
        if name == GRAPHED:
            return Graphed(self.model)
        if name == COMPILED:
            compiled: Callable[[Tensor], Tensor] = torch.compile(self.model)
            return compiled
        if name.startswith(TWO_PASS):
            return published(self.model, name.removeprefix(TWO_PASS))
        if name == PLAIN:
            plain = twin(self.model)
            assert isinstance(plain.backbone, DynamicVis)
            plain.backbone.set_fused(False)
            return plain
        return self.model
