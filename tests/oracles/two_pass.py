"""The published graph of DynamicVis, written from its equations as a plain function of the weights.

The whole Mamba, projections included, runs on every scan path: on `[x, flip(x)]`, stacked along the batch. The module
in `models.dynamicvis` computes the same with less work; this is what its results are held against, and its opponent in
the benchmarks. The two share nothing but the names of the weights and the selective scan.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.dynamicvis import DynamicVis, DynamicVisConfig
from models.scan import selective_scan

STRIDES = (4, 2, 2, 2)
PADDINGS = (3, 1, 1, 1)


def two_pass_forward(model: DynamicVis, image: Tensor, scan: str = "auto") -> tuple[Tensor, ...]:
    """Compute what `model(image)` computes in eval mode.

    Args:
        model: gives the weights and the config.
        image: (batch, 3, height, width), sides divisible by 32.
        scan: backend of the selective scan.

    Returns:
        Four feature maps.
    """
    graph = _Graph(dict(model.named_parameters()), model.config, scan)
    maps = []
    for stage in range(4):
        image = graph.stage(stage, image)
        maps.append(image)
    return tuple(maps)


@dataclass(frozen=True)
class _Graph:
    weights: dict[str, Tensor]
    config: DynamicVisConfig
    scan: str

    def stage(self, stage: int, image: Tensor) -> Tensor:
        """Patch merger, positional embedding in the first stage, blocks, norm."""
        at = f"stages.{stage}."
        image = self._conv2d(image, at + "merge", STRIDES[stage], PADDINGS[stage])
        grid = (image.shape[2], image.shape[3])
        x = self._layer_norm(image.flatten(2).transpose(1, 2), at + "merge_norm")
        if stage == 0:
            x = x + self._positions(grid, x.dtype)
        for block in range(self.config.depths[stage]):
            x = self._block(stage, f"{at}blocks.{block}.", x, grid)
        return self._layer_norm(x, at + "norm").transpose(1, 2).reshape(*image.shape)

    def _positions(self, grid: tuple[int, int], dtype: torch.dtype) -> Tensor:
        table = self.weights["position.weight"]
        side = self.config.image_size // 4
        if grid == (side, side):
            return table
        square = table.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1).to(dtype)

    def _block(self, stage: int, at: str, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Table 17: select among tokens, among channels, one after the other, or both side by side."""
        config = self.config

        def spatial(x: Tensor) -> Tensor:
            count = config.global_count or grid[0]
            return self._stim(at + "spatial.", x, config.keep[stage], config.global_tokens, count)

        def channel(x: Tensor) -> Tensor:
            return self._channel(at + "channel.", x, grid, config.channel_keep[stage], config.channel_sides[stage])

        steps: dict[str, Callable[[], Tensor]] = {
            "spatial": lambda: spatial(x),
            "channel": lambda: channel(x),
            "serial": lambda: channel(spatial(x)),
            "parallel": lambda: (spatial(x) + channel(x)) / 2,
        }
        return steps[config.selection]()

    def _stim(self, at: str, x: Tensor, keep: int, place: str, count: int) -> Tensor:
        """X + D with D = pi X everywhere, but pi Z at the chosen tokens."""
        if keep == 0:
            return self._mixer(at + "mixer.", x)
        scores = F.linear(x, self.weights[at + "gate.weight"]).squeeze(-1)
        pi = scores.softmax(dim=-1)
        k = x.shape[1] // keep
        order = scores.topk(k, dim=-1, sorted=True).indices
        index = order.unsqueeze(-1).expand(-1, -1, x.shape[2])
        chosen = x.gather(1, index)
        g = F.adaptive_avg_pool1d(x.transpose(1, 2), count).transpose(1, 2)
        first, second = chosen[:, : k // 2], chosen[:, k // 2 :]
        parts = {"none": [chosen], "head": [g, chosen], "head_tail": [g, chosen, g], "mid": [first, g, second]}[place]
        local = {"none": [0], "head": [1], "head_tail": [1], "mid": [0, 2]}[place]
        mixed = self._mixer(at + "mixer.", torch.cat(parts, dim=1)).split([part.shape[1] for part in parts], dim=1)
        z = torch.cat([mixed[i] for i in local], dim=1)
        d = pi.unsqueeze(-1) * x if self.config.weigh_dropped else torch.zeros_like(x)
        d = d.scatter(1, index, pi.gather(1, order).unsqueeze(-1) * z)
        return x + d

    def _channel(self, at: str, x: Tensor, grid: tuple[int, int], keep: int, side: int) -> Tensor:
        """Channels as tokens: their maps, resized to side x side, are the features.

        The authors' ChannelSparseMixer has a gate where `reduction_ratio > 1` only.
        """
        image = x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid)
        small = F.interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
        small = F.silu(self._conv2d(small, at + "reduce", 1, 1))
        mixed = self._stim(at + "mixer.", small.flatten(2), keep if keep > 1 else 0, "none", 1).reshape(small.shape)
        large = F.interpolate(mixed, size=grid, mode="bilinear", align_corners=False)
        new = F.silu(self._conv2d(large, at + "expand", 1, 1))
        return (new.flatten(2).transpose(1, 2) + x) / 2

    def _mixer(self, at: str, x: Tensor) -> Tensor:
        """The inner residual around Mamba's outputs on all paths, merged."""
        paths = self.config.paths
        shuffled = torch.randperm(x.shape[1], device=x.device) if "shuffle" in paths else x.new_empty(0).long()
        there: dict[str, Callable[[Tensor], Tensor]] = {
            "forward": lambda s: s,
            "reverse": lambda s: s.flip(1),
            "shuffle": lambda s: s[:, shuffled],
        }
        back = there | {"shuffle": lambda s: s[:, shuffled.argsort()]}
        stacked = self._mamba(at, torch.cat([there[path](x) for path in paths]))
        outputs = torch.stack([back[p](y) for p, y in zip(paths, stacked.chunk(len(paths)), strict=True)])
        if self.config.merge == "mean" or len(paths) == 1:
            return x + outputs.mean(dim=0)
        means = torch.cat([output.mean(dim=1) for output in outputs], dim=-1)
        shares = F.linear(means, self.weights[at + "gate.weight"]).softmax(dim=-1)
        return x + (shares.T[:, :, None, None] * outputs).sum(dim=0)

    def _mamba(self, at: str, x: Tensor) -> Tensor:
        """RMSNorm and Mamba (arXiv 2312.00752, figure 3)."""

        def w(name: str) -> Tensor:
            return self.weights[at + name]

        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(exact.pow(2).mean(dim=-1, keepdim=True) + 1e-5)
        normed = (exact * scale).to(x.dtype) * w("norm.weight")
        u, z = F.linear(normed, w("mamba.in_proj.weight")).chunk(2, dim=-1)
        kernel = w("mamba.conv1d.weight")
        padded = F.pad(u.transpose(1, 2), (kernel.shape[2] - 1, 0))
        u = F.silu(F.conv1d(padded, kernel, w("mamba.conv1d.bias"), groups=kernel.shape[0])).transpose(1, 2)
        rank, states = w("mamba.dt_proj.weight").shape[1], w("mamba.A_log").shape[1]
        dt, B, C = F.linear(u, w("mamba.x_proj.weight")).split([rank, states, states], dim=-1)
        delta = F.linear(dt, w("mamba.dt_proj.weight"))
        A = -torch.exp(w("mamba.A_log"))
        y = selective_scan(u, delta, A, B, C, w("mamba.D"), z, w("mamba.dt_proj.bias"), backend=self.scan)
        return F.linear(y, w("mamba.out_proj.weight"))

    def _conv2d(self, image: Tensor, at: str, stride: int, padding: int) -> Tensor:
        return F.conv2d(image, self.weights[at + ".weight"], self.weights[at + ".bias"], stride, padding)

    def _layer_norm(self, x: Tensor, at: str) -> Tensor:
        return F.layer_norm(x, (x.shape[-1],), self.weights[at + ".weight"], self.weights[at + ".bias"], eps=1e-6)
