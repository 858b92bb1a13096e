"""What the headers of a few slices tell about a DICOM series, for choosing among several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.archive import open_member
from covidssl.io.found import ScanFiles
from covidssl.io.multiframe import Frame
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

# Sharp kernels for lung and bone, by maker.
_LUNG_KERNELS = (
    re.compile(r"[BIU](5\d|6\d|7\d|80)([FSHU]\b|\b)", re.IGNORECASE),  # Siemens B50..B80, I70f
    re.compile(r"(BR|BL|BV|QR)(5|6|7|8)\d", re.IGNORECASE),  # Siemens Br59d, Bl57
    re.compile(r"(LUNG|BONE|BONEPLUS)$", re.IGNORECASE),  # GE
    re.compile(r"(YA|YB|L|Y-\w+)$", re.IGNORECASE),  # Philips
    re.compile(r"FC(5\d|8\d)\b", re.IGNORECASE),  # Toshiba, Canon
)


@dataclass(frozen=True)
class SeriesFacts:
    """What is known of one series; None where the headers do not say.

    Attributes:
        scan: the series.
        owner: patient and study, only for comparing.
        modality: CT, PT, ...; empty when the headers could not be read.
        localiser: whether it is a scout.
        original: whether it came from the scanner as axial slices, and is no reformat.
        off_axial_degrees: angle between its slices and the axial plane.
        slices: how many.
        length_mm: from its first slice to its last.
        thin_mm: the larger of slice thickness and slice distance.
        kernel: the reconstruction kernel.
    """

    scan: ScanFiles
    owner: tuple[str, str]
    modality: str
    localiser: bool
    original: bool
    off_axial_degrees: float | None
    slices: int
    length_mm: float | None
    thin_mm: float | None
    kernel: str

    @property
    def lung_kernel(self) -> bool:
        """Whether the kernel is one of those made for lungs."""
        return any(family.match(self.kernel) for family in _LUNG_KERNELS)


def facts_of(scan: ScanFiles) -> SeriesFacts:
    """Read a few headers of a series; all of them only where the few lie in no order."""
    try:
        return _read(scan)
    except ScanError:
        return SeriesFacts(
            scan, ("", ""), "", False, False, None, len(scan.paths), None, None, ""
        )  # fmt: skip


def _read(scan: ScanFiles) -> SeriesFacts:
    count = len(scan.paths)
    sample = sorted({round(i) for i in np.linspace(0, count - 1, min(_SAMPLE, count))})
    headers = [_header(scan, scan.paths[index]) for index in sample]
    with refusing(scan.name, "DICOM"):
        first = Frame(headers[0])
        normal = _normal(first)
        slices = count * first.frames
        length = distance = None
        if normal is not None:
            along = _along(headers, normal)
            steps = np.diff(along)
            if len(along) < slices and not ((steps > 0).all() or (steps < 0).all()):
                along = _along([_header(scan, path) for path in scan.paths], normal)
            places = len(np.unique(along.round(_SAME_PLACE_DECIMALS)))
            every = slices if len(along) < slices else places
            if len(along) > 1 and every > 1:
                length = float(np.ptp(along))
                distance = length / (every - 1)
        return _facts(scan, first, normal, slices, length, distance)


def _facts(
    scan: ScanFiles,
    header: Frame,
    normal: NDArray[np.float64] | None,
    slices: int,
    length_mm: float | None,
    distance_mm: float | None,
) -> SeriesFacts:
    words = [word.upper() for word in _texts(header.get("ImageType"))]
    off = None if normal is None else float(np.degrees(np.arccos(min(1.0, abs(normal[2])))))
    thickness = float(header.get("SliceThickness") or 0.0)
    known = [edge for edge in (thickness, distance_mm) if edge and 0 < edge < np.inf]
    kernel = _texts(header.get("ConvolutionKernel"))
    return SeriesFacts(
        scan=scan,
        owner=(str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")),
        modality=str(header.get("Modality") or ""),
        localiser="LOCALIZER" in words,
        original="DERIVED" not in words and "SECONDARY" not in words,
        off_axial_degrees=off,
        slices=slices,
        length_mm=length_mm,
        thin_mm=max(known) if known else None,
        kernel=kernel[0].strip() if kernel else "",
    )


def _header(scan: ScanFiles, path: Path) -> Any:
    import pydicom

    with refusing(scan.name, "DICOM"), open_member(scan.archive, path) as file:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)


def _normal(header: Frame) -> NDArray[np.float64] | None:
    """Direction across the slices, of length 1."""
    value = header.get("ImageOrientationPatient")
    if value is None or len(value) != 6:
        return None
    cosines = np.array([float(number) for number in value])
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if 0 < length < np.inf else None


def _along(headers: Sequence[Any], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places of all frames along the normal, in mm."""
    places = []
    for header in headers:
        for index in range(min(Frame(header).frames, _MOST_FRAMES)):
            value = Frame(header, index).get("ImagePositionPatient")
            if value is not None and len(value) == 3:
                places.append(float(np.dot([float(number) for number in value], normal)))
    along = np.array(places)
    return along[np.isfinite(along)]


def _texts(value: Any) -> list[str]:
    # A single word comes as text, several as a list.
    return [value] if isinstance(value, str) else [str(word) for word in value or []]
