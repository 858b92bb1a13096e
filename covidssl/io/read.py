"""From files to an upright, checked volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from covidssl.errors import DataError, ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.dicom import read_dicom
from covidssl.io.find import ScanFiles, find_scans
from covidssl.io.gate import settle
from covidssl.io.headers import read_headers
from covidssl.io.metaimage import read_metaimage
from covidssl.io.nifti import read_nifti
from covidssl.io.orient import degrees_off_axes, upright
from covidssl.io.picture import read_picture
from covidssl.io.raw import LEAST_EDGE, RawScan
from covidssl.volume import Volume

_FEW_SLICES = 3
_MOST_LABELS = 16
_WARN_OFF_DEGREES = 10.0
_MOST_OFF_DEGREES = 30.0


def read_scan(scan: ScanFiles, pixels: Pixels | None = None) -> Volume:
    """Read one scan, turn it upright and check its values.

    What a voxel means goes by the format: DICOM is HU; NIfTI, MetaImage and NRRD are HU unless
    they are unscaled uint8; pictures and those are windowed grey values.

    Args:
        scan: from `find_scans`.
        pixels: overrides the format's rule, for example for 0..255 stored as int16.

    Returns:
        int16 HU in -1024..3071 or uint8 grey values, shape (Z, Y, X), upright LPS.

    Raises:
        ScanError: when the scan cannot be read, or its geometry or values are not a CT's: also
            when its axes lie more than 30 degrees off the patient's, or its axial slices have
            fewer than 32 x 32 pixels.
    """
    raw = _read_raw(scan)
    if pixels is Pixels.HU and scan.format == "picture":
        raise ScanError(f"{scan.name}: a picture holds windowed grey values, not Hounsfield units.")
    array, kind = settle(raw, pixels, scan.name)
    volume = _upright(replace(raw, array=array), scan.name)
    warnings = list(volume.warnings)
    if scan.format != "picture":
        if raw.grey and pixels is None:
            warnings.append("8-bit volume: taken as windowed grey values, not HU")
        if len(volume.array) < _FEW_SLICES:
            slices = "1 slice" if len(volume.array) == 1 else f"{len(volume.array)} slices"
            warnings.append(f"only {slices}")
    return replace(volume, pixels=kind, warnings=tuple(warnings))


def read_ct(path: Path | str, pixels: Pixels | None = None) -> Volume:
    """Read one CT: a file, or a folder with one DICOM series.

    Args:
        path: DICOM folder or file, NIfTI, MetaImage, NRRD, PNG, JPG or TIFF.
        pixels: what the values mean, where the format's rule (see `read_scan`) does not fit.

    Raises:
        ScanError: as `read_scan`; also when the folder holds no CT or several, which it lists.
        UsageError: when there is nothing at `path`.
    """
    return read_scan(_only_scan(Path(path)), pixels)


def read_mask(path: Path | str) -> Volume:
    """Read a mask, upright like the scan that it belongs to; every label above 0 is inside.

    Raises:
        ScanError: when it cannot be read, holds more than a few whole-numbered labels, or lies as
            no scan may (see `read_scan`).
    """
    scan = _only_scan(Path(path))
    raw = _read_raw(scan)
    labels = np.unique(raw.array)
    if len(labels) > _MOST_LABELS or float(labels[0]) < 0 or np.any(labels % 1 != 0):
        raise ScanError(
            f"{scan.name}: {len(labels)} different values from {float(labels[0]):g} to "
            f"{float(labels[-1]):g}; a mask holds a few labels, 0 for outside."
        )
    return _upright(replace(raw, array=raw.array > 0), scan.name)


def _only_scan(path: Path) -> ScanFiles:
    try:
        scans = find_scans([path]).scans
    except DataError as error:
        raise ScanError(str(error)) from None
    name = path.name or path.resolve().name
    if len(scans) == 1:
        return replace(scans[0], name=name)
    listed = "; ".join(f"{i}) {_described(scan)}" for i, scan in enumerate(scans[:5], start=1))
    more = f"; and {len(scans) - 5} more" if len(scans) > 5 else ""
    raise ScanError(
        f"{name}: holds {len(scans)} scans, expected one: {listed}{more}. Give one of them; "
        f"DICOM series that share a folder need a folder each."
    )


def _described(scan: ScanFiles) -> str:
    if scan.format != "dicom":
        return f"{scan.name} ({scan.format})"
    # Folders of DICOM are often named by patient or series: they are told by what they hold.
    thickness = read_headers(scan.paths[:1], "a series")[0].thickness_mm
    thick = "" if thickness is None else f" of {thickness:g} mm"
    return f"a DICOM series of {len(scan.paths)} slices{thick}"


def _read_raw(scan: ScanFiles) -> RawScan:
    if scan.problem is not None:
        raise ScanError(f"{scan.name}: {scan.problem}")
    if scan.format == "dicom":
        return read_dicom(scan.paths, scan.name)
    readers = {"nifti": read_nifti, "metaimage": read_metaimage, "picture": read_picture}
    if scan.format not in readers:
        raise ScanError(f"{scan.name}: format '{scan.format}' is not known.")
    return readers[scan.format](scan.paths[0], scan.name)


def _upright(raw: RawScan, source: str) -> Volume:
    if raw.affine is None:
        _check_edges(raw.array.shape, source)
        array = np.ascontiguousarray(raw.array)
        return Volume(array, None, raw.spacing_mm, None, source, raw.warnings)
    array, affine, spacing = upright(raw.array, raw.affine)
    _check_edges(array.shape, source)
    warnings = raw.warnings
    off = degrees_off_axes(affine)
    if off > _MOST_OFF_DEGREES:
        raise ScanError(
            f"{source}: lies {off:.1f} degrees off the patient's axes; expected at most "
            f"{_MOST_OFF_DEGREES:g}. Resample the scan to an axial grid first."
        )
    if off > _WARN_OFF_DEGREES:
        warnings += (f"lies {off:.0f} degrees off the patient's axes; slices are not resampled",)
    return Volume(array, None, spacing, affine, source, warnings)


def _check_edges(shape: tuple[int, ...], source: str) -> None:
    slices, rows, columns = shape
    if min(rows, columns) < LEAST_EDGE:
        found = "1 axial slice" if slices == 1 else f"{slices} axial slices"
        raise ScanError(
            f"{source}: upright, it has {found} of {columns} x {rows} pixels; expected axial "
            f"slices of at least {LEAST_EDGE} x {LEAST_EDGE} pixels. Give the whole axial scan."
        )
