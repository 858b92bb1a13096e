"""Opening DICOM files through pydicom: what is deflated is inflated within bounds.

pydicom inflates a deflated file whole before it looks at a single element, and half a megabyte of
zeros can become a gigabyte. Every file is opened here, so that none can.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

DEFLATED = "1.2.840.10008.1.2.1.99"
_PLAIN = "1.2.840.10008.1.2.1"
_PIECE = 2**16
_STEP = 2**22

_ITEM = bytes.fromhex("feff00e0")
_MOST_ITEMS = 200_000  # of sequences: functional groups have some ten for each frame

MOST_HEADER_BYTES = 2**22
"""What says whose a slice is stands in the first bytes of its header."""

MOST_FRAMES_BYTES = 2**25
"""No header is longer, nor one with the functional groups of all frames."""


class Opened(NamedTuple):
    """A dataset, and where in the file reading ended: at the pixels, if these are left out."""

    dataset: Any
    offset: int
    size: int


class _DeflatedError(Exception):
    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class _ImpossibleError(Exception):
    """A deflated file within a deflated file, or a header of nothing but items."""


class _Guarded(io.BufferedReader):
    """Ends where pydicom would inflate: there alone it asks for all that is left."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise _DeflatedError(self.tell())
        return super().read(size)

    @property
    def name(self) -> str:
        """None: pydicom looks at the file of this name, and keeps it."""
        return ""


def open_dicom(
    file: Path | IO[bytes], tags: Sequence[Any], most: int, pixels: bool = False
) -> Opened:
    """Read some elements of a DICOM file, or of what may be one.

    A deflated file is read as far as `most` bytes of it go; its transfer syntax stays as it is
    told in the file.

    Args:
        file: a path, or a file that can be sought in, at its start.
        tags: keywords or tags of the elements that are wanted.
        most: bytes that a deflated file may take in memory.
        pixels: read on to the pixels and what stands behind them.

    Raises:
        Exception: whatever pydicom or zlib makes of damage; callers turn it into a refusal.
    """
    if isinstance(file, Path):
        with file.open("rb", buffering=0) as raw:
            return _opened(raw, tags, most, pixels)
    return _opened(file, tags, most, pixels)


def _opened(file: Any, tags: Sequence[Any], most: int, pixels: bool) -> Opened:
    guarded = _Guarded(file)
    try:
        try:
            dataset = _read(guarded, tags, pixels)
        except _DeflatedError as found:
            dataset = _read_inflated(_inflated(guarded, found.at, most), tags, pixels)
        return Opened(dataset, guarded.tell(), guarded.seek(0, io.SEEK_END))
    finally:
        # The file is its owner's, who closes it.
        guarded.detach()


def _read(file: IO[bytes], tags: Sequence[Any], pixels: bool) -> Any:
    import pydicom

    return pydicom.dcmread(
        file, stop_before_pixels=not pixels, specific_tags=list(tags), force=True
    )


def _read_inflated(plain: io.BytesIO, tags: Sequence[Any], pixels: bool) -> Any:
    try:
        dataset = _read(_Guarded(plain), tags, pixels)
    except _DeflatedError:
        raise _ImpossibleError from None
    dataset.file_meta.TransferSyntaxUID = DEFLATED
    return dataset


def _inflated(file: io.BufferedReader, at: int, most: int) -> io.BytesIO:
    """The file as if it had not been deflated from byte `at` on, at most `most` bytes of that."""
    file.seek(0)
    plain = io.BytesIO()
    told = DEFLATED.encode()
    plain.write(file.read(at).replace(told, _PLAIN.encode().ljust(len(told), b"\0")))
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    left = most
    while left > 0 and not engine.eof:
        piece = engine.unconsumed_tail or file.read(_PIECE)
        if not piece:
            break
        left -= plain.write(engine.decompress(piece, min(left, _STEP)))
    # Each costs pydicom a hundred times the memory that it takes in the file.
    if plain.getvalue().count(_ITEM) > _MOST_ITEMS:
        raise _ImpossibleError
    plain.seek(0)
    return plain
