"""What a GPU run found, goals beside, as one Markdown file; and one archive of everything."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvbench.costs.found import Found
from dvbench.gpu.run import Run
from dvbench.gpu.scans import NATIVE
from dvbench.gpu.variants import OURS, TWO_PASS
from reports.ledger import write_atomically
from reports.record import Measure, Record, Status
from reports.stats import paired_ratio, summarise
from reports.table import Table

MIB = 2**20
OURS_SCAN = "triton"
AGREES = {"forward": 1e-4, "backward": 1e-3}  # relative errors of float32 over tens of thousands of steps
FORWARD_GOAL, BACKWARD_GOAL = 0.8, 1.0  # of mamba-ssm's time
MODEL_GOAL = 0.5  # of the time of the two-pass graph on mamba-ssm
LATENCY_GOAL, MEMORY_GOAL = 0.04, 0.02  # of the eager ViT-B's; the paper: 0.06 and 0.03
REHEARSED = (
    "**A rehearsal on a CPU at tiny sizes. It shows that the run works from end to end; none of its numbers says "
    "anything about a GPU.**"
)
NOT_RUN = "not run"
ARCHIVE = "gpu-results.tar.gz"


def write(run: Run) -> list[Path]:
    """Write `summary.md` of what there is so far, and an archive of the whole folder; returns both paths."""
    tables = (goals(run), errors(run), scan_times(run), variants(run), _steps(run))
    here = run.here
    where = (
        f"{here['hardware']}, driver {here['driver'] or 'none'}, CUDA {here['cuda'] or 'none'}, torch {here['torch']}, "
        f"triton {here['triton'] or 'none'}, mamba-ssm {here['mamba_ssm'] or 'none'}, {run.dtype}, code "
        f"{here['code']}, commit {here['git_commit'] or 'unknown'}{' with changes' if here['git_dirty'] else ''}."
    )
    parts = ["# GPU run", *([REHEARSED] if run.scale.rehearsal else []), where, *(t.to_markdown() for t in tables)]
    summary = write_atomically(run.out / "summary.md", "\n\n".join(parts).encode())
    return [summary, write_atomically(run.out / ARCHIVE, _packed(run.out))]


def goals(run: Run) -> Table:
    """Return the goals beside what was found, each with its verdict."""
    body = [*_correctness(run), *_scan_goals(run), *_model_goals(run)]
    notes = [
        "Ratios of times: median over pairs sampled in turn in one process; mamba-ssm's scan is its kernel alone, on "
        "operands in the layout that it wants.",
        "The paper: 6 % of the ViT's latency and 3 % of its memory at 2048 px.",
    ]
    return Table("Goals", ["What", "goal", "found", "verdict"], body, notes)


def errors(run: Run) -> Table:
    """Return the errors of each scan backend."""
    body = [
        [
            *(str(r.cell[key]) for key in ("backend", "length", "channels", "direction")),
            *(_scientific(r, f"{way}_error") for way in AGREES),
        ]
        for r in sorted(run.part("scan errors"), key=_order)
    ]
    note = (
        "Relative to the reference in float64, by the Euclidean norm; backward: the worst of all gradients. Input fp32."
    )
    return Table(
        "Scans against float64",
        ["backend", "steps", "channels", "direction", "error, forward", "error, backward"],
        body,
        [note],
    )


def scan_times(run: Run) -> Table:
    """Return the times of all scan backends, and their ratios to mamba-ssm's."""
    body = []
    for record in sorted(run.part("scan times"), key=_order):
        asked = [str(record.cell[key]) for key in ("length", "channels", "dtype", "way")]
        for backend, measure in record.measures.items():
            body.append([*asked, backend, *_timed(measure), _ratio_text(record, backend, NATIVE)])
        if not record.measures:
            body.append([*asked, "", f"{record.status}: {record.reason}", "", ""])
    return Table("Scans in time", ["steps", "channels", "dtype", "way", "backend", "ms", "n", "of mamba-ssm"], body)


def variants(run: Run) -> Table:
    """Return latency and memory of the ways to run the model."""
    races = run.part("variant times")
    body = []
    for record in run.part("variant"):
        name = str(record.cell["variant"])
        race = next((r for r in races if name in r.measures), None)
        times = _timed(race.measures[name]) if race else ["", ""]
        ratio = _ratio_text(race, name, OURS) if race else ""
        peak = _value(record, "cuda_allocated_peak_bytes") or _value(record, "allocator_peak_bytes")
        body.append(
            [
                name,
                *times,
                ratio,
                f"{peak / MIB:.1f}" if peak else "",
                _scientific(record, "output_error"),
                f"{record.status}: {record.reason}" if record.reason else record.status,
            ]
        )
    columns = ["variant", "ms", "n", f"of '{OURS}'", "peak (MiB)", "off the plain path", "status"]
    title = f"{run.scale.model} at {run.scale.side} px, batch 1, {run.dtype}"
    return Table(
        title, columns, body, ["Two-pass: the published graph, whose projections run once for each direction."]
    )


