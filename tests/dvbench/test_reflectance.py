"""Raw reflectance is normalised as the released code does it, which is not the same for every model (table 12)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dvbench.data import catalog
from dvbench.training.batches import Source
from dvbench.training.run_cell import RunCell

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, where white is 1


@pytest.mark.parametrize("dataset", ["bigearthnet", "bigearthnet19"])
@pytest.mark.parametrize(("model", "white"), [("dynamicvis_b", 255), ("dynamicvis_l", 255), ("vit_b16", 5000)])
def test_reflectance_is_scaled_as_the_released_code_does(
    dataset: str, model: str, white: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch of ImageNet's mean in the model's units becomes 0, one deviation above it 1."""
    bands = catalog.entry("bigearthnet").card.bands
    image = torch.zeros(len(bands), 64, 64)
    for name, mean, deviation in zip(("B04", "B03", "B02"), MEAN, DEVIATION, strict=True):
        image[bands.index(name)] = mean * white
        image[bands.index(name), 32:] += deviation * white

    def opened(*_: Any, transforms: Callable[[dict[str, Any]], dict[str, Any]], **__: Any) -> list[dict[str, Any]]:
        return [transforms({"image": image, "label": torch.zeros(19)})]

    monkeypatch.setattr(catalog, "dataset", opened)
    chosen = RunCell(model, dataset, "full", changes='{"image_size": 64}').load_protocol()
    (sample,) = Source(chosen).samples("val", chosen.test, keep_targets=True)  # type: ignore[misc]
    normal = sample["image"]
    torch.testing.assert_close(normal[:, :30], torch.zeros(3, 30, 64), rtol=0, atol=1e-3)
    torch.testing.assert_close(normal[:, 34:], torch.ones(3, 30, 64), rtol=0, atol=1e-3)
