"""DICOM SEG and SR of a scan, read back by other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread

from covidssl.encoder_card import INTENDED_USE
from covidssl.errors import UsageError
from covidssl.model import Model
from tests.maps.made_maps import Chest, Said, chest, untaught
from tests.maps.made_objects import mapped, numbers, objects, series, uids


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
    assert INTENDED_USE in algorithm.AlgorithmParameters


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
    assert INTENDED_USE in text
    assert "a low one does not rule disease out" in text
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


def test_without_highdicom_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = chest()
    series(tmp_path / "series", made)
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"covidssl\[dicom\]"):
        objects(tmp_path / "series", made, tmp_path / "out")
