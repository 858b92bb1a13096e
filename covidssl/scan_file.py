"""One scan of a prepared store as one safetensors file: voxels, packed lung mask, what is known."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.files import write_bytes
from covidssl.manifest import ManifestRow

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ScanRecord:
    """What a scan file knows about itself.

    Attributes:
        key: hash of name, source files' sizes and times, and options: says whether the file still
            is what preparing the scan again would give.
        row: the scan's row in the manifest.
        shares: lung area / picture area of every slice.
        box: (top, bottom, left, right) of the lungs over the whole scan, in pixels, ends excluded.
    """

    key: str
    row: ManifestRow
    shares: tuple[float, ...]
    box: Box


def write_scan_file(
    path: Path, pixels: NDArray[Any], lungs: NDArray[np.bool_], record: ScanRecord
) -> None:
    """Write one scan, whole or not at all.

    Args:
        path: its file.
        pixels: int16 HU or uint8 grey values, (Z, Y, X).
        lungs: the lung mask, (Z, Y, X); kept as one bit a voxel.
        record: goes into the header.

    Raises:
        CovidsslError: when the disk is full.
    """
    from safetensors.numpy import save

    tensors = {"pixels": np.ascontiguousarray(pixels), "lungs": np.packbits(lungs, axis=-1)}
    # Through our own writer: safetensors' would leave half a file where a disk is full.
    write_bytes(path, save(tensors, {"scan": json.dumps(asdict(record))}))


def open_scan_file(path: Path, name: str) -> Any:
    """A handle that reads parts of the file by memory map.

    Raises:
        DataError: when the file is gone or damaged; `name` names it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np")
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{name}: a scan file of the store is missing or damaged ({type(error).__name__}). "
            f"Run prepare again with --resume."
        ) from None


def read_record(path: Path, name: str) -> ScanRecord:
    """The record in a scan file's header.

    Raises:
        DataError: when the file is gone, damaged, or no scan file.
    """
    with open_scan_file(path, name) as file:
        head = (file.metadata() or {}).get("scan")
    try:
        values = json.loads(head or "")
        return ScanRecord(
            key=values["key"],
            row=ManifestRow(**values["row"]),
            shares=tuple(values["shares"]),
            box=tuple(values["box"]),
        )
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{name}: is no scan file of this version. Prepare again.") from None


def read_plane(file: Any, index: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Voxels and lungs of one slice of an open scan file, (Y, X) each."""
    pixels = file.get_slice("pixels")[index]
    packed = file.get_slice("lungs")[index]
    return pixels, np.unpackbits(packed, axis=-1, count=pixels.shape[-1]).view(np.bool_)
