"""A card knows its splits and whether a folder holds its dataset."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from dvbench.data.card import Task, UnknownSplitError
from dvbench.data.cards.change import LEVIR_CD
from dvbench.data.cards.semantic import WHU_BUILDING


def test_split_by_name() -> None:
    assert WHU_BUILDING.split("val").count == 1036


def test_unknown_split_names_those_there_are() -> None:
    with pytest.raises(UnknownSplitError, match="split 'dev' is not in whu_building; choose one of train, val, test"):
        WHU_BUILDING.split("dev")


def test_cards_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        WHU_BUILDING.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("prefix", ["", "train"])
def test_is_in_knows_both_packings_of_levir_cd(tmp_path: Path, prefix: str) -> None:
    for layer in ("A", "B", "label"):
        assert not LEVIR_CD.is_in(tmp_path)
        (tmp_path / prefix / layer).mkdir(parents=True)
        (tmp_path / prefix / layer / "train_1.png").touch()
    assert LEVIR_CD.is_in(tmp_path)


def test_is_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert not LEVIR_CD.is_in(tmp_path / "nowhere")


def test_is_in_survives_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert not LEVIR_CD.is_in(tmp_path)


def test_a_card_that_requires_nothing_is_everywhere(tmp_path: Path) -> None:
    assert replace(LEVIR_CD, required=()).is_in(tmp_path / "nowhere")


def test_tasks_are_plain_words() -> None:
    assert [str(task) for task in Task] == [
        "classification",
        "detection",
        "instance",
        "semantic",
        "change",
        "region",
        "retrieval",
    ]
