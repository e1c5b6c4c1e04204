"""Everything that records say, on one HTML page that works offline."""

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.compare import Comparison, Verdict
from reports.curves import Curves
from reports.escape import visible
from reports.ledger import write_atomically
from reports.record import Record
from reports.table import Table

FILE = "index.html"
SAMPLES = re.compile(r'"samples": \[[^\]]*\]')
#: Libraries of the page, unpacked by the browser: name -> package and file that holds them.
LIBRARIES = {"plotly": ("plotly", "package_data/plotly.min.js"), "datatables": ("itables", "html/dt_bundle.js")}


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
        title: what it shows, which stands in for it where it cannot be seen.
        data: the file's content.
        kind: its format, `png` or `jpeg`.
    """

    title: str
    data: bytes
    kind: str = "jpeg"

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Stage:
    """What a stage of a model selects: which tokens it keeps, and how important each is."""

    title: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """One table or figure of the paper.

    Attributes:
        name: such as `table14`.
        title: what it shows.
        verdicts: how many of its numbers have which verdict.
        why: why something was not run or is not comparable.
        comparisons: its numbers, the paper's beside ours.
        evidence: of each of the numbers, in their order: labels, and what they say.
        tables: as they are drawn elsewhere, by file stem.
        pictures: its figure.
        files: that lie beside the page.
        notes: what else a reader has to know, such as a run that is still going.
    """

    name: str
    title: str
    verdicts: Mapping[str, int]
    why: str = ""
    comparisons: Sequence[Comparison] = ()
    evidence: Sequence[Sequence[tuple[str, str]]] = ()
    tables: Sequence[tuple[str, Table]] = ()
    pictures: Sequence[Picture] = ()
    files: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def label(self) -> str:
        """The name as the paper writes it, such as "Table 14"."""
        return re.sub(r"(\D)(\d)", r"\1 \2", self.name).capitalize()


@dataclass(frozen=True)
class Grid:
    """A table of the page.

    Attributes:
        kind: its class in the style sheet.
        columns: headings; two may be the same.
        rows: their cells, which the template escapes unless they are markup of ours.
    """

    kind: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title: of the page.
        lead: one paragraph on what it is.
        made: when and from which code, one line.
        sections: tables and figures, in the paper's order.
        curves: interactive ones.
        stages: token selection, the scene first.
        stages_note: which model, weights and image they show.
        records: that all was drawn from, oldest first.
        shown: the machine whose measurements the tables show.
        environment: of the newest record of each machine, by name.
        notices: what a reader has to know before anything else, such as that nothing was run.
        problems: files that are no records; they are left where they are.
    """

    title: str
    lead: str
    made: str
    sections: Sequence[Section]
    curves: Sequence[Curves] = ()
    stages: Sequence[Stage] = ()
    stages_note: str = ""
    records: Sequence[Record] = ()
    shown: str = ""
    environment: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    notices: Sequence[str] = ()
    problems: Sequence[str] = ()

    def to_html(self) -> str:
        """Return the page: one file with style, scripts, pictures and data in it."""
        environment = Environment(
            loader=PackageLoader("reports", "parts"),
            autoescape=True,
            finalize=_finalize,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        known = {record.identity[:12] for record in self.records}
        style = files("itables") / "html" / "dt_bundle.css"
        script = _part("page.js")
        return environment.get_template("page.html").render(
            page=self,
            verdicts=[str(verdict) for verdict in Verdict],
            totals=_totals(self.sections),
            reasons=_reasons(self.sections),
            scoreboard=_scoreboard(self.sections),
            compared=lambda section: _compared(section, known),
            drawn=_drawn,
            machines=_machines(self.records, self.shown),
            facts=_facts(self.environment),
            download=_download,
            everything=_as_json([one for section in self.sections for one in _json(section)]),
            numbers=lambda section: _as_json(_json(section)),
            record_json=_record_json,
            record_title=_record_title,
            libraries={name: _packed(*place) for name, place in LIBRARIES.items()},
            styles=Markup(style.read_text(encoding="utf-8") + _part("page.css")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=_policy(script),
        )

    def write(self, folder: Path) -> Path:
        """Write the page into a folder, whole or not at all.

        Raises:
            LedgerError: the folder cannot be written, or the disk is full.
        """
        return write_atomically(folder / FILE, self.to_html().encode())


def _totals(sections: Sequence[Section]) -> Counter[str]:
    """Count the verdicts of the paper's numbers; the audit compares the paper with itself and stands apart."""
    total: Counter[str] = Counter()
    for section in sections:
        if section.name != "audit":
            total.update(section.verdicts)
    return total


def _reasons(sections: Sequence[Section]) -> str:
    """Say why numbers were not run, the most frequent reasons first."""
    found = [one for section in sections for one in section.comparisons if one.verdict == Verdict.NOT_RUN]
    counts = Counter(one.reason for one in found).most_common(4)
    return "; ".join(f"{count} {reason}" for reason, count in counts)


def _finalize(value: object) -> object:
    """Keep what is no markup of ours from turning the direction in which the text around it is read."""
    return visible(value) if type(value) is str else value


def _policy(script: str) -> str:
    """Return what the page may do: run its own script and what that unpacks, show pictures that are in it, no more."""
    own = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{own}' blob:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _scoreboard(sections: Sequence[Section]) -> Grid:
    rows: list[list[object]] = []
    for section in sections:
        link = Markup('<a href="#{}">{}</a>').format(section.name, section.label)
        counts = [section.verdicts.get(verdict, 0) for verdict in Verdict]
        rows.append([link, section.title, _bar(counts), *(count or "" for count in counts), section.why])
    columns = ["Target", "What it shows", "Share", *(str(verdict).capitalize() for verdict in Verdict), "Why not"]
    return Grid("scoreboard", columns, rows)


def _bar(counts: Sequence[int]) -> Markup:
    total = sum(counts) or 1
    parts = Markup("").join(
        Markup('<i class="{}" style="width:{:.1f}%"></i>').format(_slug(verdict), 100 * count / total)
        for verdict, count in zip(Verdict, counts, strict=True)
        if count
    )
    return Markup('<span class="bar" aria-hidden="true">{}</span>').format(parts)


def _compared(section: Section, known: set[str]) -> Grid:
    rows = [
        [
            one.row,
            _evidence_button(section, place),
            _number(one.paper),
            _number(one.ours),
            _number(one.difference, "+"),
            "" if one.relative is None else f"{100 * one.relative:+.1f}",
            _badge(one.verdict, one.reason),
            _sources(one.source, known),
        ]
        for place, one in enumerate(section.comparisons)
    ]
    ours = "Follows" if section.name == "audit" else "Ours"
    columns = ["Row", "Number", "Paper", ours, "Difference", "%", "Verdict", "Source"]
    return Grid("numbers", columns, rows)


def _evidence_button(section: Section, place: int) -> str:
    """Name a number, so that a click on it shows its evidence."""
    column = section.comparisons[place].column
    if not section.evidence:
        return column
    button = Markup('<button type="button" class="evidence" data-target="{}" data-place="{}">{}</button>')
    return button.format(section.name, place, column)


def _drawn(table: Table) -> Grid:
    """Return a table as it is drawn elsewhere."""
    rows = [[_badge(cell) if cell in set(Verdict) else cell for cell in row] for row in table.rows]
    return Grid("drawn", table.columns, rows or [[""] * len(table.columns)])


def _badge(verdict: str, reason: str = "") -> Markup:
    why = Markup(" <small>{}</small>").format(reason) if reason else ""
    return Markup('<span class="verdict {}">{}</span>{}').format(_slug(verdict), verdict, why)


def _slug(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _sources(source: str, known: set[str]) -> Markup:
    links = [Markup('<a href="#record-{0}">{0}</a>').format(word) if word in known else word for word in source.split()]
    return Markup(" ").join(links)


def _number(value: float | None, sign: str = "") -> str:
    """Two decimals, four below ten, none that are zero."""
    if value is None:
        return ""
    text = f"{value:{sign}.{2 if abs(value) >= 10 else 4}f}"
    return text.rstrip("0").rstrip(".")


def _machines(records: Sequence[Record], shown: str) -> Grid:
    rows = []
    for name in dict.fromkeys(record.hardware for record in records):
        own = [record for record in records if record.hardware == name]
        kinds = Counter("training" if "protocol" in record.cell else "measurement" for record in own)
        told = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items()))
        rows.append([name, told, own[0].created[:10], own[-1].created[:10], "shown" if name == shown else ""])
    return Grid("machines", ["Machine", "Records", "From", "To", "In tables 13 and 14"], rows)


def _facts(environment: Mapping[str, Mapping[str, object]]) -> Grid:
    """Draw what is known of each machine; what none tells is left out."""
    names = dict.fromkeys(name for facts in environment.values() for name in facts)
    rows = [[name, *(_told(facts.get(name)) for facts in environment.values())] for name in names]
    return Grid("facts", ["", *environment], [row for row in rows if any(row[1:])])


def _told(fact: object) -> str:
    return "" if fact is None else str(fact)


def _json(section: Section) -> list[dict[str, object]]:
    return [{"target": section.name, **asdict(one)} for one in section.comparisons]


def _as_json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False)


def _record_json(record: Record) -> str:
    """Return a record as text, each list of samples on one line."""
    return SAMPLES.sub(lambda found: " ".join(found[0].split()), record.to_json())


def _record_title(record: Record) -> str:
    cell = record.cell
    size = f"{cell['resolution']} px" if "resolution" in cell else f"{cell.get('protocol')}, seed {cell.get('seed')}"
    when = record.created[:16].replace("T", " ")
    return f"{cell.get('model')} · {size} · {record.status} · {record.hardware} · {when}"


def _download(text: str, kind: str) -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _packed(package: str, place: str) -> str:
    """Return a library as base64 of gzip: a third of its size, and unpacked by the browser in moments."""
    return base64.b64encode(gzip.compress((files(package) / place).read_bytes(), 9, mtime=0)).decode()


def _part(name: str) -> str:
    return (files("reports") / "parts" / name).read_text(encoding="utf-8")
