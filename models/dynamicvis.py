"""DynamicVis (arXiv 2503.16426v1, section 3): only the most informative tokens pass through a state space model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import fused
from models.backbone import Backbone, InputError
from models.mamba import PathMixer
from models.position import PositionalEmbedding

GLOBAL_TOKENS = ("none", "head", "head_tail", "mid")
SELECTIONS = ("spatial", "channel", "serial", "parallel")


@dataclass(frozen=True)
class Route:
    """Which tokens one block of one stage lets through.

    Attributes:
        importance: (batch, N), softmax over the tokens of a map, so each row sums to 1. Carries gradients.
        kept: (batch, k), indices of the tokens that are mixed, most important first: the order of the scan.
        grid: rows and columns of the map; N = rows x columns, row by row.
    """

    importance: Tensor
    kept: Tensor
    grid: tuple[int, int]


Routes = list[list[Route]]
"""Stage by stage, block by block."""


@dataclass(frozen=True)
class DynamicVisConfig:
    """The shape of a DynamicVis and every switch that the paper's ablations turn.

    Attributes:
        widths: channels of the four stages (table 1).
        depths: blocks of the four stages (table 1).
        keep: one of so many tokens is kept in each stage (table 1: 8 means a reduction ratio of 7/8; table 16). 1 keeps
            all but still ranks and weighs them; 0 is a stage without selection: no gate, no global tokens, no weights.
        image_size: side in pixels for which the positional embedding is made; other sizes resize it bicubically.
        paths: scan paths (table 15), see `models.mamba.PATHS`.
        merge: how paths are merged (table 15), see `models.mamba.MERGES`.
        selection: what is selected: `spatial` tokens, `channel` maps, `serial` (spatial, then channel) or `parallel`
            (their mean) (table 17).
        channel_sides: side to which a channel's map is resized, a stage each; the paper gives none (table 17).
        channel_keep: like `keep`, for channels (table 17), but 1 is no selection either, as in the authors' code.
        global_tokens: where the global tokens stand in the sequence: `none`, `head`, `head_tail` or `mid` (table 18).
        global_count: how many; None is one for each row of the stage's map (table 18).
        noise_scale: scale of the Gumbel noise added to the importance while training, >= 0 (table 19).
        weigh_dropped: also scale the tokens left out by their importance; off, they pass unchanged.
        states: state size of the scan.
        scan: scan backend, see `models.scan.BACKENDS`.
    """

    widths: tuple[int, int, int, int] = (96, 192, 384, 768)
    depths: tuple[int, int, int, int] = (2, 4, 16, 4)
    keep: tuple[int, int, int, int] = (8, 4, 2, 1)
    image_size: int = 512
    paths: tuple[str, ...] = ("forward", "reverse")
    merge: str = "mean"
    selection: str = "spatial"
    channel_sides: tuple[int, int, int, int] = (16, 16, 16, 16)
    channel_keep: tuple[int, int, int, int] = (1, 2, 2, 4)
    global_tokens: str = "head"
    global_count: int | None = None
    noise_scale: float = 0.1
    weigh_dropped: bool = True
    states: int = 16
    scan: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that no model can be built from."""
        if self.global_tokens not in GLOBAL_TOKENS:
            raise ValueError(f"unknown global_tokens '{self.global_tokens}': choose from {', '.join(GLOBAL_TOKENS)}")
        if self.selection not in SELECTIONS:
            raise ValueError(f"unknown selection '{self.selection}': choose from {', '.join(SELECTIONS)}")
        if min(*self.keep, *self.channel_keep) < 0:
            raise ValueError(f"keep {self.keep} and channel_keep {self.channel_keep} must not be negative")
        if self.global_count is not None and self.global_count < 1:
            raise ValueError(f"global_count is {self.global_count}, it must be >= 1 or None")
        if min(self.states, *self.channel_sides) < 1:
            raise ValueError(f"states {self.states} and channel_sides {self.channel_sides} must be positive")
        if self.noise_scale < 0:
            raise ValueError(f"noise_scale is {self.noise_scale}, it must be >= 0")
        if self.image_size <= 0 or self.image_size % 32:
            raise ValueError(f"image_size is {self.image_size}, it must be a positive multiple of 32")


