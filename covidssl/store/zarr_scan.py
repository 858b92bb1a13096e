"""One scan as a Zarr v3 group: voxels and packed lung masks, a chunk a slice, a shard a scan."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import CovidsslError, DataError
from covidssl.files import is_full
from covidssl.store.record import ScanRecord

PIXELS, LUNGS = "pixels", "lungs"
SHARD = "c.0.0.0"
"""The one shard of an array; its index stands at its start."""

_ATTRIBUTE = "covidssl"
_PART = ".part"


def write_scan(
    folder: Path, pixels: NDArray[Any], lungs: NDArray[np.bool_], record: ScanRecord
) -> ScanRecord:
    """Write one scan, whole or not at all; one that is there is replaced.

    Args:
        folder: its group.
        pixels: int16 HU or uint8 grey values, (Z, Y, X).
        lungs: the lung mask, (Z, Y, X); kept as one bit a voxel.
        record: goes into the group's attributes.

    Returns:
        The record, with the sizes of what was written.

    Raises:
        CovidsslError: when the disk is full; nothing is left behind.
    """
    with _replacing(folder) as temporary:
        import zarr

        arrays = {PIXELS: pixels, LUNGS: np.packbits(lungs, axis=-1)}
        group = zarr.create_group(str(temporary), zarr_format=3)
        for name, array in arrays.items():
            _write_array(group, name, array)
        sizes = [(temporary / name / SHARD).stat().st_size for name in arrays]
        record = replace(record, sizes=(sizes[0], sizes[1]))
        group.attrs[_ATTRIBUTE] = record.as_json()
    return record


def _write_array(group: Any, name: str, array: NDArray[Any]) -> None:
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Read as fast as it can be, lz4 takes a tenth more room than zstd and a third of its time.
    group.create_array(
        name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(1, *array.shape[1:]),
        shards={"shape": array.shape, "index_location": "start"},
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()],
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=("z", "y", "x") if name == PIXELS else ("z", "y", "x_by_8"),
        config={"write_empty_chunks": True},
    )[:] = array


def read_record(group: bytes, name: str) -> ScanRecord:
    """The record in a group's `zarr.json`.

    Raises:
        DataError: when it is damaged, or no scan of this version; `name` names it.
    """
    try:
        values = json.loads(group)["attributes"][_ATTRIBUTE]
    except (ValueError, KeyError, TypeError):
        values = {}
    return ScanRecord.from_json(values, name)


def remove_parts(scans: Path) -> None:
    """Take away what killed runs left half-written."""
    for left in scans.glob(f".*{_PART}"):
        shutil.rmtree(left, ignore_errors=True)


def remove_scan(folder: Path) -> None:
    """Take a scan's group away, whole or not at all; it need not be there."""
    left = _aside(folder)
    try:
        folder.rename(left)
    except FileNotFoundError:
        return
    shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Several machines may write the same scan, one of them after the other was given up.
    temporary = _aside(folder)
    try:
        yield temporary
        _flush(temporary)
        _put(temporary, folder)
    except OSError as error:
        if not is_full(error):
            raise
        raise CovidsslError(
            f"{folder.parent.parent.name}: a scan could not be written, the disk is full or the "
            f"file too large for it ({error.strerror}). Nothing half-written was left; free some "
            f"space and run again with --resume."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{_PART}")


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())


def _put(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # A folder that holds something cannot be renamed over.
        old = _aside(folder)
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def record_on_disk(folder: Path) -> ScanRecord | None:
    """The record of a scan's group; None where there is none of this version, whole."""
    try:
        record = read_record((folder / "zarr.json").read_bytes(), folder.name)
        sizes = tuple((folder / name / SHARD).stat().st_size for name in (PIXELS, LUNGS))
    except (OSError, DataError):
        return None
    return record if sizes == record.sizes else None
