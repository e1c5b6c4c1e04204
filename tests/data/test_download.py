"""Files are fetched whole, checked and resumed; what only a person can get is said; nothing half-done stays."""

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dvbench.data.archives import ArchiveError, UnsafeNameError
from dvbench.data.card import Archive, Card
from dvbench.data.catalog import CATALOG
from dvbench.data.download import DownloadError, download, fetch, mismatch, unpack
from dvbench.data.watch import Watch

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Source:
    """A web server on this machine, and what it was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    breaks_after: int | None = None  # bytes
    knows_ranges: bool = True


@pytest.fixture
def source() -> Iterator[Source]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            if name not in made.files:
                self.send_error(403 if name == "secret" else 404)
                return
            content, asked = made.files[name], self.headers["Range"] if made.knows_ranges else None
            made.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if asked and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : made.breaks_after])

        def log_message(self, *_: Any) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Source(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


class Heard(Watch):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.passed: list[tuple[str, int, int | None]] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)

    def chunks(self, chunks: Any, what: str, done: int, total: int | None) -> Iterator[bytes]:
        self.passed.append((what, done, total))
        yield from chunks


def listed(source: Source, name: str, content: bytes, **pins: Any) -> Archive:
    source.files[name] = content
    return Archive(name, f"{source.url}/{name}", **pins)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zipped(tmp_path: Path, **members: str) -> bytes:
    path = tmp_path / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path.read_bytes()


def published(monkeypatch: pytest.MonkeyPatch, *archives: Archive, required: tuple[str, ...] = ("A/*.png",)) -> Card:
    """Put a dataset with these files into the catalog, under the name levir_cd."""
    entry = CATALOG["levir_cd"]
    card = replace(entry.card, archives=archives, required=required)
    monkeypatch.setitem(CATALOG, card.name, replace(entry, card=card))
    return card


class TestFetch:
    @pytest.mark.parametrize("pins", [{"sha256": sha256(CONTENT)}, {"md5": hashlib.md5(CONTENT).hexdigest()}, {}])  # noqa: S324
    def test_a_file_arrives_whole_and_alone(self, source: Source, tmp_path: Path, pins: dict[str, str]) -> None:
        path = fetch(listed(source, "train.zip", CONTENT, **pins), tmp_path / "new" / "folder")
        assert path.read_bytes() == CONTENT
        assert [file.name for file in path.parent.iterdir()] == ["train.zip"]

    def test_a_folder_in_the_name_is_made(self, source: Source, tmp_path: Path) -> None:
        archive = replace(listed(source, "list.json", b"[]"), name="annotations/list.json")
        assert fetch(archive, tmp_path) == tmp_path / "annotations" / "list.json"

    def test_a_file_that_is_there_is_not_fetched_again(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT, sha256=sha256(CONTENT))
        fetch(archive, tmp_path)
        fetch(archive, tmp_path)
        assert source.ranges == [None]

    def test_what_broke_off_goes_on_from_there(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT, sha256=sha256(CONTENT))
        source.breaks_after = 300_000
        with pytest.raises(DownloadError, match=r"train\.zip broke off or cannot be reached .* goes on from there"):
            fetch(archive, tmp_path)
        assert not (tmp_path / "train.zip").exists()
        source.breaks_after, heard = None, Heard()
        assert fetch(archive, tmp_path, heard).read_bytes() == CONTENT
        kept = int(re.fullmatch(r"bytes=(\d+)-", source.ranges[1] or "")[1])  # type: ignore[index]
        assert 0 < kept <= 300_000
        assert heard.passed[0] == ("train.zip", kept, len(CONTENT))

    def test_a_server_without_ranges_starts_over(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT, sha256=sha256(CONTENT))
        (tmp_path / ".train.zip.part").write_bytes(CONTENT[:1000])
        source.knows_ranges = False
        assert fetch(archive, tmp_path).read_bytes() == CONTENT

    def test_a_part_that_is_complete_is_only_checked(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT, sha256=sha256(CONTENT))
        (tmp_path / ".train.zip.part").write_bytes(CONTENT)
        assert fetch(archive, tmp_path).read_bytes() == CONTENT

    def test_a_part_longer_than_the_file_is_dropped(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT)
        (tmp_path / ".train.zip.part").write_bytes(CONTENT + b"more")
        with pytest.raises(DownloadError, match="was dropped; try again"):
            fetch(archive, tmp_path)
        assert fetch(archive, tmp_path).read_bytes() == CONTENT

    def test_a_wrong_checksum_leaves_nothing(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", b"something else", sha256=sha256(CONTENT))
        expected = rf"gave a file that has SHA-256 {sha256(b'something else')} instead of {sha256(CONTENT)}"
        with pytest.raises(DownloadError, match=expected):
            fetch(archive, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_file_is_replaced(self, source: Source, tmp_path: Path) -> None:
        archive = listed(source, "train.zip", CONTENT, sha256=sha256(CONTENT))
        (tmp_path / "train.zip").write_bytes(b"damaged")
        assert fetch(archive, tmp_path).read_bytes() == CONTENT

    @pytest.mark.parametrize(
        ("name", "message"), [("gone", r"is not there \(HTTP 404\)"), ("secret", "may ask for a login")]
    )
    def test_what_the_server_refuses(self, source: Source, tmp_path: Path, name: str, message: str) -> None:
        with pytest.raises(DownloadError, match=message) as caught:
            fetch(Archive("train.zip", f"{source.url}/{name}"), tmp_path)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match="broke off or cannot be reached"):
            fetch(Archive("train.zip", "http://127.0.0.1:9/train.zip"), tmp_path)

    def test_a_file_in_place_of_the_folder(self, source: Source, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch(listed(source, "train.zip", CONTENT), tmp_path / "file")

    def test_a_full_disk_is_noticed_before(
        self, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        full = type("Usage", (), {"free": 1000})
        monkeypatch.setattr("shutil.disk_usage", lambda _: full)
        with pytest.raises(DownloadError, match=r"0\.0 GB are free; free space"):
            fetch(listed(source, "train.zip", CONTENT), tmp_path)

    def test_a_file_without_a_published_checksum_is_told_its_own(self, source: Source, tmp_path: Path) -> None:
        heard = Heard()
        fetch(listed(source, "train.zip", CONTENT), tmp_path, heard)
        assert f"train.zip: no checksum is published; this one has SHA-256 {sha256(CONTENT)}" in heard.lines


def test_mismatch_prefers_sha256_and_passes_what_has_no_pin(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert mismatch(Archive("file"), path) is None
    assert mismatch(Archive("file", md5="0" * 32, sha256=sha256(CONTENT)), path) is None
    assert "has MD5" in (mismatch(Archive("file", md5="0" * 32), path) or "")


class TestUnpack:
    def test_files_appear_beside_those_that_are_there(self, tmp_path: Path) -> None:
        (tmp_path / "A").mkdir()
        (tmp_path / "A" / "old.png").touch()
        archive = tmp_path / "train.zip"
        archive.write_bytes(zipped(tmp_path, A__new_png="new"))
        unpack(archive, tmp_path)
        assert {path.name for path in (tmp_path / "A").iterdir()} == {"old.png", "new_png"}
        assert not (tmp_path / ".unpacking").exists()

    @pytest.mark.parametrize("damage", [slice(0, 60), slice(30, None)], ids=["end", "beginning"])
    def test_a_damaged_archive_leaves_nothing(self, tmp_path: Path, damage: slice) -> None:
        archive = tmp_path / "train.zip"
        archive.write_bytes(zipped(tmp_path, A__1="content" * 20)[damage])
        with pytest.raises(ArchiveError, match=r"train\.zip cannot be unpacked"):
            unpack(archive, tmp_path / "place")
        assert not list((tmp_path / "place").rglob("*"))

    def test_a_path_that_climbs_out_is_refused(self, tmp_path: Path) -> None:
        archive = tmp_path / "train.zip"
        archive.write_bytes(zipped(tmp_path, good="content", **{"..__evil": "content"}))
        with pytest.raises(UnsafeNameError, match=r"names '\.\./evil'"):
            unpack(archive, tmp_path / "place")
        assert not (tmp_path / "evil").exists()
        assert not list((tmp_path / "place").rglob("*"))


class TestDownload:
    @pytest.fixture
    def archive(self, source: Source, tmp_path: Path) -> Archive:
        content = zipped(tmp_path, **{"A__1.png": "a"})
        return listed(source, "train.zip", content, sha256=sha256(content))

    def test_fetches_unpacks_and_then_rests(
        self, source: Source, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(monkeypatch, archive)
        place = tmp_path / "levir_cd"
        assert download("levir_cd", place)
        assert (place / "A" / "1.png").read_text() == "a"
        (place / "train.zip").unlink()  # to save space
        assert download("levir_cd", place)
        assert source.ranges == [None]

    def test_unpacks_again_what_was_removed(
        self, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(monkeypatch, archive)
        place = tmp_path / "levir_cd"
        download("levir_cd", place)
        (place / "A" / "1.png").unlink()
        assert download("levir_cd", place)

    def test_a_second_archive_is_not_taken_for_unpacked(
        self, source: Source, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(monkeypatch, archive, Archive("val.zip", f"{source.url}/val.zip"))
        with pytest.raises(DownloadError, match=r"val\.zip is not there"):
            download("levir_cd", tmp_path / "levir_cd")
        source.files["val.zip"] = zipped(tmp_path, **{"A__2.png": "b"})
        download("levir_cd", tmp_path / "levir_cd")
        assert (tmp_path / "levir_cd" / "A" / "2.png").exists()

    def test_a_dataset_unpacked_by_hand_is_left_alone(
        self, source: Source, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(monkeypatch, archive)
        (tmp_path / "A").mkdir()
        (tmp_path / "A" / "mine.png").touch()
        assert download("levir_cd", tmp_path)
        assert source.ranges == []

    def test_lists_are_fetched_though_the_images_need_a_person(
        self, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published(monkeypatch, Archive("AID.zip"), listed(source, "train.txt", b"a\n"))
        place = tmp_path / "levir_cd"
        assert not download("levir_cd", place)
        assert (place / "train.txt").exists()
        (place / "AID.zip").write_bytes(zipped(tmp_path, **{"A__1.png": "a"}))
        assert download("levir_cd", place)

    def test_a_made_dataset_is_not_mixed_with_the_real_one(self, tmp_path: Path) -> None:
        (tmp_path / "SYNTHETIC.txt").touch()
        with pytest.raises(DownloadError, match="holds synthetic scenes in the layout of oscd"):
            download("oscd", tmp_path)

    @pytest.mark.parametrize("name", ["neon_trees", "synthetic_change"])
    def test_what_comes_with_the_package_is_there(self, name: str) -> None:
        assert download(name)
