"""A DICOM series of the chest, and the objects that are made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom

from covidssl.io import Policy, Reading, find_scans, read_scan
from covidssl.maps import MapFiles, write_maps
from covidssl.model import Model
from tests.maps.made_maps import Chest, Said, said_of, untaught
from tests.scan_files import write_dicom

WHO = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyID": "1",
    "StudyDate": "20200304",
    "StudyTime": "101112",
    "AccessionNumber": "9",
    "ReferringPhysicianName": "",
}


def series(folder: Path, made: Chest) -> list[Path]:
    """A series of 2 mm pixels and 4 mm slices, file names against the order of the slices."""
    z_mm = [4.0 * k for k in range(len(made.hu))][::-1]
    tags: dict[str, Any] = {**WHO, "PixelSpacing": [2.0, 2.0], "SliceThickness": 4.0}
    return write_dicom(folder, made.hu[::-1], z_mm, **tags)


def mapped(scan: Path, made: Chest, out: Path, model: Model | None = None) -> tuple[Said, MapFiles]:
    source = find_scans([scan]).scans[0]
    ct = read_scan(source, Reading(policy=Policy.REPAIR))
    said = said_of(ct, made.lungs, model or untaught())
    return said, write_maps(out, "it", said, source, dicom=True)


def objects(scan: Path, made: Chest, out: Path) -> tuple[Said, dict[str, str]]:
    said, written = mapped(scan, made, out)
    assert written.reasons == ()
    return said, written.paths


def why_none(scan: Path, made: Chest, out: Path) -> str:
    """Why there are no objects; the maps are there all the same."""
    _, written = mapped(scan, made, out)
    assert set(written.paths) == {"lesion_map", "evidence_map"}
    assert not (out / "dicom").exists()
    (reason,) = written.reasons
    assert reason.code == "no_dicom_objects"
    assert not any(who in reason.text for who in ("Doe", "Jane", "4711", str(scan)))
    return reason.text


def referred(dataset: Any) -> set[str]:
    """UIDs of all instances that an object refers to, however deep."""
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def uids(paths: list[Path]) -> list[str]:
    """Of series in the order of its paths."""
    return [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]


def changed(path: Path, change: Callable[[Any], None], to: Path | None = None) -> None:
    file = pydicom.dcmread(path)
    change(file)
    file.save_as(to or path)


def numbers(report: Any) -> dict[tuple[str, str], tuple[float, str]]:
    """All numbers of a report: (group, what) -> (value, unit), from the plain dataset."""
    found = {}

    def walk(item: Any, group: str) -> None:
        for child in item.get("ContentSequence", []):
            name = child.ConceptNameCodeSequence[0].CodeMeaning
            if name == "Tracking Identifier":
                group = child.TextValue
        for child in item.get("ContentSequence", []):
            if child.ValueType == "NUM":
                measured = child.MeasuredValueSequence[0]
                unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
                what = child.ConceptNameCodeSequence[0].CodeValue
                found[group, what] = (float(measured.NumericValue), unit)
            walk(child, group)

    walk(report, "")
    return found