class SelectiveMixer(nn.Module):
    """One STIM block: rank the tokens, mix the important ones, add the result to all (section 3.2, equations 4 to 8).

    With importance pi, a token left out becomes (1 + pi) x, a kept one x + pi (x + r), where r is the mixer's output:
    the incremental connection. Without selection (`keep` 0) every token becomes x + r.

    Args:
        width: channels of a token.
        keep: one of so many tokens is kept; 0: no selection.
        config: the model's switches.
        global_tokens: where the global tokens stand; overrides the config's, which channel selection cannot use.

    Attributes:
        fuse: whether `models.fused` may be used where it can.
    """

    fuse = True

    def __init__(self, width: int, keep: int, config: DynamicVisConfig, global_tokens: str) -> None:
        super().__init__()
        self.keep = keep
        self.global_tokens = global_tokens if keep else "none"
        self.global_count = config.global_count
        self.weigh_dropped = config.weigh_dropped
        self.noise_scale = config.noise_scale
        self.gate = nn.Linear(width, 1, bias=False) if keep else None
        self.mixer = PathMixer(width, paths=config.paths, merge=config.merge, states=config.states, scan=config.scan)

    def forward(
        self, tokens: Tensor, grid: tuple[int, int], routes: list[Route] | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Mix tokens (batch, N, width) of a map of `grid` rows and columns; appends to `routes` what was kept.

        With `overwrite` the result takes the place of `tokens` in memory, for which autograd must be off.
        """
        if self.gate is None:
            update: Tensor = self.mixer(tokens)
            return tokens.add_(update) if overwrite else tokens + update
        scores = self.gate(tokens).squeeze(-1)
        importance = scores.softmax(dim=-1)
        kept = self._select(scores.detach())
        if routes is not None:
            routes.append(Route(importance, kept, grid))
        if overwrite and self.fuse and self.global_tokens != "mid" and fused.usable(tokens):
            return self._mix_fused(tokens, kept, importance, grid)
        index = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        # Under autocast the mixer may end in a lower precision than that of the sum.
        update = self._mix(tokens, index, grid).to(tokens.dtype)
        weights = importance.unsqueeze(-1)
        if self.weigh_dropped:
            update *= weights.gather(1, kept.unsqueeze(-1))
            mixed = tokens.mul_(1 + weights) if overwrite else tokens * (1 + weights)
            return mixed.scatter_add_(1, index, update.to(mixed.dtype))
        update += tokens.gather(1, index)
        update *= weights.gather(1, kept.unsqueeze(-1))
        return tokens.scatter_add_(1, index, update) if overwrite else tokens.scatter_add(1, index, update)

    def _select(self, scores: Tensor) -> Tensor:
        """Return the indices of the k highest scores, highest first; equal scores in the order of the map."""
        k = scores.shape[1] // self.keep
        if k == 0:
            raise InputError(f"keeping one of {self.keep} of {scores.shape[1]} tokens leaves none: use a larger image")
        if self.training and self.noise_scale > 0:
            # Gumbel noise spreads the load over tokens (section 3.2.2 and table 19).
            scores = scores - self.noise_scale * torch.empty_like(scores).exponential_().log()
        return scores.sort(dim=-1, descending=True, stable=True).indices[:, :k]

    def _mix(self, tokens: Tensor, index: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mix the tokens at `index` with global tokens among them; returns the chosen tokens' outputs only."""
        k, place = index.shape[1], self.global_tokens
        mixed: Tensor
        if place == "none":
            mixed = self.mixer(tokens.gather(1, index))
            return mixed
        pooled = self._pooled(tokens, grid)
        count = pooled.shape[1]
        half = k // 2 if place == "mid" else 0  # how many chosen tokens stand before the global ones
        ending = [pooled] if place == "head_tail" else []
        # Nothing holds the sequence once it is projected, so that its memory is free while the paths run.
        mixed = self.mixer.mix(
            self.mixer.project(
                torch.cat(
                    [tokens.gather(1, index[:, :half]), pooled, tokens.gather(1, index[:, half:]), *ending], dim=1
                )
            )
        )
        if half:
            return torch.cat([mixed[:, :half], mixed[:, half + count :]], dim=1)
        return mixed[:, count : count + k]

    def _mix_fused(self, tokens: Tensor, kept: Tensor, importance: Tensor, grid: tuple[int, int]) -> Tensor:
        """Do in place, with the kernels of `models.fused`, what `forward` does with the tokens that are kept."""
        norm, k = self.mixer.norm, kept.shape[1]
        pooled = None if self.global_tokens == "none" else self._pooled(tokens, grid)
        count = 0 if pooled is None else pooled.shape[1]
        assert norm.eps is not None
        sequence = fused.gather_norm(tokens, kept, pooled, self.global_tokens == "head_tail", norm.weight, norm.eps)
        update = self.mixer.mix(self.mixer.mamba.in_proj(sequence))[:, count : count + k]
        if self.weigh_dropped:
            tokens.mul_(1 + importance.unsqueeze(-1))
        fused.add_kept(tokens, kept, importance, update, not self.weigh_dropped)
        return tokens

    def _pooled(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the global tokens: means over as many parts of the map."""
        count = self.global_count or grid[0]
        if tokens.shape[1] % count == 0:  # equal parts need no transposed copy
            parts: Tensor = tokens.unflatten(1, (count, -1))
            return parts.mean(dim=2)
        return F.adaptive_avg_pool1d(tokens.transpose(1, 2), count).transpose(1, 2)


class ChannelMixer(nn.Module):
    """Selection along channels: each channel's map, resized to a small square, is a token (table 17).

    Args:
        width: channels of the map, here the number of tokens.
        side: of the square.
        keep: one of so many channels is kept; 0 or 1: no selection.
        config: the model's switches.
    """

    def __init__(self, width: int, side: int, keep: int, config: DynamicVisConfig) -> None:
        super().__init__()
        self.side = side
        self.reduce = nn.Conv2d(width, width, 3, padding=1)
        self.mixer = SelectiveMixer(side * side, keep if keep > 1 else 0, config, global_tokens="none")
        self.expand = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mix tokens (batch, N, width) of a map of `grid` rows and columns along their channels."""
        batch, _, width = tokens.shape
        image = tokens.transpose(1, 2).reshape(batch, width, *grid)
        small = F.interpolate(image, size=(self.side, self.side), mode="bilinear", align_corners=False)
        small = F.silu(self.reduce(small)).flatten(2)
        small = self.mixer(small, (width, 1), overwrite=not torch.is_grad_enabled()).reshape(
            batch, width, self.side, self.side
        )
        large = F.interpolate(small, size=grid, mode="bilinear", align_corners=False)
        large = F.silu(self.expand(large)).flatten(2).transpose(1, 2)
        return (tokens + large) / 2


class Block(nn.Module):
    """Spatial mixing, channel mixing or both (table 17)."""

    def __init__(self, stage: int, config: DynamicVisConfig) -> None:
        super().__init__()
        width = config.widths[stage]
        self.parallel = config.selection == "parallel"
        self.spatial = (
            SelectiveMixer(width, config.keep[stage], config, config.global_tokens)
            if config.selection != "channel"
            else None
        )
        self.channel = (
            ChannelMixer(width, config.channel_sides[stage], config.channel_keep[stage], config)
            if config.selection != "spatial"
            else None
        )

    def forward(
        self, tokens: Tensor, grid: tuple[int, int], routes: list[Route] | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Mix tokens (batch, N, width) of a map of `grid` rows and columns; `overwrite` as for `SelectiveMixer`."""
        overwrite = overwrite and not self.parallel  # where both sides read the tokens
        mixed = tokens if self.spatial is None else self.spatial(tokens, grid, routes, overwrite=overwrite)
        if self.channel is not None and self.parallel:
            mixed = (mixed + self.channel(tokens, grid)) / 2
        elif self.channel is not None:
            mixed = self.channel(mixed, grid)
        return mixed


class Stage(nn.Module):
    """Patch merging, blocks, norm (section 3.1 and table 1)."""

    def __init__(self, stage: int, config: DynamicVisConfig) -> None:
        super().__init__()
        width = config.widths[stage]
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        previous = 3 if stage == 0 else config.widths[stage - 1]
        self.merge = nn.Conv2d(previous, width, kernel, stride, kernel // 2)
        nn.init.kaiming_normal_(self.merge.weight, nonlinearity="linear")
        assert self.merge.bias is not None
        nn.init.zeros_(self.merge.bias)
        self.merge_norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(stage, config) for _ in range(config.depths[stage]))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: Tensor, position: PositionalEmbedding | None, routes: list[Route] | None = None) -> Tensor:
        """Turn a map (batch, previous width, height, width) into the stage's, at a half or quarter of its sides."""
        overwrite = not torch.is_grad_enabled()  # this stage's tokens are its own
        image = self.merge(image.contiguous(memory_format=torch.channels_last))
        batch, width, *sides = image.shape
        grid = (sides[0], sides[1])
        tokens = self.merge_norm(image.flatten(2).transpose(1, 2))
        del image  # free it before the blocks need memory
        if position is not None:
            tokens = position(tokens, grid, overwrite=overwrite)
        for block in self.blocks:
            tokens = block(tokens, grid, routes, overwrite=overwrite)
        return self.norm(tokens).transpose(1, 2).reshape(batch, width, *grid)  # type: ignore[no-any-return]


class DynamicVis(Backbone):
    """Four stages of selective mixing; feature maps at strides 4, 8, 16 and 32.

    Args:
        config: shape and switches.
    """

    strides = (4, 8, 16, 32)
    pooled_norm = True  # section 4.3.1

    def __init__(self, config: DynamicVisConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.widths
        self.position = PositionalEmbedding(config.image_size // 4, config.widths[0])
        self.stages = nn.ModuleList(Stage(stage, config) for stage in range(4))

    def forward(self, image: Tensor, routes: Routes | None = None) -> tuple[Tensor, ...]:
        """Compute four feature maps; see `Backbone.forward`.

        Args:
            image: (batch, 3, height, width), sides divisible by 32.
            routes: an empty list to be filled with what each block keeps.

        Raises:
            InputError: a wrong shape, or so small an image that a stage would keep no token.
        """
        self.check(image)
        maps: list[Tensor] = []
        current = image
        for index, stage in enumerate(self.stages):
            kept: list[Route] | None = None
            if routes is not None:
                routes.append(kept := [])
            current = stage(current, self.position if index == 0 else None, kept)
            maps.append(current)
        return tuple(maps)

    def set_noise(self, scale: float) -> None:
        """Set the scale (>= 0) of the Gumbel noise in every block, as a schedule does between epochs (table 19)."""
        if scale < 0:
            raise ValueError(f"noise scale is {scale}, it must be >= 0")
        for module in self.modules():
            if isinstance(module, SelectiveMixer):
                module.noise_scale = scale

    def set_fused(self, on: bool) -> None:
        """Let every block use the fused kernels of `models.fused` where they work, as they do by default, or not."""
        for module in self.modules():
            if isinstance(module, SelectiveMixer):
                module.fuse = on
