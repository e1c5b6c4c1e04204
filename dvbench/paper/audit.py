"""The paper held against itself: numbers that follow from others, that are printed twice, or that the text quotes.

In a `Comparison` of the audit, ``paper`` is the number as printed and ``ours`` what other printed numbers give for it.
"""

from collections.abc import Iterator, Mapping, Sequence

from dvbench import paper
from reports.compare import Comparison, Verdict, matches_print
from reports.table import Table

TOLERANCE = 0.15  # points; three printed numbers, each rounded to 0.01, explain up to about 0.02
DENSE = range(6, 11)  # tables whose scores come from counts of pixels, so that they follow from each other
ABLATIONS = range(15, 20)
MARKS = {"no_selection_no_mil": "†", "selection_no_mil": "‡", "2x": " 2x"}
#: What the text says of token selection: quantity of table 13 -> how many times as much.
TEXT = {"throughput_samples_per_s": "2", "max_batch_size": "6"}

F1, IOU = "F1 from precision and recall", "IoU from F1"
CHECKS: dict[str, str] = {
    F1: "2 P R / (P + R), tables 6 to 10",
    IOU: "F1 / (2 - F1), tables 6 to 10",
    "parameters": "tables 2 and 14 against table 13, to the digits of the coarser print",
    "F1 on AID": "the default of tables 15 to 19 against DynamicVis-B ‡ of table 2",
    "memory at 512 px": "table 16 against table 14",
    "abstract": "rounded and quoted numbers against table 14",
    "text": "twice the throughput and six times the batch by token selection, against table 13",
}
"""What is checked: name -> how."""

Line = Mapping[str, str]


def audit() -> list[Comparison]:
    """Return every check that the printed numbers allow, in the order of `CHECKS`.

    Precision, recall and F1 of tables 2, 11 and 15 to 19 are means over classes, from which no F1 follows.
    """
    derived = [*_from_precision_and_recall(), *_from_f1()]
    return [*derived, *_parameters(), *_f1_on_aid(), *_memory(), *_abstract(), *_text()]


def audit_tables() -> list[tuple[str, Table]]:
    """Return the audit as two tables: what does not fit, and how many numbers each check tried."""
    found = audit()
    wrong = [one for one in found if one.verdict == Verdict.DIFFERS]
    body = [[one.row, one.column, _digits(one.paper), _digits(one.ours), _signed(one.difference)] for one in wrong]
    notes = [
        f"F1 and IoU may be {TOLERANCE} points off; all else has to round to the same digits.",
        "Follows: what the paper's other numbers give. Printed: as in arXiv 2503.16426v1; nothing is corrected.",
    ]
    columns = ["Where", "check", "printed", "follows", "difference"]
    title = f"Audit of the paper: {len(wrong)} of {len(found)} numbers do not fit the others"
    return [("audit", Table(title, columns, body, notes)), ("audit_checks", _counted(found))]


def _counted(found: Sequence[Comparison]) -> Table:
    body = []
    for name, how in CHECKS.items():
        group = [one for one in found if one.column.startswith(name)]
        wrong = sum(one.verdict == Verdict.DIFFERS for one in group)
        body.append([name, how, str(len(group)), str(len(group) - wrong), str(wrong)])
    return Table("Audit of the paper: checks", ["Check", "how", "numbers", "fit", "do not"], body)


def _from_precision_and_recall() -> Iterator[Comparison]:
    for where, line in _dense_lines():
        if line["precision"] and line["recall"] and line["f1"]:
            precision, recall = float(line["precision"]), float(line["recall"])
            yield _near(where, F1, line["f1"], 2 * precision * recall / (precision + recall))


def _from_f1() -> Iterator[Comparison]:
    for where, line in _dense_lines():
        if line["f1"] and line["iou"]:
            f1 = float(line["f1"])
            yield _near(where, IOU, line["iou"], 100 * f1 / (200 - f1))


def _dense_lines() -> Iterator[tuple[str, Line]]:
    for number in DENSE:
        for line in _lines(number):
            yield f"table {number}, {_name(line)}", line


def _parameters() -> Iterator[Comparison]:
    """Table 2 writes ResNet-18 and rounds to 0.1 M; table 14 has a line for each input size."""
    told = {_name(line): line["params_m"] for line in _lines(13)}
    seen = set()
    for number in (2, 14):
        for line in _lines(number):
            name = _name(line).replace("ResNet-", "ResNet")
            # Weights do not depend on pretraining, so the marks of table 2 that speak of it are left out.
            other = told.get(name, told.get(name.rstrip("‡")))
            if other and line["params_m"] and (number, name) not in seen:
                seen.add((number, name))
                yield _same(f"table {number}, {_name(line)}", "parameters (M)", line["params_m"], other)


