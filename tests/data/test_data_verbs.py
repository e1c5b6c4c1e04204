"""The verbs of `dvbench data`, from the command line to the exit code: 0 good, 1 something is wrong, 2 bad input."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from dvbench.cli import main
from dvbench.data import catalog
from dvbench.data.archives import UnsafeNameError
from dvbench.data.card import Archive
from dvbench.data.catalog import CATALOG


class Said(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `dvbench data` in an empty folder, with datasets below its `sets`."""
    monkeypatch.setenv("DVBENCH_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Said:
        code = main(["data", *map(str, arguments)])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def whu_cd(data: Call, tmp_path: Path) -> Path:
    data("make", "whu_cd", tmp_path / "sets" / "whu_cd", "--count", 2)
    return tmp_path / "sets" / "whu_cd"


def test_help_is_quick_to_come() -> None:
    code = (
        "import sys\nfrom dvbench.cli import main\n"
        "try: main(['data', 'tile', '--help'])\n"
        "except SystemExit: print({'torch', 'torchgeo', 'rasterio', 'numpy', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.rstrip().endswith("set()")


@pytest.mark.parametrize("verb", ["info", "download", "verify", "tile", "preview", "make"])
def test_every_verb_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["data", verb, "--help"])
    assert f"examples:\n  dvbench data {verb} " in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["info", "download", "verify", "preview", "tile"])
def test_an_unknown_dataset(verb: str, data: Call) -> None:
    said = data(verb, "levir_sip")
    assert said.code == 2
    assert said.err.startswith("dvbench: ")
    assert said.err.count("\n") == 1
    assert "levir_s" in said.err


class TestInfo:
    @pytest.mark.parametrize("name", CATALOG)
    def test_shows_the_whole_card(self, name: str, data: Call) -> None:
        said, card = data("info", name), CATALOG[name].card
        assert said.code == 0
        words = said.out.split()
        for text in (card.title, card.licence, card.citation, *card.notes, *card.obtain, *card.classes):
            assert " ".join(text.split()) in " ".join(words)
        for archive in card.archives:
            assert (archive.sha256 or archive.md5 or archive.name.split()[-1]) in said.out
        assert all(line.rstrip() in said.out for line in card.layout.splitlines())

    def test_says_whether_it_is_there(self, data: Call, whu_cd: Path) -> None:
        told = "whu_cd was never verified; dvbench data verify whu_cd does it"
        assert data("info", "whu_cd").out.endswith(f"\nfound in {whu_cd}\n{told}\n")
        assert data("info", "whu_cd", "--root", "elsewhere").out.endswith("\nnot found in elsewhere\n")


