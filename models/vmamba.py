"""VMamba (arXiv 2401.10166): four stages whose tokens are scanned along rows and columns, in both directions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbone import Backbone
from models.mamba import decay, draw_steps, total
from models.scan import selective_scan


class CrossScan(nn.Module):
    """2D selective scan, SS2D (section 4.2 and figure 3), without the gate branch, which the later release dropped.

    The four directions, each with its own weights: along rows, along columns, and both backwards. The input-dependent
    parameters of all four come from one product, because they are made token by token. Backward directions run the
    scan in reverse; only the columns' sequence has to be gathered in another order, once for both of its directions.

    Args:
        width: channels of the map.
        states: numbers of state for each inner channel.
        expand: inner channels for each channel of the map.
        scan: backend of the selective scan.
    """

    def __init__(self, width: int, *, states: int = 1, expand: int = 2, scan: str = "auto") -> None:
        super().__init__()
        inner, rank = expand * width, math.ceil(width / 16)
        self.rank = rank
        self.states = states
        self.scan = scan
        self.in_proj = nn.Linear(width, inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.x_proj_weight = nn.Parameter(torch.empty(4, rank + 2 * states, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(4, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(4, inner))
        self.A_logs = nn.Parameter(torch.arange(1, states + 1, dtype=torch.float32).log().repeat(4 * inner, 1))
        self.Ds = nn.Parameter(torch.ones(4 * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, width, bias=False)
        for direction in range(4):
            nn.init.uniform_(self.x_proj_weight.data[direction], -(inner**-0.5), inner**-0.5)
            draw_steps(self.dt_projs_weight.data[direction], self.dt_projs_bias.data[direction])

    def forward(self, image: Tensor) -> Tensor:
        """Mix a map (batch, rows, columns, width); returns the same shape, without the residual."""
        image = self.conv2d(self.in_proj(image).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        u = F.silu(image, inplace=True)
        del image
        parameters = F.linear(u, self.x_proj_weight.flatten(0, 1)).unflatten(-1, (4, -1))
        down = total(self._run(u.transpose(1, 2), parameters.transpose(1, 2), (1, 3))).transpose(1, 2)
        y = total((*self._run(u, parameters, (0, 2)), down))
        mixed: Tensor = self.out_proj(self.out_norm(y))
        return mixed

    def _run(self, u: Tensor, parameters: Tensor, directions: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Scan a map (batch, rows, columns, inner) row by row, forwards and backwards, with two directions' weights."""
        sequence = u.flatten(1, 2)
        A, D = decay(self.A_logs).unflatten(0, (4, -1)), self.Ds.unflatten(0, (4, -1))
        outputs = []
        for backwards, k in enumerate(directions):
            dt, B, C = parameters[:, :, :, k].flatten(1, 2).split([self.rank, self.states, self.states], dim=-1)
            delta = F.linear(dt, self.dt_projs_weight[k])  # its bias is added inside the scan, in float32
            bias = self.dt_projs_bias[k]
            outputs.append(
                selective_scan(
                    sequence, delta, A[k], B, C, D[k], None, bias, reverse=bool(backwards), backend=self.scan
                ).view(u.shape)
            )
        return outputs[0], outputs[1]


class VSSBlock(nn.Module):
    """Cross scan and perceptron, each behind a norm and with a residual (section 4.3, figure 4)."""

    def __init__(self, width: int, states: int, expand: int, scan: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.op = CrossScan(width, states=states, expand=expand, scan=scan)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, image: Tensor) -> Tensor:
        """Mix a map (batch, rows, columns, width)."""
        image = image + self.op(self.norm(image))
        return image + self.mlp(self.norm2(image))  # type: ignore[no-any-return]


class VMamba(Backbone):
    """VMamba; feature maps at strides 4, 8, 16 and 32, the last one normalised as for the published classifier.

    The defaults are the release of March 2024 that its authors call VMamba-T[s2l5]: expansion 2, five blocks in the
    third stage, one state a channel, convolutional stem and downsampling, no bias in the depthwise convolutions. Its
    published stochastic depth (0.2) is left out; protocols of this project train without.

    Args:
        widths: channels of the four stages.
        depths: blocks of the four stages.
        states: numbers of state for each inner channel.
        expand: inner channels for each channel.
        scan: scan backend, see `models.scan.BACKENDS`.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (96, 192, 384, 768),
        depths: tuple[int, int, int, int] = (2, 2, 5, 2),
        *,
        states: int = 1,
        expand: int = 2,
        scan: str = "auto",
    ) -> None:
        super().__init__()
        self.channels = widths
        half = widths[0] // 2
        self.stem = nn.ModuleList([Downsample(3, half), Downsample(half, widths[0])])
        self.stages = nn.ModuleList(
            nn.ModuleList(VSSBlock(width, states, expand, scan) for _ in range(depth))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.downsample = nn.ModuleList(Downsample(widths[stage], widths[stage + 1]) for stage in range(3))
        self.norm = nn.LayerNorm(widths[-1])
        self.apply(_initialise)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute four feature maps; see `Backbone.forward`."""
        self.check(image)
        maps: list[Tensor] = []
        current = self.stem[1](F.gelu(self.stem[0](image.permute(0, 2, 3, 1))))
        for stage, blocks in enumerate(self.stages):
            if stage:
                current = self.downsample[stage - 1](current)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                current = block(current)
            maps.append(self.norm(current) if stage == 3 else current)
        return tuple(each.permute(0, 3, 1, 2) for each in maps)


class Downsample(nn.Module):
    """Convolution of 3 at steps of 2, norm (section 4.3)."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, wider, 3, 2, 1)
        self.norm = nn.LayerNorm(wider)

    def forward(self, image: Tensor) -> Tensor:
        """Halve the sides of a map (batch, rows, columns, width)."""
        return self.norm(self.conv(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    """Draw the linear layers as the authors' code does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
