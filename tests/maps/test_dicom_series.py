"""Which slices of a series the objects refer to, and when there are none and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread

from covidssl.experiments import PredictConfig
from covidssl.io import Policy, Reading, find_scans, read_scan
from tests.dicom_files import recode, write_enhanced
from tests.inference.folders import ask, rows_of
from tests.maps.made_maps import Chest, chest
from tests.maps.made_objects import (
    WHO,
    changed,
    numbers,
    objects,
    referred,
    series,
    uids,
    why_none,
)
from tests.maps.test_geometry import ras
from tests.model_folders import write_untrained_model
from tests.scan_files import change_dicom, chest_grey, write_dicom, write_nifti, write_png


def test_a_nifti_gets_no_dicom_and_the_answer_says_why(tmp_path: Path) -> None:
    made = chest()
    scan = write_nifti(tmp_path / "scan.nii", made.hu.T, ras())
    assert "it is no DICOM series" in why_none(scan, made, tmp_path / "out")


def test_a_run_warns_of_objects_that_were_asked_for_and_are_not_there(tmp_path: Path) -> None:
    model = write_untrained_model(tmp_path / "model")
    write_png(tmp_path / "in" / "one.png", chest_grey())
    found = []
    for dicom in (False, True):
        out = tmp_path / f"out{dicom}"
        assert ask(model, tmp_path / "in", out, config=PredictConfig(dicom=dicom)) == 0
        found.append(rows_of(out)["one.png"])
    plain, asked = found
    assert (plain["outcome"], plain["reason_codes"]) == ("ok", "")
    assert (asked["outcome"], asked["reason_codes"]) == ("warned", "no_dicom_objects")
    assert "it is no DICOM series" in asked["reasons"]
    assert asked["probability"] == plain["probability"]


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
