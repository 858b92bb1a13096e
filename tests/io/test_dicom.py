from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_ct, read_scan
from tests.scan_files import change_dicom, chest_hu, write_dicom

HU = chest_hu()


def test_a_series_is_read_in_hu_where_it_lies(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU)
    volume = read_ct(tmp_path / "case")
    assert np.array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16
    assert (volume.pixels, volume.source, volume.warnings) == (Pixels.HU, "case", ())
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.affine is not None
    assert np.allclose(volume.affine @ [1, 2, 3, 1], [-20 + 0.7, -30 + 1.6, 7.5, 1])


def test_geometry_agrees_with_simpleitk(tmp_path: Path) -> None:
    angle = np.radians(8)
    tilted = (np.cos(angle), np.sin(angle), 0.0, -np.sin(angle), np.cos(angle), 0.0)
    write_dicom(tmp_path / "case", HU, orientation=tilted)
    volume = read_ct(tmp_path / "case")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "case")))
    image = reader.Execute()
    assert volume.affine is not None
    for zyx in ((0, 0, 0), (7, 60, 3), (4, 1, 50)):
        world = (volume.affine @ [*zyx[::-1], 1.0])[:3]
        index = image.TransformPhysicalPointToIndex([float(value) for value in world])
        assert index == tuple(zyx[::-1])
        assert volume.array[zyx] == image[index]


def test_slices_are_ordered_by_place_not_by_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU[::-1], z_mm=[2.5 * i for i in reversed(range(8))])
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


def test_a_coronal_stack_comes_upright(tmp_path: Path) -> None:
    hu = chest_hu(34)
    write_dicom(tmp_path / "case", hu, orientation=(1, 0, 0, 0, 0, -1))
    volume = read_ct(tmp_path / "case")
    assert volume.array.shape == (64, 34, 64)
    assert volume.spacing_mm == pytest.approx((0.8, 2.5, 0.7))
    assert np.array_equal(volume.array, hu[:, ::-1].transpose(1, 0, 2))


def test_a_few_coronal_slices_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU, orientation=(1, 0, 0, 0, 0, -1))
    told = (
        "^case: upright, it has 64 axial slices of 64 x 8 pixels; expected axial slices of at least"
    )
    with pytest.raises(ScanError, match=told):
        read_ct(tmp_path / "case")


def test_an_oblique_series_is_warned_about_and_a_far_one_refused(tmp_path: Path) -> None:
    for name, degrees in (("near", 17), ("far", 35)):
        angle = np.radians(degrees)
        way = (1, 0, 0, 0, np.cos(angle), np.sin(angle))
        write_dicom(tmp_path / name, HU, orientation=way)
    told = "lies 17 degrees off the patient's axes; slices are not resampled"
    assert read_ct(tmp_path / "near").warnings == (told,)
    with pytest.raises(ScanError, match=r"^far: lies 35\.0 degrees off the patient's axes"):
        read_ct(tmp_path / "far")


@pytest.mark.parametrize(("kept", "told"), [
    ([0, 1, 2, 4, 5, 6, 7],
     "a slice is missing between z = 5 and 10 mm: spacing 5 instead of 2.5"),
    ([0, 1, 2, 5, 6, 7],
     "2 slices are missing, most between z = 5 and 12.5 mm: spacing 7.5 instead of 2.5"),
    ([0, 2, 3], "a slice is missing between z = 0 and 5 mm"),
])  # fmt: skip
def test_a_missing_slice_is_told_with_its_place(tmp_path: Path, kept: list[int], told: str) -> None:
    for index, path in enumerate(write_dicom(tmp_path / "case", HU)):
        if index not in kept:
            path.unlink()
    with pytest.raises(ScanError, match=f"^case: {told}"):
        read_ct(tmp_path / "case")


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU[:4], z_mm=[0, 2.5, 5, 8.4])
    with pytest.raises(ScanError, match="unevenly spaced in 1 places, most between z = 5 and 8.4"):
        read_ct(tmp_path / "case")


