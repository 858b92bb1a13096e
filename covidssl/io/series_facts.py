"""What the headers of a few slices tell about a DICOM series, for choosing among several."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.archive import open_member
from covidssl.io.found import ScanFiles
from covidssl.io.gaps import SAME_PLACE_MM, odd_gaps
from covidssl.io.multiframe import Frame
from covidssl.io.opening import MOST_FRAMES_BYTES, open_dicom
from covidssl.io.refusals import refusing

_TAGS = [
    "Modality",
    "ImageType",
    "PatientID",
    "StudyInstanceUID",
    "ConvolutionKernel",
    "SliceThickness",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
_SAMPLE = 9
_MOST_FRAMES = 10_000
_SAME_PLACE_DECIMALS = 2  # of a mm
_SAME_WAY = 0.999  # cosine of 2.6 degrees

# Sharp kernels for lung and bone, by maker.
_LUNG_KERNELS = (
    re.compile(r"[BIU](5\d|6\d|7\d|80)([FSHU]\b|\b)", re.IGNORECASE),  # Siemens B50..B80, I70f
    re.compile(r"(BR|BL|BV|QR)(5|6|7|8)\d", re.IGNORECASE),  # Siemens Br59d, Bl57
    re.compile(r"(LUNG|BONE|BONEPLUS)$", re.IGNORECASE),  # GE
    re.compile(r"(YA|YB|L|Y-\w+)$", re.IGNORECASE),  # Philips
    re.compile(r"FC(5\d|8\d)\b", re.IGNORECASE),  # Toshiba, Canon
)


# Kernels that may be quoted: the field may hold anything.
_QUOTED_KERNELS = (
    re.compile(r"[A-Z][A-Za-z]?[A-Z]{0,2}[-+]?\d{1,3}[a-z]?"),  # Siemens, Canon
    re.compile(r"STANDARD|STND|SOFT|DETAIL|EDGE|CHST|LUNG|BONE|BONEPLUS", re.IGNORECASE),  # GE
    re.compile(r"[A-EL]|[LUY][A-D]|Y-(DETAIL|SHARP)", re.IGNORECASE),  # Philips
)


@dataclass(frozen=True)
class Kind:
    """What the slices of a series have in common, of one header.

    Attributes:
        modality: CT, PT, ...; empty when not given.
        localiser: whether it is a scout.
        normal: direction across the slice, of length 1, (3,) LPS; None when not given.
    """

    modality: str
    localiser: bool
    normal: NDArray[np.float64] | None

    def is_like(self, other: Kind) -> bool:
        """Whether slices of both kinds can lie in one stack."""
        if (self.modality, self.localiser) != (other.modality, other.localiser):
            return False
        if self.normal is None or other.normal is None:
            return self.normal is other.normal
        return float(self.normal @ other.normal) > _SAME_WAY


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of one series; None where the headers do not say.

    Attributes:
        scan: the series.
        owner: patient and study, only for comparing.
        kind: what most of the headers looked at have in common.
        original: whether it came from the scanner as axial slices, and is no reformat.
        slices: how many.
        places: at how many places they lie.
        length_mm: from its first slice to its last.
        thin_mm: the larger of slice thickness and slice distance.
        kernel: the reconstruction kernel.
    """

    scan: ScanFiles
    owner: tuple[str, str]
    kind: Kind
    original: bool
    slices: int
    places: int
    length_mm: float | None
    thin_mm: float | None
    kernel: str

    @property
    def off_axial_degrees(self) -> float | None:
        """Angle between its slices and the axial plane."""
        if self.kind.normal is None:
            return None
        return float(np.degrees(np.arccos(min(1.0, abs(self.kind.normal[2])))))

    @property
    def lung_kernel(self) -> bool:
        """Whether the kernel is one of those made for lungs."""
        return any(family.match(self.kernel) for family in _LUNG_KERNELS)

    @property
    def kernel_told(self) -> str:
        """The kernel as messages may quote it."""
        if any(family.fullmatch(self.kernel) for family in _QUOTED_KERNELS):
            return self.kernel
        return "of another name" if self.kernel else "(not given)"


def facts_of(scan: ScanFiles) -> SeriesFacts:
    """Read a few headers of a series; all of them only where the few lie in no order."""
    try:
        return _read(scan)
    except ScanError:
        count = len(scan.paths)
        return SeriesFacts(
            scan, ("", ""), Kind("", False, None), False, count, count, None, None, ""
        )  # fmt: skip


