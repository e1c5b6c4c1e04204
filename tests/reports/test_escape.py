"""Each format shows text as it reads, whoever wrote it."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.escape import csv_cell, file_name, latex, markdown, plotly, printable, visible

ANY = st.text(st.characters() | st.sampled_from("\\`*_[]<>|~&;#!()\"'$ \t\n"))
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@settings(deadline=None)
@given(ANY)
def test_printable_text_is_one_line_that_steers_nothing(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    printable(text).encode()


def test_visible_text_keeps_its_lines() -> None:
    assert visible("{\n  'a':\t\x00\u202e\n}") == "{\n  'a': \\x00\\u202e\n}"


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert printable("a\x1b[31m\nb\t c\u202ed\ud800") == r"a\x1b[31m b c\u202ed\ud800"
    assert printable("ä 漢 ± ‡") == "ä 漢 ± ‡"


@settings(deadline=None)
@example("__0__")
@given(ANY)
def test_markdown_renders_to_the_text(text: str) -> None:
    table = f"| head |\n| --- |\n| {markdown(text)} |\n\n- note {markdown(text)}\n"
    html = MARKDOWN.render(table)
    shown = [re.sub("&(amp|lt|gt|quot);", _sign, one) for one in re.findall("<(?:td|li)>(.*)</", html)]
    assert shown == [printable(text), f"note {printable(text)}".rstrip()]


def _sign(found: re.Match[str]) -> str:
    return {"amp": "&", "lt": "<", "gt": ">", "quot": '"'}[found[1]]


def test_markdown_can_be_read_as_source_too() -> None:
    assert markdown("uc_merced & ViT-B_16, 1.5") == "uc_merced & ViT-B_16, 1.5"


def test_latex_has_no_sign_left_that_means_something() -> None:
    assert latex(r"\input{x} $y$ #&%_^~") == (
        r"\textbackslash{}input\{x\} \$y\$ \#\&\%\_\textasciicircum{}\textasciitilde{}"
    )
    assert latex("[2x]") == "{[}2x]", r"a row that began with it would be the argument of the \\ before"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1", "\N{FULLWIDTH EQUALS SIGN}1"]
)
def test_a_formula_is_text_for_a_spreadsheet(text: str) -> None:
    assert csv_cell(text) == f"'{text.strip()}"


def test_a_formula_behind_a_semicolon_is_text_where_that_ends_a_cell() -> None:
    assert csv_cell("a;=1+1; @x") == "a;'=1+1; '@x"


@pytest.mark.parametrize("text", ["-1.5", "+3.2 %", "-0.5 ± 0.2", "1,581.18", "-1e-05", "-", "", "a = b", "x-1"])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    assert csv_cell(text) == text


def test_plotly_has_neither_tags_nor_values_to_fill_in() -> None:
    assert plotly('<b>%{x}</b> & "c"') == '&lt;b&gt;%&#123;x}&lt;/b&gt; &amp; "c"'


@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc", "..", ".", "", "a\0b", "C:\\x", ".hidden", "x" * 999])
def test_a_file_name_stays_in_its_folder(text: str) -> None:
    name = file_name(text)
    assert re.fullmatch(r"[\w-][\w.-]{,199}", name)


def test_a_good_file_name_is_kept() -> None:
    assert file_name("uc_merced-vit_b16-released-2x-s0-0123abcd") == "uc_merced-vit_b16-released-2x-s0-0123abcd"
