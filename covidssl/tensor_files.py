"""Safetensors files whose arrays stay on disk until they are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from covidssl.errors import DataError
from covidssl.files import replacing

_KINDS = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}
_AT_ONCE = 2**22


class TensorFile(NamedTuple):
    """A file's arrays by name, and the notes in its header."""

    arrays: dict[str, NDArray[Any]]
    notes: dict[str, str]


class Shape(NamedTuple):
    """What an array of a new file will be."""

    dtype: DTypeLike
    shape: tuple[int, ...]


def map_tensors(path: Path) -> TensorFile:
    """Open a safetensors file by memory map; arrays can be read, not written.

    Raises:
        DataError: when the file is missing, cut short, or no safetensors file.
    """
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name}: could not be opened ({type(error).__name__}); expected a safetensors "
            f"file that covidssl wrote."
        ) from None
    return parse_tensors(raw, path.name)


def parse_tensors(raw: NDArray[np.uint8], name: str) -> TensorFile:
    """The arrays of a safetensors file as views of its bytes.

    Raises:
        DataError: when the bytes are cut short, or no safetensors file; `name` names it.
    """
    try:
        length = int.from_bytes(raw[:8].tobytes(), "little")
        if not 2 <= length <= len(raw) - 8:
            raise ValueError("header")
        header = json.loads(raw[8 : 8 + length].tobytes())
        notes = header.pop("__metadata__", {})
        arrays = {key: _view(raw[8 + length :], value) for key, value in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{name}: is damaged or no safetensors file of covidssl; make it again."
        ) from None
    return TensorFile(arrays, notes)


def _view(content: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    first, last = entry["data_offsets"]
    dtype, shape = np.dtype(_KINDS[entry["dtype"]]), tuple(entry["shape"])
    if last - first != dtype.itemsize * prod(shape) or last > len(content):
        raise ValueError("size")
    return content[first:last].view(dtype).reshape(shape)


@contextmanager
def new_tensors(
    path: Path, shapes: Mapping[str, Shape], notes: Mapping[str, str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Give arrays to fill; the file is there, whole, when the block has ended well.

    The arrays lie in the file, so that it may be larger than the memory.

    Raises:
        CovidsslError: when the disk is full; nothing is left behind.
    """
    head, places, total = _header(shapes, notes)
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(head)
            # Written, not only claimed: a map over a hole ends the process on a full disk.
            for begin in range(0, total, _AT_ONCE):
                file.write(bytes(min(_AT_ONCE, total - begin)))
        raw = np.memmap(temporary, dtype=np.uint8, mode="r+")
        yield {
            name: raw[len(head) + first : len(head) + last].view(dtype).reshape(shape)
            for name, (first, last, dtype, shape) in places.items()
        }
        raw.flush()


_Place = tuple[int, int, np.dtype[Any], tuple[int, ...]]


def _header(
    shapes: Mapping[str, Shape], notes: Mapping[str, str]
) -> tuple[bytes, dict[str, _Place], int]:
    header: dict[str, Any] = {"__metadata__": dict(notes)}
    places: dict[str, _Place] = {}
    total = 0
    # The widest numbers first, so that each array begins at a multiple of its own width.
    for name in sorted(shapes, key=lambda name: (-np.dtype(shapes[name].dtype).itemsize, name)):
        dtype, shape = np.dtype(shapes[name].dtype).newbyteorder("<"), shapes[name].shape
        last = total + dtype.itemsize * prod(shape)
        places[name] = (total, last, dtype, shape)
        kind = _NAMES[dtype]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [total, last]}
        total = last
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places, total
