"""Exact counts of a model, taken on the meta device: any resolution, no memory, no arithmetic.

Two numbers of work are kept apart by name. `macs` and `flops` are ours: every matrix product, convolution and scan the
model runs, a multiply-add counted as one MAC and two FLOPs. `paper_flops` follows the paper's tables, which print the
total of fvcore: multiply-adds of the published two-pass graph, norms included, fused attention left out.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from dvbench.profile.traffic import bytes_moved
from models.dynamicvis import DynamicVis, Routes
from models.mamba import PathMixer

aten = torch.ops.aten
Formula = Callable[..., int]

#: Ops whose additions and multiplications are not counted: they move data or work on one element at a time.
ELEMENTWISE = {
    *(aten.add, aten.add_, aten.sub, aten.mul, aten.mul_, aten.div, aten.div_, aten.neg, aten.pow, aten.rsqrt),
    *(aten.relu_, aten.relu, aten.silu, aten.silu_, aten.gelu, aten._softmax, aten._safe_softmax, aten.mean, aten.sum),
    *(aten.native_layer_norm, aten._fused_rms_norm, aten.native_batch_norm, aten._native_batch_norm_legit_no_training),
    *(aten.max_pool2d_with_indices, aten._adaptive_avg_pool2d, aten.avg_pool2d, aten.upsample_bilinear2d),
    *(aten.upsample_bicubic2d, aten._upsample_bicubic2d_aa, aten.constant_pad_nd, aten.roll, aten.cat, aten.stack),
    *(aten.sort, aten.gather, aten.scatter_add, aten.scatter_add_, aten.index, aten.index_select, aten.index_add_),
    *(aten.clone, aten.copy_, aten._to_copy, aten.detach, aten.alias, aten.empty, aten.zeros, aten.fill_),
    *(aten.view, aten._unsafe_view, aten.transpose, aten.t, aten.permute, aten.squeeze, aten.unsqueeze, aten.expand),
    *(aten.slice, aten.select, aten.split, aten.split_with_sizes, aten.unbind, aten.as_strided, aten.as_strided_),
    *(aten.ne, aten.eq, aten.masked_fill, aten.arange, aten.full, aten.ones, aten.new_empty, aten.empty_like),
    *(aten.new_zeros, aten.randperm, aten.exp, aten.topk, aten.flip, aten.scatter, aten.zeros_like),
}  # fmt: skip


class UncountedOpError(RuntimeError):
    """A model runs an op that has no formula and is not known to be elementwise, so its count would be wrong."""


@dataclass(frozen=True)
class Counts:
    """What one forward pass needs.

    Attributes:
        parameters: numbers in the weights.
        weight_bytes: bytes of weights and buffers.
        flops: floating-point operations, by operator.
        paper_flops: multiply-adds by the paper's convention (its "FLOPs").
        live_bytes: largest sum of bytes of tensors that exist at one time, weights and input included. Workspace inside
            an op is not seen.
        tokens_kept: for DynamicVis, tokens kept in each stage, else empty.
        bytes_moved: bytes read and written, by operator; see `dvbench.profile.traffic`.
    """

    parameters: int
    weight_bytes: int
    flops: dict[str, int]
    paper_flops: int
    live_bytes: int
    tokens_kept: tuple[int, ...]
    bytes_moved: dict[str, int] = field(default_factory=dict)

    @property
    def total_flops(self) -> int:
        """Floating-point operations of all operators."""
        return sum(self.flops.values())

    @property
    def macs(self) -> int:
        """Multiply-adds: half the floating-point operations."""
        return self.total_flops // 2


def count(
    build: Callable[[], nn.Module], resolution: int, *, batch: int = 1, dtype: torch.dtype = torch.float32
) -> Counts:
    """Count one forward pass in eval mode without gradients.

    Args:
        build: makes the model; called under the meta device.
        resolution: side of the square image in pixels.
        batch: images.
        dtype: of weights and image.

    Raises:
        UncountedOpError: the model runs an op that cannot be counted.
        InputError: the model does not take this resolution.
    """
    with torch.device("meta"):
        model = build().eval().to(dtype)
        image = torch.empty(batch, 3, resolution, resolution, dtype=dtype)
    projections: list[int] = []
    handles = [
        mixer.mamba.in_proj.register_forward_pre_hook(
            lambda _, args, mixer=mixer: projections.append(_repeated_projections(mixer, args[0]))
        )
        for mixer in model.modules()
        if isinstance(mixer, PathMixer)
    ]
    ours = FlopCounterMode(display=False, custom_mapping={aten.addcmul: _addcmul, aten.addcmul_: _addcmul})
    paper = FlopCounterMode(display=False, custom_mapping=_PAPER)
    weights = [*model.parameters(), *model.buffers()]
    with torch.no_grad(), _FusedAttention(), ours, paper, _Watch([*weights, image]) as watch:
        model(image)
    for handle in handles:
        handle.remove()
    return Counts(
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=sum(w.nbytes for w in weights),
        flops={str(op): int(n) for op, n in ours.get_flop_counts().get("Global", {}).items()},
        paper_flops=paper.get_total_flops() // 2 + sum(projections),
        live_bytes=watch.peak,
        tokens_kept=_tokens_kept(model, image),
        bytes_moved=dict(watch.moved),
    )


def fvcore_macs(model: nn.Module, image: Tensor) -> dict[str, int]:
    """Count multiply-adds with fvcore, by operator: an independent check of `Counts.macs`.

    fvcore traces a real forward pass. Alone it skips fused attention, the scan and the shifted multiply-adds of the
    causal convolution without a word, so it is given formulas for them; what it adds for norms is left out, as we do.

    Args:
        model: on the CPU, in eval mode.
        image: (batch, 3, height, width), on the CPU.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated; fvcore knows no other way
        from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415 (only small images are cross-checked)

        analysis = FlopCountAnalysis(model, image).set_op_handle(
            **{
                "aten::scaled_dot_product_attention": _fvcore_attention,
                "dvbench::selective_scan": _fvcore_scan,
                "aten::addcmul": _fvcore_elements,
                "aten::addcmul_": _fvcore_elements,
                **dict.fromkeys(("aten::layer_norm", "aten::batch_norm", "aten::adaptive_avg_pool2d"), _fvcore_nothing),
                "aten::upsample_bilinear2d": _fvcore_nothing,
            }
        )
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return {name: int(macs) for name, macs in analysis.by_operator().items() if macs}


