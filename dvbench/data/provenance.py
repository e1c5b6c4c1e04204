"""Is it the paper's dataset? Told by what is in its files, so that a run's record can say what it was trained on.

A verification reads every file and remembers in the dataset's folder what it found. Until a file changes its size or
time, that holds.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from torchgeo.datasets import DatasetNotFoundError

from dvbench.data.card import Card
from dvbench.data.catalog import MissingDatasetError, entry, folder
from dvbench.data.contents import Content, Listing, fingerprint, listing, read
from dvbench.data.folders.base import IncompleteDatasetError
from dvbench.data.make import MARK
from dvbench.data.origin import Origin, Provenance, SplitOrigin, SplitProvenance
from dvbench.data.remembered import Genuine, Remembered, Stamp, recall, remember, stamps
from dvbench.data.splits import digest, lists_of_names, membership
from dvbench.data.verify import FAULTS, Report, verify
from dvbench.data.watch import SILENT, Watch

NOTHING = Listing({}, ())
UNPINNED = "counts and sizes as published; no checksum of its files is at hand"


def provenance(name: str, root: Path | None = None) -> Provenance:
    """Tell what a dataset on disk is, from what is remembered and what can be seen without reading its images.

    Args:
        name: Key in the catalog.
        root: The dataset's folder, by default as the catalog says.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        MissingDatasetError: Its folder is not there.
    """
    if root is None and (packaged := _packaged(name)):
        return packaged
    seen = _look(name, root)
    known = recall(name, seen.place)
    if seen.is_marked:
        return seen.told(Origin.DRAWN, "dvbench data make wrote it")
    if seen.flaw:
        return seen.told(Origin.INCOMPLETE, seen.flaw)
    if isinstance(known, str):
        return seen.told(Origin.UNVERIFIED, known or "never verified")
    if seen.is_as(known):
        return known.provenance
    since = f"its files have changed since it was verified on {known.provenance.verified}"
    return seen.told(Origin.CHANGED if known.genuine else Origin.UNVERIFIED, since)


def verified(
    name: str, root: Path | None = None, watch: Watch = SILENT, *, fresh: bool = False
) -> tuple[Report, Provenance]:
    """Verify a dataset, tell what it is, and remember both in its folder.

    Nothing is read where no file has changed since the last verification.

    Args:
        name: Key in the catalog.
        root: The dataset's folder, by default as the catalog says.
        watch: Sees the progress.
        fresh: Forget earlier verifications and read everything.

    Returns:
        What is wrong, and what the dataset is.

    Raises:
        UnknownDatasetError: There is no dataset of that name.
        MissingDatasetError: Its folder is not there.
    """
    if root is None and (packaged := _packaged(name)):
        return verify(name, root, watch), packaged
    seen = _look(name, root)
    known = "" if fresh else recall(name, seen.place)
    if isinstance(known, Remembered) and seen.is_as(known):
        watch.tell(f"nothing has changed since {known.provenance.verified}, so nothing is read again; --fresh does")
        return Report(known.opened, known.made_by, known.problems, (), ()), provenance(name, root)
    if isinstance(known, str) and known:
        watch.tell(known)
    report = verify(name, root, watch)
    if seen.flaw:
        return report, provenance(name, root)
    try:
        contents = read(seen.place, seen.listing.files, watch)
    except OSError as error:  # which the report tells
        return report, seen.told(Origin.UNVERIFIED, f"a file cannot be read ({error.strerror})")
    before = known.genuine if isinstance(known, Remembered) else None
    return report, _judged(seen, report, contents, before, watch)


def ensure_verified(name: str, watch: Watch = SILENT) -> None:
    """Verify a dataset unless that was done and nothing has changed since."""
    if provenance(name).origin in (Origin.UNVERIFIED, Origin.CHANGED):
        verified(name, watch=watch)


@dataclass(frozen=True)
class _Seen:
    """A dataset as a glance shows it.

    Attributes:
        card: Its card.
        place: Its folder.
        listing: What its splits are made from; nothing where they cannot be opened.
        flaw: Why they cannot be opened; empty if they can.
        files: Stamps of the files that they read.
        archives: The same of the archives that are there.
    """

    card: Card
    place: Path
    listing: Listing
    flaw: str
    files: Mapping[str, Stamp]
    archives: Mapping[str, Stamp]

    @property
    def is_marked(self) -> bool:
        """Whether the note is there that `dvbench data make` leaves."""
        return (self.place / MARK).exists()

    def is_as(self, known: Remembered) -> bool:
        """Whether no file has changed since a verification, and none has come or gone."""
        return self.files == known.files and self.archives == known.archives

    def told(self, origin: Origin, how: str, read: Mapping[str, Content] | None = None) -> Provenance:
        """Put it into words, with the fingerprint where the files were read."""
        return Provenance(
            dataset=self.card.name,
            origin=origin,
            how=how,
            split=self._split(),
            fingerprint=fingerprint({name: one.sha256 for name, one in read.items()}) if read else None,
            files=len(self.files),
            bytes=sum(stamp.bytes for stamp in self.files.values()),
            verified=datetime.now(UTC).isoformat(timespec="seconds") if read else None,
        )

    def _split(self) -> SplitProvenance:
        try:
            found = membership(self.card, self.place)
        except FAULTS as error:
            return SplitProvenance(SplitOrigin.OTHER, f"cannot be told ({error})", {})
        counts = {split: len(names) for split, names in self.listing.members.items()}
        as_published = all(counts.get(split.name) == split.count for split in self.card.splits)
        origin = SplitOrigin.AUTHORS if found.is_published and as_published else SplitOrigin.OTHER
        return SplitProvenance(origin, found.made_by, {split: digest(m) for split, m in self.listing.members.items()})


def _packaged(name: str) -> Provenance | None:
    """Tell of a dataset that comes with the package; None of any other."""
    found = entry(name)
    if found.home is None:
        return None
    made_by = " / ".join(dict.fromkeys(split.made_by for split in found.card.splits))
    none = SplitProvenance(SplitOrigin.NOT_APPLICABLE, made_by, {})
    names = listing(name, found.home).files
    if not names:
        return Provenance(name, Origin.SYNTHETIC, "scenes drawn when they are read", none, None, 0, 0, None)
    read_now = {one: content.sha256 for one, content in read(found.home, names).items()}
    size = sum((found.home / one).stat().st_size for one in names)
    how = "the sample that comes with the package"
    return Provenance(name, Origin.EMBEDDED, how, none, fingerprint(read_now), len(names), size, None)


def _look(name: str, root: Path | None) -> _Seen:
    card, place = entry(name).card, folder(name, root)
    if not place.is_dir():
        raise MissingDatasetError(f"{name} is not in {place}: dvbench data info {name} says how to get it")
    listed, flaw = NOTHING, ""
    try:
        listed = listing(name, place)
    except IncompleteDatasetError as error:
        flaw = f"{len(error.missing)} files are missing, the first is {error.missing[0].name}"
    except DatasetNotFoundError:
        flaw = "files are missing that every copy has"
    except (*FAULTS, OSError, ValueError) as error:
        flaw = f"its splits cannot be opened ({(str(error).splitlines() or [type(error).__name__])[0]})"
    archives = [archive.name for archive in card.archives]
    return _Seen(card, place, listed, flaw, stamps(place, listed.files), stamps(place, archives))


def _judged(
    seen: _Seen, report: Report, contents: Mapping[str, Content], before: Genuine | None, watch: Watch
) -> Provenance:
    """Tell what was read, and remember it."""
    lists = lists_of_names(seen.card)
    body = fingerprint({name: one.sha256 for name, one in contents.items() if name not in lists})
    drawn = sum(one.is_drawn for one in contents.values())
    missing = {split.name: split.count - len(seen.listing.members.get(split.name, ())) for split in seen.card.splits}
    short = {split: count for split, count in missing.items() if count > 0}
    if seen.is_marked or drawn:
        found = seen.told(Origin.DRAWN, f"dvbench data make wrote {drawn:,} of its {len(contents):,} files", contents)
    elif before and before.body != body:
        how = f"its files are not those that were verified as genuine on {before.verified}"
        found = seen.told(Origin.CHANGED, how, contents)
    elif short:
        told = ", ".join(f"{count:,} of {split}" for split, count in short.items())
        found = seen.told(Origin.INCOMPLETE, f"{seen.card.counted} are missing: {told}", contents)
    elif report.doubts:
        found = seen.told(Origin.UNVERIFIED, f"not as published: {report.doubts[0]}", contents)
    else:
        pinned = _is_in_archives(seen, report, contents)
        how = "as in the published archives, by checksum" if pinned else UNPINNED
        found = replace(seen.told(Origin.GENUINE, how, contents), pinned=pinned)
    genuine = Genuine(body, str(found.verified)) if found.origin is Origin.GENUINE else before
    kept = Remembered(
        version=1,
        provenance=found,
        genuine=genuine,
        files=dict(seen.files),
        archives=dict(seen.archives),
        opened=dict(report.opened),
        made_by=report.made_by,
        problems=report.problems,
    )
    remember(kept, seen.place, watch)
    return found


def _is_in_archives(seen: _Seen, report: Report, contents: Mapping[str, Content]) -> bool:
    """Whether every file is, by size and CRC-32, in a zip archive that has its published checksum."""
    packed: dict[tuple[int, int], None] = {}
    for name in report.intact:
        if zipfile.is_zipfile(seen.place / name):
            with zipfile.ZipFile(seen.place / name) as archive:
                packed |= dict.fromkeys((one.file_size, one.CRC) for one in archive.infolist())
    own = set(report.intact) | lists_of_names(seen.card)
    return bool(packed) and all((one.bytes, one.crc32) in packed for name, one in contents.items() if name not in own)
