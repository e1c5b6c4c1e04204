"""The token map shows exactly the kept patches and says how many; a picture is written whole or not at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dvbench.show import ShowError, save_png, token_map
from models.dynamicvis import Route

SCENE = np.random.default_rng(0).integers(0, 200, (8, 8, 3), dtype=np.uint8)


def block(*kept: int, importance: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)) -> Route:
    return Route(torch.tensor([importance], requires_grad=True), torch.tensor([kept]), grid=(2, 2))


def draw(*stages: list[Route]) -> Figure:
    return token_map(SCENE, stages, title="A model", caption="Untrained weights, seed 0.")


def shown(figure: Figure, axes: int, image: int) -> NDArray[np.float64]:
    return np.asarray(figure.axes[axes].images[image].get_array(), dtype=np.float64)


def test_kept_patches_are_untouched_and_the_others_fade() -> None:
    kept = shown(draw([block(0, 3)]), axes=0, image=0)
    assert np.array_equal(kept[:4, :4], SCENE[:4, :4])
    assert np.array_equal(kept[4:, 4:], SCENE[4:, 4:])
    assert (kept[:4, 4:] > 200).all()
    assert (kept[4:, :4] > 200).all()


def test_a_patch_is_the_clearer_the_more_blocks_keep_it() -> None:
    kept = shown(draw([block(0, 1), block(0, 2)]), axes=0, image=0)
    fading = [np.abs(kept[patch] - SCENE[patch]).mean() for patch in (np.s_[:4, :4], np.s_[:4, 4:], np.s_[4:, 4:])]
    assert fading[0] == 0 < fading[1] < fading[2]


def test_heat_is_the_last_blocks_importance_relative_to_the_mean() -> None:
    heat = shown(draw([block(0), block(3, importance=(0.1, 0.2, 0.3, 0.4))]), axes=1, image=1)
    assert heat.shape == SCENE.shape[:2]
    np.testing.assert_allclose(heat[::4, ::4], np.array([[0.4, 0.8], [1.2, 1.6]]), rtol=1e-6)


def test_patch_borders_where_the_grid_does_not_divide_the_image() -> None:
    route = Route(torch.full((1, 9), 1 / 9), torch.tensor([[4]]), grid=(3, 3))
    kept = shown(draw([route]), axes=0, image=0)
    assert np.array_equal((kept == SCENE).all(axis=-1), np.pad(np.ones((3, 3), bool), ((3, 2), (3, 2))))


def test_titles_count_the_tokens_and_the_caption_is_there() -> None:
    figure = draw([block(0)], [block(0, 1)], [block(0, 1, 2)], [block(0, 1, 2, 3)])
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles[0] == "Stage 1: keeps 1 of 4 tokens (25 %)"
    assert titles[3] == "Stage 4: keeps 4 of 4 tokens (100 %)"
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("A model", "Untrained weights, seed 0.")


def test_dense_model_has_nothing_to_show() -> None:
    for stages in ([], [[block(0)], []]):
        with pytest.raises(ShowError, match="does not select tokens"):
            draw(*stages)


def test_png_is_written_with_equal_importance_too(tmp_path: Path) -> None:
    path = tmp_path / "new" / "map.png"
    save_png(draw([block(0, importance=(0.25,) * 4)]), path)
    with Image.open(path) as picture:
        assert min(picture.size) > 300
    assert [entry.name for entry in path.parent.iterdir()] == ["map.png"]


def test_failed_writing_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(_figure: Figure, file: Path, **_options: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "map.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", disk_full)
    with pytest.raises(ShowError, match=r"map\.png cannot be written \(No space left on device\)"):
        save_png(Figure(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.png"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShowError, match="cannot be written") as caught:
        save_png(Figure(), tmp_path / "file" / "map.png")
    assert "\n" not in str(caught.value)
