"""The auxiliary loss that spreads selection over tokens, the alternative to noise (table 19, `loss`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.dynamicvis import Route

BALANCE = "balance"
"""Its name among the losses of a protocol, whatever the task; only DynamicVis has it."""


def balance_loss(routes: Sequence[Sequence[Route]]) -> Tensor:
    """Return the balance loss of a forward pass of DynamicVis.

    Blocks of equally many tokens N are one group. Over its images and blocks, let f (k, N) be the mean one-hot of the
    token chosen r-th, and q (N) the mean importance; the group's loss is the sum over r and n of f q. As q has no r, f
    is summed over r first: how often each token is kept. Smallest when both are even.

    Args:
        routes: as `DynamicVis.forward` fills them in, stage by stage, block by block.

    Raises:
        ValueError: no block selects tokens.
    """
    groups: dict[int, list[Route]] = {}
    for route in (route for stage in routes for route in stage):
        groups.setdefault(route.importance.shape[1], []).append(route)
    if not groups:
        raise ValueError("balance_loss needs at least one block that selects tokens")
    losses = []
    for group in groups.values():
        importance = torch.cat([route.importance for route in group])
        kept = torch.cat([route.kept for route in group])
        often = torch.zeros_like(importance).scatter_(1, kept, 1.0).mean(dim=0)
        losses.append((often * importance.mean(dim=0)).sum())
    return torch.stack(losses).sum()