def _correctness(run: Run) -> Iterator[list[str]]:
    for way, limit in AGREES.items():
        found = [(e, r) for r in run.part("scan errors") if (e := _value(r, f"{way}_error")) is not None]
        broken = [r for r in run.part("scan errors") if r.status != Status.OK]
        what = f"scans, {way}, worst error against float64"
        if not found:
            yield [what, f"at most {limit:.0e}", "", NOT_RUN]
            continue
        worst, record = max(found, key=lambda pair: pair[0])
        where = f"{worst:.0e} ({record.cell['backend']}, {record.cell['length']} steps)"
        good = worst <= limit and not broken
        told = f"{where}; {len(broken)} failed" if broken else where
        yield [what, f"at most {limit:.0e}", told, "met" if good else "MISSED"]


def _scan_goals(run: Run) -> Iterator[list[str]]:
    races = {(r.cell["length"], r.cell["dtype"], r.cell["way"]): r for r in run.part("scan times")}
    for way, goal in (("forward", FORWARD_GOAL), ("backward", BACKWARD_GOAL)):
        for length, channels in run.scale.shapes:
            for dtype in ("fp32", "bf16"):
                ratio = _ratio(races.get((length, dtype, way)), OURS_SCAN, NATIVE)
                what = f"scan {way}, {length} x {channels}, {dtype}: {OURS_SCAN} to mamba-ssm"
                yield _row(what, goal, ratio, f"both {OURS_SCAN} and mamba-ssm have to run")


def _model_goals(run: Run) -> Iterator[list[str]]:
    races = run.part("variant times")
    native = TWO_PASS + NATIVE
    race = next((r for r in races if native in r.measures), None)
    what = f"{run.scale.model} at {run.scale.side} px: ours to the two-pass graph on mamba-ssm"
    yield _row(what, MODEL_GOAL, _ratio(race, OURS, native), "mamba-ssm has to run")
    found = Found.newest(run.records())
    side = run.scale.sides[0]
    ours, vit = (("dynamicvis_b", "none"), side), (("vit_b16", "eager"), side)
    memory = "cuda_allocated_peak_bytes"
    for name, measure, goal in (("latency", "latency_ms", LATENCY_GOAL), ("peak memory", memory, MEMORY_GOAL)):
        x, y = found.value(*ours, measure), found.value(*vit, measure)
        ratio = found.ratio(measure, ours, vit) if measure == "latency_ms" else (x / y, True) if x and y else None
        yield _row(f"{name} at {side} px: dynamicvis_b to eager ViT-B", goal, ratio and ratio[0], "both have to run")


def _order(record: Record) -> list[str]:
    """Sort by what was asked, the channels of the model's stages ascending."""
    keys = ("backend", "way", "dtype", "channels", "length", "direction")
    return [str(record.cell.get(key, "")).rjust(8) for key in keys]


def _row(what: str, goal: float, ratio: float | None, lacks: str) -> list[str]:
    if ratio is None:
        return [what, f"at most {goal:g}", "", f"{NOT_RUN}: {lacks}"]
    return [what, f"at most {goal:g}", f"{ratio:.3g}", "met" if ratio <= goal else "MISSED"]


def _steps(run: Run) -> Table:
    body = [[o.step, f"{o.seconds:.0f}", o.reason or "done"] for o in run.outcomes]
    return Table("Steps", ["step", "s", "outcome"], body)


def _ratio(race: Record | None, above: str, below: str) -> float | None:
    pair = [race.measures.get(name) for name in (above, below)] if race else []
    if len(pair) < 2 or not all(measure and measure.samples for measure in pair):
        return None
    a, b = (measure.samples for measure in pair if measure)
    return paired_ratio(a, b)


def _ratio_text(race: Record, above: str, below: str) -> str:
    ratio = _ratio(race, above, below)
    return "" if ratio is None else f"{ratio:.3g}"


def _timed(measure: Measure) -> list[str]:
    if not measure.samples:
        return [measure.note, ""]
    summary = summarise(measure.samples)
    return [f"{summary.p50:.4g}", f"{summary.n}{', noisy' if summary.noisy else ''}"]


def _scientific(record: Record, name: str) -> str:
    value = _value(record, name)
    if value is not None:
        return f"{value:.1e}"
    return "" if record.status == Status.OK else record.status


def _value(record: Record, name: str) -> float | None:
    measure: Measure | None = record.measures.get(name)
    return None if measure is None or measure.value is None else float(measure.value)


def _packed(folder: Path) -> bytes:
    """Pack a folder, without the archive that was made before."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path in _files(folder):
            archive.add(path, arcname=str(Path(folder.name) / path.relative_to(folder)))
    return data.getvalue()


def _files(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ARCHIVE)
