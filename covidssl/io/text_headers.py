"""Whether a MetaImage or NRRD header can be given to its library, which a damaged one may crash."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from covidssl.errors import ScanError

_MOST_LINE = 1024
_MOST_DIMENSIONS = 4
_MOST_EDGE = 1_000_000
_KEY_VALUE = ":="
# How many numbers a field of a MetaImage holds, as powers of the number of dimensions.
_METAIMAGE = {
    "dimsize": 1,
    "elementspacing": 1,
    "elementsize": 1,
    "offset": 1,
    "position": 1,
    "origin": 1,
    "centerofrotation": 1,
    "transformmatrix": 2,
    "rotation": 2,
    "orientation": 2,
    "elementnumberofchannels": 0,
    "headersize": 0,
    "id": 0,
    "parentid": 0,
}
# Other spellings, even in other letters, are passed over by the library.
_METAIMAGE_ORIENTATION = ("TransformMatrix", "Rotation", "Orientation")
_METAIMAGE_SPACING = ("ElementSpacing", "ElementSize")


class Given(NamedTuple):
    """What a header says of its grid; the rest, its library would make up."""

    orientation: bool
    spacing: bool


def check_lines(text: str, suffix: str) -> Given:
    """Refuse a header whose lines are overlong, or whose counts do not fit its dimensions.

    Args:
        text: the beginning of the file.
        suffix: `.mhd`, `.mha`, `.nrrd` or `.nhdr`.

    Returns:
        Whether it says how the scan lies, and how large its voxels are.

    Raises:
        ScanError: without a source's name.
    """
    return _check_metaimage(text) if suffix in (".mhd", ".mha") else _check_nrrd(text)


def _refuse(reason: str) -> ScanError:
    return ScanError(
        f"the header is damaged: {reason}. Write the scan again with the program that made it.",
        "damaged_header",
    )


def _fields(lines: Sequence[str], separators: str) -> dict[str, str]:
    """Values by key in small letters; a key that stands twice is refused."""
    fields: dict[str, str] = {}
    for line in lines:
        if len(line) > _MOST_LINE:
            raise _refuse(f"a line of {len(line)} characters")
        at = min((place for sign in separators if (place := line.find(sign)) >= 0), default=-1)
        key = line[:at].strip().lower()
        if at < 0 or not key:
            continue
        if key in fields:
            raise _refuse("a field that stands twice")
        fields[key] = line[at + 1 :].strip()
    return fields


def _check_metaimage(text: str) -> Given:
    lines = text.split("\n")
    last = next((n for n, line in enumerate(lines) if "elementdatafile" in line.lower()), None)
    if last is None:
        raise _refuse("it does not say where the voxels are")
    fields = _fields(lines[: last + 1], "=:")
    dimensions = _count(fields.get("ndims"), "NDims", _MOST_DIMENSIONS)
    if "dimsize" not in fields:
        raise _refuse("it gives no DimSize")
    for key, power in _METAIMAGE.items():
        values = fields[key].split() if key in fields else None
        if values is not None and len(values) != dimensions**power:
            raise _refuse(f"{len(values)} numbers where {dimensions**power} belong")
        if not all(_is_number(value) for value in values or ()):
            raise _refuse("a word where a number belongs")
    for edge in fields["dimsize"].split():
        _count(edge, "an edge of DimSize", _MOST_EDGE)
    names = {re.split("[=:]", line, maxsplit=1)[0].strip() for line in lines[:last]}
    return Given(
        not names.isdisjoint(_METAIMAGE_ORIENTATION), not names.isdisjoint(_METAIMAGE_SPACING)
    )


def _check_nrrd(text: str) -> Given:
    if not text.startswith("NRRD000"):
        raise _refuse("it does not begin with NRRD")
    head = text.split("\n\n", 1)[0].split("\n")[1:]
    # Comments and key-value pairs may be long: programs keep whole DICOM headers there.
    plain = [line for line in head if not line.startswith("#") and _KEY_VALUE not in line]
    listed = next((n + 1 for n, line in enumerate(plain) if _is_list(line)), len(plain))
    fields = _fields(plain[:listed], ":")
    dimensions = _count(fields.get("dimension"), "dimension", _MOST_DIMENSIONS)
    sizes = fields.get("sizes", "").split()
    if len(sizes) != dimensions:
        raise _refuse(f"{len(sizes)} sizes where {dimensions} belong")
    for edge in sizes:
        _count(edge, "one of the sizes", _MOST_EDGE)
    directions = not fields.keys().isdisjoint(("space directions", "spacedirections"))
    return Given("space" in fields and directions, directions or "spacings" in fields)


def _is_list(line: str) -> bool:
    key, _, value = line.partition(":")
    return key.strip().lower() in ("data file", "datafile") and value.strip().startswith("LIST")


def _count(value: str | None, field: str, most: int) -> int:
    if value is None or not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= most:
        raise _refuse(f"{field} is no number from 1 to {most}")
    return int(value)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