def flaw_of(facts: SeriesFacts) -> str:
    """Why the slices of a series make no even stack, with numbers, or empty; reads all headers."""
    scan, kind = facts.scan, facts.kind
    if kind.normal is None:
        return ""
    try:
        headers = (_header(scan, path) for path in scan.paths)
        with refusing(scan.name, "DICOM"):
            along = np.sort(_along(headers, kind))
            doubled = int(np.count_nonzero(np.diff(along) < SAME_PLACE_MM))
            if doubled:
                return f"{doubled} of its slices lie at places that are taken already"
            if len(along) < 2:
                return ""
            usual, odd = odd_gaps(along)
            if not odd.size:
                return ""
            widest = float(np.diff(along)[odd].max())
    except ScanError:
        return "its headers cannot all be read"
    times = "once" if odd.size == 1 else f"{odd.size} times"
    return f"has gaps: {times} not {usual:.3g} mm from slice to slice, but up to {widest:.3g}"


def _read(scan: ScanFiles) -> SeriesFacts:
    count = len(scan.paths)
    sample = sorted({round(i) for i in np.linspace(0, count - 1, min(_SAMPLE, count))})
    headers = [_header(scan, scan.paths[index]) for index in sample]
    with refusing(scan.name, "DICOM"):
        kinds = [_kind(Frame(header)) for header in headers]
        # The first file may be a scout: what most are like counts.
        kind = max(kinds, key=lambda one: sum(one.is_like(other) for other in kinds))
        usual = [header for header, one in zip(headers, kinds, strict=True) if one.is_like(kind)]
        slices = places = count * Frame(usual[0]).frames
        length = distance = None
        along = _along(usual, kind)
        if along.size:
            steps = np.diff(along)
            if len(along) < slices and not ((steps > 0).all() or (steps < 0).all()):
                along = _along((_header(scan, path) for path in scan.paths), kind)
                places = min(places, len(np.unique(along.round(_SAME_PLACE_DECIMALS))))
            elif len(along) >= slices:
                places = len(np.unique(along.round(_SAME_PLACE_DECIMALS)))
            if len(along) > 1 and places > 1:
                length = float(np.ptp(along))
                distance = length / (places - 1)
        return _facts(scan, usual, kind, (slices, places), (length, distance))


def _facts(
    scan: ScanFiles,
    headers: Sequence[Any],
    kind: Kind,
    counts: tuple[int, int],
    span_mm: tuple[float | None, float | None],
) -> SeriesFacts:
    header = Frame(headers[0])
    words = _words(header)
    thicknesses = Counter(float(Frame(one).get("SliceThickness") or 0.0) for one in headers)
    thickness = thicknesses.most_common(1)[0][0]
    known = [edge for edge in (thickness, span_mm[1]) if edge and 0 < edge < np.inf]
    kernel = _texts(header.get("ConvolutionKernel"))
    return SeriesFacts(
        scan=scan,
        owner=(str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")),
        kind=kind,
        original="DERIVED" not in words and "SECONDARY" not in words,
        slices=counts[0],
        places=counts[1],
        length_mm=span_mm[0],
        thin_mm=max(known) if known else None,
        kernel=kernel[0].strip() if kernel else "",
    )


def _header(scan: ScanFiles, path: Path) -> Any:
    with refusing(scan.name, "DICOM"), open_member(scan.archive, path) as file:
        return open_dicom(file, _TAGS, MOST_FRAMES_BYTES).dataset


def _kind(header: Frame) -> Kind:
    return Kind(str(header.get("Modality") or ""), "LOCALIZER" in _words(header), _normal(header))


def _words(header: Frame) -> list[str]:
    return [word.upper() for word in _texts(header.get("ImageType"))]


def _normal(header: Frame) -> NDArray[np.float64] | None:
    """Direction across the slices, of length 1."""
    value = header.get("ImageOrientationPatient")
    if value is None or len(value) != 6:
        return None
    cosines = np.array([float(number) for number in value])
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if 0 < length < np.inf else None


def _along(headers: Iterable[Any], kind: Kind) -> NDArray[np.float64]:
    """Places along its normal of all frames of the files of a kind, in mm."""
    places: list[float] = []
    if kind.normal is None:
        return np.array(places)
    for header in headers:
        if not _kind(Frame(header)).is_like(kind):
            continue
        for index in range(min(Frame(header).frames, _MOST_FRAMES)):
            value = Frame(header, index).get("ImagePositionPatient")
            if value is not None and len(value) == 3:
                places.append(float(np.dot([float(number) for number in value], kind.normal)))
    along = np.array(places)
    return along[np.isfinite(along)]


def _texts(value: Any) -> list[str]:
    # A single word comes as text, several as a list.
    return [value] if isinstance(value, str) else [str(word) for word in value or []]
