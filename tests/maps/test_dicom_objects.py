"""DICOM SEG and SR of a scan, read back by other libraries; and when there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread

from covidssl.errors import UsageError
from covidssl.io import Policy, Reading, find_scans, read_scan
from covidssl.maps import MapFiles, write_maps
from covidssl.model import Model
from tests.dicom_files import recode, write_enhanced
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


@pytest.mark.parametrize("threshold", [0.15, 0.2])  # 0.2 lies on a byte
def test_the_segment_of_lesions_is_the_map_above_the_threshold(
    tmp_path: Path, threshold: float
) -> None:
    made, model = chest(radius=6.0), untaught()
    card = model.card.model_copy(update={"burden_threshold": threshold})
    model = Model(card, model.classifier, model.restoration)
    paths = series(tmp_path / "series", made)
    _, files = mapped(tmp_path / "series", made, tmp_path, model)
    seg = highdicom.seg.segread(tmp_path / files.paths["seg"])
    masks = seg.get_pixels_by_source_instance(
        uids(paths)[::-1], assert_missing_frames_are_empty=True
    )
    image: Any = nibabel.load(tmp_path / files.paths["lesion_map"])
    above = image.get_fdata().T
    expected = np.asarray(above > threshold)
    assert expected.any()
    assert np.array_equal(masks[..., 0] > 0, expected)


def coded(sequence: Any) -> tuple[str, str]:
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator


def test_segments_say_what_they_are_and_where(
    written: tuple[Path, Chest, Said, dict[str, str]],
) -> None:
    """By SNOMED CT: an abnormal structure, lesion, in the lung; an anatomical one, lung."""
    folder, _, _, files = written
    lesion, lungs = pydicom.dcmread(folder / "out" / files["seg"]).SegmentSequence
    for segment, category, kind in (
        (lesion, "49755003", "52988006"),
        (lungs, "91723000", "39607008"),
    ):
        assert coded(segment.SegmentedPropertyCategoryCodeSequence) == (category, "SCT")
        assert coded(segment.SegmentedPropertyTypeCodeSequence) == (kind, "SCT")
    assert coded(lesion.AnatomicRegionSequence) == ("39607008", "SCT")
    assert "AnatomicRegionSequence" not in lungs


def test_each_group_of_the_report_says_of_which_side_it_is(
    written: tuple[Path, Chest, Said, dict[str, str]],
) -> None:
    folder, _, _, files = written
    found: dict[str, list[tuple[str, ...]]] = {}
    for item in pydicom.dcmread(folder / "out" / files["sr"]).iterall():
        if item.keyword != "ContentSequence":
            continue
        named = [one for one in item.value if one.ValueType == "TEXT"]
        groups = [one.TextValue for one in named if of(one) == "112039"]  # tracking identifier
        sites = [one for one in item.value if of(one) == "363698007"]  # finding site
        for name in groups:
            found[name] = [(coded(site.ConceptCodeSequence)[0], *sides(site)) for site in sites]
    lung, both, right, left = "39607008", "51440002", "24028007", "7771000"
    assert found == {
        "probability": [],
        "lesion in both lungs": [(lung, both)],
        "lesion in the right lung": [(lung, right)],
        "lesion in the left lung": [(lung, left)],
    }


def of(item: Any) -> str:
    """The code of what an item of a report tells."""
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def sides(site: Any) -> list[str]:
    below = site.get("ContentSequence", [])
    return [coded(one.ConceptCodeSequence)[0] for one in below if of(one) == "272741003"]


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


def test_a_nifti_gets_no_dicom_and_the_answer_says_why(tmp_path: Path) -> None:
    made = chest()
    scan = write_nifti(tmp_path / "scan.nii", made.hu.T, ras())
    assert "it is no DICOM series" in why_none(scan, made, tmp_path / "out")


def test_a_series_whose_tilt_was_taken_out_gets_no_dicom(tmp_path: Path) -> None:
    made = chest()
    paths = series(tmp_path / "series", made)
    for path in paths:
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change_dicom(path, ImagePositionPatient=[x, y + 0.2 * z, z])
    ct = read_scan(find_scans([tmp_path / "series"]).scans[0], Reading(policy=Policy.REPAIR))
    assert ct.repairs
    lungs = np.zeros(ct.array.shape, dtype=bool)
    lungs[:, : made.lungs.shape[1], : made.lungs.shape[2]] = made.lungs
    why = why_none(tmp_path / "series", made._replace(lungs=lungs), tmp_path / "out")
    assert "moved or resampled" in why


def test_many_frames_in_a_file_get_no_dicom(tmp_path: Path) -> None:
    made = chest()
    write_enhanced(tmp_path / "in" / "all.dcm", made.hu)
    assert "many frames lie in a file" in why_none(tmp_path / "in", made, tmp_path / "out")


def test_a_header_without_what_cannot_be_empty_is_refused_by_its_name(tmp_path: Path) -> None:
    made = chest()
    paths = series(tmp_path / "series", made)
    changed(paths[2], lambda file: delattr(file, "FrameOfReferenceUID"))
    why = why_none(tmp_path / "series", made, tmp_path / "out")
    assert "the header of a slice lacks FrameOfReferenceUID" in why


def test_what_may_be_empty_is_empty_where_a_header_lacks_it(tmp_path: Path) -> None:
    made = chest()

    def anonymise(file: Any) -> None:
        for keyword in WHO:
            delattr(file, keyword)

    for path in series(tmp_path / "series", made):
        changed(path, anonymise)
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    for kind in ("seg", "sr"):
        written = pydicom.dcmread(tmp_path / "out" / files[kind])
        assert [str(written[keyword].value or "") for keyword in WHO] == [""] * len(WHO)


@pytest.mark.parametrize("how", ["deflated", "bare"])
def test_a_series_that_is_deflated_or_lacks_its_preamble_gets_its_objects(
    tmp_path: Path, how: str
) -> None:
    made = chest()
    paths = series(tmp_path / "series", made)
    expected = set(uids(paths))
    for path in paths:
        if how == "deflated":
            recode(path, "deflated")
        else:
            file = pydicom.dcmread(path)
            bare = pydicom.Dataset()
            bare.update(file)
            pydicom.dcmwrite(path, bare, implicit_vr=False, little_endian=True)
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    assert referred(pydicom.dcmread(tmp_path / "out" / files["seg"])) == expected


def test_slices_a_little_unevenly_apart_get_their_objects(tmp_path: Path) -> None:
    made = chest(radius=6.0)
    gaps, tags = np.where(np.arange(len(made.hu)) < 7, 4.0, 4.35), dict[str, Any](WHO)
    paths = write_dicom(
        tmp_path / "series", made.hu, list(np.cumsum(gaps)), PixelSpacing=[2.0, 2.0], **tags
    )
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    seg = highdicom.seg.segread(tmp_path / "out" / files["seg"])
    assert np.array_equal(seg.get_pixels_by_source_instance(uids(paths))[..., 1] > 0, made.lungs)


def test_a_localiser_in_the_place_of_a_slice_is_referred_to_by_nothing(tmp_path: Path) -> None:
    made = chest(radius=6.0)
    paths = series(tmp_path / "series", made)
    scout = tmp_path / "series" / "000scout.dcm"

    def disguise(file: Any) -> None:
        file.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        file.PixelData = bytes(len(file.PixelData))

    changed(paths[5], disguise, to=scout)
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    seg, sr = (pydicom.dcmread(tmp_path / "out" / files[kind]) for kind in ("seg", "sr"))
    assert referred(seg) == set(uids(paths))
    assert referred(sr) == {*uids(paths), str(seg.SOPInstanceUID)}


def twice_as_long() -> Chest:
    """A chest of so many slices that one of them may be filled in."""
    hu, *masks = (np.repeat(part, 2, axis=0) for part in chest(radius=6.0))
    return Chest(hu.astype(np.int16), *(mask.astype(bool) for mask in masks))


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_slice_that_was_filled_in_has_no_frame_and_none_refers_to_it(
    tmp_path: Path, how: str
) -> None:
    made = twice_as_long()
    paths = series(tmp_path / "series", made)
    expected = set(uids(paths[:4] + paths[5:]))
    if how == "missing":
        paths[4].unlink()  # the fifth from the head
    else:
        paths[4].write_bytes(paths[4].read_bytes()[:-3000])
    _, files = objects(tmp_path / "series", made, tmp_path / "out")
    seg, sr = (pydicom.dcmread(tmp_path / "out" / files[kind]) for kind in ("seg", "sr"))
    places = {
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    assert 4.0 * (len(made.hu) - 1 - 4) not in places
    assert len(places) == len(made.hu) - 1
    assert referred(seg) == expected
    # The volume counts that slice: it is not said to be the segment's.
    report: Any = srread(tmp_path / "out" / files["sr"])
    assert not report.content.get_volumetric_roi_measurement_groups()
    assert numbers(sr)["lesion in both lungs", "LESION_VOLUME"][0] > 0


def test_without_highdicom_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = chest()
    series(tmp_path / "series", made)
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"covidssl\[dicom\]"):
        objects(tmp_path / "series", made, tmp_path / "out")
