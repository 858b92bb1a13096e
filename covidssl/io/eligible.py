"""Which images of a DICOM series can be slices of its volume: the first half of the gate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.headers import SliceHeader
from covidssl.io.raw import MOST_SHEAR_DEGREES

_MOST_STRETCH = 0.01
_SAME_DIRECTION = 1e-3
_ONE_IN = 10
_MOST_EDGE = 8192
_MOST_ORIENTATIONS = 16
_FEW_LOCALISERS = 2

# DICOM's modalities (PS3.3 C.7.3.1.1.1), as far as they are met with: the field may hold anything.
_MODALITIES = re.compile(
    "AR|AU|BI|BMD|CR|CT|DG|DOC|DX|ECG|EPS|ES|GM|HD|IO|IVOCT|IVUS|KO|LS|MG|MR|NM|OCT|OP|OPM|OPT|OT|"
    "PR|PT|PX|REG|RESP|RF|RG|RTDOSE|RTIMAGE|RTPLAN|RTRECORD|RTSTRUCT|RWV|SC|SEG|SM|SMR|SR|TG|US|"
    "VA|XA|XC"
)


@dataclass(frozen=True)
class Eligible:
    """What is left of a series.

    Attributes:
        headers: of the slices that stay, in the order given.
        least: how many must stay: fewer are no series to be mended.
        truncated: of those that were left out because their pixels are not whole.
        repairs: what was left out, in plain words.
    """

    headers: tuple[SliceHeader, ...]
    least: int
    truncated: tuple[SliceHeader, ...] = ()
    repairs: tuple[str, ...] = ()


def eligible(
    headers: Sequence[SliceHeader], source: str, mend: bool, grey: bool = False
) -> Eligible:
    """Keep what can be slices of one volume; refuse, or with `mend` leave out, what cannot.

    At most one image in ten is left out in all; one or two localisers do not count.

    Args:
        headers: of all images of the series.
        source: the scan's name for messages.
        mend: whether images that do not belong may be left out.
        grey: whether 8-bit images are welcome.

    Raises:
        ScanError: for another modality, colour or 8-bit images; and for localisers, truncated
            files, several orientations, sizes or pixel spacings, unless they can be left out.
    """
    _check_kind(headers, source, grey)
    total, scouts = len(headers), sum(header.localiser for header in headers)
    slices = total - scouts if scouts <= _FEW_LOCALISERS else total
    least = slices - slices // _ONE_IN if mend else total
    found = Eligible(tuple(headers), max(1, least))
    for step in (_localisers, _truncated, _orientations, _sizes, _spacings):
        found = step(found, source)
    return found


def modality_told(word: str) -> str:
    """A modality as messages may quote it."""
    return word if _MODALITIES.fullmatch(word) else "of another kind" if word else "not given"


def check_directions(orientation: NDArray[np.float64], source: str) -> None:
    """Refuse row and column directions that are no two vectors of length 1 at a right angle.

    Raises:
        ScanError: for these.
    """
    rows, columns = orientation[:3], orientation[3:]
    lengths = np.linalg.norm([rows, columns], axis=1)
    most = np.sin(np.radians(MOST_SHEAR_DEGREES))
    # Written so that NaN fails too.
    if not (np.abs(lengths - 1.0).max() <= _MOST_STRETCH and abs(rows @ columns) <= most):
        raise ScanError(
            f"{source}: the row and column directions in the header are no two vectors of length "
            f"1 at a right angle, so how the slices lie cannot be known. Export the series again.",
            "damaged_header",
        )


def normal_of(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction in which slices of an orientation follow each other, length 1."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def _check_kind(headers: Sequence[SliceHeader], source: str, grey: bool) -> None:
    others = {header.modality for header in headers} - {"CT"}
    if others:
        told = ", ".join(sorted(set(map(modality_told, others))))
        raise ScanError(f"{source}: modality {told}; expected CT.", "not_ct")
    if any(header.frames > 1 and header.position_mm is None for header in headers):
        raise ScanError(
            f"{source}: a multi-frame DICOM file that does not say where its frames lie (no "
            f"functional groups); convert the original series to NIfTI, for example with dcm2niix.",
            "no_position",
        )
    if any(header.colour for header in headers):
        raise ScanError(
            f"{source}: a colour image (a screenshot?), not CT values. Give the original series.",
            "colour",
        )
    if not grey and any(header.layout.allocated == 8 for header in headers):
        raise ScanError(
            f"{source}: 8 bits a pixel: a secondary capture through a window, not HU. Give the "
            f"original series, or say that it is windowed grey values.",
            "eight_bit",
        )
    for header in headers:
        if max(header.shape) > _MOST_EDGE:
            raise ScanError(
                f"{source}: the header ({header.label}) claims {header.shape[0]} x "
                f"{header.shape[1]} pixels; no CT has that. The header is damaged.",
                "damaged_header",
            )
        if header.slope == 0 or not np.isfinite([header.slope, header.intercept]).all():
            raise ScanError(
                f"{source}: the header ({header.label}) rescales pixels by {header.slope:g} and "
                f"{header.intercept:g}; no image is left. Export the series again.",
                "damaged_header",
            )


def _without(
    found: Eligible, dropped: Callable[[SliceHeader], bool], what: str, refusal: ScanError
) -> Eligible:
    """The series without some of its images, if enough stay."""
    kept = tuple(header for header in found.headers if not dropped(header))
    total = len(found.headers)
    if len(kept) == total:
        return found
    if len(kept) < found.least:
        raise refusal
    told = f"left out {total - len(kept)} of {total} {what}"
    return replace(found, headers=kept, repairs=(*found.repairs, told))


def _localisers(found: Eligible, source: str) -> Eligible:
    count, total = sum(header.localiser for header in found.headers), len(found.headers)
    refusal = ScanError(
        f"{source}: {count} of {total} images are localisers (scouts), not axial slices; take them "
        f"out of the folder.",
        "localiser",
    )
    return _without(found, lambda header: header.localiser, "images that are localisers", refusal)


def _truncated(found: Eligible, source: str) -> Eligible:
    short = tuple(header for header in found.headers if header.missing_bytes > 0)
    refusal = ScanError(
        f"{source}: {len(short)} of {len(found.headers)} files are truncated: they end before "
        f"their last pixel. Copy or export them again.",
        "truncated",
    )
    what = "slices whose files are truncated or damaged"
    left = _without(found, lambda header: header.missing_bytes > 0, what, refusal)
    return replace(left, truncated=short)


def _orientations(found: Eligible, source: str) -> Eligible:
    headers, total = found.headers, len(found.headers)
    if total == 1:
        return found
    lost = sum(header.position_mm is None or header.orientation is None for header in headers)
    if lost:
        raise ScanError(
            f"{source}: {lost} of {total} slices do not say where they lie (position and "
            f"orientation), so they cannot be put in order. Export the series again.",
            "no_position",
        )
    ways = np.array([header.orientation for header in headers])
    groups = _same_way(ways)
    largest = max(groups, key=len)
    way = ways[largest[0]]
    if len(groups) == 1:
        check_directions(way, source)
        return found
    refusal = ScanError(
        f"{source}: {total - len(groups[0])} of {total} slices lie in another orientation than the "
        f"first; give each orientation a folder of its own.",
        "mixed_orientations",
    )
    kept = {id(headers[index]) for index in largest}
    left = _without(
        found, lambda header: id(header) not in kept, "slices in another orientation", refusal
    )
    check_directions(way, source)
    if np.abs(normal_of(way)).argmax() != 2:
        raise refusal
    return left


def _same_way(ways: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Places of the slices of each orientation; with very many orientations only of the first."""
    groups: list[NDArray[np.intp]] = []
    left = np.ones(len(ways), dtype=bool)
    while left.any() and len(groups) < _MOST_ORIENTATIONS:
        first = int(left.argmax())
        # Written so that not-a-number, which is like nothing, stays in one group.
        near = left & ~(np.abs(ways - ways[first]).max(axis=1) > _SAME_DIRECTION)
        groups.append(np.flatnonzero(near))
        left &= ~near
    return groups


def _sizes(found: Eligible, source: str) -> Eligible:
    sizes = ", ".join(f"{y} x {x}" for y, x in sorted({header.shape for header in found.headers}))
    told = f"{source}: slices of several sizes in one series ({sizes})."
    refusal = ScanError(told, "mixed_sizes")
    return _majority(found, lambda header: header.shape, "slices of another size", refusal)


def _spacings(found: Eligible, source: str) -> Eligible:
    told = f"{source}: slices of several pixel spacings in one series."
    refusal = ScanError(told, "mixed_spacings")
    what = "slices of another pixel spacing"
    found = _majority(found, lambda header: header.spacing_mm, what, refusal)
    for edge in found.headers[0].spacing_mm or ():
        if not 0 < edge < np.inf:
            raise ScanError(
                f"{source}: a pixel spacing of {edge:g} mm in the header.", "damaged_header"
            )
    return found


def _majority(
    found: Eligible, of: Callable[[SliceHeader], Hashable], what: str, refusal: ScanError
) -> Eligible:
    usual = Counter(of(header) for header in found.headers).most_common(1)[0][0]
    return _without(found, lambda header: of(header) != usual, what, refusal)
