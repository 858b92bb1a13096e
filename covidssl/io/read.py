"""From files to an upright, checked volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError, ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.archive import on_disk
from covidssl.io.dicom import read_dicom
from covidssl.io.find import find_scans
from covidssl.io.found import ScanFiles
from covidssl.io.gate import settle
from covidssl.io.metaimage import read_metaimage
from covidssl.io.nifti import read_nifti
from covidssl.io.orient import degrees_off_axes, upright
from covidssl.io.picture import read_picture
from covidssl.io.raw import LEAST_EDGE, RawScan, Spacing
from covidssl.io.reading import Policy, Reading
from covidssl.io.series_facts import facts_of
from covidssl.noted import Noted
from covidssl.volume import StoredGrid, Volume

_FEW_SLICES = 3
_MOST_LABELS = 16
_WARN_OFF_DEGREES = 10.0
_MOST_OFF_DEGREES = 30.0
_NO_PLACE = Noted("the header gives no orientation: taken as lying upright (LPS)", "no_orientation")
_NO_SIZE = Noted("the header gives no voxel size", "no_spacing")
_ONE_MM = Noted("voxels of exactly 1 x 1 x 1 mm: resampled, or the size is not known", "one_mm")
AS_IT_IS = Reading()


def read_scan(scan: ScanFiles, reading: Reading = AS_IT_IS) -> Volume:
    """Read one scan, turn it upright and check its values.

    What a voxel means goes by the format: DICOM is HU; NIfTI, MetaImage and NRRD are HU unless
    they are unscaled uint8; pictures and those are windowed grey values.

    Args:
        scan: from `find_scans`.
        reading: what the values mean, whether defects are mended, and pseudonyms.

    Returns:
        int16 HU in -1024..3071 or uint8 grey values, shape (Z, Y, X), upright LPS; what was mended
        stands in `repairs`.

    Raises:
        ScanError: when the scan cannot be read, or its geometry or values are not a CT's: also
            when its axes lie more than 30 degrees off the patient's, or its axial slices have
            fewer than 32 x 32 pixels. Under the policy `strict` also where the geometry is open to
            doubt: no orientation or no voxel size, two that disagree, or an oblique grid.
    """
    raw = _read_raw(scan, reading)
    if reading.policy is Policy.STRICT and not raw.picture:
        _refuse_unknown(raw, scan.name)
    eight_bits = raw.grey and scan.format != "picture" and reading.pixels is None
    raw, kind = settle(raw, reading, scan.name)
    volume = _upright(raw, scan, reading)
    warnings = list(volume.warnings)
    if eight_bits:
        told = "8-bit volume: taken as windowed grey values, not HU"
        warnings.append(Noted(told, "eight_bit_volume"))
    if scan.format != "picture" and len(volume.array) < _FEW_SLICES:
        slices = "1 slice" if len(volume.array) == 1 else f"{len(volume.array)} slices"
        warnings.append(Noted(f"only {slices}", "few_slices"))
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
    return read_scan(_only_scan(Path(path)), Reading(pixels))


def read_mask(path: Path | str) -> Volume:
    """Read a mask, upright like the scan that it belongs to; every label above 0 is inside.

    Raises:
        ScanError: when it cannot be read, holds more than a few whole-numbered labels, or lies as
            no scan may (see `read_scan`).
    """
    scan = _only_scan(Path(path))
    raw = _read_raw(scan, AS_IT_IS)
    if raw.array.dtype.kind not in "biuf":
        raise ScanError(
            f"{scan.name}: the voxels are of type {raw.array.dtype}; a mask holds labels.",
            "no_mask",
        )
    labels = np.unique(raw.array)
    if len(labels) > _MOST_LABELS or float(labels[0]) < 0 or np.any(labels % 1 != 0):
        raise ScanError(
            f"{scan.name}: {len(labels)} different values from {float(labels[0]):g} to "
            f"{float(labels[-1]):g}; a mask holds a few labels, 0 for outside.",
            "no_mask",
        )
    return _upright(replace(raw, array=raw.array > 0), scan, AS_IT_IS)


def read_map(path: Path | str) -> Volume:
    """Read a map of a scan, upright like the scan that it belongs to: float32, shape (Z, Y, X).

    Numbers of any kind are taken as they are (labels, probabilities, fractions); what is not finite
    becomes 0.

    Raises:
        ScanError: when it cannot be read, holds no numbers, or lies as no scan may.
    """
    scan = _only_scan(Path(path))
    raw = _read_raw(scan, AS_IT_IS)
    if raw.array.dtype.kind not in "biuf":
        raise ScanError(
            f"{scan.name}: the voxels are of type {raw.array.dtype}; a map holds one number a "
            f"voxel."
        )
    values = np.nan_to_num(raw.array.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return _upright(replace(raw, array=values), scan, AS_IT_IS)


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
        f"DICOM series that share a folder need a folder each.",
        "several_scans",
    )


def _described(scan: ScanFiles) -> str:
    if scan.format != "dicom":
        return f"{scan.name} ({scan.format})"
    # Folders of DICOM are often named by patient or series: they are told by what they hold.
    thickness = facts_of(scan).thin_mm
    thick = "" if thickness is None else f" of {thickness:g} mm"
    return f"a DICOM series of {len(scan.paths)} slices{thick}"


def _read_raw(scan: ScanFiles, reading: Reading) -> RawScan:
    if scan.problem is not None:
        raise ScanError(f"{scan.name}: {scan.problem}", scan.code)
    with on_disk(scan) as there:
        if scan.format == "dicom":
            return read_dicom(there, reading)
        if scan.format == "nifti":
            return read_nifti(there.paths[0], scan.name, reading)
        if scan.format == "metaimage":
            return read_metaimage(there.paths[0], scan.name)
        if scan.format == "picture":
            return read_picture(there.paths[0], scan.name, reading)
    raise ScanError(f"{scan.name}: format '{scan.format}' is not known.")


def _refuse_unknown(raw: RawScan, source: str) -> None:
    if raw.affine is None:
        raise ScanError(
            f"{source}: the header gives no orientation, so which side is the patient's left "
            f"cannot be known. Convert the scan again from its DICOM series.",
            "no_orientation",
        )
    if raw.spacing_mm is None:
        raise ScanError(
            f"{source}: {_NO_SIZE}. Convert the scan again from its DICOM series.", "no_spacing"
        )


def _upright(raw: RawScan, scan: ScanFiles, reading: Reading) -> Volume:
    source = scan.name
    warnings = raw.warnings + _unknown(raw, scan)
    if raw.affine is None:
        _check_edges(raw.array.shape, source)
        array = np.ascontiguousarray(raw.array)
        return _volume(raw, array, None, raw.spacing_mm, warnings, source)
    array, affine, spacing = upright(raw.array, raw.affine)
    _check_edges(array.shape, source)
    off = degrees_off_axes(affine)
    most = _WARN_OFF_DEGREES if reading.policy is Policy.STRICT else _MOST_OFF_DEGREES
    if off > most:
        raise ScanError(
            f"{source}: lies {off:.1f} degrees off the patient's axes; expected at most "
            f"{most:g}. Resample the scan to an axial grid first.",
            "oblique",
        )
    if off > _WARN_OFF_DEGREES:
        # What was mended may have moved slices.
        still = "" if raw.repairs else "; slices are not resampled"
        told = f"lies {off:.0f} degrees off the patient's axes{still}"
        warnings += (Noted(told, "oblique"),)
    if raw.spacing_mm is None:
        return _volume(raw, array, None, None, warnings, source)
    return _volume(raw, array, affine, spacing, warnings, source)


def _unknown(raw: RawScan, scan: ScanFiles) -> tuple[Noted, ...]:
    """What the header does not say of the grid, as warnings."""
    if scan.format == "picture":
        return ()
    told: list[Noted] = []
    # The DICOM reader says itself what a slice's header lacks.
    if scan.format != "dicom":
        told += [_NO_PLACE] if raw.affine is None else []
        told += [_NO_SIZE] if raw.spacing_mm is None else []
    if raw.spacing_mm is not None and np.allclose(raw.spacing_mm, 1.0, rtol=0, atol=1e-6):
        told.append(_ONE_MM)
    return tuple(told)


def _volume(
    raw: RawScan,
    array: NDArray[Any],
    affine: NDArray[np.float64] | None,
    spacing_mm: Spacing | None,
    warnings: tuple[Noted, ...],
    source: str,
) -> Volume:
    return Volume(
        array,
        None,
        spacing_mm,
        affine,
        source,
        warnings,
        repairs=raw.repairs,
        patient=raw.patient,
        series=raw.series,
        stored=_stored(raw),
    )


def _stored(raw: RawScan) -> StoredGrid | None:
    if raw.affine is None:
        return None
    slices, rows, columns = raw.array.shape
    return StoredGrid((slices, rows, columns), raw.affine, raw.files)


def _check_edges(shape: tuple[int, ...], source: str) -> None:
    slices, rows, columns = shape
    if min(rows, columns) < LEAST_EDGE:
        found = "1 axial slice" if slices == 1 else f"{slices} axial slices"
        raise ScanError(
            f"{source}: upright, it has {found} of {columns} x {rows} pixels; expected axial "
            f"slices of at least {LEAST_EDGE} x {LEAST_EDGE} pixels. Give the whole axial scan.",
            "too_small",
        )
