"""Who may import whom: no package imports dvbench or its neighbours, and within dvbench no import runs up."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "models": {"tasks", "reports", "dvbench"},
    "tasks": {"reports", "dvbench"},
    "reports": {"models", "tasks", "dvbench"},
}


#: The rooms of dvbench, from the ground up: a room imports itself and those below it.
LAYERS = (
    {"version", "errors", "progress"},
    {"environment"},
    {"kept"},
    {"paper", "data"},
    {"profile"},
    {"training", "costs"},
    {"show", "doctor", "verdicts"},
    {"tables"},
    {"quoted", "gate", "gpu", "predict", "weights"},
    {"verbs"},
    {"cli"},
    {"__main__"},
)
LARGEST = 2000  # lines of a room; one that outgrows it is two


def imported(source: str) -> Iterator[str]:
    """Name what a module imports anywhere, inside functions and for type checkers too, with its dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(source: str) -> set[str]:
    """Name the top-level packages that a module imports."""
    return {name.split(".")[0] for name in imported(source)}


def modules(package: str) -> list[Path]:
    return sorted((HOUSE / package).rglob("*.py"))


def room(path: Path) -> str:
    """Name the room of dvbench that a file lies in, or the file where it stands alone."""
    return path.relative_to(HOUSE / "dvbench").parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if name in rooms)


@pytest.mark.parametrize("package", [package for package in FORBIDDEN if (HOUSE / package).is_dir()])
def test_no_package_imports_what_stands_above_or_beside_it(package: str) -> None:
    assert modules(package)
    wrong = {
        str(path.relative_to(HOUSE)): sorted(found)
        for path in modules(package)
        if (found := FORBIDDEN[package] & packages(path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_imports_are_seen_wherever_they_stand() -> None:
    source = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h\n"
    assert sorted(imported(source)) == ["a.b", "c.d.e", "h"]
    assert packages(source) == {"a", "c", "h"}


def test_no_import_of_dvbench_runs_up() -> None:
    wrong = []
    for path in modules("dvbench"):
        here = room(path)
        if here == "__init__":
            continue
        names = [name.split(".") for name in imported(path.read_text(encoding="utf-8"))]
        rooms = {name[1] for name in names if name[0] == "dvbench" and len(name) > 1} - {here}
        wrong += [f"{path.relative_to(HOUSE)} imports {there}" for there in rooms if floor(there) >= floor(here)]
    assert wrong == []


def test_every_room_has_its_floor_and_none_is_too_large() -> None:
    lines = Counter[str]()
    for path in modules("dvbench"):
        lines[room(path)] += len(path.read_text(encoding="utf-8").splitlines())
    assert {name for rooms in LAYERS for name in rooms} == lines.keys() - {"__init__"}
    assert {name: count for name, count in lines.items() if count > LARGEST and name != "data"} == {}


def test_no_two_rooms_share_a_noun() -> None:
    """Files of one name would have to be told apart by their folders; verbs are named after what they call."""
    names = Counter(path.name for top in ("dvbench", "models", "reports", "tasks") for path in modules(top))
    assert not names.keys() & {"cell.py", "baseline.py"} or names["cell.py"] == 1
