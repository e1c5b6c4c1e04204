"""Names and archives that come from elsewhere: nothing they say may reach outside the folder they belong to."""

import re
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_DRIVE = re.compile(r"^[A-Za-z]:")


class UnsafeNameError(ValueError):
    """A name points outside its folder; the message is one line that says which name and where it stands."""


class ArchiveError(OSError):
    """An archive cannot be read; the message is one line that says which, why and what to do."""


def safe_name(name: str, where: object) -> PurePosixPath:
    """A relative path with forward slashes, from a list, an annotation or an archive.

    Args:
        name: As stored; names written on Windows may have backslashes.
        where: The file the name stands in, for the message.

    Raises:
        UnsafeNameError: The name is empty, absolute, starts with a drive letter or climbs with "..".
    """
    path = PurePosixPath(name.strip().replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or _DRIVE.match(path.parts[0]):
        raise UnsafeNameError(f"{where} names {name!r}, which is not a path inside the dataset; do not use this file")
    return path


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file, after every member has been looked at.

    Args:
        archive: File whose content, not its name, decides how it is read.
        folder: Where to; made if it is missing.

    Raises:
        UnsafeNameError: A member would land outside `folder`, or is a link or a device; nothing is unpacked.
        ArchiveError: The file is damaged or neither zip nor tar.
    """
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        raise ArchiveError(f"{archive} cannot be unpacked ({reason}); download it again") from error


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        members = content.infolist()
        for member in members:
            member.filename = str(safe_name(member.filename, archive)) + "/" * member.is_dir()
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UnsafeNameError(f"{archive} holds the link {member.filename}; do not use this file")
        content.extractall(folder, members)  # noqa: S202, every name was checked above


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as content:
        members = content.getmembers()
        for member in members:
            check_member(member, archive)
        content.extractall(folder, members, filter="data")


def check_member(member: tarfile.TarInfo, archive: Path) -> None:
    """Refuse a member of a tar file that is not a plain file or folder inside it.

    Raises:
        UnsafeNameError: The member climbs out, or is a link or a device.
    """
    safe_name(member.name, archive)
    if not (member.isfile() or member.isdir()):
        raise UnsafeNameError(f"{archive} holds the link or device {member.name}; do not use this file")
