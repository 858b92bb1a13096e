"""DICOM SEG and SR of a scan, read back by other libraries; and when there are none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread

from covidssl.errors import UsageError
from covidssl.io import Policy, Reading, find_scans, read_scan
from covidssl.maps import write_maps
from tests.dicom_files import write_enhanced
from tests.maps.made_maps import Chest, Said, chest, said_of, untaught
from tests.maps.test_geometry import ras
from tests.scan_files import change_dicom, write_dicom, write_nifti

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


def objects(scan: Path, made: Chest, out: Path) -> tuple[Said, dict[str, str]]:
    source = find_scans([scan]).scans[0]
    said = said_of(read_scan(source, Reading(policy=Policy.REPAIR)), made.lungs, untaught())
    return said, write_maps(out, "it", said, source, dicom=True)


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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Chest, Said, dict[str, str]]:
    folder, made = tmp_path_factory.mktemp("dicom"), chest(radius=6.0)
    series(folder / "series", made)
    said, files = objects(folder / "series", made, folder / "out")
    return folder, made, said, files


def test_the_frames_of_the_seg_lie_on_the_slices_of_the_series(
    written: tuple[Path, Chest, Said, dict[str, str]],
) -> None:
    folder, made, said, files = written
    seg = highdicom.seg.segread(folder / "out" / files["seg"])
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["Lesion, label-free", "Lungs"]
    sources = [pydicom.dcmread(path) for path in (folder / "series").iterdir()]
    sources.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    masks = seg.get_pixels_by_source_instance([one.SOPInstanceUID for one in sources])
    assert np.array_equal(masks[..., 1] > 0, made.lungs)
    lesion = masks[..., 0] > 0
    dice = 2 * (lesion & made.ball).sum() / (lesion.sum() + made.ball.sum())
    assert dice > 0.75
    places = {one.SOPInstanceUID: list(one.ImagePositionPatient) for one in sources}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == places[source]
    for of in ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName"):
        assert seg[of].value == sources[0][of].value
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert said.answer.model in algorithm.AlgorithmParameters


def test_the_report_measures_both_lungs_and_each_and_names_the_model(
    written: tuple[Path, Chest, Said, dict[str, str]],
) -> None:
    folder, _, said, files = written
    report: Any = srread(folder / "out" / files["sr"])
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.VerificationFlag == "UNVERIFIED"
    burden, found = said.answer.burden, numbers(pydicom.dcmread(folder / "out" / files["sr"]))
    assert burden is not None
    for name, of in (
        ("lesion in both lungs", burden.both),
        ("lesion in the right lung", burden.right),
        ("lesion in the left lung", burden.left),
    ):
        assert of is not None
        told = [found[name, what] for what in ("LESION_PERCENT", "LESION_VOLUME", "LUNG_VOLUME")]
        assert [unit for _, unit in told] == ["%", "mL", "mL"]
        assert [value for value, _ in told] == pytest.approx(
            [of.percent, of.lesion_ml, of.lung_ml], rel=1e-4
        )
    assert found["probability", "PROBABILITY"] == (0.25, "1")
    text = pydicom.dcmread(folder / "out" / files["sr"]).to_json()
    assert said.answer.model in text
    seg = pydicom.dcmread(folder / "out" / files["seg"])
    assert seg.SOPInstanceUID in text
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 1


def test_every_run_makes_objects_of_its_own(
    written: tuple[Path, Chest, Said, dict[str, str]], tmp_path: Path
) -> None:
    folder, made, _, files = written
    _, again = objects(folder / "series", made, tmp_path)
    uids = {
        pydicom.dcmread(run / of[kind]).SOPInstanceUID
        for run, of in ((folder / "out", files), (tmp_path, again))
        for kind in ("seg", "sr")
    }
    assert len(uids) == 4


def test_a_scan_without_lesion_gets_its_objects(tmp_path: Path) -> None:
    clean = chest(radius=0.0)
    made = clean._replace(hu=np.where(clean.ball, np.int16(-850), clean.hu))
    series(tmp_path / "series", made)
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    found = numbers(pydicom.dcmread(tmp_path / "out" / files["sr"]))
    assert found["lesion in both lungs", "LESION_PERCENT"] == (0, "%")


def test_a_nifti_gets_no_dicom_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = chest()
    scan = write_nifti(tmp_path / "scan.nii", made.hu.T, ras())
    with caplog.at_level(logging.WARNING):
        _, files = objects(scan, made, tmp_path / "out")
    assert set(files) == {"lesion_map", "evidence_map"}
    assert "it is no DICOM series" in caplog.text
    assert not (tmp_path / "out" / "dicom").exists()


def test_a_series_whose_tilt_was_taken_out_gets_no_dicom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = chest()
    paths = series(tmp_path / "series", made)
    for path in paths:
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change_dicom(path, ImagePositionPatient=[x, y + 0.2 * z, z])
    ct = read_scan(find_scans([tmp_path / "series"]).scans[0], Reading(policy=Policy.REPAIR))
    assert ct.repairs
    lungs = np.zeros(ct.array.shape, dtype=bool)
    lungs[:, : made.lungs.shape[1], : made.lungs.shape[2]] = made.lungs
    with caplog.at_level(logging.WARNING):
        _, files = objects(tmp_path / "series", made._replace(lungs=lungs), tmp_path / "out")
    assert set(files) == {"lesion_map", "evidence_map"}
    assert "the series was mended" in caplog.text
    assert "Doe" not in caplog.text


def test_many_frames_in_a_file_get_no_dicom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = chest()
    write_enhanced(tmp_path / "in" / "all.dcm", made.hu)
    with caplog.at_level(logging.WARNING):
        _, files = objects(tmp_path / "in", made, tmp_path / "out")
    assert "seg" not in files
    assert "many frames in a file" in caplog.text


def test_a_slice_that_was_filled_in_has_no_frame(tmp_path: Path) -> None:
    short = chest(radius=6.0)
    hu, *masks = (np.repeat(part, 2, axis=0) for part in short)
    made = Chest(hu.astype(np.int16), *(mask.astype(bool) for mask in masks))
    paths = series(tmp_path / "series", made)
    paths[4].unlink()  # the fifth from the head
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    seg = highdicom.seg.segread(tmp_path / "out" / files["seg"])
    places = {
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    assert 4.0 * (len(made.hu) - 1 - 4) not in places
    assert len(places) == len(made.hu) - 1


def test_without_highdicom_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = chest()
    series(tmp_path / "series", made)
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"covidssl\[dicom\]"):
        objects(tmp_path / "series", made, tmp_path / "out")
