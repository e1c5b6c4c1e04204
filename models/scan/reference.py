"""The selective scan written as its equation: slow, readable, and what every other backend is held against."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> Tensor:
    """Scan step by step in plain torch; see `models.scan.selective_scan` for shapes.

    Computes in float64 when `u` is float64 and in float32 otherwise, and returns `u`'s dtype. Differentiable.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    u_, delta_, A_, B_, C_ = (t.to(dtype) for t in (u, delta, A, B, C))
    if delta_bias is not None:
        delta_ = delta_ + delta_bias.to(dtype)
    delta_ = F.softplus(delta_)
    state = u_.new_zeros(u_.shape[0], u_.shape[2], A_.shape[1])
    steps = range(u_.shape[1])
    outputs = {}
    for t in reversed(steps) if reverse else steps:
        dt = delta_[:, t, :, None]
        state = torch.exp(dt * A_) * state + dt * u_[:, t, :, None] * B_[:, t, None, :]
        outputs[t] = (state * C_[:, t, None, :]).sum(-1)
    y = torch.stack([outputs[t] for t in steps], dim=1)
    if D is not None:
        y = y + D.to(dtype) * u_
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype)


def selective_scan_reference_backward(
    grad: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: bool,
) -> list[Tensor | None]:
    """Differentiate the steps one by one, by autograd: right for every dtype, and as slow and large as they are.

    Args:
        grad: of the output, like `u`.
        u: input of the scan; like all that follow an argument of `selective_scan_reference`.
        delta: step sizes.
        A: (channels, N).
        B: (batch, length, N).
        C: (batch, length, N).
        D: (channels), or None.
        z: gate, or None.
        delta_bias: (channels), or None.
        reverse: whether time runs from the last step to the first.

    Returns:
        The gradients of u, delta, A, B, C, D, z and delta_bias; None for inputs that are None.
    """
    with torch.enable_grad():
        given = [None if t is None else t.detach().requires_grad_() for t in (u, delta, A, B, C, D, z, delta_bias)]
        arguments: list[Any] = [*given, reverse]
        output = selective_scan_reference(*arguments)
    found = iter(torch.autograd.grad(output, [t for t in given if t is not None], grad))
    return [None if t is None else next(found) for t in given]
