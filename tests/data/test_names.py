"""Samples have names, which shares of a split and batches keep. Those of files are tested with `make`."""

from torch.utils.data import ConcatDataset, Subset

from dvbench.data.catalog import CATALOG, dataset
from dvbench.data.loaders import loader
from dvbench.data.names import sample_names
from dvbench.training.batches import Source, names
from tasks.protocol import load


def test_the_embedded_images_are_named_by_their_files() -> None:
    found, home = sample_names(dataset("neon_trees", "test")), CATALOG["neon_trees"].home
    assert home is not None
    assert sorted(found) == sorted(f"test/{path.name}" for path in (home / "images" / "test").iterdir())


def test_drawn_scenes_are_named_by_what_they_are_drawn_from() -> None:
    opened = dataset("synthetic_semantic", "test", count=3, size=64)
    assert sample_names(opened)[2] == "test/2, seed 0, 64 px, difficulty 1, houses of 32 px"
    for other in ({"size": 128}, {"seed": 1}, {"difficulty": 2}, {"object_size": 16}):
        changed = sample_names(dataset("synthetic_semantic", "test", count=3, **{"size": 64, **other}))
        assert not set(changed) & set(sample_names(opened))
    assert sample_names(dataset("synthetic_semantic", "test", count=2, size=64)) == sample_names(opened)[:2]


def test_a_dataset_that_does_not_tell_is_numbered() -> None:
    class Untold:
        split = "val"

        def __len__(self) -> int:
            return 2

    assert sample_names(Untold()) == ["val/0", "val/1"]


def test_shares_and_several_splits_keep_the_names_of_their_samples() -> None:
    opened = dataset("neon_trees", "test")
    whole = sample_names(opened)
    assert names(Subset(opened, [4, 1])) == [whole[4], whole[1]]
    assert names(ConcatDataset([Subset(opened, [2]), opened])) == [whole[2], *whole]
    card = CATALOG["neon_trees"].card
    assert names(loader(opened, card.task, 2, seed=0, train=False, workers=0)) == whole


def test_positions_in_a_batch_are_those_of_the_names() -> None:
    """Of retrieval, queries come first, from a split of their own."""
    chosen = load("synthetic_retrieval", changes={"counts": {"train": 2, "val": 2, "test": 3}})
    batches = Source(chosen, workers=0).test(chosen.test_split, 2)
    told, asked = names(batches), {}
    for batch in batches:
        asked |= dict(zip(batch["index"].tolist(), batch["is_query"].tolist(), strict=True))
    assert [name.split("/")[0] for name in told] == ["val", "val", "test", "test", "test"]
    assert [asked[index] for index in range(5)] == [True, True, False, False, False]
