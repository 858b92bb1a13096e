"""Whether DICOM slices make one CT volume, and on which grid: the second half of the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.eligible import Eligible, check_directions, normal_of
from covidssl.io.gaps import (
    MOST_MISSING,
    MOST_MISSING_TOGETHER,
    SAME_PLACE_MM,
    are_whole,
    evened,
    lacking_in,
    may_be_filled,
    odd_gaps,
    with_holes,
)
from covidssl.io.headers import SliceHeader
from covidssl.io.raw import LEAST_EDGE, MOST_SHEAR_DEGREES, check_affine
from covidssl.noted import Noted

_LEAST_ACQUISITION = 3
_MOST_OVERLAP = 0.5
# A grid that lies further off the patient's axes is refused as oblique.
_MOST_TILT_DEGREES = 30.0
_MOST_DRIFT_PIXELS = 1.0
_STILL = (0.0, 0.0)

Same = Callable[[SliceHeader, SliceHeader], bool]


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal, and the grid that they are put on.

    Attributes:
        headers: sorted, lowest place first.
        along: their places along the normal in mm.
        targets: places of the grid's slices in mm; equal to `along` unless some are interpolated.
        drift: pixels (y, x) by which each further mm along the normal moves a slice's corner
            against the grid; 0 unless the gantry was tilted.
        affine: (4, 4) from voxel index (x, y, z, 1) of the grid to LPS mm, or None where not known.
        spacing_mm: (z, y, x), or None where not known.
        warnings: in plain words.
        repairs: what has to be mended to come to this grid, in plain words.
    """

    headers: tuple[SliceHeader, ...]
    along: NDArray[np.float64]
    targets: NDArray[np.float64]
    drift: tuple[float, float]
    affine: NDArray[np.float64] | None
    spacing_mm: tuple[float, float, float] | None
    warnings: tuple[Noted, ...] = ()
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    """Slices sorted along their normal, their places (mm), and what readers call these (z)."""

    headers: tuple[SliceHeader, ...]
    positions: NDArray[np.float64]
    along: NDArray[np.float64]
    shown: NDArray[np.float64]


def stack(found: Eligible, source: str, same: Same | None = None) -> Stack:
    """Order the slices of one series and check that they are one evenly spaced CT volume.

    Args:
        found: the slices that belong.
        source: the scan's name for messages.
        same: whether two slices hold the same pixels; given where the series may be mended.

    Raises:
        ScanError: for a tilted gantry, doubled, missing or uneven slices unless they can be mended;
            for two acquisitions that lie in each other, a single slice that is not axial, and
            directions that are no right angle.
    """
    if len(found.headers) == 1:
        return replace(_single(found.headers[0], source), repairs=found.repairs)
    mend = same is not None
    line, doubled = _without_doubles(_line(found.headers), source, same)
    if len(line.headers) == 1:
        return replace(_single(line.headers[0], source), repairs=(*found.repairs, *doubled))
    _check_acquisitions(line, source)
    targets, filled = _grid(line, found.truncated, source, mend)
    rows, columns = _directions(line.headers[0])
    sideways, tilted = _tilt(line, np.cross(rows, columns), source, mend)
    if line.headers[0].spacing_mm is None:
        raise ScanError(
            f"{source}: the headers give no pixel spacing; export the series again.", "no_spacing"
        )
    y_mm, x_mm = line.headers[0].spacing_mm
    drift = (float(sideways @ columns) / y_mm, float(sideways @ rows) / x_mm) if tilted else _STILL
    affine = _affine(line, targets, drift if tilted else None)
    check_affine(affine, source)
    spacing = float(np.linalg.norm(affine[:3, 2])), y_mm, x_mm
    repairs = (*found.repairs, *doubled, *filled, *tilted)
    return Stack(line.headers, line.along, targets, drift, affine, spacing, (), repairs)


