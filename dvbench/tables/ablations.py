"""Tables 15 to 19 from counts and records: cost of every row, ours beside the paper, and reduced runs apart."""

from collections.abc import Sequence
from pathlib import Path

from dvbench.paper import ablation_rows
from dvbench.paper.ablation_rows import Row, rows
from dvbench.profile.cell import Cell
from dvbench.profile.counters import Counts
from dvbench.profile.sweep import counts_of
from dvbench.tables.scores import Beside, beside, draw
from dvbench.training.summary import REDUCED, learned, newest, newest_group, spread
from dvbench.verdicts.experiments import Experiment, experiments
from dvbench.verdicts.pairs import Pair, told_apart
from reports.compare import Comparison, Verdict, compare
from reports.record import Record
from reports.table import Named, Table
from tasks import protocol

METRIC = "f1"
SIDE = 512  # px, of the paper's ablations
MIB = 2**20
MEMORY_TABLE = 16
MEMORY_TOLERANCE = 0.05  # counted tensors against a measured peak, which also holds library workspace
_NOTES = {
    17: "The paper gives neither the side of the channels' squares nor their ratios: here 16 and 1, 2, 2, 4.",
    18: "Mid: the global tokens stand after half of the chosen ones. The released code cuts elsewhere and returns some "
    "global tokens in the place of chosen ones.",
    19: f"Loss: weight {ablation_rows.BALANCE}, as a comment in the released code has it; the paper gives none. Noise "
    "is drawn in training only, so it costs nothing in inference.",
}


def tables(number: int, records: Sequence[Record], folder: Path) -> list[Named]:
    """Return what table 15 to 19 costs, its scores beside ours at full scale, and the reduced runs, if there are any.

    Args:
        number: 15 to 19.
        records: oldest first; the newest of each run counts.
        folder: of the records, with what came of each test image.
    """
    runs = newest(records)
    drawn = [(f"table{number}_cost", cost_table(number)), (f"table{number}", _beside(number, records))]
    if reduced := _reduced(number, runs, folder):
        drawn.append((f"table{number}_{ablation_rows.REDUCED}", reduced))
    return drawn


def row_counts(row: Row) -> Counts:
    """Count a row at full size: the classifier of AID on one image of 512 x 512, in inference."""
    return counts_of(Cell(ablation_rows.MODEL, SIDE).settled(), switches=row.switches)


def reduced_counts(row: Row) -> Counts:
    """Count a row as reduced runs have it, on one image."""
    chosen = protocol.load(ablation_rows.REDUCED)
    switches = {**row.reduced_switches, "image_size": chosen.image_size}
    return counts_of(Cell(chosen.models[0], chosen.image_size).settled(), switches=switches)


def reduced_runs(row: Row, runs: Sequence[Record]) -> list[Record]:
    """Return the reduced runs of a row, one a seed: of the newest settings where a user has run it with several."""
    models = protocol.load(ablation_rows.REDUCED).models
    found = [
        run
        for run in runs
        if run.cell["protocol"] == ablation_rows.REDUCED
        and run.cell["model"] in models
        and not run.cell["weights_hash"]
        and row.asks_for(run.cell, reduced=True)
    ]
    return newest_group(found)


def cost_table(number: int) -> Table:
    """Return the exact cost of each row at full size; for table 16 its memory beside the paper's."""
    memory = number == MEMORY_TABLE
    body = []
    for row in rows(number):
        counts = row_counts(row)
        kept = ", ".join(f"{tokens:,}" for tokens in counts.tokens_kept)
        numbers = [f"{counts.parameters:,}", f"{counts.macs / 1e9:.2f}", f"{counts.paper_flops / 1e9:.2f}"]
        body.append([row.title, *numbers, kept, f"{counts.live_bytes / MIB:.2f}"])
        if memory:
            pair = _memory(row)
            apart = "" if pair.relative is None else f"{pair.relative:+.1%}"
            body[-1] += [row.printed["memory_mb"], apart, pair.verdict]
    columns = [_heading(number), "parameters", "MACs (G)", "paper's way (G)", "tokens kept by stage", "live (MiB)"]
    columns += ["paper (MB)", "difference", "verdict"] if memory else []
    notes = [
        f"Counted on meta: {ablation_rows.MODEL} with the classifier of AID, one image of {SIDE} x {SIDE}, fp32.",
        "Live: largest sum of bytes of tensors that exist at one time, weights and input included.",
        "Paper's way: multiply-adds of the published graph, which runs its projections once for each path.",
        *_note(number),
    ]
    if memory:
        notes.append(
            "Paper: arXiv 2503.16426v1, table 16; what its memory counts, and with which tool, it does not say."
        )
    return Table(f"Table {number}, cost: {ablation_rows.TABLES[number]}", columns, body, notes)


