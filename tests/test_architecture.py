"""Who may import whom: dvbench knows the other packages, and none of them knows it or its neighbours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "models": {"tasks", "reports", "dvbench"},
    "tasks": {"reports", "dvbench"},
    "reports": {"models", "tasks", "dvbench"},
}


def imported(source: str) -> Iterator[str]:
    """Name the top-level packages that a module imports anywhere, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def modules(package: str) -> list[Path]:
    return sorted((HOUSE / package).rglob("*.py"))


@pytest.mark.parametrize("package", [package for package in FORBIDDEN if (HOUSE / package).is_dir()])
def test_no_package_imports_what_stands_above_or_beside_it(package: str) -> None:
    assert modules(package)
    wrong = {
        str(path.relative_to(HOUSE)): sorted(found)
        for path in modules(package)
        if (found := FORBIDDEN[package] & set(imported(path.read_text(encoding="utf-8"))))
    }
    assert wrong == {}


def test_imports_are_seen_wherever_they_stand() -> None:
    source = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h\n"
    assert sorted(imported(source)) == ["a", "c", "h"]
