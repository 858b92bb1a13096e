"""Whether DICOM slices make one CT volume: the geometry gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.headers import SliceHeader
from covidssl.io.raw import LEAST_EDGE, MOST_SHEAR_DEGREES, check_affine

_SAME_PLACE_MM = 0.01
_UNEVEN = 0.1
_MOST_STRETCH = 0.01


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, and where they lie.

    Attributes:
        headers: sorted, lowest place first.
        affine: (4, 4) from voxel index (x, y, z, 1) to LPS mm, or None where not known.
        spacing_mm: (z, y, x), or None where not known.
        warnings: in plain words.
    """

    headers: tuple[SliceHeader, ...]
    affine: NDArray[np.float64] | None
    spacing_mm: tuple[float, float, float] | None
    warnings: tuple[str, ...]


def stack(headers: Sequence[SliceHeader], source: str) -> Stack:
    """Order the slices of one series and check that they are one evenly spaced CT volume.

    Raises:
        ScanError: for another modality, localisers, multi-frame or colour images, slices of several
            sizes, orientations or spacings, a tilted gantry, doubled, missing or uneven slices, a
            single slice that is not axial, directions that are no right angle.
    """
    _check_kind(headers, source)
    _check_agreement(headers, source)
    if len(headers) == 1:
        return _single(headers[0], source)
    positions, rows = _places(headers, source)
    columns = rows[3:]
    normal = np.cross(rows[:3], columns)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    headers, positions, along = [headers[i] for i in order], positions[order], along[order]
    # Readers know slices by their z; the signed distance along the normal may be its negative.
    shown = positions[:, 2] if abs(normal[2]) > 0.9 else along
    _check_spacing(along, shown, source)
    _check_tilt(positions, normal, source)
    first = headers[0]
    if first.spacing_mm is None:
        raise ScanError(f"{source}: the headers give no pixel spacing; export the series again.")
    y_mm, x_mm = first.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = rows[:3] * x_mm
    affine[:3, 1] = columns * y_mm
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(headers) - 1)
    affine[:3, 3] = positions[0]
    check_affine(affine, source)
    z_mm = float(np.linalg.norm(affine[:3, 2]))
    return Stack(tuple(headers), affine, (z_mm, y_mm, x_mm), ())


def _single(header: SliceHeader, source: str) -> Stack:
    if header.orientation is not None:
        _check_directions(header.orientation, source)
        normal = np.cross(header.orientation[:3], header.orientation[3:])
        if np.abs(normal).argmax() != 2:
            raise ScanError(
                f"{source}: a single coronal or sagittal slice; expected axial slices of at least "
                f"{LEAST_EDGE} x {LEAST_EDGE} pixels. Give the axial series."
            )
    if header.spacing_mm is None:
        return Stack((header,), None, None, ("the header gives no pixel spacing",))
    z_mm = header.thickness_mm or 1.0
    spacing = (z_mm, *header.spacing_mm)
    if header.position_mm is None or header.orientation is None:
        return Stack((header,), None, spacing, ("the header gives no place: taken as upright",))
    rows, columns = header.orientation[:3], header.orientation[3:]
    affine = np.eye(4)
    affine[:3, 0] = rows * spacing[2]
    affine[:3, 1] = columns * spacing[1]
    affine[:3, 2] = np.cross(rows, columns) * z_mm
    affine[:3, 3] = header.position_mm
    check_affine(affine, source)
    return Stack((header,), affine, spacing, ())


def _check_kind(headers: Sequence[SliceHeader], source: str) -> None:
    others = {header.modality for header in headers} - {"CT"}
    if others:
        # Only what looks like a modality is quoted: the field may hold anything.
        known = sorted(word for word in others if word.isalpha() and len(word) <= 8)
        raise ScanError(f"{source}: modality {', '.join(known) or 'not given'}; expected CT.")
    localisers = sum(header.localiser for header in headers)
    if localisers:
        raise ScanError(
            f"{source}: {localisers} of {len(headers)} images are localisers (scouts), not axial "
            f"slices; take them out of the folder."
        )
    if any(header.frames > 1 for header in headers):
        raise ScanError(
            f"{source}: a multi-frame (enhanced) DICOM file; convert it to NIfTI first, "
            f"for example with dcm2niix."
        )
    if any(header.colour for header in headers):
        raise ScanError(f"{source}: a colour or inverted image (a screenshot?), not CT values.")
    short = sum(header.missing_bytes > 0 for header in headers)
    if short:
        raise ScanError(
            f"{source}: {short} of {len(headers)} files are truncated: they end before their last "
            f"pixel. Copy or export them again."
        )


