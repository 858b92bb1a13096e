"""The headers of a DICOM series as they stand: who the patient is, too."""

from __future__ import annotations

from typing import Any

from covidssl.io.archive import on_disk
from covidssl.io.found import ScanFiles
from covidssl.io.refusals import refusing


def source_headers(scan: ScanFiles) -> list[Any]:
    """The header of every file of a series, as pydicom's datasets, without pixels.

    They name the patient. They are for objects that must say of whom they are, and for nothing
    else.

    Raises:
        ScanError: when one cannot be read.
    """
    import pydicom

    with refusing(scan.name, "DICOM"), on_disk(scan) as there:
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in there.paths]
