"""Our packages have common names; importing dvbench where somebody else's would be found says whose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]


def import_dvbench(*path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    # -P: the folder that the tests run in, which may be ours, stays off the path.
    command = [sys.executable, "-P", "-c", "import dvbench; print(dvbench.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603


@pytest.mark.parametrize("name", ["models", "reports"])
def test_a_foreign_package_earlier_on_the_path_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = import_dvbench(tmp_path, HOUSE)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: dvbench needs its own package '{name}' in {HOUSE}")
    assert f"Python finds '{name}' in {tmp_path / name}" in last
    assert "PYTHONPATH" in last


def test_a_foreign_module_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "models.py").touch()
    done = import_dvbench(tmp_path, HOUSE)
    assert f"Python finds 'models' in {tmp_path}" in done.stderr


def test_a_folder_of_data_with_that_name_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.bin").touch()
    done = import_dvbench(tmp_path, HOUSE)
    assert (done.returncode, done.stderr) == (0, "")