def _f1_on_aid() -> Iterator[Comparison]:
    lines = {_name(line): line for line in _lines(2)}
    default, dense = lines["DynamicVis-B‡"]["aid_f1"], lines["DynamicVis-B†"]["aid_f1"]
    for number in ABLATIONS:
        printed = next((line["f1"] for line in _lines(number) if _is_default(number, line)), "")
        yield _same(f"table {number}, default", "F1 on AID", printed, default)
    yield _same("table 16, no reduction", "F1 on AID", _lines(16)[0]["f1"], dense)


def _is_default(number: int, line: Line) -> bool:
    """Whether a line of an ablation is the model that the paper settles on."""
    settled: dict[int, Line] = {
        15: {"reverse": "true", "shuffle": "false", "aggregation": "Mean"},
        16: {f"reduction_ratio_stage{i}": ratio for i, ratio in enumerate(("7/8", "3/4", "1/2", "0"), start=1)},
        17: {"spatial": "true", "channel": "false"},
        18: {"global_tokens": "true", "position": "head"},
        19: {"strategy": "decay"},
    }
    return all(line[key] == value for key, value in settled[number].items())


def _memory() -> Iterator[Comparison]:
    told = {line["variant"]: line["memory_mb"] for line in _lines(14) if _is(line, "DynamicVis-B", "512")}
    default = next(line for line in _lines(16) if _is_default(16, line))
    for where, line, variant in (("default", default, ""), ("no reduction", _lines(16)[0], "no_selection_no_mil")):
        yield _same(f"table 16, {where}", "memory at 512 px (MB)", line["memory_mb"], told[variant])


def _abstract() -> Iterator[Comparison]:
    table = {_name(line): line for line in _lines(14) if line["resolution"] == "2048"}
    column = {"latency": "latency_ms", "gpu_memory": "memory_mb"}
    for line in paper.figures().to_dict("records"):
        if line["source"] == "abstract":
            quantity = str(line["quantity"])
            key = column[quantity.removesuffix("_share_of_vit")]
            ours, vit = float(table["DynamicVis-B"][key]), float(table["ViT-B"][key])
            value = 100 * ours / vit if quantity.endswith("_share_of_vit") else ours
            yield _rounds(f"abstract, {quantity.replace('_', ' ')}", f"abstract ({line['unit']})", line["value"], value)


def _text() -> Iterator[Comparison]:
    table = {_name(line): line for line in _lines(13)}
    for model in ("DynamicVis-B", "DynamicVis-L"):
        for quantity, printed in TEXT.items():
            ratio = float(table[model][quantity]) / float(table[f"{model}†"][quantity])
            yield _rounds(
                f"text, {quantity.split('_s')[0].replace('_', ' ')} of {model}", "text (times)", printed, ratio
            )


def _lines(number: int) -> list[Line]:
    return [{str(key): str(value) for key, value in line.items()} for line in paper.table(number).to_dict("records")]


def _name(line: Line) -> str:
    return line.get("method", line.get("model", "")) + MARKS.get(line.get("variant", ""), "")


def _is(line: Line, model: str, resolution: str) -> bool:
    return (line["model"], line["resolution"]) == (model, resolution)


def _near(row: str, column: str, printed: str, follows: float) -> Comparison:
    return _comparison(row, column, printed, follows, abs(follows - float(printed)) <= TOLERANCE)


def _same(row: str, column: str, printed: str, other: str) -> Comparison:
    """Compare two prints of one number, of which the finer may round to the coarser."""
    fits = matches_print(printed, float(other)) or matches_print(other, float(printed))
    return _comparison(row, column, printed, float(other), fits)


def _rounds(row: str, column: str, printed: str, follows: float) -> Comparison:
    return _comparison(row, column, printed, follows, matches_print(printed, follows))


def _comparison(row: str, column: str, printed: str, follows: float, fits: bool) -> Comparison:
    number = float(printed)
    verdict = Verdict.REPRODUCED if fits else Verdict.DIFFERS
    relative = (follows - number) / number if number else None
    return Comparison(row, column, number, follows, follows - number, relative, verdict, "", "the paper's tables")


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
