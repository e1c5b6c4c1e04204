"""Vision Mamba (arXiv 2401.09417): a plain backbone of bidirectional Mamba blocks, the class token in the middle."""

import math

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.mamba import Direction, Mamba, draw_steps, total
from models.position import PositionalEmbedding

TRUNCATED = 0.87962566103423978  # standard deviation that cutting at 2 leaves of a standard normal distribution


class BidirectionalMamba(Mamba):
    """Mamba with a second direction of its own weights (section 3.3, algorithm 1).

    Both directions share the projections in and out. Their outputs are averaged, as released: the algorithm adds them.

    Args:
        width: channels of the tokens.
        states: numbers of state for each inner channel.
        scan: backend of the selective scan.
    """

    def __init__(self, width: int, *, states: int = 16, scan: str = "auto") -> None:
        super().__init__(width, states=states, scan=scan)
        self.back = Direction(2 * width, self.rank, states=states, scan=scan)
        draw_steps(self.dt_proj.weight, self.dt_proj.bias)
        # The authors' code draws the first direction's step sizes only; it zeroes the other's bias like any other.
        nn.init.zeros_(self.back.dt_proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (batch, length, width) along their order; returns the same shape, without the residual."""
        x, z = self.in_proj(tokens).chunk(2, dim=-1)
        out: Tensor = self.out_proj(total((self.run(x, z), self.back.run(x, z, reverse=True))))
        return out.div_(2)


class VimBlock(nn.Module):
    """Norm, mixer, residual (section 3.3)."""

    def __init__(self, width: int, states: int, scan: str) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.mixer = BidirectionalMamba(width, states=states, scan=scan)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (batch, length, width)."""
        return tokens + self.mixer(self.norm(tokens))  # type: ignore[no-any-return]


class Vim(Backbone):
    """Vim with patches of 16 and the class token in the middle of the sequence (sections 3.2 and 3.4, table 1).

    The defaults are Vim-Ti. The feature map leaves the class token out; `pooled` is the class token, which is what the
    published classifier sees. Stochastic depth is left out: Vim-Ti was trained without.

    Args:
        width: channels of a token.
        depth: blocks.
        states: numbers of state for each inner channel.
        image_size: side in pixels for which the positional embedding is made; other sizes resize it bicubically.
        scan: scan backend, see `models.scan.BACKENDS`.

    Raises:
        ValueError: `image_size` is no positive multiple of 16.
    """

    strides = (16,)
    divisor = 16

    def __init__(
        self, width: int = 192, depth: int = 24, *, states: int = 16, image_size: int = 224, scan: str = "auto"
    ) -> None:
        super().__init__()
        if image_size <= 0 or image_size % 16:
            raise ValueError(f"image_size is {image_size}, it must be a positive multiple of 16")
        self.channels = (width,)
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.position = PositionalEmbedding(image_size // 16, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.class_position = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(VimBlock(width, states, scan) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self._initialise()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute one feature map at stride 16; see `Backbone.forward`."""
        tokens, (rows, columns) = self._tokens(image)
        middle = rows * columns // 2
        patches = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
        return (patches.transpose(1, 2).unflatten(2, (rows, columns)),)

    def pooled(self, image: Tensor) -> Tensor:
        """Return the class token after the last norm, (batch, width)."""
        tokens, (rows, columns) = self._tokens(image)
        return tokens[:, rows * columns // 2]

    def _tokens(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Compute all tokens, the class token behind the first half of the patches, and the grid of the patches."""
        self.check(image)
        patches = self.patch(image)
        batch, _, *sides = patches.shape
        grid = (sides[0], sides[1])
        tokens = self.position(patches.flatten(2).transpose(1, 2), grid)
        middle = tokens.shape[1] // 2
        one = (self.class_token + self.class_position).expand(batch, -1, -1)
        tokens = torch.cat([tokens[:, :middle], one, tokens[:, middle:]], dim=1)
        del patches  # free it before the blocks need memory
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens), grid

    @torch.no_grad()
    def _initialise(self) -> None:
        """Draw weights as the authors' code does: LeCun's for patches, and residual branches scaled by depth."""
        std = (3 * 16 * 16) ** -0.5 / TRUNCATED
        nn.init.trunc_normal_(self.patch.weight, std=std, a=-2 * std, b=2 * std)
        assert self.patch.bias is not None
        nn.init.zeros_(self.patch.bias)
        for parameter in (self.class_token, self.class_position, self.position.weight):
            nn.init.trunc_normal_(parameter, std=0.02)
        for block in self.blocks:
            assert isinstance(block, VimBlock)
            block.mixer.out_proj.weight.div_(math.sqrt(len(self.blocks)))
