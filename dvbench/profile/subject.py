"""What is measured: a model and its input, living in a process of their own."""

from functools import partial
from pathlib import Path
from time import perf_counter

import torch

from dvbench.data.scene import Bands, load_scene
from dvbench.environment import environment
from dvbench.profile.cell import Cell
from dvbench.profile.clock import synchronizer, time_once, warm_up
from dvbench.profile.counters import fvcore_macs
from dvbench.profile.memory import CudaPeaks, ResidentPeak, allocator_peak
from dvbench.profile.recipe import STEP, RecipeError, throughput
from dvbench.profile.roofline import ceilings, seconds_by_kind
from models.scan import choose
from models.weights import load_weights
from models.zoo import build_classifier
from reports.record import Measure

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WARM_UP_S = 5.0  # enough for a GPU's clock; a model that takes longer needs no more than two calls
LONG_CALL_S = 2.0  # a call this long has been warmed up by the two before it


class Subject:
    """A model with random weights and one real image, loaded; each method is one step of the measurement."""

    def __init__(self, cell: Cell, image: Path, bands: Bands | None) -> None:
        """Load model and image.

        Raises:
            SceneError: the image cannot be used.
            ScanBackendError: the scan backend cannot run here.
        """
        dtype = DTYPES[cell.dtype]
        self.cell = cell
        if cell.scan != "none":
            self.scan = choose(cell.scan, torch.device(cell.device).type, dtype).name
        else:
            self.scan = "none"
        with torch.device("meta"):
            build_classifier(cell.model, **cell.options)  # imports what it needs, which is no part of loading a model
        torch.manual_seed(cell.seed)
        start = perf_counter()
        model = build_classifier(cell.model, **cell.options)
        if cell.weights:
            load_weights(model, cell.weights)
        self.model = model.eval().to(cell.device, dtype)
        synchronize = synchronizer(cell.device)
        synchronize()
        self.load_s = perf_counter() - start
        scene = load_scene(image, cell.resolution, fit=cell.fit, bands=bands)
        self.image = scene.tensor.to(cell.device, dtype).expand(cell.batch, -1, -1, -1).contiguous()
        self._time = partial(time_once, self.forward, synchronize)
        self._warm_up = partial(warm_up, self.forward, synchronize)

    @torch.inference_mode()
    def forward(self) -> None:
        """Run one forward pass."""
        self.model(self.image)

    def describe(self) -> dict[str, str | int | float | bool | None]:
        """Return the environment of this process, with the scan backend that is used."""
        return {**environment(self.cell.device), "scan_backend": self.scan}

    def first_call(self) -> dict[str, Measure]:
        """Time loading (already done) and the first call, which compiles kernels and fills caches.

        On a GPU, torch's peak of both is what the authors' tool prints as memory: it never resets the counter.
        """
        measures = {
            "load_ms": Measure(1e3 * self.load_s, "ms", "measured"),
            "first_call_ms": Measure(1e3 * self._time(), "ms", "measured"),
        }
        if self.cell.device.startswith("cuda"):
            peak = torch.cuda.max_memory_allocated(self.cell.device)
            measures["recipe_peak_bytes"] = Measure(peak, "B", "measured")
        return measures

    def memory(self) -> dict[str, Measure]:
        """Measure the memory of one forward pass, weights included."""
        if self.cell.device.startswith("cuda"):
            with CudaPeaks(self.cell.device) as peaks:
                self.forward()
            return {
                "cuda_allocated_peak_bytes": Measure(peaks.allocated, "B", "measured"),
                "cuda_reserved_peak_bytes": Measure(peaks.reserved, "B", "measured"),
            }
        weights = sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers()))
        with ResidentPeak() as resident:
            allocator = allocator_peak(self.forward)
        grown = None if resident.bytes is None else weights + resident.bytes
        return {
            "resident_peak_bytes": Measure(
                grown, "B", "measured", note="" if grown else "this system does not let its counter be reset"
            ),
            "allocator_peak_bytes": Measure(weights + allocator, "B", "measured"),
        }

    def warm(self) -> float:
        """Warm up and return the seconds of one warm call."""
        once = self._time()
        if once < LONG_CALL_S:
            self._warm_up(budget_s=WARM_UP_S)
            once = self._time()
        return once

    def sample(self) -> float:
        """Return the seconds of one forward pass."""
        return self._time()

    def fits(self, batch: int) -> bool:
        """Tell whether a forward pass of so many images fits into the memory of the GPU, by trying it."""
        try:
            with torch.inference_mode():
                self.model(self.image[:1].expand(batch, -1, -1, -1).contiguous())
            torch.cuda.synchronize(self.cell.device)
        except torch.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()
        return True

    def recipe(self, largest: int, budget_s: float) -> Measure:
        """Take throughput as the authors' tool does, from the largest batch down by four until all passes fit."""
        told = "no batch fits all passes"
        for batch in range(largest, 0, -STEP):
            try:
                rate = throughput(
                    self.model.backbone.pooled,
                    batch,
                    self.cell.resolution,
                    device=self.cell.device,
                    dtype=DTYPES[self.cell.dtype],
                    budget_s=budget_s,
                )
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
            except RecipeError as error:
                told = str(error)
                break
            else:
                return Measure(rate, "img/s", "measured", note=f"{batch} images a pass")
        return Measure(None, "img/s", "measured", note=told)

    def roofline(self) -> dict[str, Measure]:
        """Measure the time of each kind of op, and the ceilings of the device."""
        flops, bandwidth = ceilings(self.cell.device, DTYPES[self.cell.dtype])
        times = seconds_by_kind(self.forward, self.cell.device)
        return {
            **{f"{kind}_ms": Measure(1e3 * seconds, "ms", "measured") for kind, seconds in times.items()},
            "peak_flops": Measure(flops, "FLOP/s", "measured"),
            "peak_bandwidth": Measure(bandwidth, "B/s", "measured"),
        }

    def fvcore(self) -> dict[str, int]:
        """Count multiply-adds with fvcore, by operator; see `dvbench.profile.counters.fvcore_macs`."""
        return fvcore_macs(self.model.float().cpu(), self.image.float().cpu())
