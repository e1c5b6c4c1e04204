"""RSMamba (arXiv 2403.19654): Mamba along the sequence, its reverse and a shuffle of it, merged by a gate."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from models.backbone import Backbone
from models.mamba import PathMixer
from models.position import PositionalEmbedding

PATCH, STRIDE = 16, 8


class RSMamba(Backbone):
    """RSMamba: overlapping patches of 16 at steps of 8, and multi-path blocks (section II).

    The defaults are RSMamba-B. As released, one LayerNorm stands before every block and its weights are shared, the
    image is padded with zeros at its lower right so that there is a patch at every eighth pixel, and the shuffled path
    draws a new permutation in each block, in eval mode too: set a seed for repeatable outputs.

    Args:
        width: channels of a token.
        depth: blocks.
        paths: which paths run, see `models.mamba.PATHS`.
        merge: how they are merged, see `models.mamba.MERGES`.
        states: numbers of state for each inner channel.
        image_size: side in pixels for which the positional embedding is made; other sizes resize it bicubically.
        scan: scan backend, see `models.scan.BACKENDS`.

    Raises:
        ValueError: an unknown path or merge, or `image_size` is no positive multiple of 8.
    """

    strides = (STRIDE,)
    divisor = STRIDE
    pooled_norm = True

    def __init__(
        self,
        width: int = 192,
        depth: int = 24,
        *,
        paths: Sequence[str] = ("forward", "reverse", "shuffle"),
        merge: str = "gate",
        states: int = 16,
        image_size: int = 224,
        scan: str = "auto",
    ) -> None:
        super().__init__()
        if image_size <= 0 or image_size % STRIDE:
            raise ValueError(f"image_size is {image_size}, it must be a positive multiple of {STRIDE}")
        self.channels = (width,)
        self.patch = nn.Conv2d(3, width, PATCH, STRIDE, bias=False)
        nn.init.kaiming_normal_(self.patch.weight, nonlinearity="linear")
        self.position = PositionalEmbedding(image_size // STRIDE, width)
        nn.init.trunc_normal_(self.position.weight, std=0.02)
        self.pre_norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(
            PathMixer(width, paths=paths, merge=merge, states=states, scan=scan, norm=nn.Identity())
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Compute one feature map at stride 8; see `Backbone.forward`."""
        self.check(image)
        patches = self.patch(F.pad(image, (0, PATCH - STRIDE, 0, PATCH - STRIDE)))
        grid = (patches.shape[2], patches.shape[3])
        tokens = self.position(patches.flatten(2).transpose(1, 2), grid)
        del patches  # free it before the blocks need memory
        for block in self.blocks:
            tokens = tokens + block(self.pre_norm(tokens))
        return (self.norm(tokens).transpose(1, 2).unflatten(2, grid),)
