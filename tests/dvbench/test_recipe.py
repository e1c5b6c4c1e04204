"""Table 13 as the authors' tools take it."""

from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor

from dvbench.data.scene import default_scene
from dvbench.profile import recipe, subject
from dvbench.profile.cell import Cell
from dvbench.profile.recipe import RecipeError, formatted, throughput
from dvbench.profile.subject import Subject


@pytest.mark.parametrize(
    ("operations", "text"),
    [  # by hand from mmengine/analysis/print_helper.py, _format_size: limits exclusive, zeros and point taken off
        (362_236_000_000, "0.362T"),
        (100_000_000_001, "0.1T"),
        (100_000_000_000, "100G"),
        (30_011_400_000, "30.011G"),
        (9_500_000_000, "9.5G"),
        (100_000_000, "100M"),
        (100_001, "0.1M"),
        (2_048, "2.048K"),
        (100, "100"),
        (2 * 10**14, "0.2P"),
    ],
)
def test_counts_are_written_as_mmengine_writes_them(operations: int, text: str) -> None:
    assert formatted(operations) == text


def test_throughput_is_the_mean_of_twenty_passes_after_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []

    def features(images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        seen.append(tuple(images.shape))
        return images.mean()

    seconds = iter([0.1] + [0.1] * 19 + [2.1])  # a slow pass counts, as it would not in a median

    def time_once(call: object, _synchronize: object) -> float:
        call()  # type: ignore[operator]
        return next(seconds)

    monkeypatch.setattr(recipe, "time_once", time_once)
    given = {"device": "cpu", "dtype": torch.float32, "budget_s": 3.0}
    assert throughput(features, 4, 32, **given) == pytest.approx(4 * 20 / 4.0)  # type: ignore[arg-type]
    assert seen == [(4, 3, 32, 32)] * 30


def test_passes_that_take_too_long_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []

    def time_once(call: Callable[[], object], _synchronize: object) -> float:
        call()
        return 0.1

    monkeypatch.setattr(recipe, "time_once", time_once)
    told = "about 3 s estimated, the budget is 2 s: raise --budget"  # 30 passes of a tenth of a second
    with pytest.raises(RecipeError, match=told):
        throughput(lambda images: passes.append(len(images)), 4, 32, device="cpu", dtype=torch.float32, budget_s=2.0)
    assert passes == [4, 4]
    taken = Subject(Cell("dynamicvis_t", 32).settled(), default_scene(), None).recipe(8, 2.0)
    assert (taken.value, taken.note) == (None, told)


def test_a_batch_that_does_not_fit_all_passes_goes_down_by_four() -> None:
    tried: list[int] = []

    def runs_out(_features: object, batch: int, *_: object, **__: object) -> float:
        tried.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError("full")
        return 12.5

    one = Subject(Cell("dynamicvis_t", 32).settled(), default_scene(), None)
    with mock.patch.object(subject, "throughput", runs_out):
        taken = one.recipe(11, 60.0)
        assert (tried, taken.value, taken.note) == ([11, 7, 3], 12.5, "3 images a pass")
        assert one.recipe(8, 60.0).note == "no batch fits all passes"
    assert one.recipe(1, 60.0).value > 0  # type: ignore[operator]
