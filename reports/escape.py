"""Text of strangers as plain text, for each format that it is written in; HTML escapes by itself, in jinja."""

import html
import re

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "[": "{[}",  # at the start of a row, `\\` before it would take it for its argument
        "*": "{*}",  # likewise
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{"<": r"$<$", ">": r"$>$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$"},
        **{"±": r"$\pm$", "²": "$^2$", "µ": r"$\mu$", "†": r"$\dagger$", "‡": r"$\ddagger$", "…": r"\dots{}"},
        **{"\N{MULTIPLICATION SIGN}": r"$\times$", "\N{MINUS SIGN}": r"$-$"},
        **{"\N{EN DASH}": "--", "\N{EM DASH}": "---"},
    }
)
#: What begins markup in GitHub Markdown, inside of a line: an underscore unless letters or digits stand on both sides.
_MARKDOWN = re.compile(r"[\\`*\[\]<|~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
#: What begins a formula in a spreadsheet, some of which take a semicolon or tab for the end of a cell.
_FORMULA = re.compile(r"(^|[;\t]\s*)(?=[=+\-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
                      r"\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}])")  # fmt: skip
_NUMBER = re.compile(r"[-+]?[\d.,]+(?:e[-+]?\d+)?(?: ?%)?(?: ± [\d.]+)?|[-+]", re.IGNORECASE)

LONGEST = 200  # letters of a file's name, most of which take one of the 255 bytes that file systems have


def visible(text: str) -> str:
    r"""Return text with what a terminal, an XML reader or a person's eye may not get shown as its escape.

    Control characters, marks that turn the direction of reading, and halves of surrogate pairs become `\x1b`, `\u202e`
    and the like. Lines stay; other white space becomes blanks.
    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else " " if sign.isspace() else _escape(sign) for sign in text
    )


def printable(text: str) -> str:
    """Return visible text in one line."""
    return visible(" ".join(text.split()))


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def file_name(text: str) -> str:
    """Return text as one name of a visible file: no separator, no parent of a folder."""
    return re.sub(r"[^\w.-]+", "-", text).lstrip(".")[:LONGEST] or "-"


def markdown(text: str) -> str:
    """Return text for GitHub Markdown: within a line, or for a cell of a table."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", printable(text))


def latex(text: str) -> str:
    """Return text for LaTeX."""
    return printable(text).translate(_LATEX)


def csv_cell(text: str) -> str:
    """Return text for a cell of a CSV file, with an apostrophe before what a spreadsheet would calculate."""
    line = printable(text)
    return line if _NUMBER.fullmatch(line) else _FORMULA.sub(r"\1'", line)


def plotly(text: str) -> str:
    """Return text for labels and hover templates of plotly, which take some HTML and what stands between braces."""
    return html.escape(printable(text), quote=False).replace("{", "&#123;")