def _affine(
    line: _Line, targets: NDArray[np.float64], drift: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Where the grid lies; at right angles if there is a `drift`, which is taken out of slices."""
    rows, columns = _directions(line.headers[0])
    y_mm, x_mm = line.headers[0].spacing_mm or (1.0, 1.0)
    span = float(targets[-1] - targets[0])
    affine = np.eye(4)
    affine[:3, 0] = rows * x_mm
    affine[:3, 1] = columns * y_mm
    affine[:3, 3] = line.positions[0]
    if drift is None:
        way = (line.positions[-1] - line.positions[0]) / (line.along[-1] - line.along[0])
    else:
        way = np.cross(rows, columns)
        # The grid begins where the first or the last slice does, whichever reaches further out.
        affine[:3, 3] += rows * min(0.0, drift[1] * span) * x_mm
        affine[:3, 3] += columns * min(0.0, drift[0] * span) * y_mm
    affine[:3, 2] = way * span / (len(targets) - 1)
    return affine


def _single(header: SliceHeader, source: str) -> Stack:
    places = np.zeros(1)
    if header.orientation is not None:
        check_directions(header.orientation, source)
        if np.abs(normal_of(header.orientation)).argmax() != 2:
            raise ScanError(
                f"{source}: a single coronal or sagittal slice; expected axial slices of at least "
                f"{LEAST_EDGE} x {LEAST_EDGE} pixels. Give the axial series.",
                "not_axial",
            )
    if header.spacing_mm is None:
        told = (Noted("the header gives no pixel spacing", "no_spacing"),)
        return Stack((header,), places, places, _STILL, None, None, told)
    z_mm = header.thickness_mm or 1.0
    unknown = Noted("the header gives no slice thickness: taken as 1 mm", "no_thickness")
    thick = () if header.thickness_mm else (unknown,)
    spacing = (z_mm, *header.spacing_mm)
    if header.position_mm is None or header.orientation is None:
        placed = Noted("the header gives no place: taken as upright", "no_orientation")
        return Stack((header,), places, places, _STILL, None, spacing, (*thick, placed))
    rows, columns = header.orientation[:3], header.orientation[3:]
    affine = np.eye(4)
    affine[:3, 0] = rows * spacing[2]
    affine[:3, 1] = columns * spacing[1]
    affine[:3, 2] = np.cross(rows, columns) * z_mm
    affine[:3, 3] = header.position_mm
    check_affine(affine, source)
    return Stack((header,), places, places, _STILL, affine, spacing, thick)


def _directions(header: SliceHeader) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    way = np.asarray(header.orientation, dtype=np.float64)
    return way[:3], way[3:]


def _line(headers: Sequence[SliceHeader]) -> _Line:
    positions = np.array([header.position_mm for header in headers], dtype=np.float64)
    normal = np.cross(*_directions(headers[0]))
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    # Readers know slices by their z; the signed distance along the normal may be its negative.
    shown = positions[:, 2] if abs(normal[2]) > 0.9 else along
    return _Line(tuple(headers[i] for i in order), positions, along, shown)


def _without_doubles(
    line: _Line, source: str, same: Same | None
) -> tuple[_Line, tuple[str, ...]]:  # fmt: skip
    gaps = np.diff(line.along)
    doubled = np.flatnonzero(gaps < SAME_PLACE_MM)
    if not doubled.size:
        return line, ()
    at = line.shown[int(np.argmin(gaps))]
    if same is not None and all(same(*line.headers[i : i + 2]) for i in doubled):
        kept = np.setdiff1d(np.arange(len(line.headers)), doubled + 1)
        headers = tuple(line.headers[i] for i in kept)
        left = _Line(headers, line.positions[kept], line.along[kept], line.shown[kept])
        told = f"left out {len(doubled)} slices that were there twice, the first at z = {at:g} mm"
        return left, (told.replace("1 slices", "1 slice").replace("that were", "that was")
                      if len(doubled) == 1 else told,)  # fmt: skip
    raise ScanError(
        f"{source}: {len(doubled) + 1 if len(doubled) == 1 else len(doubled)} slices lie at a "
        f"place that is taken already, the first at z = {at:g} mm. "
        f"{_apart(line)}Give each a folder of its own.",
        "duplicate_slices",
    )


def _apart(line: _Line) -> str:
    """By what number slices that lie at the same places fall apart, as a sentence."""
    for which, name in enumerate(("acquisition number", "temporal position")):
        groups = Counter(header.acquisition[which] for header in line.headers)
        clean = all(
            np.diff(line.along[[h.acquisition[which] == group for h in line.headers]]).min(
                initial=np.inf
            )
            >= SAME_PLACE_MM
            for group in groups
        )
        if len(groups) > 1 and "" not in groups and clean:
            sizes = " + ".join(str(count) for count in groups.values())
            return f"They fall apart by {name} into {len(groups)} stacks ({sizes} slices). "
    return "Two reconstructions or acquisitions in one series? "


def _check_acquisitions(line: _Line, source: str) -> None:
    """Refuse two acquisitions of the same part of the body as one volume: the patient moved."""
    places: dict[str, list[float]] = {}
    for header, place in zip(line.headers, line.along, strict=True):
        places.setdefault(header.acquisition[0], []).append(float(place))
    # Step by step each slice may have a number of its own: these are no stacks.
    spans = sorted((of[0], of[-1]) for name, of in places.items()
                   if name and len(of) >= _LEAST_ACQUISITION)  # fmt: skip
    furthest = spans[0] if spans else (0.0, 0.0)
    for low, high in spans[1:]:
        shared = min(high, furthest[1]) - low
        if shared > _MOST_OVERLAP * min(high - low, furthest[1] - furthest[0]):
            raise ScanError(
                f"{source}: {len(spans)} acquisitions (by their numbers) lie in each other, two of "
                f"them over {shared:.0f} mm; expected one. Give each a folder of its own.",
                "several_acquisitions",
            )
        furthest = max(furthest, (low, high), key=lambda span: span[1])


def _grid(
    line: _Line, truncated: Sequence[SliceHeader], source: str, mend: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Where the grid's slices lie, and what is interpolated for it."""
    gaps, shown = np.diff(line.along), line.shown
    usual, odd = odd_gaps(line.along)
    if not odd.size:
        return line.along, ()
    widest = int(odd[np.argmax(gaps[odd])])
    where = (
        f"between z = {shown[widest]:g} and {shown[widest + 1]:g} mm: "
        f"spacing {gaps[widest]:.4g} instead of {usual:.4g}"
    )
    lacking = lacking_in(gaps[odd], usual)
    missing = int(lacking.sum())
    fillable = mend and may_be_filled(lacking, len(line.headers), _inside(line, truncated))
    if are_whole(gaps[odd], usual):
        if fillable:
            told = f"{missing} missing slice{'s' * (missing > 1)} interpolated {_where(line, odd)}"
            return with_holes(line.along, odd, lacking), (told,)
        what = "a slice is missing" if missing == 1 else f"{missing} slices are missing, most"
        raise ScanError(
            f"{source}: {what} {where}. {_too_many(mend)}Copy the whole series again.",
            "missing_slices",
        )
    if fillable:
        targets, told = evened(line.along, usual, len(odd), missing)
        return targets, (told,)
    raise ScanError(
        f"{source}: slices are unevenly spaced in {len(odd)} places, most {where}. "
        f"{_too_many(mend)}Resample the scan, or export the series again.",
        "uneven_spacing",
    )


def _too_many(mend: bool) -> str:
    if not mend:
        return ""
    return (
        f"Too much to interpolate: at most {MOST_MISSING_TOGETHER} slices in a row and "
        f"{MOST_MISSING:.0%} of all. "
    )


def _inside(line: _Line, truncated: Sequence[SliceHeader]) -> int:
    """How many of the slices that were left out as truncated lie between those that stay."""
    normal = np.cross(*_directions(line.headers[0]))
    places = [float(h.position_mm @ normal) for h in truncated if h.position_mm is not None]
    return sum(bool(line.along[0] < place < line.along[-1]) for place in places)


def _where(line: _Line, gaps: NDArray[np.intp]) -> str:
    named = [f"z = {line.shown[i]:g} and {line.shown[i + 1]:g} mm" for i in gaps[:3]]
    more = f", and in {len(gaps) - 3} more places" if len(gaps) > 3 else ""
    return f"between {', between '.join(named)}{more}"


def _tilt(
    line: _Line, normal: NDArray[np.float64], source: str, mend: bool
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """How far each mm along the normal moves a slice sideways (3, mm), and what is mended."""
    way = line.positions[-1] - line.positions[0]
    sideways = way / float(way @ normal) - normal
    straight = np.outer(line.along - line.along[0], normal + sideways)
    off = np.linalg.norm(line.positions - line.positions[0] - straight, axis=1).max()
    edge = max(line.headers[0].spacing_mm or (np.inf,))
    if off > _MOST_DRIFT_PIXELS * edge:
        raise ScanError(
            f"{source}: slices are moved against each other within their plane by up to {off:.1f} "
            f"mm; expected one field of view for all. Export the series again.",
            "shifted_slices",
        )
    tilt = float(np.degrees(np.arctan(np.linalg.norm(sideways))))
    if not tilt > MOST_SHEAR_DEGREES:
        return sideways, ()
    if mend and tilt <= _MOST_TILT_DEGREES:
        return sideways, (f"gantry tilt of {tilt:.1f} degrees taken out, slice by slice",)
    raise ScanError(
        f"{source}: the gantry was tilted by {tilt:.1f} degrees: slices do not lie straight "
        f"above each other. Resample the scan to an upright grid first.",
        "gantry_tilt",
    )
