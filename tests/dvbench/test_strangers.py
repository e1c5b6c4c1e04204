"""Records come from strangers: whatever stands in them, nothing of it runs, and the others are drawn all the same."""

import copy
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from dvbench import cli
from dvbench.costs import counts, figures, numbers, throughput
from dvbench.profile.cell import Cell
from dvbench.profile.counters import Counts
from dvbench.tables import page_content
from dvbench.tables.targets import TARGETS
from reports.record import Measure, Record, Status
from tests.dvbench.runs_on_paper import uc_merced

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")
DRAWN = ("table13", "table14", "figure20", "table2", "figure8", "figure10")
#: Refused when a record is read, because they hold one of few words, a time or a hash.
CHECKED = {"identity", "status", "created", "how"}
Place = tuple[str | int, ...]
Raw = dict[str, Any]


def measurement() -> Raw:
    cell = Cell("dynamicvis_b", 512, device="cpu", attention="none", image="scene.jpg")
    return as_raw(
        Record(
            cell.as_dict(),
            "a" * 64,
            Status.OK,
            "",
            {"latency_ms": Measure(97.0, "ms", "measured", (96.0, 97.0, 98.0), "median of three")},
            {"hardware": "a card", "threads": 2, "torch": "2.11", "code": "0c0de", "git_commit": "c" * 40},
            "2026-01-02T03:04:05+00:00",
            "dvbench profile",
            "g",
        )
    )


def training() -> Raw:
    return as_raw(uc_merced(basis={"weights": {"name": "w.pth", "sha256": "ab" * 32, "kind": "released"}}))


def as_raw(record: Record) -> Raw:
    return dict(json.loads(record.to_json()))


def hostile(name: str) -> str:
    """Text that in each of the outputs would be more than text; in HTML it would note its name."""
    note = f"(window.ran=window.ran||[]).push('{name}')"
    return (
        f'=1+1|<img src=x onerror="{note}"><a href="javascript:{note}">x</a>"><script>{note}</script>'
        f"</script><script>{note}</script>![x](javascript:{note}) `$\\frac{{$ %{{x}} [red]\x1b[31m\u202e {name}"
    )


def places(raw: Any, place: Place = ()) -> Iterator[Place]:
    """Yield where text stands in a record, its names included."""
    children = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, value in children:
        if key in CHECKED and len(place) in (0, 2):
            continue
        if isinstance(value, str):
            yield (*place, key)
        if len(place) == 1 and place[0] in ("measures", "environment"):
            yield (*place, key, "(name)")
        yield from places(value, (*place, key))


def leaves(raw: Any, place: Place = ()) -> Iterator[Place]:
    """Yield where values stand in a record that are no objects."""
    for key, value in raw.items():
        yield from leaves(value, (*place, key)) if isinstance(value, dict) else [(*place, key)]


def named(place: Place) -> str:
    return ".".join(map(str, place))


def put(raw: Raw, place: Place, value: object) -> Raw:
    """Return the record with a value, or a name, replaced; it is another record than the first."""
    made = copy.deepcopy(raw)
    *way, last = place[:-1] if place[-1] == "(name)" else place
    inner: Any = made
    for key in way:
        inner = inner[key]
    if place[-1] == "(name)":
        inner[value] = inner.pop(last)
    else:
        inner[last] = value
    if place == ("reason",):
        made["status"] = "crashed"
    made["identity"] = hashlib.sha256(json.dumps([raw["identity"], *place, str(value)]).encode()).hexdigest()
    made["created"] = "2025-12-01T00:00:00+00:00"
    return made


def spoiled(raw: Raw) -> Raw:
    """Return a record with hostile text wherever tables show it all the same, which is newer than all others."""
    made = raw
    for place in places(raw):
        if place[-1] not in ("(name)", "model", "attention", "protocol", "scale", "changes", "switches"):
            made = put(made, place, hostile(named(place)))
    return made | {"status": "ok", "created": "2026-03-01T00:00:00+00:00"}


