"""What a header does not say of the grid, or says twice, is told and never made up."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidssl.errors import ScanError
from covidssl.io import Policy, Reading, find_scans, read_ct, read_scan
from covidssl.volume import Volume
from tests.scan_files import change_dicom, chest_hu, lps_nifti, write_dicom, write_mhd, write_nifti

HU = chest_hu()
SPACING = (0.7, 0.8, 2.5)
NO_PLACE = "the header gives no orientation: taken as lying upright (LPS)"
NO_SIZE = "the header gives no voxel size"


def read(path: Path, policy: Policy) -> Volume:
    (scan,) = find_scans([path]).scans
    return read_scan(scan, Reading(policy=policy))


def mhd_without(path: Path, *fields: str) -> Path:
    """A MetaImage turned about the body's axis, without some fields of its header."""
    write_mhd(path, HU[:, ::-1, ::-1], SPACING)
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(" = ")[0] not in fields]
    assert len(lines) - len(kept) == len(fields)
    kept = ["TransformMatrix = -1 0 0 0 -1 0 0 0 1\n" if "Transform" in x else x for x in kept]
    path.write_text("".join(kept))
    return path


def test_a_metaimage_that_says_nothing_of_its_grid_gets_none(tmp_path: Path) -> None:
    path = mhd_without(tmp_path / "scan.mhd", "TransformMatrix", "ElementSpacing")
    volume = read_ct(path)
    assert (volume.affine, volume.spacing_mm) == (None, None)
    assert volume.warnings == (NO_PLACE, NO_SIZE)
    with pytest.raises(ScanError, match="gives no orientation") as refusal:
        read(path, Policy.STRICT)
    assert refusal.value.code == "no_orientation"


def test_a_metaimage_without_orientation_keeps_its_voxel_size(tmp_path: Path) -> None:
    volume = read_ct(mhd_without(tmp_path / "scan.mhd", "TransformMatrix"))
    assert (volume.affine, volume.spacing_mm) == (None, (2.5, 0.8, 0.7))
    assert volume.warnings == (NO_PLACE,)


def test_a_metaimage_without_voxel_size_is_turned_upright_and_gets_none(tmp_path: Path) -> None:
    path = mhd_without(tmp_path / "scan.mhd", "ElementSpacing")
    volume = read_ct(path)
    assert (volume.affine, volume.spacing_mm, volume.warnings) == (None, None, (NO_SIZE,))
    assert np.array_equal(volume.array, HU)
    with pytest.raises(ScanError, match=NO_SIZE) as refusal:
        read(path, Policy.STRICT)
    assert refusal.value.code == "no_spacing"


def test_a_field_in_letters_that_the_library_passes_over_is_none(tmp_path: Path) -> None:
    path = mhd_without(tmp_path / "scan.mhd")
    path.write_text(path.read_text().replace("ElementSpacing", "elementspacing"))
    assert read_ct(path).spacing_mm is None


def nrrd(path: Path, fields: str) -> Path:
    header = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 64 64 8\n{fields}encoding: raw\n"
    path.write_bytes(f"{header}endian: little\n\n".encode() + HU.astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("space", ["3D-right-handed", "scanner-xyz", "3D-left-handed"])
def test_an_nrrd_whose_axes_are_not_the_patients_has_no_orientation(
    tmp_path: Path, space: str
) -> None:
    fields = f"space: {space}\nspace directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\n"
    volume = read_ct(nrrd(tmp_path / "scan.nrrd", fields))
    assert (volume.affine, volume.spacing_mm) == (None, (2.5, 0.8, 0.7))
    assert volume.warnings == (NO_PLACE,)


def test_an_nrrd_without_any_size_gets_none(tmp_path: Path) -> None:
    volume = read_ct(nrrd(tmp_path / "scan.nrrd", "space: left-posterior-superior\n"))
    assert (volume.affine, volume.spacing_mm) == (None, None)


@pytest.mark.parametrize("policy", [Policy.SKIP, Policy.REPAIR])
def test_voxels_of_one_mm_are_doubted_in_every_format(tmp_path: Path, policy: Policy) -> None:
    series = tmp_path / "c"
    write_dicom(series, HU, range(8), PixelSpacing=[1.0, 1.0], SliceThickness=1.0)
    for path in (
        lps_nifti(tmp_path / "a.nii", HU, 1.0),
        write_nifti(tmp_path / "b.nii", HU.T),
        write_mhd(tmp_path / "b.mha", HU, (1, 1, 1)),
        series,
    ):
        said = read(path, policy).warnings
        assert said[-1] == "voxels of exactly 1 x 1 x 1 mm: resampled, or the size is not known"


@pytest.mark.parametrize(("unit", "mm"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0)])
@pytest.mark.parametrize("placed", [True, False])
def test_voxel_sizes_are_turned_into_mm(
    tmp_path: Path, unit: str, mm: float, placed: bool
) -> None:  # fmt: skip
    affine = np.diag([*np.array([-0.7, -0.8, 2.5]) / mm, 1.0])
    affine[:3, 3] = np.array([7.0, 8.0, 9.0]) / mm
    image = nibabel.Nifti1Image(HU.T, affine if placed else None)
    image.header.set_zooms(np.array(SPACING) / mm)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_ct(tmp_path / "scan.nii")
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    if placed:
        assert volume.affine is not None
        assert np.allclose(volume.affine[:3, 3], (-7, -8, 9))
        assert volume.warnings == ()


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_voxels_that_no_scanner_makes_are_refused(tmp_path: Path, unit: str) -> None:
    image = nibabel.Nifti1Image(HU.T, np.diag([-0.7, -0.8, 2.5, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "scan.nii")
    with pytest.raises(ScanError, match=r"voxels of .* mm in the header; expected edges") as it:
        read_ct(tmp_path / "scan.nii")
    assert it.value.code == "damaged_header"


def resized(path: Path, z_mm: float) -> Path:
    image = nibabel.Nifti1Image(HU.T, np.diag([-0.7, -0.8, 2.5, 1.0]))
    image.set_sform(image.affine, code=1)
    image.set_qform(None, code=0)
    image.header["pixdim"][3] = z_mm
    nibabel.save(image, path)
    return path


def test_a_pixdim_that_the_sform_contradicts_is_told_and_the_sform_is_taken(tmp_path: Path) -> None:
    path = resized(tmp_path / "scan.nii", 5.0)
    told = "voxels of 0.7 x 0.8 x 5 mm by pixdim in the header, but of 0.7 x 0.8 x 2.5 mm by the "
    volume = read_ct(path)
    assert volume.warnings == (f"{told}sform: the sform is taken",)
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    with pytest.raises(ScanError, match=told) as refusal:
        read(path, Policy.STRICT)
    assert refusal.value.code == "qform_sform"
    assert read(resized(path, 2.51), Policy.STRICT).warnings == ()


def test_slices_that_were_moved_are_not_said_to_lie_as_they_lay(tmp_path: Path) -> None:
    angle = np.radians(15)
    way = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
    paths = write_dicom(tmp_path, np.repeat(chest_hu(1, 48), 20, axis=0), orientation=way)
    off = "lies 15 degrees off the patient's axes"
    assert read(tmp_path, Policy.REPAIR).warnings == (f"{off}; slices are not resampled",)
    for number, path in enumerate(paths):
        change_dicom(path, ImagePositionPatient=[0.0, 0.0, 2.5 * number])
    moved = read(tmp_path, Policy.REPAIR)
    assert moved.repairs
    assert moved.warnings == (off,)
