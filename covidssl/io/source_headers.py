"""Of a DICOM series what an object about it must say: who the patient is, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covidssl.io.archive import on_disk
from covidssl.io.found import ScanFiles
from covidssl.io.opening import MOST_FRAMES_BYTES, open_dicom
from covidssl.io.refusals import refusing

EMPTY_IF_MISSING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Of type 2: an object has them, and they may be empty."""

NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
"""Without one of these nothing can refer to a slice and lie on it."""

_TOLD = (
    "SpecificCharacterSet",
    "IssuerOfPatientID",
    "PatientAge",
    "StudyDescription",
    "PositionReferenceIndicator",
    "SliceThickness",
    "SpacingBetweenSlices",
)


def source_headers(scan: ScanFiles, files: Sequence[int]) -> list[Any]:
    """The headers of some files of a series, as pydicom's datasets: `NEEDED` and who it is.

    They name the patient. They are for objects that must say of whom they are, and for nothing
    else. What the standard lets be empty is empty where a header lacks it.

    Args:
        scan: a DICOM series.
        files: which of `scan.paths`, from 0.

    Raises:
        ScanError: when one cannot be read.
    """
    wanted = [*NEEDED, *EMPTY_IF_MISSING, *_TOLD]
    headers = []
    with refusing(scan.name, "DICOM"), on_disk(scan) as there:
        for number in files:
            header = open_dicom(there.paths[number], wanted, MOST_FRAMES_BYTES).dataset
            for keyword in EMPTY_IF_MISSING:
                if keyword not in header:
                    setattr(header, keyword, "")
            headers.append(header)
    return headers