def test_list_datasets(data: Call, whu_cd: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001
    assert main(["list", "datasets"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows.keys() >= CATALOG.keys()
    assert "5,947 / 743 / 744 image pairs" in rows["whu_cd"]
    assert [rows[name].split()[-1] for name in ("whu_cd", "neon_trees", "aid")] == ["yes", "yes", "no"]


class TestDownload:
    def test_says_step_by_step_what_a_person_has_to_do(self, data: Call, tmp_path: Path) -> None:
        said = data("download", "whu_building")
        assert said.code == 1
        assert f"Folder: {tmp_path / 'sets' / 'whu_building'}" in said.out
        assert "step 1:     Get the cropped aerial images from https://gpcv.whu.edu.cn" in said.out
        assert "licence:    none stated" in said.out
        assert "    {train,val,test}/label/*.tif" in said.out

    def test_is_done_where_the_dataset_comes_with_the_package(self, data: Call) -> None:
        said = data("download", "neon_trees")
        assert said.code == 0
        assert "dvbench data verify neon_trees checks it" in said.out

    def test_a_failure_is_one_line(self, data: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = CATALOG["levir_cd"]
        card = replace(entry.card, archives=(Archive("train.zip", "http://127.0.0.1:9/train.zip"),))
        monkeypatch.setitem(CATALOG, "levir_cd", replace(entry, card=card))
        said = data("download", "levir_cd")
        assert said.code == 2
        assert said.err.startswith("dvbench: http://127.0.0.1:9/train.zip broke off")
        assert said.err.count("\n") == 1


class TestVerify:
    def test_a_whole_dataset(self, data: Call, whu_cd: Path) -> None:  # noqa: ARG002
        said = data("verify", "whu_cd")
        assert said.code == 0
        assert said.out.startswith("whu_cd: 0 problems; samples opened: 2 of train, 2 of val, 2 of test; split by: ")

    def test_each_problem_is_a_line(self, data: Call, whu_cd: Path) -> None:
        for file in ("A/whucd_00000.png", "B/whucd_00001.png"):
            (whu_cd / file).write_bytes((whu_cd / file).read_bytes()[:5000])
        said = data("verify", "whu_cd")
        assert said.code == 1
        first, second, last, origin = said.out.splitlines()
        assert "A/whucd_00000.png is no intact" in first
        assert "B/whucd_00001.png is no intact" in second
        assert last.startswith("whu_cd: 2 problems")
        assert origin.startswith("whu_cd is drawn")

    def test_missing_root(self, data: Call) -> None:
        said = data("verify", "aid")
        assert said.code == 2
        assert said.err.endswith("sets/aid: dvbench data info aid says how to get it\n")


class TestPreview:
    def test_writes_a_picture(self, data: Call, whu_cd: Path, tmp_path: Path) -> None:  # noqa: ARG002
        said = data("preview", "whu_cd", "--split", "val", "--out", tmp_path / "out")
        assert said.code == 0
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["preview_whu_cd_val.png"]
        assert f"wrote {tmp_path}/out/preview_whu_cd_val.png" in said.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["neon_trees", "--split", "all"], "split 'all' is not in neon_trees"),
            (["aid"], "aid is not in "),
            (["aid", "--root", "."], "does not hold all of aid: dvbench data verify aid tells what is missing"),
        ],
    )
    def test_bad_input(self, arguments: list[str], message: str, data: Call) -> None:
        said = data("preview", *arguments)
        assert said.code == 2
        assert message in said.err
        assert said.err.count("\n") == 1

    def test_a_damaged_image(self, data: Call, whu_cd: Path) -> None:
        (whu_cd / "A" / "whucd_00000.png").write_bytes(b"")
        said = data("preview", "whu_cd")
        assert said.code == 2
        assert "A/whucd_00000.png is no intact JPEG or PNG" in said.err

    def test_a_count_that_is_none(self, data: Call) -> None:
        with pytest.raises(SystemExit, match="2"):
            data("preview", "neon_trees", "--count", "0")


class TestTile:
    @pytest.fixture
    def mosaics(self, tmp_path: Path) -> list[str]:
        rng = np.random.default_rng(0)
        for name in ("2012", "2016"):
            Image.fromarray(rng.integers(0, 255, (600, 1100, 3), dtype=np.uint8)).save(tmp_path / f"{name}.tif")
        Image.fromarray(np.zeros((600, 1100), dtype=np.uint8)).save(tmp_path / "change.tif")
        return [f"A={tmp_path}/2012.tif", f"B={tmp_path}/2016.tif", f"label={tmp_path}/change.tif"]

    def test_mosaics_become_a_dataset(self, data: Call, mosaics: list[str], tmp_path: Path) -> None:
        said = data("tile", "whu_cd", *mosaics)
        assert said.code == 0
        assert f"8 tiles are in A, B, label of {tmp_path / 'sets' / 'whu_cd'}" in said.out
        assert "seeded split of ours" in said.out
        counts = [len(catalog.dataset("whu_cd", split)) for split in ("train", "val", "test")]
        assert sum(counts) == 8
        assert min(counts) > 0
        assert "seeded split of ours" in catalog.split_report("whu_cd").made_by

    def test_lists_that_are_there_stay(self, data: Call, mosaics: list[str], tmp_path: Path) -> None:
        lists = tmp_path / "sets" / "whu_cd" / "list"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("mine\n")
        data("tile", "whu_cd", *mosaics)
        assert [path.read_text() for path in lists.iterdir()] == ["mine\n"]

    def test_cities(self, data: Call, tmp_path: Path) -> None:
        data("make", "oscd", tmp_path / "sets" / "oscd", "--count", 1)
        said = data("tile", "oscd_released")
        assert said.code == 0
        assert said.out == f"4 train and 4 test tiles are in {tmp_path}/sets/oscd/tiles\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["whu_cd"], "whu_cd is cut from rasters that you name: dvbench data tile whu_cd A=2012.tif"),
            (["aid"], "no grid is known for 'aid'; use whu_cd, massachusetts_roads, oscd, oscd_released"),
            (["oscd"], "oscd is not in"),
            (["whu_cd", "A=nowhere.tif"], "nowhere.tif"),
        ],
    )
    def test_bad_input(self, arguments: list[str], message: str, data: Call) -> None:
        said = data("tile", *arguments)
        assert said.code == 2
        assert message in said.err
        assert said.err.count("\n") == 1

    @pytest.mark.parametrize("raster", ["2012.tif", "A=", "=2012.tif", "../A=2012.tif"])
    def test_a_raster_without_a_layer(self, raster: str, data: Call, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            data("tile", "whu_cd", raster)
        assert "is not LAYER=FILE, such as A=2012.tif" in capsys.readouterr().err


class TestMake:
    def test_says_what_it_is(self, data: Call, tmp_path: Path) -> None:
        said = data("make", "ssdd", tmp_path / "new", "--count", 1)
        assert said.code == 0
        assert "holds synthetic scenes in the layout of ssdd" in said.out
        assert (tmp_path / "new" / "SYNTHETIC.txt").exists()

    @pytest.mark.parametrize(
        ("name", "folder", "message"), [("neon_trees", "new", "no layout"), ("ssdd", ".", "is not an empty folder")]
    )
    def test_bad_input(self, name: str, folder: str, message: str, data: Call, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said = data("make", name, folder)
        assert said.code == 2
        assert message in said.err


def test_unsafe_names_are_refused_in_one_line(data: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise UnsafeNameError("train.zip names '../evil'")

    monkeypatch.setattr("dvbench.data.download.download", refuse)
    assert data("download", "levir_cd") == Said(2, "", "dvbench: train.zip names '../evil'\n")