def test_doubled_slices_are_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU[:4], z_mm=[0, 2.5, 2.5, 5])
    with pytest.raises(ScanError, match=r"place that is taken already, the first at z = 2\.5 mm"):
        read_ct(tmp_path / "case")


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    for index, path in enumerate(paths):
        change_dicom(path, ImagePositionPatient=[-20, -30 + 0.5 * index, 2.5 * index])
    with pytest.raises(ScanError, match=r"gantry was tilted by 11\.3 degrees"):
        read_ct(tmp_path / "case")


def test_mixed_orientations_are_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    change_dicom(paths[3], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    with pytest.raises(ScanError, match="1 of 8 slices lie in another orientation"):
        read_ct(tmp_path / "case")


def test_slices_of_several_sizes_are_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    change_dicom(paths[2], Rows=32, PixelData=HU[2, :32].astype("<i2").tobytes())
    with pytest.raises(ScanError, match=r"several sizes in one series \(32 x 64, 64 x 64\)"):
        read_ct(tmp_path / "case")


@pytest.mark.parametrize(("tags", "told"), [
    ({"Modality": "MR"}, "modality MR; expected CT"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "8 of 8 images are localisers"),
    ({"NumberOfFrames": 2}, "multi-frame"),
    ({"RescaleIntercept": 0}, "nothing is below 0, and air is -1000 HU"),
    ({"ImagePositionPatient": None}, "8 of 8 slices do not say where they lie"),
    ({"PixelSpacing": None}, "give no pixel spacing"),
])  # fmt: skip
def test_what_is_no_ct_volume_is_refused(
    tmp_path: Path, tags: dict[str, object], told: str
) -> None:
    write_dicom(tmp_path / "case", HU, **tags)
    with pytest.raises(ScanError, match=f"^case: .*{told}"):
        read_ct(tmp_path / "case")


def test_a_truncated_slice_is_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    paths[4].write_bytes(paths[4].read_bytes()[:-3000])
    with pytest.raises(ScanError, match="1 of 8 files are truncated"):
        read_ct(tmp_path / "case")


def test_padding_becomes_air(tmp_path: Path) -> None:
    hu = HU.copy()
    hu[:, :6] = 8000
    write_dicom(tmp_path / "case", hu, PixelPaddingValue=8000 + 1024)
    assert (read_ct(tmp_path / "case").array[:, :6] == -1024).all()


def test_what_lies_below_air_becomes_air(tmp_path: Path) -> None:
    hu = HU.copy()
    hu[:, :6] = -2000 - 1024
    write_dicom(tmp_path / "case", hu)
    volume = read_ct(tmp_path / "case")
    assert (volume.array[:, :6] == -1024).all()


def test_a_single_slice_is_read_with_a_warning(tmp_path: Path) -> None:
    (path,) = write_dicom(tmp_path / "case", HU[:1])
    volume = read_ct(path)
    assert volume.array.shape == (1, 64, 64)
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.warnings == ("only 1 slice",)


@pytest.mark.parametrize("way", [(1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("lost", ["ImagePositionPatient", "PixelSpacing", None])
def test_a_single_slice_that_is_not_axial_is_refused(
    tmp_path: Path, way: tuple[int, ...], lost: str | None
) -> None:
    (path,) = write_dicom(tmp_path / "case", HU[:1], orientation=way)
    if lost is not None:
        change_dicom(path, **{lost: None})
    told = "a single coronal or sagittal slice; expected axial slices of at least 32 x 32 pixels"
    with pytest.raises(ScanError, match=rf"^slice000\.dcm: {told}"):
        read_ct(path)


def test_a_small_single_slice_is_refused(tmp_path: Path) -> None:
    (path,) = write_dicom(tmp_path / "case", HU[:1, :20])
    with pytest.raises(
        ScanError, match="upright, it has 1 axial slice of 64 x 20 pixels; expected"
    ):
        read_ct(path)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("way", [
    [0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [2, 0, 0, 0, 1, 0], [1, 0, 0, 0.1, 0.995, 0],
])  # fmt: skip
def test_directions_that_are_no_right_angle_are_refused(
    tmp_path: Path, count: int, way: list[float]
) -> None:
    write_dicom(tmp_path / "case", HU[:count], ImageOrientationPatient=way)
    with pytest.raises(
        ScanError, match=r"^case: the row and column directions in the header are no"
    ):
        read_ct(tmp_path / "case")


@pytest.mark.parametrize("count", [1, 4])
def test_a_slice_at_no_finite_place_is_refused(tmp_path: Path, count: int) -> None:
    paths = write_dicom(tmp_path / "case", HU[:count])
    stored = paths[0].read_bytes()
    place = b"-20.0\\-30.0\\0.0"
    if place not in stored:
        pytest.fail("the position is stored in another way")
    paths[0].write_bytes(stored.replace(place, b"-20.0\\-30.0\\nan"))
    with pytest.raises(ScanError, match="affine in the header is degenerate"):
        read_ct(tmp_path / "case")


def test_two_series_in_a_folder_are_listed_not_guessed(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", HU, names="a{}.dcm")
    write_dicom(tmp_path / "case", HU[:3], names="b{}.dcm", SliceThickness=5)
    told = r"^case: holds 2 scans, expected one: 1\) a DICOM series of 8 slices of 2\.5 mm; " \
           r"2\) a DICOM series of 3 slices of 5 mm"  # fmt: skip
    with pytest.raises(ScanError, match=told) as refusal:
        read_ct(tmp_path / "case")
    assert "1.2.826" not in str(refusal.value)


def test_a_text_file_called_dcm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("no slice")
    (scan,) = find_scans([tmp_path]).scans
    with pytest.raises(ScanError, match=r"^notes\.dcm: is called \.dcm but holds no DICOM image"):
        read_scan(scan)


def test_a_folder_without_ct_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no slice")
    with pytest.raises(ScanError, match="no CT found"):
        read_ct(tmp_path)


def test_no_refusal_or_log_quotes_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    canaries = {
        "PatientName": "CANARY^NAME", "PatientID": "CANARY-ID", "StudyDate": "19991231",
        "SeriesInstanceUID": "1.2.3.99999", "StudyInstanceUID": "1.2.4.99999",
        "InstitutionName": "CANARY HOSPITAL", "PatientBirthDate": "19010101",
    }  # fmt: skip
    wrong = [
        {"Modality": "MR"}, {"ImageType": ["LOCALIZER"]}, {"PixelSpacing": None},
        {"RescaleIntercept": 0}, {"NumberOfFrames": 3},
    ]  # fmt: skip
    told = []
    with caplog.at_level(logging.DEBUG):
        for number, tags in enumerate(wrong):
            write_dicom(tmp_path / str(number), HU[:4], **canaries, **tags)
            with pytest.raises(ScanError) as refusal:
                read_ct(tmp_path / str(number))
            told.append(str(refusal.value))
    out, err = capfd.readouterr()
    for text in (*told, caplog.text, out, err):
        for canary in ("CANARY", "99999", "19991231", "19010101"):
            assert canary not in text


@pytest.mark.realdata
def test_slabs_as_distributed_are_read(real_data: Path) -> None:
    scans = find_scans([real_data / "lidc-slabs"]).scans
    volumes = [read_scan(scan) for scan in scans]
    assert [volume.array.shape[0] for volume in volumes] == [16, 12, 11]
    # The headers of two of them name a contrast agent.
    told = [tuple(one.code for one in volume.warnings) for volume in volumes]
    assert sorted(told) == [(), ("contrast",), ("contrast",)]
    assert all(volume.array.min() == -1024 for volume in volumes)


@pytest.mark.realdata
def test_a_slab_without_one_slice_is_refused(real_data: Path, tmp_path: Path) -> None:
    (folder,) = {path.parent for path in (real_data / "lidc-slabs/LIDC-IDRI-0003").rglob("*.dcm")}
    for path in folder.iterdir():
        if path.name != "-194.000000.dcm":
            (tmp_path / path.name).symlink_to(path)
    told = "a slice is missing between z = -196.5 and -191.5 mm: spacing 5 instead of 2.5"
    (scan,) = find_scans(sorted(tmp_path.iterdir())).scans
    with pytest.raises(ScanError, match=told):
        read_scan(scan)
