"""What README and documentation quote is what the code counts."""

from pathlib import Path

import pytest

from dvbench import quoted

HOUSE = Path(__file__).resolve().parents[2]
SLOW = [pytest.param(f"docs/{name}.md", marks=pytest.mark.slow) for name in ("measuring", "rivals")]


@pytest.mark.parametrize("name", ["README.md", *SLOW])
def test_quoted_counts_are_those_of_the_code(name: str) -> None:
    text = (HOUSE / name).read_text(encoding="utf-8")
    assert "<!-- counts:" in text
    assert quoted.refreshed(text) == text, "run nox -s counts, and say in the commit what moved and why"


def test_a_number_that_is_wrong_is_replaced_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quoted.BLOCKS, "found", lambda: "30.01")
    page = "Before 1.\n<!-- counts:found -->29.99<!-- /counts --> after 2.\n"
    assert quoted.refreshed(page) == page.replace("29.99", "30.01")


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(quoted.BlockError, match=r"no block of counts 'speed': choose from found, flops"):
        quoted.refreshed("<!-- counts:speed -->1<!-- /counts -->")


def test_every_quoting_page_is_checked() -> None:
    quoting = {path.relative_to(HOUSE).as_posix() for path in (HOUSE / "README.md", *HOUSE.glob("docs/**/*.md"))}
    assert {name for name in quoting if "<!-- counts:" in (HOUSE / name).read_text("utf-8")} == set(quoted.QUOTING)
