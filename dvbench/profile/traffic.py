"""Bytes that an op moves: every operand read once, every result written once.

That is the least that an op of its own can do. Caches may save some of it between two ops, and a kernel that reads an
operand twice moves more, so a bandwidth taken from it is the useful one.
"""

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

_UNWRITTEN = {aten.empty, aten.new_empty, aten.empty_like, aten.as_strided_, aten.detach, aten._unsafe_view}
_PICKS = {aten.gather, aten.index, aten.index_select}  # read no more of their first operand than they return
_ADDS = {aten.scatter_add_, aten.index_add_}  # touch no more of their first operand than they add


def bytes_moved(func: Any, args: Any, kwargs: Any, output: Any) -> int:
    """Return the bytes that one call of an op reads and writes.

    Args:
        func: the op, an `OpOverload`.
        args: its positional arguments, in any nesting.
        kwargs: its keyword arguments or None; `out` is written and not read.
        output: what it returned.
    """
    op = func._overloadpacket
    if op in _UNWRITTEN or func.is_view:
        return 0
    read, written = _tensors([args, {k: v for k, v in (kwargs or {}).items() if k != "out"}]), _tensors(output)
    if op in _PICKS:
        return sum(map(_size, read[1:])) + 2 * sum(map(_size, written))
    if op in _ADDS:
        return sum(map(_size, read[1:])) + 2 * _size(read[-1])
    return sum(map(_size, (*read, *written)))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _size(tensor: Tensor) -> int:
    """Bytes that lie behind a tensor: an expanded one repeats fewer."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
