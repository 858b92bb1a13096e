"""Which files beside it a MetaImage or NRRD header names for its voxels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from covidssl.errors import ScanError
from covidssl.io.archive import is_inside

_MOST_HEADER = 65_536
_MOST_FILES = 10_000


def header_text(header: IO[bytes]) -> str:
    """The beginning of a file as text with plain line ends, as much as a header may take."""
    return header.read(_MOST_HEADER).decode("latin-1").replace("\r\n", "\n")


def voxel_files(text: str, suffix: str) -> tuple[str, ...]:
    """Names of the files, relative to the header's folder; none when its own file has all.

    Args:
        text: the header, from `header_text`.
        suffix: `.mhd`, `.mha`, `.nrrd` or `.nhdr`.

    Raises:
        ScanError: without a source's name: when one lies outside the header's folder.
    """
    names = _of_metaimage(text) if suffix in (".mhd", ".mha") else _of_nrrd(text)
    named = tuple(dict.fromkeys(_expanded(names)))
    if not all(is_inside(name) for name in named):
        raise ScanError(
            "the header takes its voxels from outside its own folder; expected a file beside it. "
            "Put the file with the voxels there, and its bare name into the header.",
            "outside_folder",
        )
    return tuple(PurePosixPath(name).as_posix() for name in named)


def may_be_packed(text: str, suffix: str) -> bool:
    """Whether the voxels may take fewer bytes than they claim: compressed, or written as text."""
    if suffix in (".mhd", ".mha"):
        compressed = re.search(r"^\s*CompressedData\s*[=:]\s*[Tt1]", text, re.MULTILINE)
        as_text = re.search(r"^\s*BinaryData\s*[=:]\s*[^Tt1\s]", text, re.MULTILINE)
        return compressed is not None or as_text is not None
    encoding = re.search(r"^encoding:\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    return encoding is None or encoding[1].lower() != "raw"


def _of_metaimage(text: str) -> list[str]:
    match = re.search(r"^\s*ElementDataFile\s*[=:]\s*(.*)$", text, re.MULTILINE | re.IGNORECASE)
    if match is None or match[1].strip().upper() == "LOCAL":
        return []
    return _listed(match[1].strip(), text[match.end() :])


def _of_nrrd(text: str) -> list[str]:
    fields = text.split("\n\n", 1)[0]
    match = re.search(r"^data ?file:\s*(.*)$", fields, re.MULTILINE | re.IGNORECASE)
    return [] if match is None else _listed(match[1].strip(), fields[match.end() :])


def _listed(value: str, following: str) -> list[str]:
    if re.match(r"LIST\b", value, re.IGNORECASE):
        return [line.strip() for line in following.splitlines() if line.strip()][:_MOST_FILES]
    return [value] if value else []


def _expanded(names: list[str]) -> Iterator[str]:
    for name in names:
        # One file a slice, numbered: `slice%03d.raw 1 120 1`.
        numbered = re.match(
            r"([^%]*)%(0?)(\d?)d([^%\s]*)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})", name
        )
        if numbered is None:
            yield name
            continue
        before, zero, width, after = numbered.group(1, 2, 3, 4)
        first, last, step = (int(numbered[i]) for i in (5, 6, 7))
        for number in range(first, last + 1, max(1, step))[:_MOST_FILES]:
            yield f"{before}{number:{zero}{width}d}{after}"
