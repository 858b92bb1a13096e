"""DICOM headers, through pydicom: what the series is and where its slices lie; no pixels.

Nothing that could name a patient, study or date is read beyond the series' own identifier, and that
one is only compared, never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.refusals import refusing

_TAGS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
]
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


@dataclass(frozen=True)
class SliceHeader:
    """The header of one slice, as far as geometry and values need it (mm, LPS)."""

    path: Path
    modality: str
    localiser: bool
    frames: int
    colour: bool
    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    position_mm: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    padding_hu: float | None
    missing_bytes: int


def series_of(path: Path) -> str | None:
    """What tells one series from another, or None when the file is no DICOM image.

    Only for comparing: it may be an identifier, so it must never reach a message or a file.
    """
    import pydicom

    try:
        with refusing("a file", "DICOM"):
            header = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SOPClassUID"],
                force=True,
            )  # fmt: skip
            if "SOPClassUID" not in header and "SeriesInstanceUID" not in header:
                return None
            return str(header.get("SeriesInstanceUID", ""))
    except ScanError:
        return None


def read_headers(paths: Sequence[Path], source: str) -> list[SliceHeader]:
    """The headers of a series' slices, in the order given.

    Raises:
        ScanError: when one cannot be read.
    """
    import pydicom

    headers = []
    for path in paths:
        with refusing(f"{source} ({path.name})" if len(paths) > 1 else source, "DICOM"):
            file = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            headers.append(_parsed(path, file))
    return headers


def _parsed(path: Path, file: Any) -> SliceHeader:
    spacing = _numbers(file, "PixelSpacing", 2)
    thickness = _number(file, "SliceThickness", 0.0)
    shape = (int(file.get("Rows", None) or 0), int(file.get("Columns", None) or 0))
    return SliceHeader(
        path=path,
        modality=str(file.get("Modality", "")),
        localiser="LOCALIZER" in _words(file, "ImageType"),
        frames=int(file.get("NumberOfFrames", None) or 1),
        colour=int(file.get("SamplesPerPixel", None) or 1) > 1
        or str(file.get("PhotometricInterpretation", "MONOCHROME2")) != "MONOCHROME2",
        shape=shape,
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        thickness_mm=thickness if thickness > 0 else None,
        position_mm=_numbers(file, "ImagePositionPatient", 3),
        orientation=_numbers(file, "ImageOrientationPatient", 6),
        padding_hu=_padding_hu(file),
        missing_bytes=_missing_bytes(path, file, shape),
    )


def _words(file: Any, tag: str) -> list[str]:
    value = file.get(tag, None) or []
    # A single word comes as text, several as a list.
    return [value.upper()] if isinstance(value, str) else [str(word).upper() for word in value]


def _numbers(file: Any, tag: str, count: int) -> NDArray[np.float64] | None:
    value = file.get(tag, None)
    if value is None or value == "" or len(value) != count:
        return None
    return np.array([float(number) for number in value], dtype=np.float64)


def _number(file: Any, tag: str, default: float) -> float:
    value = file.get(tag, None)
    return default if value in (None, "") else float(value)


def _padding_hu(file: Any) -> float | None:
    value = file.get("PixelPaddingValue", None)
    if value is None or value == "":
        return None
    slope, intercept = _number(file, "RescaleSlope", 1.0), _number(file, "RescaleIntercept", 0.0)
    return int(value) * slope + intercept


def _missing_bytes(path: Path, file: Any, shape: tuple[int, int]) -> int:
    syntax = str(getattr(file, "file_meta", {}).get("TransferSyntaxUID", ""))
    if syntax not in _UNCOMPRESSED:
        return 0
    needed = shape[0] * shape[1] * int(file.get("BitsAllocated", 16)) // 8
    return max(0, needed - path.stat().st_size)