def _check_agreement(headers: Sequence[SliceHeader], source: str) -> None:
    shapes = sorted({header.shape for header in headers})
    if len(shapes) > 1:
        sizes = ", ".join(f"{rows} x {columns}" for rows, columns in shapes)
        raise ScanError(f"{source}: slices of several sizes in one series ({sizes}).")
    spacings = {header.spacing_mm for header in headers}
    if len(spacings) > 1:
        raise ScanError(f"{source}: slices of several pixel spacings in one series.")
    for edge in sorted(spacings, key=str)[0] or ():
        if not 0 < edge < np.inf:
            raise ScanError(f"{source}: a pixel spacing of {edge:g} mm in the header.")


def _places(
    headers: Sequence[SliceHeader], source: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    positions = [header.position_mm for header in headers if header.position_mm is not None]
    orientations = [header.orientation for header in headers if header.orientation is not None]
    lost = len(headers) - min(len(positions), len(orientations))
    if lost:
        raise ScanError(
            f"{source}: {lost} of {len(headers)} slices do not say where they lie (position and "
            f"orientation), so they cannot be put in order. Export the series again."
        )
    rows = orientations[0]
    turned = sum(bool(np.abs(other - rows).max() > 1e-3) for other in orientations)
    if turned:
        raise ScanError(
            f"{source}: {turned} of {len(headers)} slices lie in another orientation than the "
            f"first; give each orientation a folder of its own."
        )
    _check_directions(rows, source)
    return np.array(positions), rows


def _check_directions(orientation: NDArray[np.float64], source: str) -> None:
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm([rows, columns], axis=1)
    most = np.sin(np.radians(MOST_SHEAR_DEGREES))
    # Written so that NaN fails too.
    if not (np.abs(lengths - 1.0).max() <= _MOST_STRETCH and abs(rows @ columns) <= most):
        raise ScanError(
            f"{source}: the row and column directions in the header are no two vectors of length "
            f"1 at a right angle, so how the slices lie cannot be known. Export the series again."
        )


def _check_spacing(
    along: NDArray[np.float64], shown: NDArray[np.float64], source: str
) -> None:  # fmt: skip
    gaps = np.diff(along)
    doubled = int(np.count_nonzero(gaps < _SAME_PLACE_MM))
    if doubled:
        at = shown[int(np.argmin(gaps))]
        raise ScanError(
            f"{source}: {doubled + 1 if doubled == 1 else doubled} slices lie at a place that is "
            f"taken already, the first at z = {at:g} mm. Two reconstructions or acquisitions in "
            f"one series? Give each a folder of its own."
        )
    # The lower median: of two gaps, the wider one is the suspect.
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    odd = np.flatnonzero(np.abs(gaps - usual) > _UNEVEN * usual)
    if not odd.size:
        return
    widest = int(odd[np.argmax(gaps[odd])])
    where = (
        f"between z = {shown[widest]:g} and {shown[widest + 1]:g} mm: "
        f"spacing {gaps[widest]:.4g} instead of {usual:.4g}"
    )
    steps = gaps[odd] / usual
    if np.all(np.rint(steps) >= 2) and np.all(np.abs(steps - np.rint(steps)) < 0.2):
        missing = int(np.sum(np.rint(steps) - 1))
        what = "a slice is missing" if missing == 1 else f"{missing} slices are missing, most"
        raise ScanError(f"{source}: {what} {where}. Copy the whole series again.")
    raise ScanError(
        f"{source}: slices are unevenly spaced in {len(odd)} places, most {where}. "
        f"Resample the scan, or export the series again."
    )


def _check_tilt(
    positions: NDArray[np.float64], normal: NDArray[np.float64], source: str
) -> None:  # fmt: skip
    way = positions[-1] - positions[0]
    cosine = float(way @ normal / np.linalg.norm(way))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    if tilt > MOST_SHEAR_DEGREES:
        raise ScanError(
            f"{source}: the gantry was tilted by {tilt:.1f} degrees: slices do not lie straight "
            f"above each other. Resample the scan to an upright grid first."
        )
