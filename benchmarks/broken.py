"""Twenty ways in which a scan is no good, made by code: each must be listed and stop no other."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray

from benchmarks.scans import write_nifti, write_series
from covidssl.io import write_volume
from covidssl.volume import Volume

Break = Callable[[Path, Volume], None]
"""Writes a broken scan below a folder of its own, from a good one."""


def _hu(ct: Volume) -> NDArray[np.int16]:
    return ct.array.astype(np.int16)


def _packed(folder: Path, ct: Volume) -> bytes:
    path = folder / "whole.nii.gz"
    write_volume(ct, path)
    content = path.read_bytes()
    path.unlink()
    return content


def _empty(folder: Path, _ct: Volume) -> None:
    (folder / "empty.nii.gz").write_bytes(b"")


def _text(folder: Path, _ct: Volume) -> None:
    (folder / "text.nii.gz").write_text("see the other folder\n" * 40)


def _cut(folder: Path, ct: Volume) -> None:
    content = _packed(folder, ct)
    (folder / "cut.nii.gz").write_bytes(content[: len(content) // 2])


def _flipped(folder: Path, ct: Volume) -> None:
    content = bytearray(_packed(folder, ct))
    for place in range(400, len(content), 997):
        content[place] ^= 0x55
    (folder / "flipped.nii.gz").write_bytes(content)


def _short(folder: Path, ct: Volume) -> None:
    content = gzip.decompress(_packed(folder, ct))
    (folder / "short.nii").write_bytes(content[: len(content) * 2 // 3])


def _not_finite(folder: Path, ct: Volume) -> None:
    array = _hu(ct).astype(np.float32)
    array[3:9] = np.nan
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / "nan.nii.gz")


def _four_axes(folder: Path, ct: Volume) -> None:
    array = np.stack([_hu(ct).T] * 3, axis=-1)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / "perfusion.nii.gz")


def _normalised(folder: Path, ct: Volume) -> None:
    array = (_hu(ct).astype(np.float32) + 1000) / 1400
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), folder / "unit.nii.gz")


def _mask(folder: Path, ct: Volume) -> None:
    array = (_hu(ct) < -500).astype(np.int16)
    write_nifti(folder / "mask.nii.gz", array)


def _small(folder: Path, ct: Volume) -> None:
    write_nifti(folder / "small.nii.gz", np.ascontiguousarray(_hu(ct)[:, ::4, ::4]))


def _no_voxels(folder: Path, _ct: Volume) -> None:
    header = "ObjectType = Image\nNDims = 3\nDimSize = 64 64 24\nElementType = MET_SHORT\n"
    (folder / "header.mhd").write_text(f"{header}ElementDataFile = gone.raw\n")


def _header(folder: Path, _ct: Volume) -> None:
    (folder / "header.nrrd").write_text("NRRD0004\ndimension: 3\nsizes: 64 -64 24\n\n")


def _picture(folder: Path, _ct: Volume) -> None:
    (folder / "slice.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))


def _zip_cut(folder: Path, ct: Volume) -> None:
    with zipfile.ZipFile(folder / "scan.zip", "w") as into:
        into.writestr("scan.nii.gz", _packed(folder, ct))
    content = (folder / "scan.zip").read_bytes()
    (folder / "scan.zip").write_bytes(content[: len(content) * 3 // 4])


def _zip_path(folder: Path, ct: Volume) -> None:
    with zipfile.ZipFile(folder / "scan.zip", "w") as into:
        into.writestr("../../scan.nii.gz", _packed(folder, ct))


def _series(change: Callable[[list[Path]], None]) -> Break:
    def write(folder: Path, ct: Volume) -> None:
        change(write_series(folder / "series", _hu(ct)))

    return write


def _changed(path: Path, **tags: Any) -> None:
    file = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(file, tag, value)
    file.save_as(path)


def _gap(paths: list[Path]) -> None:
    for path in paths[8:12]:
        path.unlink()


def _other_modality(paths: list[Path]) -> None:
    for path in paths:
        _changed(path, Modality="MR")


def _twice(paths: list[Path]) -> None:
    place = pydicom.dcmread(paths[4]).ImagePositionPatient
    _changed(paths[5], ImagePositionPatient=place)


def _of_two_sizes(paths: list[Path]) -> None:
    file = pydicom.dcmread(paths[7])
    pixels = file.pixel_array[::2, ::2].copy()
    file.Rows, file.Columns = pixels.shape
    file.PixelData = pixels.tobytes()
    file.save_as(paths[7])


def _slice_cut(paths: list[Path]) -> None:
    content = paths[10].read_bytes()
    paths[10].write_bytes(content[: len(content) - 3000])


WAYS: tuple[Break, ...] = (
    _empty, _text, _cut, _flipped, _short, _not_finite, _four_axes, _normalised, _mask, _small,
    _no_voxels, _header, _picture, _zip_cut, _zip_path, _series(_gap), _series(_other_modality),
    _series(_twice), _series(_of_two_sizes), _series(_slice_cut),
)  # fmt: skip


def break_scan(folder: Path, ct: Volume, way: int) -> None:
    """Write a scan into a new folder, broken in one of the twenty ways."""
    folder.mkdir(parents=True)
    WAYS[way % len(WAYS)](folder, replace(ct, source=folder.name))
