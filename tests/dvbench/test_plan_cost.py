"""What a run costs is counted over its whole network, and equals what its layers add up to by hand."""

import pytest

from dvbench.profile.cell import Cell
from dvbench.profile.sweep import counts_of
from dvbench.training.plan import cost, work
from dvbench.training.run_cell import RunCell

#: Multiply-adds in G of one image, or pair, as a second reading of the published configurations counted them.
READ = {"whu_building": 967, "levir_ship": 537, "levir_cd": 446}


@pytest.mark.parametrize("protocol", READ)
def test_dense_networks_need_what_was_read_from_their_configurations(protocol: str) -> None:
    assert work(RunCell("dynamicvis_b", protocol, "full")) / 1e9 == pytest.approx(READ[protocol], abs=0.6)


def test_a_classifier_costs_its_backbone_and_one_layer() -> None:
    backbone = counts_of(Cell("resnet18", 512).settled()).macs - 512 * 1000  # whose own classifier has 1000 classes
    assert work(RunCell("resnet18", "aid", "full")) == backbone + 512 * 30


def test_regions_are_counted_as_often_as_they_are_sampled() -> None:
    """Of 512 regions: 7 x 7 cells through two layers of 1024; of 128 masks: four convolutions on 14 x 14."""
    few = RunCell("resnet18", "ssdd", "full", changes='{"head": {"extractor": "align", "samples": 4}}')
    many = RunCell("resnet18", "ssdd", "full", changes='{"head": {"extractor": "align", "samples": 8}}')
    box = 256 * 7 * 7 * 1024 + 1024**2 + 1024 * (2 + 4)  # one class and the background, one box
    mask = 4 * 9 * 256**2 * 14**2 + 4 * 256**2 * 14**2 + 256 * 28**2
    assert work(many) - work(few) == 4 * box + mask


def test_hours_follow_from_work_images_and_epochs() -> None:
    made = RunCell("resnet18", "aid", "full", seed=3)
    estimate = cost(made)
    assert estimate.images == 5000 * made.load_protocol().epochs
    assert estimate.gpu_hours == pytest.approx(3 * 2 * estimate.macs * estimate.images / (0.4 * 312e12) / 3600)
