"""Our array, spacing and affine against readers that share no code with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io import find_scans, read_ct, read_scan, write_volume
from covidssl.volume import Volume
from tests.dicom_files import group, recode, write_enhanced
from tests.scan_files import chest_hu, write_dicom

HU = chest_hu(36, 40)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAMPLES = 40


def turned(*degrees: float) -> NDArray[np.float64]:
    """Turned about x, y and z, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def way(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.concatenate([rows, columns]))


X, Y, Z = np.eye(3)
ORIENTATIONS = {
    "axial, head first, supine": way(X, Y),
    "axial, head first, prone": way(-X, -Y),
    "axial, feet first, supine": way(-X, Y),
    "axial, feet first, prone": way(X, -Y),
    "axial, on the left side": way(Y, -X),
    "coronal": way(X, -Z),
    "sagittal": way(Y, -Z),
    "turned in plane": way(*(turned(0, 0, 12) @ [X, Y][i] for i in range(2))),
    "oblique": way(*(turned(9, -7, 14) @ [X, Y][i] for i in range(2))),
    "oblique, prone": way(*(turned(-11, 6, 5) @ [-X, -Y][i] for i in range(2))),
    "oblique, sagittal": way(*(turned(8, 8, -8) @ [Y, -Z][i] for i in range(2))),
}


def places(volume: Volume) -> NDArray[np.int64]:
    rng = np.random.default_rng(5)
    return np.stack([rng.integers(edge, size=SAMPLES) for edge in volume.array.shape], axis=1)


def assert_lies_as_in(image: sitk.Image, volume: Volume) -> None:
    """Every voxel has the value that SimpleITK's image has at its place in the patient."""
    assert volume.affine is not None
    assert sorted(volume.array.shape) == sorted(image.GetSize())
    assert sorted(volume.spacing_mm or ()) == pytest.approx(sorted(image.GetSpacing()))
    for zyx in places(volume):
        world = (volume.affine @ [*zyx[::-1], 1.0])[:3]
        found = image.TransformPhysicalPointToContinuousIndex([float(value) for value in world])
        assert np.allclose(found, np.rint(found), atol=1e-3)
        index = [int(value) for value in np.rint(found)]
        assert image[index] == volume.array[tuple(zyx)]


def assert_is_upright(volume: Volume) -> None:
    assert volume.affine is not None
    steps = volume.affine[:3, :3]
    assert np.array_equal(np.abs(steps).argmax(axis=0), [0, 1, 2])
    assert (np.diag(steps) > 0).all()
    assert volume.array.flags.c_contiguous


def assert_survives_writing(volume: Volume, path: Path) -> None:
    """What nibabel reads of a written volume, and what we read again, is the volume."""
    write_volume(volume, path)
    image: Any = nibabel.load(path)
    assert volume.affine is not None
    assert np.allclose(image.affine, LPS_TO_RAS @ volume.affine, atol=1e-4)
    assert np.array_equal(np.asarray(image.dataobj).T, volume.array)
    assert image.header.get_zooms() == pytest.approx((volume.spacing_mm or ())[::-1])
    again = read_ct(path)
    assert np.array_equal(again.array, volume.array)
    assert again.affine is not None
    assert np.allclose(again.affine, volume.affine, atol=1e-4)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_series_lies_where_simpleitk_nibabel_and_pydicom_say(tmp_path: Path, name: str) -> None:
    order = np.random.default_rng(1).permutation(36)
    paths = write_dicom(
        tmp_path / "case", HU[order], z_mm=2.5 * order, names="{}",
        orientation=ORIENTATIONS[name],
    )  # fmt: skip
    volume = read_ct(tmp_path / "case")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "case")))
    assert_lies_as_in(reader.Execute(), volume)
    assert_is_upright(volume)
    assert_survives_writing(volume, tmp_path / "again.nii.gz")
    # By hand, from the headers alone.
    assert volume.affine is not None
    for path in paths[::9]:
        file: Any = pydicom.dcmread(path)
        rows, columns = np.split(np.array(file.ImageOrientationPatient, float), 2)
        for row, column in ((0, 0), (39, 5), (17, 38)):
            world = np.array(file.ImagePositionPatient, float)
            world = world + rows * file.PixelSpacing[1] * column
            world = world + columns * file.PixelSpacing[0] * row
            xyz = np.linalg.inv(volume.affine) @ [*world, 1.0]
            assert np.allclose(xyz, np.rint(xyz), atol=1e-3)
            value = file.pixel_array[row, column] - 1024
            assert volume.array[tuple(np.rint(xyz[2::-1]).astype(int))] == value


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_a_multi_frame_file_lies_where_its_slices_would(tmp_path: Path, name: str) -> None:
    orientation = ORIENTATIONS[name]
    order = np.random.default_rng(2).permutation(36).tolist()
    path = write_enhanced(tmp_path / "all.dcm", HU, order, orientation)
    write_dicom(tmp_path / "case", HU, orientation=orientation)
    volume, series = read_ct(path), read_ct(tmp_path / "case")
    assert np.array_equal(volume.array, series.array)
    assert volume.affine is not None
    assert series.affine is not None
    assert np.allclose(volume.affine, series.affine)
    assert volume.spacing_mm == pytest.approx(series.spacing_mm)
    assert volume.warnings == series.warnings


