"""How large the GPU run is: the real one, and the rehearsal that takes the same way on a CPU."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    Attributes:
        name: `full` or `rehearsal`.
        shapes: (steps, channels) of the scans, which are those of the model at `side`.
        longest: one more, checked forward only: longer than any of a 2048 px image.
        states: of the scans.
        model: whose variants race.
        side: of the image they race on, in pixels.
        sides: of table 14, the most telling first.
        least_s: seconds that one sample of a race fills at least.
        rounds: samples of each contender.
    """

    name: str
    shapes: tuple[tuple[int, int], ...]
    longest: tuple[int, int]
    states: int
    model: str
    side: int
    sides: tuple[int, ...]
    least_s: float
    rounds: int

    @property
    def rehearsal(self) -> bool:
        """Whether nothing that it measures is worth a record."""
        return self.name == "rehearsal"


#: The four stages of `dynamicvis_b` at 2048 px: kept tokens and one global token a row, and twice the width.
FULL = Scale(
    name="full",
    shapes=((33_280, 192), (16_640, 384), (8_320, 768), (4_160, 1536)),
    longest=(70_000, 192),
    states=16,
    model="dynamicvis_b",
    side=2048,
    sides=(2048, 1024, 4096, 512, 256, 128),
    least_s=2e-3,
    rounds=30,
)

#: The same way at sizes that two CPU cores, or Triton's interpreter, do in a minute or two.
REHEARSAL = Scale(
    name="rehearsal",
    shapes=((40, 48), (24, 96)),
    longest=(70, 24),
    states=16,
    model="dynamicvis_t",
    side=64,
    sides=(64,),
    least_s=0.0,
    rounds=3,
)
