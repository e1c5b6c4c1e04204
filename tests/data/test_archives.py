"""Nothing that a list, an annotation or an archive says reaches outside the dataset's folder."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dvbench.data.archives import ArchiveError, UnsafeNameError, extract, safe_name


def write_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return path


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def file_member(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 7
    return member


@pytest.mark.parametrize("name", ["a/b.png", "a\\b.png", " a/b.png\r\n", "./a/b.png"])
def test_names_from_any_system_get_forward_slashes(name: str) -> None:
    assert str(safe_name(name, "list")) == "a/b.png"


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "..\\a.png", "/etc/passwd", "\\a.png", "C:\\a.png", "c:a.png", "", "  "]
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(UnsafeNameError, match=r"list\.txt names .* not a path inside the dataset"):
        safe_name(name, "list.txt")


def test_archives_of_both_kinds_are_unpacked(tmp_path: Path) -> None:
    extract(write_zip(tmp_path / "a.zip", "folder/", "folder/a.png", "folder\\b.png"), tmp_path / "zip")
    extract(write_tar(tmp_path / "a.tar.gz", file_member("folder/a.png")), tmp_path / "tar")
    assert sorted(path.name for path in (tmp_path / "zip/folder").iterdir()) == ["a.png", "b.png"]
    assert (tmp_path / "tar/folder/a.png").read_bytes() == bytes(7)


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png"])  # noqa: S108
def test_member_that_climbs_out_is_refused_before_anything_is_unpacked(tmp_path: Path, name: str) -> None:
    archives = [
        write_zip(tmp_path / "a.zip", "good.png", name),
        write_tar(tmp_path / "a.tar.gz", file_member("good.png"), file_member(name)),
    ]
    for archive in archives:
        with pytest.raises(UnsafeNameError, match=r"a\.(zip|tar\.gz) names"):
            extract(archive, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(UnsafeNameError, match="holds the link or device link"):
        extract(write_tar(tmp_path / "a.tar.gz", link), tmp_path)
    zipped = zipfile.ZipInfo("link")
    zipped.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipped, "/etc/passwd")
    with pytest.raises(UnsafeNameError, match="holds the link link"):
        extract(tmp_path / "a.zip", tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_partial_download_says_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_zip(path, "a" * 99) if name == "a.zip" else write_tar(path, file_member("a" * 99))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ArchiveError, match=r"cannot be unpacked .*; download it again"):
        extract(path, tmp_path / "folder")
