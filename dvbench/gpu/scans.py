"""The scan backends against the float64 reference, and against each other in time; runs in a process of its own."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dvbench.gpu.race import race
from models.fused import interpreting
from models.scan import BACKENDS, mamba_ssm
from models.scan.reference import selective_scan_reference, selective_scan_reference_backward

NATIVE = "mamba_ssm"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Times = tuple[dict[str, tuple[float, ...]], dict[str, str]]


class Scans:
    """Scans of the shapes that the model runs, with inputs of a fixed seed.

    Args:
        device: a torch device.
        states: state size.
    """

    def __init__(self, device: str, states: int) -> None:
        self.device = device
        self.states = states

    def backends(self) -> list[str]:
        """Return the backends that can run here, the reference left out; on a CPU Triton in its interpreter only."""
        kind = torch.device(self.device).type
        found = [name for name, b in BACKENDS.items() if name != "reference" and not b.refuses(kind, torch.float32)]
        return [*found, *(["triton"] if kind == "cpu" and interpreting() else [])]

    def errors(self, backend: str, length: int, channels: int, reverse: bool, backward: bool) -> dict[str, float]:
        """Return relative errors against the reference in float64: of the output, and with `backward` of the gradients.

        Of the gradients it is the largest, each by its Euclidean norm.
        """
        inputs, grad = self._inputs(length, channels, torch.float32)
        arguments: list[Any] = [*inputs, reverse]
        exact, exact_gradients = self._exact(length, channels, reverse, backward)
        with torch.no_grad():
            found = {"forward": _error(BACKENDS[backend].scan(*arguments), exact)}
            if backward:
                gradients = BACKENDS[backend].differentiate(grad, *arguments)
                pairs = [(g, e) for g, e in zip(gradients, exact_gradients, strict=True) if g is not None]
                found["backward"] = max(_error(g, e) for g, e in pairs)
        return found

    def times(
        self, backends: list[str], length: int, channels: int, dtype: str, backward: bool, rounds: int, least_s: float
    ) -> Times:
        """Time backends in turn, in ms; mamba-ssm's kernel itself, on operands in the layout that it wants."""
        inputs, grad = self._inputs(length, channels, DTYPES[dtype])
        contenders = {name: self._contender(name, inputs, grad, backward) for name in backends}
        with torch.no_grad():
            return race(contenders, self.device, rounds=rounds, least_s=least_s)

    def _contender(self, name: str, inputs: Any, grad: Tensor, backward: bool) -> Callable[[], object]:
        if name == NATIVE:
            return _native(inputs, grad, backward)
        arguments: list[Any] = [*inputs, False]
        if backward:
            return lambda: BACKENDS[name].differentiate(grad, *arguments)
        return lambda: BACKENDS[name].scan(*arguments)

    def _inputs(self, length: int, channels: int, dtype: torch.dtype) -> tuple[Any, Tensor]:
        """Return u, delta, A, B, C, D, z and the bias of delta, as large as a model has them, and a gradient."""
        generator = torch.Generator().manual_seed(length)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        sequences = [random(1, length, n) for n in (channels, channels, self.states, self.states, channels, channels)]
        u, delta, B, C, z, grad = (t.to(self.device, dtype) for t in sequences)
        A = -torch.arange(1.0, self.states + 1).repeat(channels, 1)
        bias = random(channels) - 4  # steps of about 0.02, as dt_proj is initialised
        A, D, bias = (t.to(self.device) for t in (A, random(channels), bias))
        return (u, delta, A, B, C, D, z, bias), grad

    @cache  # noqa: B019 (the object lives as long as its process)
    def _exact(self, length: int, channels: int, reverse: bool, backward: bool) -> tuple[Tensor, list[Tensor | None]]:
        inputs, grad = self._inputs(length, channels, torch.float32)
        doubles = [t.double() for t in inputs]
        arguments: list[Any] = [*doubles, reverse]
        with torch.no_grad():
            output = selective_scan_reference(*arguments)
        gradients = selective_scan_reference_backward(grad.double(), *arguments) if backward else []
        return output, gradients


def _native(inputs: tuple[Tensor, ...], grad: Tensor, backward: bool) -> Callable[[], object]:
    """Return a call of mamba-ssm's compiled kernel alone: nothing is transposed or flipped while it is timed."""
    kernel, softplus = mamba_ssm.kernel(), mamba_ssm.SOFTPLUS
    arguments: list[Any] = [*inputs, False]
    operands = mamba_ssm.operands(*arguments)
    if not backward:
        return lambda: kernel.fwd(*operands, softplus)
    out, states, *_ = kernel.fwd(*operands, softplus)
    to_out = grad.transpose(1, 2).contiguous()
    return lambda: kernel.bwd(*operands, to_out, states, out, None, softplus, False)


def _error(result: Tensor, exact: Tensor | None) -> float:
    assert exact is not None
    return float((result.double() - exact).norm() / exact.norm())
