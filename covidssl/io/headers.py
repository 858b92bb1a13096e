"""DICOM headers, through pydicom: what the series is and where its slices lie; no pixels.

Nothing that could name a patient, study or date is read beyond the series' own identifier (where
it is not given, the study's and the patient's), and that is only compared, never shown;
`identities` alone reads whose scan it is, and gives pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.multiframe import FRAMES, SHARED, Frame, Values, frame_count
from covidssl.io.opening import MOST_FRAMES_BYTES, MOST_HEADER_BYTES, open_dicom
from covidssl.io.refusals import refusing
from covidssl.pseudonyms import Pseudonyms

_KEYWORDS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    SHARED,
    FRAMES,
)
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_MOST_FRAMES = 100_000
_NO_AGENT = {"", "NO", "NONE"}


@dataclass(frozen=True)
class Layout:
    """How a file keeps its pixels.

    Attributes:
        syntax: UID of the transfer syntax.
        implicit: whether elements come without their type.
        little: byte order.
        offset: byte at which the element with the pixels begins.
        allocated, stored, high: bits a value takes, bits that count, the highest of these.
        signed: whether the values are in two's complement.
    """

    syntax: str
    implicit: bool
    little: bool
    offset: int
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def data_offset(self) -> int:
        """Byte at which the pixels begin: behind tag, type and length."""
        return self.offset + (8 if self.implicit else 12)


@dataclass(frozen=True)
class SliceHeader:
    """The header of one slice, as far as geometry and values need it (mm, LPS).

    Attributes:
        path: its file.
        label: what messages call it: the file's name, or its number where names are hidden.
        frame: place in its file, from 0.
        frames: how many slices the file holds.
        kind: words of the image type, upper case.
        inverted: MONOCHROME1. The standard makes this a rule of display alone, applied after
            rescaling (PS3.3 C.7.6.3.1.2), so Hounsfield units are the same with and without it.
        padding: lowest and highest stored value that means `no pixel here`, or None.
        acquisition: number of the acquisition and of the point in time, where given.
        contrast: whether it names a contrast agent.
        missing_bytes: by how much the file is too short for its pixels.
    """

    path: Path
    label: str
    frame: int
    frames: int
    modality: str
    kind: tuple[str, ...]
    colour: bool
    inverted: bool
    burned_in: bool
    lossy: bool
    contrast: bool
    shape: tuple[int, int]
    layout: Layout
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    position_mm: NDArray[np.float64] | None
    orientation: NDArray[np.float64] | None
    acquisition: tuple[str, str]
    missing_bytes: int

    @property
    def localiser(self) -> bool:
        """Whether it is an overview picture (scout, topogram), not a slice."""
        return "LOCALIZER" in self.kind


def series_of(path: Path | IO[bytes]) -> str | None:
    """What tells one series from another, or None when the file is no DICOM image.

    Where the file names no series, its study and patient tell. Only for comparing: it may be an
    identifier, so it must never reach a message or a file.
    """
    keywords = ["SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"]
    try:
        with refusing("a file", "DICOM"):
            header = open_dicom(path, keywords, MOST_HEADER_BYTES).dataset
            if "SOPClassUID" not in header and "SeriesInstanceUID" not in header:
                return None
            series = str(header.get("SeriesInstanceUID", None) or "")
            if series:
                return series
            return "\n".join(str(header.get(word, None) or "") for word in keywords[2:]).strip()
    except ScanError:
        return None


def identities(path: Path, ids: Pseudonyms, source: str) -> tuple[str, str]:
    """Pseudonyms of the patient and of the series in a file's header; empty where not given.

    Raises:
        ScanError: naming `source`, when the header cannot be read.
    """
    keywords = ["PatientID", "IssuerOfPatientID", "SeriesInstanceUID"]
    with refusing(source, "DICOM"):
        file = open_dicom(path, keywords, MOST_HEADER_BYTES).dataset
        patient, issuer, series = (
            " ".join(str(file.get(keyword, None) or "").split()) for keyword in keywords
        )
    if patient and issuer:
        patient = f"{patient}^^^{issuer}"
    return ids.of("patient", patient), ids.of("series", series)


def read_headers(paths: Sequence[Path], source: str, hidden: bool = False) -> list[SliceHeader]:
    """The headers of a series' slices, in the order given; several for a multi-frame file.

    Args:
        paths: files of one series.
        source: the scan's name for messages.
        hidden: name slices by their number, not by their file.

    Raises:
        ScanError: when one cannot be read.
    """
    headers: list[SliceHeader] = []
    with refusing(source, "DICOM"):
        for number, path in enumerate(paths, start=1):
            label = f"slice {number}" if hidden else path.name
            with refusing(f"{source} ({label})" if len(paths) > 1 else source, "DICOM"):
                headers.extend(_read(path, label, source))
    return headers


@cache
def _tags() -> list[int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


def _read(path: Path, label: str, source: str) -> Iterator[SliceHeader]:
    found, offset, size = open_dicom(path, _tags(), MOST_FRAMES_BYTES)
    # A plain dictionary: asking pydicom for what is not there takes longer than reading the file.
    file: Values = {element.keyword: element.value for element in found}
    syntax = str(getattr(found, "file_meta", {}).get("TransferSyntaxUID", None) or "")
    layout = _layout(file, syntax, found.original_encoding, offset)
    count, described = frame_count(file), len(file.get(FRAMES) or ())
    if not described:
        yield _parsed(path, label, Frame(file), layout, size)
        return
    if count > _MOST_FRAMES or described != count:
        raise ScanError(
            f"{source}: the header claims {count} frames and describes {described}. Export the "
            f"series again.",
            "damaged_header",
        )
    for index in range(count):
        called = f"{label}, frame {index + 1}" if count > 1 else label
        yield _parsed(path, called, Frame(file, index), layout, size)


def _layout(
    file: Values, syntax: str, encoding: tuple[bool | None, bool | None], offset: int
) -> Layout:
    implicit, little = encoding
    allocated = int(file.get("BitsAllocated") or 16)
    stored = int(file.get("BitsStored") or allocated)
    high = file.get("HighBit")
    return Layout(
        syntax=syntax,
        implicit=bool(implicit),
        little=little is not False,
        offset=offset,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high in (None, "") else int(high),
        signed=int(file.get("PixelRepresentation") or 0) == 1,
    )


def _parsed(path: Path, label: str, file: Frame, layout: Layout, size: int) -> SliceHeader:
    spacing = _numbers(file, "PixelSpacing", 2)
    thickness = _number(file, "SliceThickness", 0.0)
    samples = int(file.get("SamplesPerPixel") or 1)
    shown = str(file.get("PhotometricInterpretation") or "MONOCHROME2")
    shape = (int(file.get("Rows") or 0), int(file.get("Columns") or 0))
    return SliceHeader(
        path=path,
        label=label,
        frame=file.index,
        frames=file.frames,
        modality=str(file.get("Modality") or ""),
        kind=_words(file, "FrameType") or _words(file, "ImageType"),
        colour=samples > 1 or not shown.startswith("MONOCHROME"),
        inverted=shown == "MONOCHROME1",
        burned_in=_words(file, "BurnedInAnnotation") == ("YES",),
        lossy=_words(file, "LossyImageCompression") == ("01",),
        contrast=_names_contrast(file),
        shape=shape,
        layout=layout,
        slope=_number(file, "RescaleSlope", 1.0),
        intercept=_number(file, "RescaleIntercept", 0.0),
        padding=_padding(file, layout),
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        thickness_mm=thickness if thickness > 0 else None,
        position_mm=_numbers(file, "ImagePositionPatient", 3),
        orientation=_numbers(file, "ImageOrientationPatient", 6),
        acquisition=(_first(file, "FrameAcquisitionNumber", "AcquisitionNumber"),
                     _first(file, "TemporalPositionIndex", "TemporalPositionIdentifier")),
        missing_bytes=_missing_bytes(layout, samples * shape[0] * shape[1] * file.frames, size),
    )  # fmt: skip


def _words(file: Frame, tag: str) -> tuple[str, ...]:
    value = file.get(tag) or []
    # A single word comes as text, several as a list.
    return tuple(
        str(word).strip().upper() for word in ([value] if isinstance(value, str) else value)
    )


def _names_contrast(file: Frame) -> bool:
    """Whether an agent is named; which one is of no concern here."""
    if len(file.get("ContrastBolusAgentSequence") or []):
        return True
    return not set(_words(file, "ContrastBolusAgent")) <= _NO_AGENT


def _first(file: Frame, *tags: str) -> str:
    values = (file.get(tag) for tag in tags)
    return next((str(value) for value in values if value not in (None, "")), "")


def _numbers(file: Frame, tag: str, count: int) -> NDArray[np.float64] | None:
    value = file.get(tag)
    if value is None or value == "" or len(value) != count:
        return None
    return np.array([float(number) for number in value], dtype=np.float64)


def _number(file: Frame, tag: str, default: float) -> float:
    value = file.get(tag)
    return default if value in (None, "") else float(value)


def _padding(file: Frame, layout: Layout) -> tuple[int, int] | None:
    ends = [
        _stored(file.get(tag), layout) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    first, second = ends[0], ends[0] if ends[1] is None else ends[1]
    return None if first is None or second is None else (min(first, second), max(first, second))


def _stored(value: Any, layout: Layout) -> int | None:
    if value is None or value in ("", b""):
        return None
    if isinstance(value, bytes):
        value = int.from_bytes(value, "little" if layout.little else "big")
    # Writers often give a negative value by its bits, as an unsigned number.
    number, span = int(value), 1 << layout.allocated
    if layout.signed:
        return (number + span // 2) % span - span // 2
    return number % span


def _missing_bytes(layout: Layout, values: int, size: int) -> int:
    if layout.syntax and layout.syntax not in UNCOMPRESSED:
        return 0
    return max(0, layout.data_offset + values * layout.allocated // 8 - size)
