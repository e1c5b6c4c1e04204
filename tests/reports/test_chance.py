import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.chance import reach, tail

FREEDOMS = st.integers(1, 50) | st.just(math.inf)
PARTS = st.lists(st.tuples(st.floats(1e-4, 1e4), FREEDOMS), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("freedom", "quantile", "printed"),
    [(2, 0.975, 4.303), (4, 0.975, 2.776), (4, 0.95, 2.132), (math.inf, 0.975, 1.960)],
)
def test_one_source_reaches_as_far_as_the_t_table_says(freedom: float, quantile: float, printed: float) -> None:
    assert reach([(9.0, freedom)], quantile) == pytest.approx(3 * printed, rel=2e-4)


def test_two_sources_mix_their_quantiles_by_variance() -> None:
    assert reach([(2.0, 2), (2.0, math.inf)]) == pytest.approx(2 * (0.5 * 4.3027 + 0.5 * 1.9600), rel=1e-4)


def test_a_further_source_never_shortens_the_reach() -> None:
    assert reach([(3.0, 2), (1.0, math.inf)]) == pytest.approx(math.sqrt(3) * 4.3027, rel=1e-4)


def test_a_source_without_variance_does_not_count() -> None:
    assert reach([(4.0, 4), (0.0, 0)]) == reach([(4.0, 4)])
    assert reach([(0.0, 2)]) == 0


def test_the_tail_is_what_the_t_table_says() -> None:
    assert tail(4.3027, [(1.0, 2)]) == pytest.approx(0.025, rel=1e-3)
    assert tail(-2.776, [(1.0, 4)]) == pytest.approx(0.975, rel=1e-3)
    assert tail(0.0, [(1.0, 4)]) == pytest.approx(0.5)
    assert tail(1e6, [(1.0, math.inf)]) < 1e-8


def test_without_chance_a_distance_is_certain() -> None:
    assert tail(0.1, []) == 0
    assert tail(-0.1, [(0.0, 3)]) == 1


@given(PARTS, st.floats(0.51, 0.9999))
def test_the_tail_undoes_the_reach(parts: list[tuple[float, float]], quantile: float) -> None:
    assert tail(reach(parts, quantile), parts) == pytest.approx(1 - quantile, abs=1e-6)
