"""Members of a `.zip` that bzip2 or LZMA packed, unpacked a little at a time.

`zipfile` unpacks whatever it has read of these two at once: a thousand bytes can become gigabytes
in memory, whatever size the table of contents claims. Here no more is unpacked than is asked for.
"""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, cast

METHODS = (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_SIGNATURE = b"PK\x03\x04"
_PACKED_AT_ONCE = 1 << 14
_UNPACKED_AT_ONCE = 1 << 16
_MOST_DICTIONARY = 512 << 20
_LZMA_PROPERTIES = 5


def open_squeezed(archive: Path, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member for reading and seeking.

    Raises:
        OSError, zipfile.BadZipFile, lzma.LZMAError, EOFError: when it is damaged; also later, while
            it is read.
    """
    return cast(IO[bytes], io.BufferedReader(_Squeezed(archive, info), _UNPACKED_AT_ONCE))


class _Squeezed(io.RawIOBase):
    """The unpacked bytes, at most as many as the table of contents claims."""

    def __init__(self, archive: Path, info: zipfile.ZipInfo) -> None:
        self._info = info
        self._file = archive.open("rb")
        self._file.seek(info.header_offset)
        signature, *_, name, extra = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
        if signature != _SIGNATURE:
            raise zipfile.BadZipFile("no member where the table of contents says")
        self._start = info.header_offset + _LOCAL_HEADER.size + name + extra
        self._begin()

    def _begin(self) -> None:
        self._file.seek(self._start)
        self._packed_left = self._info.compress_size
        self._place, self._checksum = 0, 0
        self._unpacker: Any = (
            bz2.BZ2Decompressor() if self._info.compress_type == zipfile.ZIP_BZIP2 else self._lzma()
        )

    def _lzma(self) -> lzma.LZMADecompressor:
        version_and_size = self._packed(4)
        if version_and_size[2:] != struct.pack("<H", _LZMA_PROPERTIES):
            raise zipfile.BadZipFile("not the properties of LZMA")
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MOST_DICTIONARY)
        # A stream of its own begins with the properties and a size; this one is not known.
        unpacker.decompress(self._packed(_LZMA_PROPERTIES) + b"\xff" * 8, 0)
        return unpacker

    def _packed(self, most: int) -> bytes:
        content = self._file.read(min(most, self._packed_left))
        if not content:
            raise EOFError("the member ends early")
        self._packed_left -= len(content)
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        most = min(len(buffer), self._info.file_size - self._place, _UNPACKED_AT_ONCE)
        content = b""
        while not content and most > 0:
            if self._unpacker.eof:
                raise EOFError("the member ends early")
            more = self._packed(_PACKED_AT_ONCE) if self._unpacker.needs_input else b""
            content = self._unpacker.decompress(more, most)
        buffer[: len(content)] = content
        self._place += len(content)
        self._checksum = zlib.crc32(content, self._checksum)
        if content and self._place == self._info.file_size and self._checksum != self._info.CRC:
            raise zipfile.BadZipFile("the checksum does not fit")
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._info.file_size}
        target = max(0, origin[whence] + offset)
        if target < self._place:
            self._begin()
        while self._place < target and self.read(min(target - self._place, _UNPACKED_AT_ONCE)):
            pass
        return self._place

    def close(self) -> None:
        self._file.close()
        super().close()