def _memory(row: Row) -> Comparison:
    """Compare the memory of table 16 with live bytes, both in MiB."""
    return compare(
        row.title,
        "memory (MiB)",
        row.printed["memory_mb"],
        row_counts(row).live_bytes / MIB,
        tolerance=MEMORY_TOLERANCE,
        comparable=True,
        reason="",
        source="counted",
    )


def compared(number: int, records: Sequence[Record]) -> list[Comparison]:
    """Return table 15 to 19 number by number: its scores beside runs at full scale, and for table 16 its memory."""
    numbers = [one for row in _rows(number, records) for one in row.numbers]
    return numbers + ([_memory(row) for row in rows(number)] if number == MEMORY_TABLE else [])


def found(number: int, records: Sequence[Record]) -> list[Experiment]:
    """Return the experiments of table 15 to 19, from records, oldest first."""
    own = rows(number)

    def owns(run: Record) -> bool:
        return any(row.asks_for(run.cell) for row in own)

    return experiments([ablation_rows.benchmark(number)], [row.line for row in own], newest(records), owns)


def _rows(number: int, records: Sequence[Record]) -> list[Beside]:
    lines = [row.line for row in rows(number)]
    return list(beside([ablation_rows.benchmark(number)], lines, found(number, records)))


def _beside(number: int, records: Sequence[Record]) -> Table:
    datasets, rows_here = [ablation_rows.benchmark(number)], _rows(number, records)
    drawn = draw(number, ablation_rows.TABLES[number], datasets, rows_here, newest(records))
    drawn.columns[0] = _heading(number)
    drawn.notes += ["The paper's rows are DynamicVis-B on AID, trained from scratch.", *_note(number)]
    return drawn


def against_default(number: int, runs: Sequence[Record], folder: Path) -> tuple[dict[str, str], list[str]]:
    """Say of each row with reduced runs whether it is told apart from the default switches, by F1.

    Args:
        number: 15 to 19.
        runs: one record each.
        folder: where they lie, with what came of each test image.

    Returns:
        Title of a row -> the words; and a line on each row that could not be compared.
    """
    groups = {row.title: group for row in rows(number) if (group := reduced_runs(row, runs))}
    default = groups.pop(next(row.title for row in rows(number) if row.is_default), [])
    return told_apart({title: Pair(group, default, METRIC) for title, group in groups.items() if default}, folder)


def _reduced(number: int, runs: Sequence[Record], folder: Path) -> Table | None:
    chosen = protocol.load(ablation_rows.REDUCED)
    apart, failed = against_default(number, runs, folder)
    body = []
    for row in rows(number):
        group = reduced_runs(row, runs)
        if not group:
            body.append([row.title, *([""] * 8), Verdict.NOT_RUN])
            continue
        macs = f"{reduced_counts(row).macs / 1e6:.2f}"
        told = "yes" if all(learned(run) for run in group) else "no"
        scores = [spread(group, score) for score in (*ablation_rows.SCORES, "baseline")]
        body.append([row.title, macs, *scores, told, str(len(group)), apart.get(row.title, ""), Verdict.NOT_COMPARABLE])
    if all(line[-1] == Verdict.NOT_RUN for line in body):
        return None
    columns = [_heading(number), "MACs (M)", *ablation_rows.SCORES, "baseline", "learned", "seeds"]
    columns += [f"{METRIC} against the default", "verdict"]
    margin = chosen.baseline.margin if chosen.baseline else 0
    notes = [
        REDUCED,
        f"{chosen.models[0]} from scratch on drawn scenes of {chosen.image_size} px, to find one object that "
        "covers about 1 % of the image. Scores in percent: mean ± standard deviation over seeds.",
        f"Learned: {chosen.select.metric} of every seed at least {margin:g} above the best constant prediction.",
        f"Against the default: {METRIC} over the same seeds and images, see dvbench compare. Cannot tell, below: a "
        "true difference of so many points would have been seen with a chance of 80 %.",
        *failed,
    ]
    return Table(f"Table {number}, reduced: {ablation_rows.TABLES[number]}", columns, body, notes)


def _note(number: int) -> list[str]:
    return [_NOTES[number]] if number in _NOTES else []


def _heading(number: int) -> str:
    return {15: "Paths", 16: "Reduction by stage", 17: "Mixing", 18: "Global tokens", 19: "Strategy"}[number]