def largest_batch(fits: Callable[[int], bool], *, limit: int = 4096, guess: int = 1) -> int:
    """Find the largest batch that fits, by doubling steps and then bisection; 0 when not even one image does.

    Args:
        fits: tells whether a batch fits; must not say no and then yes for a larger one.
        limit: the search ends here.
        guess: where it begins; right at once when the guess is right.
    """
    start, step = min(max(guess, 1), limit), 1
    if fits(start):
        good, bad = start, start + 1
        while bad <= limit and fits(bad):
            step *= 2
            good, bad = bad, bad + step
        bad = min(bad, limit + 1)
    else:
        good, bad = start - 1, start
        while good > 0 and not fits(good):
            step *= 2
            good, bad = good - step, good
        good = max(good, 0)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def batch_within(room: int, live_bytes: Callable[[int], int]) -> int:
    """Find the largest batch whose live bytes fit into `room` bytes.

    Each further image adds the same bytes once activations outweigh what a batch shares, so two counts give a guess,
    which exact counts then confirm or correct.

    Args:
        room: bytes.
        live_bytes: counts the live bytes of a batch.
    """
    one, two = live_bytes(1), live_bytes(2)
    guess = 1 + (room - one) // max(two - one, 1)
    return largest_batch(lambda batch: live_bytes(batch) <= room, guess=guess)


