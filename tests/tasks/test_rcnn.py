"""The second stage as the authors configure it: anchors, which box stands for which truth, losses, detections.

`roi_head`, `rpn_head` and `train_cfg` of configs_DynamicVis/NWPU/dynamicvis_b_nwpu_mamba.py and of SSDD's, which agree.
"""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from tasks.necks import STRIDES
from tasks.proposals import Anchors, Matcher, as_targets, image_list, named, proposal_network
from tasks.rcnn import BoxHead, Limits, Samples, decode, encode, sample

SIZES = [(4 * stride, 8 * stride) for stride in STRIDES]
BACKGROUND, NEITHER = -1, -2


def boxes(*corners: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(corners, dtype=torch.float64)


def test_anchors_have_exact_sides() -> None:
    """scales=[4, 8], ratios=[0.5, 1, 2] at stride 4: areas of 16 x 16 and 32 x 32, height over width as the ratio says.

    Order and corners are those of mmdet's AnchorGenerator.gen_single_level_base_anchors with center_offset 0.
    """
    made = Anchors((SIZES[0],), ((0.5, 1.0, 2.0),)).generate_anchors(SIZES[0], (0.5, 1.0, 2.0), torch.float64)
    short, long = 8 / math.sqrt(2), 8 * math.sqrt(2)
    halves = [(long, short), (2 * long, 2 * short), (8, 8), (16, 16), (short, long), (2 * short, 2 * long)]
    torch.testing.assert_close(made, boxes(*((-x, -y, x, y) for x, y in halves)))


def test_a_box_stands_for_the_truth_that_it_overlaps_most() -> None:
    overlaps = torch.tensor([[0.8, 0.6, 0.29, 0.1, 0.75], [0.1, 0.65, 0.2, 0.0, 0.9]])
    assert Matcher(0.7, 0.3, least=1.0)(overlaps).tolist() == [0, NEITHER, BACKGROUND, BACKGROUND, 1]


def test_a_truth_takes_its_best_boxes_from_an_overlap_of_three_tenths_on() -> None:
    """rpn.assigner: pos_iou_thr 0.7, neg_iou_thr 0.3, min_pos_iou 0.3, match_low_quality; ties all count."""
    proposing = Matcher(0.7, 0.3, least=0.3)
    assert proposing(torch.tensor([[0.4, 0.4, 0.35]])).tolist() == [0, 0, NEITHER]
    assert proposing(torch.tensor([[0.29, 0.29, 0.1]])).tolist() == [BACKGROUND] * 3


def test_a_truth_takes_its_best_box_even_from_one_that_the_box_overlaps_more() -> None:
    """rcnn.assigner: match_low_quality=True, min_pos_iou 0.5; a later truth wins (MaxIoUAssigner, step 4)."""
    assert Matcher(0.5, 0.5, least=0.5)(torch.tensor([[0.9, 0.8], [0.6, 0.1]])).tolist() == [1, 0]
    assert Matcher(0.5, 0.5, least=0.5)(torch.tensor([[0.9, 0.8], [0.4, 0.1]])).tolist() == [0, 0]


def test_proposals_for_a_box_smaller_than_every_anchor_are_not_forced() -> None:
    """4 x 4 px overlap an anchor of 16 x 16 by 1/16 at most, far below 0.3, so nothing is to be proposed there."""
    network = proposal_network(8, SIZES, (100, 50, 50))
    anchors = network.anchor_generator(
        image_list(torch.zeros(1, 3, 64, 64)), [torch.zeros(1, 8, 64 // s, 64 // s) for s in STRIDES]
    )
    tiny = as_targets([torch.tensor([[20.0, 20, 24, 24]])], [torch.tensor([1])])
    (labels,), _ = network.assign_targets_to_anchors(anchors, tiny)
    assert not labels.any()


def test_truths_join_the_proposals_after_these_were_matched() -> None:
    """add_gt_as_proposals: the near proposal overlaps the first truth by 81/119 and the second by 79/121.

    The second still takes it, being the later one, as none of the truths is a better box of its own yet.
    """
    truths, labels = torch.tensor([[0.0, 0, 10, 10], [0, 4, 10, 14]]), torch.tensor([7, 9])
    proposals = torch.tensor([[0.0, 1.9, 10, 11.9], [50, 50, 60, 60]])
    drawn = sample(proposals, truths, labels, 64)
    found = {tuple(box): label for box, label in zip(drawn.boxes.tolist(), drawn.labels.tolist(), strict=True)}
    assert found[tuple(proposals[0].tolist())] == 9
    assert found[0.0, 0.0, 10.0, 10.0] == 7
    assert found[50.0, 50.0, 60.0, 60.0] == 0


def test_at_most_a_quarter_of_the_samples_stands_for_a_truth() -> None:
    """rcnn.sampler: num=512, pos_fraction=0.25; background fills what positives leave."""
    truths = torch.tensor([[0.0, 0, 10, 10]])
    near, far = truths.repeat(300, 1), torch.tensor([[50.0, 50, 60, 60]]).repeat(600, 1)
    many = sample(torch.cat([near, far]), truths, torch.tensor([3]), 512)
    assert (int(many.positive.sum()), len(many.boxes)) == (128, 512)
    few = sample(far, truths, torch.tensor([3]), 512)
    assert (int(few.positive.sum()), len(few.boxes)) == (1, 512)
    assert few.labels.tolist() == [3] + [0] * 511
    none = sample(far, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 512)
    assert not none.positive.any()


def test_offsets_are_those_of_faster_rcnn_over_their_deviations() -> None:
    """Moved by half a side and a quarter, twice as wide: (0.5 / 0.1, 0.25 / 0.1, log 2 / 0.2, 0)."""
    proposal, box = boxes((10, 10, 30, 50)), boxes((10, 20, 50, 60))
    expected = torch.tensor([[5, 2.5, math.log(2) / 0.2, 0]], dtype=torch.float64)
    torch.testing.assert_close(encode(box, proposal), expected)
    torch.testing.assert_close(decode(expected, proposal), box)


def constant_head(classes: int, offsets: list[float]) -> BoxHead:
    """A head that finds every class as likely, and the same offsets for each."""
    head = BoxHead(2, 7, 4, classes).double()
    for layer in (head.classes, head.boxes):
        torch.nn.init.zeros_(layer.weight)
    with torch.no_grad():
        head.boxes.bias.copy_(torch.tensor(offsets, dtype=torch.float64).repeat(classes - 1))
    return head


def test_losses_of_the_box_head_are_those_worked_out_by_hand() -> None:
    """loss_bbox: SmoothL1Loss without beta, which is 1: 0.5² / 2 + (2 - 0.5) of one region in four; loss_cls: log 3."""
    truth = boxes((8, 8, 24, 24))
    regions = torch.cat([truth, boxes((0, 0, 4, 4), (4, 4, 9, 9), (40, 40, 60, 60))])
    samples = Samples(regions, torch.tensor([2, 0, 0, 0]), torch.tensor([0, -1, -1, -1]))
    features = torch.zeros(4, 2, 7, 7, dtype=torch.float64)
    losses = constant_head(3, [0.5, -2, 0, 0]).losses(features, [samples], [truth])
    assert losses["box"].item() == pytest.approx((0.125 + 1.5) / 4)
    assert losses["classification"].item() == pytest.approx(math.log(3))


def test_losses_of_the_proposals_are_those_worked_out_by_hand() -> None:
    """loss_bbox: beta 1/9, so an error of 0.5 costs 0.5 - 1/18; loss_cls: log 2 where nothing is known."""
    network = proposal_network(8, SIZES, (100, 50, 50))
    labels = torch.tensor([1.0, 0, 0, 0])
    wrong = torch.zeros(4, 4)
    wrong[0, 1] = 0.5
    objectness, box = network.compute_loss(torch.zeros(4, 1), wrong, [labels], [torch.zeros(4, 4)])
    assert box.item() == pytest.approx((0.5 - 1 / 18) / 4)
    assert objectness.item() == pytest.approx(math.log(2))


def test_detections_are_clipped_to_the_input_and_suppressed_class_by_class() -> None:
    """score_thr=0.05, nms 0.5, max_per_img=100; classes of equal score keep a box each."""
    proposals = torch.tensor([[-10.0, 0, 30, 40], [-9, 0, 30, 40], [40, 40, 60, 60]], dtype=torch.float64)
    head, features = constant_head(3, [0.0] * 4), torch.zeros(3, 2, 7, 7, dtype=torch.float64)
    (found,) = head.detect(features, [proposals], (64, 50), Limits(0.05, 0.5, 100))
    assert sorted(map(tuple, found["boxes"].tolist())) == [(0, 0, 30, 40)] * 2 + [(40, 40, 50, 60)] * 2
    assert sorted(found["labels"].tolist()) == [1, 1, 2, 2]
    assert found["scores"].tolist() == pytest.approx([1 / 3] * 4)
    (best,) = head.detect(features, [proposals], (64, 50), Limits(0.05, 0.5, 1))
    assert len(best["boxes"]) == 1
    (none,) = head.detect(features, [proposals], (64, 50), Limits(0.34, 0.5, 100))
    assert len(none["boxes"]) == 0


def test_proposals_are_trained_and_made_on_all_five_maps() -> None:
    torch.manual_seed(0)
    network = proposal_network(8, SIZES, (100, 50, 50))
    maps = [torch.randn(1, 8, 64 // stride, 64 // stride) for stride in STRIDES]
    truth = torch.tensor([[8.0, 8, 40, 40]])
    proposals, losses = network(image_list(torch.zeros(1, 3, 64, 64)), named(maps), as_targets([truth], [truth[:, 0]]))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert len(proposals[0]) <= 50
    assert box_iou(truth, proposals[0]).max() > 0.3
