"""The page holds everything it shows, says what is missing, and works in a browser without a network."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reports.compare import Comparison, Verdict, compare
from reports.curves import Curves
from reports.page import Page, Picture, Section, Stage
from reports.plot import Series
from reports.record import Measure, Record, Status
from reports.table import Table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cf50000003830180b4a6ddb20000000049454e44ae426082"
)


def record(identity: str, hardware: str, created: str) -> Record:
    cell = {"model": "dynamicvis_b", "resolution": 512, "batch": 1}
    measures = {"latency_ms": Measure(2.0, "ms", "measured", (1.0, 2.0, 3.0))}
    environment: dict[str, Any] = {"hardware": hardware, "torch": "2.15.0"}
    return Record(cell, identity, Status.OK, "", measures, environment, created, "dvbench profile", "g")


OLD = record("a" * 64, "an <old> card", "2026-01-01T00:00:00+00:00")
NEW = record("b" * 64, "a new card", "2026-02-01T00:00:00+00:00")


def numbers() -> list[Comparison]:
    made = [("ResNet", "5.0", 5.0, True), ("ViT", "100", 90.0, True), ("DynamicVis", "20", 3.0, False)]
    return [
        compare(row, "ms", paper, ours, tolerance=0.01, comparable=same, reason="other hardware", source="b" * 12)
        for row, paper, ours, same in made
    ] + [compare("Swin", "ms", "7", None, tolerance=0, comparable=True, reason="no model of ours", source="")]


def page(**changes: Any) -> Page:
    table = Table("Latency | all", ["Model", "ms", "verdict"], [["A & B", "5", "differs"]], ["a <note>"])
    verdicts = {str(verdict): 1 for verdict in Verdict}
    evidence = [[("number", f"table14, {one.row}"), ("code", "<b>commit</b> </script>")] for one in numbers()]
    section = Section("table14", "Latency", verdicts, "1 other hardware", numbers(), evidence, [("table14", table)])
    series = [Series("ResNet", [128, 256], [1, 2])]
    stages = [Stage(f"stage {i}", f"keeps {i}", [Picture(f"stage {i}", PIXEL, "png")]) for i in range(3)]
    made = Page(
        "Title",
        "Lead.",
        "Made now.",
        [section, Section("figure8", "Confusion", {Verdict.NOT_RUN: 1}, "nothing was run")],
        [Curves("latency", "Latency", "ms", [Series("ResNet", [128], [1], kind="paper")], {"x": series, "y": series})],
        stages,
        "untrained",
        [OLD, NEW],
        "a new card",
        {"a new card": {"torch": "2.15.0"}},
    )
    return replace(made, **changes)


def test_nothing_is_fetched_from_anywhere() -> None:
    html = re.sub(r"(?s)<script.*?</script>|<style>.*?</style>", "", page().to_html())
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', html)
    assert not re.findall(r"<link(?![^>]*data:)[^>]*>", html)


def test_names_from_outside_are_text_and_never_markup() -> None:
    html = page(problems=["<b>x.json</b>: unreadable"], notices=["<i>n</i>"]).to_html()
    assert "&lt;b&gt;x.json&lt;/b&gt;: unreadable" in html
    assert "&lt;i&gt;n&lt;/i&gt;" in html
    assert "A &amp; B" in html
    assert "an &lt;old&gt; card" in html
    assert "an <old> card" not in html


def test_no_name_turns_the_text_around_it() -> None:
    html = page(shown="a \u202ecard", records=[record("c" * 64, "a \u202ecard", "2026-01-01")]).to_html()
    assert "\u202e" not in html
    assert r"a \u202ecard. The curves let you choose." in html


def test_the_machine_that_heads_a_column_is_text() -> None:
    assert "<th>an &lt;img src=x&gt; card</th>" in page(environment={"an <img src=x> card": {"torch": "2"}}).to_html()


def test_the_page_may_run_its_own_script_and_load_nothing() -> None:
    html = page().to_html()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    rules = dict(rule.split(" ", 1) for rule in unescape(policy).split("; "))
    (script,) = re.findall(r'(?s)<script type="module">(.*?)</script>', html)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}' blob:"
    assert "'none'" in rules["base-uri"]
    assert "'none'" in rules["form-action"]
    assert html.index("Content-Security-Policy") < html.index("<style>") < html.index("<script")


def test_every_number_links_to_its_record_which_is_in_the_page() -> None:
    html = page().to_html()
    assert f'<a href="#record-{"b" * 12}">' in html
    inside = re.search(rf'(?s)<pre id="record-{"b" * 12}">(.*?)</pre>', html)
    assert inside
    text = inside[1].replace("&#34;", '"')
    assert Record.from_json(text, "page") == NEW
    assert '"samples": [ 1.0, 2.0, 3.0 ]' in text


def test_machines_are_listed_and_the_one_that_is_shown_is_named() -> None:
    html = page().to_html()
    machines = re.search(r"(?s)<table[^>]*machines.*?</table>", html)
    assert machines
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in machines[0].split("<tr")[2:]]
    assert rows == [
        ["an &lt;old&gt; card", "1 measurement", "2026-01-01", "2026-01-01", ""],
        ["a new card", "1 measurement", "2026-02-01", "2026-02-01", "shown"],
    ]


def test_totals_leave_the_audit_out() -> None:
    audit = Section("audit", "", {Verdict.DIFFERS: 100})
    html = page(sections=[*page().sections, audit]).to_html()
    tiles = re.findall(r'(?s)<li class="tile [\w-]+"><b>(\d+)</b> <span>([\w ]+)', html)
    assert tiles == [
        ("1", "reproduced"),
        ("1", "differs"),
        ("1", "inconclusive"),
        ("1", "not comparable"),
        ("2", "not run"),
    ]


def test_it_is_the_same_for_the_same_content_and_written_whole(tmp_path: Path) -> None:
    path = page().write(tmp_path)
    assert path.name == "index.html"
    assert path.read_bytes() == page().to_html().encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page().write(tmp_path_factory.mktemp("page")).as_uri()


def opened(browser: Any, address: str, width: int = 1280, scheme: str = "light") -> Any:
    """Open the page offline from its file, and hold everything that goes wrong on it."""
    view = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    view.context.set_offline(True)
    view.flaws = []
    view.on("console", lambda message: view.flaws.append(message.text) if message.type in ("error", "warning") else 0)
    view.on("pageerror", lambda error: view.flaws.append(str(error)))
    view.on("requestfailed", lambda request: view.flaws.append(request.url[:100]))
    view.goto(address)
    view.wait_for_selector("html[data-ready]", timeout=60_000)
    view.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    return view


def shows(view: Any, number: int, *cells: str) -> None:
    """Wait until a column of the numbers shows these cells: sorting and filtering take a moment."""
    from playwright.sync_api import expect

    expect(view.locator(f"table.numbers tbody tr td:nth-child({number})")).to_have_text(list(cells), timeout=20_000)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_without_errors_and_does_not_scroll_sideways(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    view = opened(browser, address, width, scheme)
    assert view.flaws == []
    assert view.evaluate("document.documentElement.scrollWidth") == width
    assert view.locator("#plot-latency .main-svg").count() > 0
    assert view.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 21, 28)"
    )
    view.close()


@needs_browser
def test_a_click_sorts_by_value_and_typing_filters(browser: Any, address: str) -> None:
    view = opened(browser, address)
    shows(view, 3, "5", "100", "20", "7")
    head = view.locator("table.numbers thead th").nth(2)
    head.click()
    shows(view, 3, "5", "7", "20", "100")
    view.wait_for_timeout(500)  # two clicks at once are a double click
    head.click()
    shows(view, 3, "100", "20", "7", "5")
    search = view.get_by_role("region", name="Numbers of Table 14").get_by_role("searchbox")
    search.fill("differs")
    shows(view, 1, "ViT")
    search.fill("other hardware")
    shows(view, 1, "DynamicVis")
    assert view.flaws == []
    view.close()


@needs_browser
def test_a_click_on_a_number_shows_its_evidence_also_once_sorted(browser: Any, address: str) -> None:
    view = opened(browser, address)
    view.locator("table.numbers thead th").nth(2).click()
    shows(view, 1, "ResNet", "Swin", "DynamicVis", "ViT")
    view.locator("table.numbers tbody tr", has_text="ViT").get_by_role("button").click()
    dialog = view.get_by_role("dialog", name="Evidence")
    assert dialog.locator("dd").all_inner_texts() == ["table14, ViT", "<b>commit</b> </script>"]
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    assert view.flaws == []
    view.close()


@needs_browser
def test_the_slider_goes_through_the_stages(browser: Any, address: str) -> None:
    view = opened(browser, address)
    slider = view.get_by_role("slider", name="Stage")
    seen = []
    for _ in range(3):
        seen.append([view.locator(".stage:visible img").get_attribute("alt"), view.locator("#stage-name").inner_text()])
        slider.press("ArrowRight")
    assert seen == [[f"stage {i}", f"stage {i}"] for i in range(3)]
    view.close()


@needs_browser
def test_a_link_to_a_record_opens_it(browser: Any, address: str) -> None:
    view = opened(browser, address)
    view.evaluate("document.querySelectorAll('details.record').forEach(one => one.open = false)")
    view.locator("table.numbers a").first.click()
    view.wait_for_selector(f"#record-{'b' * 12}", state="visible", timeout=5_000)
    view.close()


@needs_browser
def test_downloads_are_what_they_say(browser: Any, address: str) -> None:
    view = opened(browser, address)
    found = {}
    for name in ("table14 as CSV", "table14 as LaTeX", "Table 14, numbers as JSON"):
        with view.expect_download() as download:
            view.get_by_role("link", name=name).click()
        found[name] = Path(download.value.path()).read_text()
    assert found["table14 as CSV"] == "Model,ms,verdict\nA & B,5,differs\n"
    assert r"A \& B & 5 & differs" in found["table14 as LaTeX"]
    loaded = json.loads(found["Table 14, numbers as JSON"])
    assert [one["verdict"] for one in loaded] == ["reproduced", "differs", "not comparable", "not run"]
    view.close()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_keeps_people_out(browser: Any, address: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    view = opened(browser, address, scheme=scheme)
    violations = Axe().run(view).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in violations if one["impact"] in ("serious", "critical")
    ] == []
    view.close()


@needs_browser
def test_printed_it_holds_what_was_folded_away(browser: Any, address: str, tmp_path: Path) -> None:
    view = opened(browser, address)
    view.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
    folded = view.evaluate("document.documentElement.scrollHeight")
    view.emulate_media(media="print")
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert view.locator("table.numbers td", has_text="ViT").first.is_visible()
    assert view.evaluate("document.documentElement.scrollHeight") > folded / 2
    pdf = view.pdf(path=tmp_path / "page.pdf", format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
    view.close()