def test_a_multi_frame_file_is_read_as_by_simpleitk(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "all.dcm", HU, orientation=ORIENTATIONS["oblique"])
    image = sitk.ReadImage(str(path))
    assert_lies_as_in(image, read_ct(path))


def test_a_scan_in_several_multi_frame_files_is_one(tmp_path: Path) -> None:
    whole = pydicom.dcmread(write_enhanced(tmp_path / "whole.dcm", HU))
    for number, part in enumerate((range(20), range(20, 36))):
        write_enhanced(
            tmp_path / "case" / f"{number}.dcm", HU, list(part), NumberOfFrames=len(part),
            SeriesInstanceUID=whole.SeriesInstanceUID,
        )  # fmt: skip
    assert np.array_equal(read_ct(tmp_path / "case").array, HU)


def test_a_legacy_converted_file_is_read_as_an_enhanced_one(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "all.dcm", HU)
    file: Any = pydicom.dcmread(path)
    uid = "1.2.840.10008.5.1.4.1.1.2.2"  # Legacy Converted Enhanced CT Image Storage
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = uid
    # There, what all frames share may stand in every frame.
    shared = file.SharedFunctionalGroupsSequence[0]
    for frame in file.PerFrameFunctionalGroupsSequence:
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
        frame.PixelValueTransformationSequence = shared.PixelValueTransformationSequence
        frame.UnassignedPerFrameConvertedAttributesSequence = [group(PatientComments="CANARY")]
    del file.SharedFunctionalGroupsSequence
    file.save_as(path)
    assert np.array_equal(read_ct(path).array, HU)


def test_localisers_among_the_frames_are_found(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "all.dcm", HU)
    file: Any = pydicom.dcmread(path)
    for index, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        kind = "LOCALIZER" if index == 0 else "VOLUME"
        frame.CTImageFrameTypeSequence = [group(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])]
    file.save_as(path)
    with pytest.raises(ScanError, match="1 of 36 images are localisers"):
        read_ct(path)


def test_a_header_that_describes_fewer_frames_than_it_claims_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "all.dcm", HU, NumberOfFrames=35)
    with pytest.raises(ScanError, match="the header claims 35 frames and describes 36") as refusal:
        read_ct(path)
    assert refusal.value.code == "damaged_header"


def test_a_multi_frame_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "all.dcm", HU)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ScanError, match="truncated"):
        read_ct(path)


@pytest.mark.realdata
@pytest.mark.parametrize("syntax", [None, "JPEG-LS", "JPEG 2000", "RLE", "JPEG lossless"])
def test_real_slabs_are_read_as_by_simpleitk_whatever_the_syntax(
    real_data: Path, tmp_path: Path, syntax: str | None
) -> None:
    for scan in find_scans([real_data / "lidc-slabs"]).scans:
        folder = tmp_path / scan.name
        folder.mkdir(parents=True)
        for path in scan.paths[3:7]:
            (folder / path.name).write_bytes(path.read_bytes())
        image = sitk.ReadImage(
            sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkInt16
        )
        for path in folder.iterdir() if syntax else ():
            recode(path, str(syntax))
        assert_lies_as_in(sitk.Clamp(image, sitk.sitkInt16, -1024, 3071), read_ct(folder))


@pytest.mark.realdata
def test_real_slabs_survive_writing(real_data: Path, tmp_path: Path) -> None:
    for number, scan in enumerate(find_scans([real_data / "lidc-slabs"]).scans):
        assert_survives_writing(read_scan(scan), tmp_path / f"{number}.nii")
