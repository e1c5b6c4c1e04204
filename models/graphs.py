"""CUDA graphs: all kernels of a forward pass replayed by one launch, which pays where launching them takes the time."""

from typing import Any

import torch
from torch import Tensor, nn

WARM_UPS = 3  # before capture: kernels are compiled, tuned and their libraries loaded


class Graphed:
    """A model in eval mode whose forward pass is captured once for each shape and dtype of its input.

    Results are those of the model. They lie in memory that the next call with the same shape overwrites: copy what has
    to last. Each captured shape holds the memory of its forward pass. Weights must not be moved afterwards; changing
    their values is fine.

    Args:
        model: on a CUDA device, in eval mode; takes one tensor, on which alone its control flow may depend by shape.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._captured: dict[tuple[torch.Size, torch.dtype], tuple[torch.cuda.CUDAGraph, Tensor, Any]] = {}

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Any:
        """Run the model on an image batch on its device.

        Raises:
            RuntimeError: the model does what cannot be captured, such as waiting for the device.
        """
        key = (image.shape, image.dtype)
        if key not in self._captured:
            self._captured[key] = self._capture(image)
        graph, given, output = self._captured[key]
        given.copy_(image)
        graph.replay()
        return output

    def _capture(self, image: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Any]:
        given = image.clone()
        aside = torch.cuda.Stream(image.device)
        aside.wait_stream(torch.cuda.current_stream(image.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._model(given)
        torch.cuda.current_stream(image.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._model(given)
        return graph, given, output
