"""The audit finds what was found by hand in the paper's tables, and nothing else."""

import pytest

from dvbench.paper.audit import CHECKS, F1, IOU, audit, audit_tables
from reports.compare import Comparison, Verdict

#: Rows whose F1 or IoU is more than 0.15 points off, found by hand: (row, what F1 follows, what IoU follows), None
#: where that fits or cannot be computed.
BY_HAND = {
    "table 6, SegNet": (72.89, 56.56),
    "table 6, ResUNet": (75.84, 60.89),
    "table 6, Mask2Former": (76.89, None),
    "table 6, DynamicVis-B‡": (77.41, 64.06),
    "table 6, DynamicVis-L‡": (None, 64.24),
    "table 6, DynamicVis-L 2x": (80.28, 66.76),
    "table 8, GASNet": (None, 82.68),
    "table 8, TTP": (92.35, 85.36),
    "table 8, DynamicVis-L": (None, 85.01),
    "table 8, DynamicVis-L 2x": (None, 85.74),
    "table 9, GCD-DDPM": (None, 86.12),
    "table 9, ICIFNet": (89.12, 79.08),
    "table 9, DMINet": (89.89, None),
    "table 9, DynamicVis-B‡": (92.32, 86.24),
    "table 9, DynamicVis-B": (93.95, None),
    "table 9, DynamicVis-B 2x": (None, 89.16),
    "table 9, DynamicVis-L‡": (None, 86.41),
    "table 9, DynamicVis-L 2x": (94.59, 90.10),
    "table 10, SwiMDiff": (49.78, None),
    "table 10, EATDer": (None, 37.20),
    "table 10, SeCo": (53.13, None),
    "table 10, MoCo-v2": (41.82, None),
    "table 10, SpectralGPT": (53.81, None),
    "table 10, SpectralGPT+": (54.69, None),
}


def wrong(*columns: str) -> list[Comparison]:
    return [one for one in audit() if one.verdict == Verdict.DIFFERS and (not columns or one.column in columns)]


def test_f1_and_iou_are_off_in_the_24_rows_found_by_hand() -> None:
    found: dict[str, dict[str, float]] = {}
    for one in wrong(F1, IOU):
        assert one.ours is not None
        found.setdefault(one.row, {})[one.column] = round(one.ours, 2)
    assert {row: (values.get(F1), values.get(IOU)) for row, values in found.items()} == BY_HAND
    assert sum("DynamicVis" in row for row in found) == 10


def test_nothing_else_is_off_but_one_memory_and_one_quoted_ratio() -> None:
    others = [one for one in wrong() if one.column not in (F1, IOU)]
    assert [(one.row, one.paper, round(one.ours or 0, 2)) for one in others] == [
        ("table 16, no reduction", 379.99, 371.98),
        ("text, max batch of DynamicVis-B", 6.0, 5.37),
    ]


@pytest.mark.parametrize(
    ("row", "follows"),
    [
        ("abstract, latency", 97.18),
        ("abstract, latency share of vit", 6.15),
        ("abstract, gpu memory", 833.21),
        ("abstract, gpu memory share of vit", 3.30),
        ("text, throughput of DynamicVis-B", 2.18),
        ("text, throughput of DynamicVis-L", 2.04),
        ("text, max batch of DynamicVis-L", 5.95),
    ],
)
def test_what_abstract_and_text_quote_is_what_the_tables_give_rounded(row: str, follows: float) -> None:
    (one,) = [one for one in audit() if one.row == row]
    assert one.ours == pytest.approx(follows, abs=0.005)
    assert one.verdict == Verdict.REPRODUCED


def test_the_default_of_each_ablation_is_a_row_of_table_2() -> None:
    lines = [one for one in audit() if one.column == "F1 on AID"]
    assert [one.paper for one in lines] == [93.81] * 5 + [94.17]
    assert {one.verdict for one in lines} == {Verdict.REPRODUCED}


def test_every_check_tries_something_and_the_tables_add_up() -> None:
    (_, wrong_ones), (_, checks) = audit_tables()
    assert [row[0] for row in checks.rows] == list(CHECKS)
    counts = [[int(cell) for cell in row[2:]] for row in checks.rows]
    assert all(tried == fit + not_ > 0 for tried, fit, not_ in counts)
    assert sum(tried for tried, *_ in counts) == len(audit())
    assert len(wrong_ones.rows) == sum(not_ for *_, not_ in counts) == len(wrong())
