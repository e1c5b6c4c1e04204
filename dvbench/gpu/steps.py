"""What the GPU run does, step by step, the most telling first."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from dvbench.costs.figures import figure20, figure21
from dvbench.costs.found import Found
from dvbench.costs.latency import table14
from dvbench.costs.throughput import table13
from dvbench.data.scene import default_scene
from dvbench.doctor import examine, report
from dvbench.gpu.run import Run, Step
from dvbench.gpu.scans import Scans
from dvbench.gpu.variants import COMPILED, OURS, Variants
from dvbench.profile.cell import Cell
from dvbench.profile.isolate import IsolatedFailure, Worker
from dvbench.profile.roofline import CAPTION, points, roofline_table, roofs
from dvbench.profile.sweep import Plan, sweep
from dvbench.profile.wanted_cells import cells
from reports.plot import save
from reports.record import Measure, Scalar
from reports.roofline import roofline_plot

CELL_S = 100.0  # that one step of one cell of the tables may take
Asked = dict[str, Scalar]
DTYPES = ("fp32", "bf16")
DIRECTIONS = {"forward": False, "reverse": True}


class FailedCheckError(RuntimeError):
    """Something that should work on this machine does not; the message names it."""


def steps(run: Run) -> list[Step]:
    """Return the steps of a run."""
    side, *others = run.scale.sides
    return [
        Step("doctor", 60, doctor),
        Step("scans against float64", 150, scan_errors),
        Step("scans in time", 100, scan_times),
        Step(f"variants of {run.scale.model} at {run.scale.side} px", 100, variants),
        Step(f"tables at {side} px, and the roofline", 100, lambda run: tables(run, side, roofline=True)),
        *(_tables_step(other) for other in others),
        Step("draw", 120, draw),
        Step(f"{run.scale.model}, compiled", 150, compiled),
    ]


def _tables_step(side: int) -> Step:
    return Step(f"tables at {side} px", 150 if side == 512 else 60, lambda run: tables(run, side))


def doctor(run: Run) -> None:
    """Write down what works here."""
    checks = examine()
    report(checks).write(run.out, "doctor")
    if failed := [check.what for check in checks if check.failed]:
        raise FailedCheckError(f"{', '.join(failed)}: see doctor.md")


def scan_errors(run: Run) -> None:
    """Hold every scan backend against the reference in float64: both directions, forward and backward."""
    scale = run.scale
    with Worker(Scans, run.device, scale.states, name="scans") as worker:
        backends: list[str] = worker.call("backends")
        for length, channels in (
            *reversed(scale.shapes),
            scale.longest,
        ):  # the reference takes longest on the long ones
            backward = (length, channels) != scale.longest
            for backend in backends:
                for direction, reverse in DIRECTIONS.items():
                    cell: Asked = {"backend": backend, "length": length, "channels": channels, "direction": direction}

                    def measure(arguments: tuple[Any, ...] = (backend, length, channels, reverse, backward)) -> Any:
                        found = worker.call("errors", *arguments)
                        return {f"{name}_error": Measure(value, "1", "measured") for name, value in found.items()}

                    run.keep("scan errors", cell, measure)


def scan_times(run: Run) -> None:
    """Time all scan backends in turn at the shapes of the model; each record holds all that raced."""
    scale = run.scale
    with Worker(Scans, run.device, scale.states, name="scans") as worker:
        backends: list[str] = worker.call("backends")
        for dtype in DTYPES:
            for length, channels in scale.shapes:
                for way in ("forward", "backward"):
                    cell: Asked = {"length": length, "channels": channels, "dtype": dtype, "way": way}
                    arguments = (backends, length, channels, dtype, way == "backward", scale.rounds, scale.least_s)
                    run.keep("scan times", cell, _raced(worker, "times", arguments))


def variants(run: Run) -> None:
    """Compare the ways to run the model: results, memory, and time in turn."""
    with Worker(Variants, run.scale.model, run.scale.side, run.dtype, run.device, name=run.scale.model) as worker:
        names: list[str] = worker.call("names")
        working = [name for name in names if _variant(run, worker, name)]
        arguments = (working, run.scale.rounds, run.scale.least_s)
        run.keep("variant times", _of_model(run), _raced(worker, "times", arguments))


def compiled(run: Run) -> None:
    """Tell whether torch.compile makes the model faster; compiling takes so long that this comes last."""
    if not run.device.startswith("cuda"):
        return
    with Worker(Variants, run.scale.model, run.scale.side, run.dtype, run.device, name=run.scale.model) as worker:
        if _variant(run, worker, COMPILED):
            arguments = ((OURS, COMPILED), run.scale.rounds, run.scale.least_s)
            run.keep("variant times", _of_model(run) | {"with": COMPILED}, _raced(worker, "times", arguments))


def tables(run: Run, side: int, *, roofline: bool = False) -> None:
    """Measure the cells of tables 13 and 14 at one size."""
    scene = default_scene()
    template = Cell(
        model="",
        resolution=0,
        dtype="bf16" if run.dtype == "bf16" else "fp32",
        device=run.device,
        image=scene.name,
        image_hash=sha256(scene.read_bytes()).hexdigest()[:12],
    )
    wanted = cells(14, template, (side,)) + (cells(13, template, (side,)) if side == 512 else [])
    plan = Plan(
        image=scene,
        budget_s=CELL_S,
        repeat=run.scale.rounds if run.scale.rehearsal else None,
        resume=True,
        max_batch=side == 512,
        roofline=roofline,
    )
    for _ in sweep(list(dict.fromkeys(wanted)), run.ledger, plan, run.tell):
        pass


def draw(run: Run) -> None:
    """Draw what the records give: the roofline, tables 13 and 14, figures 20 and 21."""
    records = run.records()
    measured = [r for r in records if "part" not in r.cell]
    roofline_table(measured).write(run.out, "roofline")
    if points(measured):
        save(roofline_plot(points(measured), roofs(measured), title="Roofline", caption=CAPTION), run.out, "roofline")
    found = Found.newest(records)
    save(figure20(found), run.out, "figure20")
    for stem, table in table14(found) + table13(found):
        table.write(run.out, stem)
    save(figure21(), run.out, "figure21")


def _of_model(run: Run) -> Asked:
    return {"model": run.scale.model, "resolution": run.scale.side, "dtype": run.dtype}


def _variant(run: Run, worker: Worker, name: str) -> bool:
    """Keep a variant's error and memory, and tell whether it runs at all."""
    works = True

    def measure() -> dict[str, Measure]:
        nonlocal works
        try:
            error, peak = worker.call("error", name), worker.call("peak", name)
        except IsolatedFailure:
            works = False
            raise
        memory = "cuda_allocated_peak_bytes" if run.device.startswith("cuda") else "allocator_peak_bytes"
        return {"output_error": Measure(error, "1", "measured"), memory: Measure(peak, "B", "measured")}

    run.keep("variant", _of_model(run) | {"variant": name}, measure)
    return works


def _raced(worker: Worker, method: str, arguments: tuple[Any, ...]) -> Callable[[], Mapping[str, Measure]]:
    """Return what runs a race, as one measure a contender; those that could not run have no value but the reason."""

    def measure() -> dict[str, Measure]:
        samples, failed = worker.call(method, *arguments)
        found = {name: Measure(sorted(ms)[len(ms) // 2], "ms", "measured", ms) for name, ms in samples.items()}
        return found | {name: Measure(None, "ms", "measured", note=reason) for name, reason in failed.items()}

    return measure