class _Watch(TorchDispatchMode):
    """Follows which storages are alive after each op and what it moves, and refuses ops that nobody could count."""

    def __init__(self, start: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved: Counter[str] = Counter()
        # The caller holds these until the end, so that only what the pass makes has to be looked at after each op.
        self._given = {storage._cdata: storage.nbytes() for storage in (tensor.untyped_storage() for tensor in start)}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._held = self.peak = sum(self._given.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        op = func._overloadpacket
        if op not in flop_registry and op not in ELEMENTWISE and op not in _MULTIPLY_ADDS:
            raise UncountedOpError(
                f"operator {op} has no FLOP formula and is not on the elementwise list: "
                "register a formula or add it to dvbench.profile.counters.ELEMENTWISE"
            )
        out = func(*args, **(kwargs or {}))
        self.moved[str(op)] += bytes_moved(func, args, kwargs, out)
        self._see([t for t in torch.utils._pytree.tree_leaves(out) if isinstance(t, Tensor)])
        return out

    def _see(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._given:
                self._alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, self._held + sum(size for _, size in self._alive.values()))


class _FusedAttention(TorchFunctionMode):
    """Keeps fused attention one op: the meta device would spell it out and keep the whole score matrix."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return _fused_attention(*args, **(kwargs or {}))


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:
    out: Tensor = aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask
    )[0]
    return out


def _numel(shape: Any) -> int:
    return int(torch.Size(shape).numel())


def _addcmul(*_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * _numel(out_shape)


_MULTIPLY_ADDS = {aten.addcmul, aten.addcmul_}


# fvcore's conventions, which the paper's figures follow: a LayerNorm is 5 multiply-adds an element, a BatchNorm in eval
# mode 2, fused attention nothing; the scan's product with C is one for each state.
_PAPER: dict[Any, Formula] = {
    aten.addcmul: _addcmul,
    aten.addcmul_: _addcmul,
    aten.native_layer_norm: lambda x, *_, **__: 2 * 5 * _numel(x),
    aten.native_batch_norm: lambda x, *_, **__: 2 * 2 * _numel(x),
    aten._scaled_dot_product_flash_attention_for_cpu: lambda *_, **__: 0,
    torch.ops.dvbench.selective_scan: lambda u, delta, A, *_, **__: 2 * _numel(u) * A[1],  # noqa: ARG005
}


def _repeated_projections(mixer: PathMixer, tokens: Tensor) -> int:
    """Multiply-adds of in_proj and out_proj that the published graph runs once more for each further path."""
    count = tokens.shape[0] * tokens.shape[1]
    return (len(mixer.paths) - 1) * count * (mixer.mamba.in_proj.weight.numel() + mixer.mamba.out_proj.weight.numel())


def _tokens_kept(model: nn.Module, image: Tensor) -> tuple[int, ...]:
    found = next((m for m in model.modules() if isinstance(m, DynamicVis)), None)
    if found is None:
        return ()
    routes: Routes = []
    with torch.no_grad():
        maps = found(image, routes)
    return tuple(
        stage[0].kept.shape[1] if stage else m.shape[2] * m.shape[3] for stage, m in zip(routes, maps, strict=True)
    )


def _sizes(value: Any) -> list[int]:
    return list(value.type().sizes())


def _fvcore_attention(inputs: list[Any], outputs: list[Any]) -> int:  # noqa: ARG001 (signature given by fvcore)
    *batch, queries, channels = _sizes(inputs[0])
    return 2 * _numel(batch) * queries * _sizes(inputs[1])[-2] * channels


def _fvcore_scan(inputs: list[Any], outputs: list[Any]) -> int:  # noqa: ARG001
    return 3 * _numel(_sizes(inputs[0])) * _sizes(inputs[2])[1]


def _fvcore_elements(inputs: list[Any], outputs: list[Any]) -> int:  # noqa: ARG001
    return _numel(_sizes(outputs[0]))


def _fvcore_nothing(inputs: list[Any], outputs: list[Any]) -> int:  # noqa: ARG001
    return 0  # None would not do: fvcore ignores only ops that have no formula of its own
