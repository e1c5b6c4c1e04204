"""A dataset's card as text for a person."""

import textwrap

from dvbench.data.card import Archive, Card

_WIDTH, _INDENT = 100, 12  # characters


def describe(card: Card) -> str:
    """All that a card says, as folded lines of text."""
    low, high = card.value_range
    size = "varies" if card.image_size is None else f"{card.image_size[1]} x {card.image_size[0]} px"
    gsd = "not stated" if card.gsd is None else " to ".join(dict.fromkeys(f"{metres:g}" for metres in card.gsd)) + " m"
    lines = [
        f"{card.title} ({card.name})",
        _entry("task", card.task),
        _entry("classes", f"{len(card.classes)}: {', '.join(card.classes)}"),
        _entry("bands", f"{', '.join(card.bands)}; {card.units}, {low:g} to {high:g}"),
        _entry("image size", size),
        _entry("ground", gsd),
        *(_entry(split.name, f"{split.count:,} {card.counted}; {split.made_by}") for split in card.splits),
        _entry("source", card.source),
        *(_entry("file", _file(archive)) for archive in card.archives),
        _entry("citation", card.citation),
        *(_entry("note", note) for note in card.notes),
        steps(card),
    ]
    return "\n".join(lines)


def _file(archive: Archive) -> str:
    pin = f"SHA-256 {archive.sha256}" if archive.sha256 else f"MD5 {archive.md5}"
    return f"{archive.name}, {pin if archive.sha256 or archive.md5 else 'no checksum is published'}"


def steps(card: Card) -> str:
    """How to get a dataset: step by step, on what terms, and the tree that must result."""
    lines = (_entry(f"step {number}", step) for number, step in enumerate(card.obtain, start=1))
    return "\n".join(
        [*lines, _entry("licence", card.licence), "layout:", textwrap.indent(card.layout.rstrip(), "    ")]
    )


def _entry(name: str, text: str) -> str:
    """A name and its text, folded and indented; addresses and hashes stay whole."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"{name + ':':<{_INDENT}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