def write(folder: Path, *records: Raw) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(records):
        (folder / f"{number:03}-{one['identity'][:12]}.json").write_text(json.dumps(one), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def few_targets() -> Iterator[None]:
    """Keep the targets that show text of records; the token viewer and the counts have tests of their own."""
    everything = dict(TARGETS)
    same = Counts(10**6, 0, {"mm": 10**9}, 10**9, 10**9, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_content, "token_stages", lambda: ([], ""))
        for module in (numbers, counts, throughput, figures):
            patch.setattr(module, "counts_of", lambda *_: same)
        patch.setattr(throughput, "_batch_within", lambda *_: 1)
        for name in set(TARGETS) - set(DRAWN):
            del TARGETS[name]
        yield
    TARGETS.clear()
    TARGETS.update(everything)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder drawn from records with hostile text in each field in turn, and in all fields of the newest."""
    folder = tmp_path_factory.mktemp("strangers")
    records = [measurement(), training()]
    each = [put(raw, place, hostile(named(place))) for raw in records for place in places(raw)]
    write(folder / "records", *records, *each, *map(spoiled, records))
    (folder / "records" / f"{hostile('file').replace('/', '')[:200]}.json").write_text("{")
    assert cli.main(["report", "all", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def used(browser: Any, out: Path, *, guarded: bool) -> tuple[Any, list[str]]:
    """Open the page, use all that redraws something, and return it with what its console told.

    Args:
        browser: Chromium.
        out: where the page lies.
        guarded: whether the page's content security policy holds, so that escaping is not all that guards it.
    """
    view = browser.new_context(bypass_csp=not guarded, offline=True).new_page()
    told: list[str] = []
    view.on("console", lambda message: told.append(message.text))
    view.on("pageerror", lambda error: told.append(str(error)))
    view.on("requestfailed", lambda request: told.append(request.url[:100]))
    view.goto((out / "index.html").as_uri())
    view.wait_for_selector("html[data-ready]", timeout=60_000)
    view.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for search in view.get_by_role("searchbox").all():
        search.fill("img")  # the script of the tables reads every cell to find it
    for head in view.locator("table.numbers thead th").all()[:8]:
        head.click()
    for button in view.locator("button.evidence").all()[:3]:
        button.click()
        view.keyboard.press("Escape")
    ours = "document.getElementById('plot-latency').data.findLastIndex(one => one.visible)"
    menu = view.locator("#plot-latency .updatemenu-header")
    menu.click()
    view.locator("#plot-latency .updatemenu-dropdown-button").first.click()
    view.evaluate(f"Plotly.Fx.hover('plot-latency', [{{curveNumber: {ours}, pointNumber: 0}}])")
    view.wait_for_timeout(500)  # pictures fail, and plotly shows a label, a moment later
    return view, told


def test_every_field_of_a_record_was_tried(out: Path) -> None:
    tried = {named(place) for raw in (measurement(), training()) for place in places(raw)}
    assert len(list((out / "records").iterdir())) > len(tried) > 40
    assert {
        "cell.model",
        "environment.hardware",
        "environment.hardware.(name)",
        "reason",
        "command",
        "basis.data.split.origin",
        "measures.latency_ms.(name)",
        "measures.latency_ms.unit",
        "measures.latency_ms.note",
    } <= tried
    text = (out / "index.html").read_text(encoding="utf-8")
    assert [name for name in tried if f" {name}" not in text] == []


@needs_browser
@pytest.mark.parametrize("guarded", [True, False])
def test_nothing_in_a_record_runs_in_the_page(browser: Any, out: Path, guarded: bool) -> None:
    view, told = used(browser, out, guarded=guarded)
    assert view.evaluate("window.ran || []") == []
    assert told == []
    assert view.locator("#plot-latency").text_content().count('<a href="javascript:') >= 2  # the menu, the label
    assert view.locator("[onerror], [onload], [href^='javascript:'], [src='x']").count() == 0
    view.context.close()


@needs_browser
def test_the_page_takes_no_script_but_its_own(browser: Any, out: Path) -> None:
    view, told = used(browser, out, guarded=True)
    view.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = [1]\">')")
    view.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = [2]'}))")
    view.wait_for_timeout(200)
    assert view.evaluate("window.ran || []") == []
    assert len([line for line in told if "Content Security Policy" in line]) == 3  # a picture, its handler, a script
    view.context.close()


def test_in_markdown_it_is_text(out: Path) -> None:
    for path in out.glob("*.md"):
        html = MarkdownIt("commonmark").enable("table").render(path.read_text(encoding="utf-8"))
        assert set(re.findall(r"<(\w+)", html)) <= {"h2", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
        heads, *rows = (len(re.findall("<t[hd]", row)) for row in html.split("<tr>")[1:])
        assert set(rows) == {heads}


def test_in_csv_nothing_is_calculated(out: Path) -> None:
    cells = [cell for path in out.glob("*.csv") for row in csv.reader(path.open(encoding="utf-8")) for cell in row]
    assert any("=1+1" in cell for cell in cells)
    for cell in cells:
        assert not re.match(r"[=@\s]|[-+](?![\d., %±]*$)", cell)


def test_in_latex_it_is_text(out: Path) -> None:
    written = re.compile(r"\\(?:text\w+|dots)\{\}|\\[&%$#_{}]|\$(?:[<>]|\\\w+)\$|\{[\[*]\}")
    text = (out / "table2.tex").read_text(encoding="utf-8")
    assert "textbackslash{}frac" in text
    (body,) = re.findall(r"(?s)\\midrule\n(.*)\\bottomrule", text)
    for row in body.splitlines():
        assert not re.search(r"[\\{}$#%^~_\[]", written.sub("", row.removesuffix(r" \\")))


def test_in_a_picture_it_is_text(out: Path) -> None:
    svg = (out / "figure20.svg").read_text(encoding="utf-8")
    tags = {element.tag for element in ElementTree.fromstring(svg).iter()}  # noqa: S314 - drawn above
    assert not {tag for tag in tags if tag.endswith(("script", "img", "}a"))}
    assert r"$\frac{$" in svg  # read as a formula it could not have been drawn


def test_in_a_terminal_it_is_text(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "table2", "--out", str(out)]) == 0
    printed = "".join(capsys.readouterr())
    assert "[red]" in printed
    assert [sign for sign in printed if not sign.isprintable() and sign != "\n"] == []


ODD = (None, True, -1, "[]", "x" * 5000, {"x": [1]})


def odd(created: str) -> list[Raw]:
    """Return records with an odd value in each place in turn."""
    changed = [put(raw, at, value) for raw in (measurement(), training()) for at in leaves(raw) for value in ODD]
    return [one | {"created": created} for one in changed]


def test_odd_values_cost_the_other_records_nothing(tmp_path: Path) -> None:
    write(tmp_path / "records", measurement(), as_raw(uc_merced()), *odd("2025-12-01"))
    assert cli.main(["report", "all", "--out", str(tmp_path)]) == 0
    assert "DynamicVis-B,512,15.70,97,3," in (tmp_path / "table14.csv").read_text(encoding="utf-8")
    assert "87.46 | 87.41 (" in (tmp_path / "table2.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_odd_values_of_the_newest_records_leave_every_table_drawn(tmp_path: Path) -> None:
    write(tmp_path / "records", measurement(), training(), *odd("2026-12-01"))
    assert cli.main(["report", "all", "--out", str(tmp_path)]) == 0
