"""What a dataset on disk is: the published one, or what else, split by whom. In words for people and for a record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Origin(StrEnum):
    """Where the files of a dataset come from, as far as their content tells.

    ==========  =====================================================================================================
    genuine     published: as the published archives, or of the published number and size where none are at hand
    drawn       at least one file was written by `dvbench data make`
    incomplete  files are missing
    changed     genuine when it was verified, and no longer the same
    unverified  never verified; or verified, and found not to be as published
    embedded    the sample that comes with the package
    synthetic   scenes that are drawn when they are read; there are no files
    ==========  =====================================================================================================
    """

    GENUINE = "genuine"
    DRAWN = "drawn"
    INCOMPLETE = "incomplete"
    CHANGED = "changed"
    UNVERIFIED = "unverified"
    EMBEDDED = "embedded"
    SYNTHETIC = "synthetic"


class SplitOrigin(StrEnum):
    """Who decided which image belongs to which split: those whom the dataset's card names, somebody else, or nobody."""

    AUTHORS = "authors"
    OTHER = "other"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class SplitProvenance:
    """The splits as they are.

    Attributes:
        origin: Who decided; `authors` where lists have the published hash or, without lists, where the number in each
            folder is the published one.
        made_by: The same in words.
        sha256: Split -> SHA-256 of the sorted names of its images, one a line; empty where they cannot be told.
    """

    origin: SplitOrigin
    made_by: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Provenance:
    """What a dataset on disk is.

    Attributes:
        dataset: Its name in the catalog.
        origin: Where its files come from.
        how: How that was told, in words.
        split: Who split it.
        fingerprint: SHA-256 over names and contents of all files that the splits read, see `contents.fingerprint`; None
            where they have not been read, or not since they changed.
        files: Number of those files; 0 where there are none or the splits cannot be opened.
        bytes: Their size.
        verified: When they were read and checked, as ISO 8601; None where they were not, or not since they changed.
        pinned: A published checksum shows that they are genuine, and not only their number and size.
    """

    dataset: str
    origin: Origin
    how: str
    split: SplitProvenance
    fingerprint: str | None
    files: int
    bytes: int
    verified: str | None
    pinned: bool = False

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values for a record, with `words` for a reader."""
        return asdict(self) | {"words": f"{self.dataset} is {self.origin}: {self.how}"}

    @property
    def line(self) -> str:
        """All of it in one line for a person."""
        parts = [f"{self.dataset} is {self.origin}: {self.how}", f"split ({self.split.origin}): {self.split.made_by}"]
        if self.files:
            parts.append(f"{self.files:,} files, {self.bytes / 1e6:,.1f} MB")
        if self.fingerprint:
            parts.append(f"fingerprint {self.fingerprint[:12]}")
        if self.verified:
            parts.append(f"verified {self.verified}")
        return "; ".join(parts)
