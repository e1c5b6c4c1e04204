"""Fetch a dataset from its public source: files appear whole and checked; what broke off is resumed."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import requests

from dvbench.data.archives import ArchiveError, extract, safe_name
from dvbench.data.card import Archive, Card
from dvbench.data.catalog import entry, folder
from dvbench.data.make import MARK
from dvbench.data.watch import SILENT, Watch

_PACKED = (".zip", ".tar", ".tar.gz", ".tgz")
_CHUNK = 1 << 16  # bytes; what arrived of a chunk is lost when the connection breaks
_TIMEOUT = (10, 60)  # seconds to connect, and between two answers
_PARTIAL, _NOTHING_LEFT = 206, 416  # HTTP
_LOCKED = (401, 403)


class DownloadError(RuntimeError):
    """A file cannot be fetched; the message is one line that says which, why and what to do."""


def download(name: str, root: Path | None = None, watch: Watch = SILENT) -> bool:
    """Fetch and unpack what a program can fetch.

    Files that are there and match their published checksum are kept. Archives that only a person can get are unpacked
    where they lie in the dataset's folder. Archives are not fetched where their content is there already.

    Args:
        name: Key in the catalog.
        root: The dataset's folder, by default as the catalog says.
        watch: Sees the progress.

    Returns:
        Whether the dataset is there now; if not, the card's `obtain` says what is left to do by hand.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        DownloadError: A file cannot be fetched, or is not the published one.
        ArchiveError: An archive is damaged.
        UnsafeNameError: An archive has a member that would land outside the folder.
    """
    card, place = entry(name).card, folder(name, root)
    if (place / MARK).exists():
        raise DownloadError(f"{place} holds synthetic scenes in the layout of {name}; name another folder with --root")
    packed = [archive for archive in card.archives if archive.name.endswith(_PACKED)]
    unpacked_by_hand = card.is_in(place) and not any(_has_trace(place / archive.name) for archive in packed)
    for archive in card.archives:
        if archive not in packed:
            fetch(archive, place, watch)
        elif unpacked_by_hand:
            watch.tell(f"{archive.name}: not fetched, its content is there")
        else:
            _fetch_and_unpack(archive, card, place, watch)
    return card.is_in(place)


def _fetch_and_unpack(archive: Archive, card: Card, place: Path, watch: Watch) -> None:
    path = place / archive.name
    if _done_mark(path).exists() and card.is_in(place):
        watch.tell(f"{archive.name}: unpacked already")
        return
    if archive.url is None and not path.exists():
        watch.tell(f"{archive.name}: has to be fetched by hand")
        return
    fetch(archive, place, watch)
    watch.tell(f"{archive.name}: unpacking")
    unpack(path, place)


def fetch(archive: Archive, place: Path, watch: Watch = SILENT) -> Path:
    """Fetch one file, unless it is there.

    What was fetched so far lies in a hidden file beside it; the next call goes on from there. A file that does not
    match its published checksum is fetched anew.

    Args:
        archive: What to fetch.
        place: The dataset's folder.
        watch: Sees the progress.

    Returns:
        The file.

    Raises:
        DownloadError: It cannot be fetched, or is not the published one.
    """
    path = place / safe_name(archive.name, "the catalog")
    if path.is_file():
        flaw = mismatch(archive, path, watch)
        if flaw is None:
            watch.tell(f"{archive.name}: is there")
            return path
        watch.tell(f"{archive.name}: {flaw}, so it is fetched anew")
    if archive.url is None:
        raise DownloadError(
            f"{path} is not the published file, and only a person can get it; remove it and get it anew"
        )
    part = _part(path)
    _transfer(archive.url, part, archive.name, watch)
    flaw = mismatch(archive, part, watch)
    if flaw is not None:
        part.unlink()
        raise DownloadError(f"{archive.url} gave a file that {flaw}; try again, and if it stays so, the source changed")
    if not (archive.sha256 or archive.md5):
        watch.tell(f"{archive.name}: no checksum is published; this one has SHA-256 {_digest(part, 'sha256', watch)}")
    os.replace(part, path)
    watch.tell(f"{archive.name}: fetched")
    return path


def mismatch(archive: Archive, path: Path, watch: Watch = SILENT) -> str | None:
    """Compare a file with its published checksum.

    Args:
        archive: What it should be.
        path: The file.
        watch: Sees the progress.

    Returns:
        What is wrong, such as "has SHA-256 12ab... instead of 34cd...", or None where nothing is or none is published.
    """
    kind, expected = ("SHA-256", archive.sha256) if archive.sha256 else ("MD5", archive.md5)
    if expected is None:
        return None
    found = _digest(path, kind.replace("-", "").lower(), watch)
    return None if found == expected else f"has {kind} {found} instead of {expected}"


def unpack(archive: Path, place: Path) -> None:
    """Unpack an archive; its files appear in their places when all of them are unpacked.

    Args:
        archive: A zip or tar file. A hidden, empty file beside it marks it as unpacked.
        place: Where to.

    Raises:
        ArchiveError: It is damaged.
        UnsafeNameError: A member would land outside `place`; nothing is unpacked.
        DownloadError: The disk is full, or `place` cannot be written.
    """
    aside = place / ".unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        extract(archive, aside)
        for file in sorted(path for path in aside.rglob("*") if path.is_file()):
            target = place / file.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        _done_mark(archive).touch()
    except ArchiveError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a zip file without its beginning points in front of itself
            raise ArchiveError(f"{archive} cannot be unpacked (its beginning is missing); download it again") from error
        raise _unwritable(place, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _transfer(url: str, part: Path, name: str, watch: Watch) -> None:
    """Append to a part what it lacks."""
    done = part.stat().st_size if part.exists() else 0
    # A compressed answer would be counted and resumed in other bytes than those on disk.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == _NOTHING_LEFT and answer.headers.get("Content-Range") == f"bytes */{done}":
                return
            _check(answer, part)
            if answer.status_code != _PARTIAL:
                done = 0
            length = answer.headers.get("Content-Length")
            _check_space(part, int(length or 0))
            chunks = watch.chunks(answer.iter_content(_CHUNK), name, done, done + int(length) if length else None)
            with part.open("ab" if done else "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
    except requests.RequestException as error:
        why = type(error).__name__
        raise DownloadError(
            f"{url} broke off or cannot be reached ({why}); try again, it goes on from there"
        ) from error
    except OSError as error:
        raise _unwritable(part.parent, error) from error


def _check(answer: requests.Response, part: Path) -> None:
    code = answer.status_code
    if code in _LOCKED:
        raise DownloadError(f"{answer.url} is refused (HTTP {code}), it may ask for a login; open it in a browser")
    if code == _NOTHING_LEFT:
        part.unlink()
        raise DownloadError(f"{answer.url} is shorter than what was fetched before, which was dropped; try again")
    if not answer.ok:
        raise DownloadError(f"{answer.url} is not there (HTTP {code}); try later, or look on the dataset's page")


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        what = f"{needed / 1e9:.1f} GB are to come, {free / 1e9:.1f} GB are free"
        raise DownloadError(f"{part.parent} is too full: {what}; free space, or set DVBENCH_DATA to a larger disk")


def _unwritable(place: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"{place} cannot be written ({error.strerror}); free space, or name another folder with --root"
    )


def _digest(path: Path, kind: str, watch: Watch) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        chunks = iter(lambda: file.read(_CHUNK), b"")
        for chunk in watch.chunks(chunks, f"checking {path.name}", 0, path.stat().st_size):
            digest.update(chunk)
    return digest.hexdigest()


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _done_mark(path: Path) -> Path:
    return path.with_name(f".{path.name}.unpacked")


def _has_trace(path: Path) -> bool:
    return path.exists() or _part(path).exists() or _done_mark(path).exists()
