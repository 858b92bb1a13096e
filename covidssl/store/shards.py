"""Reading chunks of a shard without Zarr: its index once, then one read a chunk.

Layout: Zarr v3, codec `sharding_indexed` with the index at the start (offset and length of every
chunk, 16 bytes each, and a CRC-32C); a chunk is a Blosc buffer followed by its CRC-32C.
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError

_CHECKSUM = 4
_ENTRY = 16
_RESIDUE = 0x48674BC7


def index_bytes(chunks: int) -> int:
    """Length of a shard's index."""
    return _ENTRY * chunks + _CHECKSUM


def read_index(content: bytes, chunks: int, name: str) -> NDArray[np.uint64]:
    """Offset and length of every chunk, (chunks, 2).

    Raises:
        DataError: when the index is cut short or its checksum is another; `name` names the file.
    """
    if len(content) != index_bytes(chunks):
        raise damaged(name)
    return np.frombuffer(_checked(content, name), dtype="<u8").reshape(chunks, 2)


def read_chunk(content: bytes, out: NDArray[Any], name: str) -> None:
    """Decode one chunk into `out`.

    Raises:
        DataError: when it is cut short, or its checksum or size is another.
    """
    from numcodecs import blosc

    body = _checked(content, name)
    try:
        blosc.decompress(body, out)
    except (RuntimeError, ValueError):
        raise damaged(name) from None


def _checked(content: bytes, name: str) -> memoryview:
    import google_crc32c

    # With its own checksum behind it, every text has the same one; nothing need be copied for it.
    if len(content) < _CHECKSUM or google_crc32c.value(content) != _RESIDUE:
        raise damaged(name)
    return memoryview(content)[:-_CHECKSUM]


def damaged(name: str) -> DataError:
    """What to say of a scan's file that is not as it was written."""
    return DataError(
        f"{name}: this file of the store is damaged or not whole. Remove the scan's folder "
        f"and run prepare with --resume."
    )
