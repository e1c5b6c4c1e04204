"""The figure on the selection, from the reduced runs of table 16: accuracy against cost, and recall of the targets."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dvbench.paper import ablation_rows
from dvbench.tables.ablations import METRIC as SCORE
from dvbench.tables.ablations import against_default, reduced_counts, reduced_runs
from dvbench.training.summary import mean_and_spread, newest, value
from reports.plot import PlotError
from reports.record import Record
from reports.selection import Selection, selection_figure
from reports.table import Table
from tasks import protocol

TABLE = 16
STAGES = range(1, 5)


def selections(records: Sequence[Record]) -> list[Selection]:
    """Return what is known of each row of table 16 that has reduced runs.

    Args:
        records: oldest first; the newest of each run counts.
    """
    runs = newest(records)
    groups = ((row, reduced_runs(row, runs)) for row in ablation_rows.rows(TABLE))
    return [_selection(row, group) for row, group in groups if group]


def draw_selection(records: Sequence[Record], folder: Path) -> tuple[list[tuple[str, Table]], Figure]:
    """Draw the figure, and its recalls as a table.

    Args:
        records: oldest first; the newest of each run counts.
        folder: of the records, with what came of each test image.

    Raises:
        PlotError: nothing was run for it yet.
    """
    shown = selections(records)
    if not shown:
        raise PlotError("selection shows reduced runs of table 16, and none is there yet: dvbench reproduce selection")
    runs = [run for run in newest(records) if run.cell["protocol"] == ablation_rows.REDUCED]
    chosen = protocol.load(ablation_rows.REDUCED)
    seeds = max(len(one.accuracy) for one in shown)
    caption = (
        f"{chosen.models[0]} from scratch, {chosen.dataset}, {chosen.image_size} px, {seeds} seeds: mean and standard "
        f"deviation. Reduced scale: drawn scenes, small model; not comparable with the paper. {runs[-1].created[:10]}."
    )
    apart, failed = against_default(TABLE, newest(records), folder)
    if apart:
        told = "; ".join(f"{row}: {words}" for row, words in apart.items())
        caption += f" (a) against the default, paired over seeds and test images: {told} (points of {SCORE})."
    floor = max(value(run, "baseline") or 0.0 for run in runs)
    title = "What does the selection cost, and does it keep the targets?"
    recalls = _table(shown)
    recalls.notes += failed
    return [("selection", recalls)], selection_figure(shown, score=SCORE, floor=floor, title=title, caption=caption)


def _selection(row: ablation_rows.Row, group: Sequence[Record]) -> Selection:
    stages = [stage for stage in STAGES if all(f"recall_stage{stage}" in run.measures for run in group)]

    def of(name: str) -> list[list[float]]:
        return [[float(run.measures[name.format(stage)].value or 0) for run in group] for stage in stages]

    return Selection(
        label=row.name,
        macs=reduced_counts(row).macs,
        accuracy=[found for run in group if (found := value(run, SCORE)) is not None],
        kept=[values[0] for values in of("kept_stage{}")],
        untrained=of("recall_stage{}_untrained"),
        trained=of("recall_stage{}"),
    )


def _table(shown: Sequence[Selection]) -> Table:
    body = []
    for one in shown:
        for stage, kept in enumerate(one.kept):
            recalls = [
                mean_and_spread([100 * recall for recall in values[stage]]) for values in (one.untrained, one.trained)
            ]
            body.append([one.label, str(stage + 1), f"{100 * kept:.2f}", *recalls, str(len(one.trained[stage]))])
    columns = ["Reduction by stage", "stage", "random (%)", "before training (%)", "after training (%)", "seeds"]
    notes = [
        "Recall: share of the targets' pixels that lie in kept tokens; of random selection, the share of tokens kept.",
        "Reduced scale: drawn scenes, small model, no pretraining. Mean ± standard deviation over seeds.",
    ]
    return Table("Recall of the targets by the selection", columns, body, notes)
