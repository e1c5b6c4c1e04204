"""How often verdicts are wrong and how often they are reached, over drawn experiments whose truth is known.

`python -m tests.simulate_verdicts` writes the tables that docs/measuring.md quotes; it takes some minutes.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.compare import Verdict, compare
from reports.estimate import estimate
from reports.ledger import write_atomically
from reports.paired import Difference, Score, difference
from reports.paired import Verdict as Answer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "measuring.md"
BLOCK = re.compile(r"(<!-- simulated:(\w+) -->\n\n)(.*?)(\n<!-- /simulated -->)", re.DOTALL)
DRAWS = 2000
PAPER, TOLERANCE = 80.0, 0.0125  # one point, so that everything below is in tolerances
TEST_IMAGES = 100  # as many as decide how well a bootstrap interval knows its own width
SPREADS = (0.2, 0.5, 2.0)
IMAGE_ERRORS = (0.1, 0.3, 1.0)


def drawn(seeds: int, spread: float, image_error: float, offset: float, draws: int = DRAWS) -> Iterator[Verdict]:
    """Yield the verdicts on runs whose true mean lies `offset` from the paper's number; all in tolerances."""
    generator = np.random.default_rng(0)
    own = generator.normal(0, spread, (draws, seeds))
    shared = generator.normal(0, image_error, (draws, 1))
    values = PAPER + offset + own + shared
    halves = 1.96 * image_error * np.sqrt(generator.chisquare(TEST_IMAGES - 1, (draws, seeds)) / TEST_IMAGES)
    for scores, half in zip(values, halves, strict=True):
        ours = estimate(scores.tolist(), list(zip(scores - half, scores + half, strict=True)))
        yield compare("", "", PAPER, ours, tolerance=TOLERANCE, comparable=True, reason="", source="drawn").verdict


def shares(seeds: int, spread: float, image_error: float, offset: float, draws: int = DRAWS) -> dict[Verdict, float]:
    """Return how often each verdict is given, in percent."""
    counts = Counter(drawn(seeds, spread, image_error, offset, draws))
    return {verdict: 100 * counts[verdict] / draws for verdict in Verdict}


def errors() -> list[list[str]]:
    """How often a verdict is wrong exactly at the edge of the tolerance, where it is hardest: the worst case."""
    body = [["seeds", "wrongly reproduced (%)", "wrongly differs (%)"]]
    for seeds in (1, 2, 3, 5):
        found = [shares(seeds, spread, image_error, 1.0) for spread in SPREADS for image_error in IMAGE_ERRORS]
        worst = [max(one[verdict] for one in found) for verdict in (Verdict.REPRODUCED, Verdict.DIFFERS)]
        body.append([str(seeds), *(f"{share:.1f}" for share in worst)])
    return body


def power() -> list[list[str]]:
    """How often a verdict is reached."""
    head = ["seeds", "spread over seeds", "error from images"]
    body = [[*head, "exact: reproduced (%)", "2 off: differs (%)", "3 off: differs (%)"]]
    for seeds in (3, 5, 10):
        for spread, image_error in ((0.2, 0.1), (0.2, 0.3), (0.5, 0.3), (1.0, 0.3)):
            same = shares(seeds, spread, image_error, 0.0)[Verdict.REPRODUCED]
            apart = [shares(seeds, spread, image_error, offset)[Verdict.DIFFERS] for offset in (2.0, 3.0)]
            body.append([str(seeds), f"{spread:g}", f"{image_error:g}", *(f"{share:.0f}" for share in (same, *apart))])
    return body


class Chance(NamedTuple):
    """What moves the difference between two models, in points, as standard deviations of A's and of B's scores.

    Attributes:
        seeds: of a model's level, from seed to seed.
        images: of one image, common to all seeds of a model.
        both: of one image at one seed.
    """

    seeds: float
    images: float
    both: float


CHANCES = {
    "seeds": Chance(1.0, 1.0, 1.0),
    "images": Chance(0.2, 6.0, 1.0),
    "seeds and images": Chance(1.0, 6.0, 2.0),
    "runs on single images": Chance(0.0, 0.0, 6.0),
}
IMAGES, RESAMPLES, POWER_DRAWS = 40, 199, 1000


def compared(seeds: int, chance: Chance, true: float, generator: np.random.Generator) -> tuple[Difference, float]:
    """Return a drawn comparison of two models that differ by `true`, and the true value of what it speaks of.

    With one seed each that is the difference of these two runs, on images without end.
    """
    a, b = (_scores(seeds, chance, generator) for _ in range(2))
    apart = true + (a[1] - b[1] if seeds == 1 else 0.0)
    runs = {seed: _score(a[0][seed] + true) for seed in range(seeds)}
    others = {seed: _score(b[0][seed]) for seed in range(seeds)}
    return difference(runs, others, IMAGES, margin=1.0, resamples=RESAMPLES), apart


def comparisons(seeds: int, chance: Chance, true: float, draws: int) -> list[tuple[Difference, float]]:
    """Return that many drawn comparisons."""
    generator = np.random.default_rng(0)
    return [compared(seeds, chance, true, generator) for _ in range(draws)]


def covered(found: Sequence[tuple[Difference, float]]) -> float:
    """Return how often the interval holds the true difference, in percent."""
    return 100 * sum(one.low <= true <= one.high for one, true in found) / len(found)


def called(verdict: Answer, found: Sequence[tuple[Difference, float]]) -> float:
    """Return how often the verdict is given, in percent."""
    return 100 * sum(one.verdict == verdict for one, _ in found) / len(found)


def coverage() -> list[list[str]]:
    """How often the interval of a paired comparison holds the true difference, by what moves the difference most."""
    body = [["seeds", *CHANCES]]
    for seeds in (1, 3, 5):
        shares = [covered(comparisons(seeds, chance, 0.7, DRAWS)) for chance in CHANCES.values()]
        body.append([str(seeds), *(f"{share:.1f}" for share in shares)])
    return body


def paired_power() -> list[list[str]]:
    """How often models of one point of spread over seeds are told apart, by their true difference in points."""
    differences = (0.0, 2.0, 3.0, 5.0)
    body = [["seeds", *(f"{true:g} points apart" for true in differences)]]
    for seeds in (3, 5, 10):
        found = [comparisons(seeds, CHANCES["seeds"], true, POWER_DRAWS) for true in differences]
        told = [called(Answer.BETTER, one) + called(Answer.WORSE, one) for one in found]
        body.append([str(seeds), *(f"{share:.0f}" for share in told)])
    return body


TABLES: Mapping[str, Callable[[], list[list[str]]]] = {
    "errors": errors,
    "power": power,
    "coverage": coverage,
    "paired_power": paired_power,
}


def quoted(name: str) -> list[list[str]]:
    """Read a table as the page quotes it."""
    text = next(found[3] for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8")) if found[2] == name)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [rows[0], *rows[2:]]


def main() -> None:
    """Write the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    write_atomically(PAGE, BLOCK.sub(lambda found: found[1] + _markdown(TABLES[found[2]]()) + found[4], text).encode())


def _markdown(body: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(body[0]) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [body[0], rule, *body[1:]])


def _scores(seeds: int, chance: Chance, generator: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """Draw the scores of a model's seeds on each image, and the level of the first."""
    levels = generator.normal(0, chance.seeds, (seeds, 1))
    both = generator.normal(0, chance.both, (seeds, IMAGES))
    return levels + generator.normal(0, chance.images, IMAGES) + both, float(levels[0, 0])


def _score(of_images: NDArray[np.float64]) -> Score:
    return lambda draws: of_images[draws].mean(-1)


if __name__ == "__main__":
    main()
