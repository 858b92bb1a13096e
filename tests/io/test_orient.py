from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, read_mask, write_volume
from covidssl.io.orient import degrees_off_axes, upright
from covidssl.volume import Volume
from tests.scan_files import chest_hu, write_mhd, write_nifti

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OFF = "lies {} degrees off the patient's axes; slices are not resampled"


def turned(degrees: float, axis: int) -> NDArray[np.float64]:
    """A rotation by `degrees` about a world axis."""
    angle = np.radians(degrees)
    first, second = [other for other in range(3) if other != axis]
    matrix = np.eye(4)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_any_order_and_direction_of_axes_comes_upright(
    axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for voxel, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[world, voxel] = sign * (1.5 + voxel)
    affine[:3, 3] = (10, -20, 30)
    out, out_affine, spacing = upright(array, affine)
    assert np.array_equal(np.sign(out_affine[:3, :3]), np.eye(3))
    assert spacing == tuple(np.diag(out_affine)[2::-1])
    # Each value still lies where it lay.
    for value in (0, 7, 23):
        before = np.argwhere(array == value)[0][::-1]
        after = np.argwhere(out == value)[0][::-1]
        assert np.allclose(affine @ [*before, 1], out_affine @ [*after, 1])


@pytest.mark.parametrize("degrees", [0.0, 20.0, 80.0, 100.0, 170.0, 200.0, 295.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affine_is_nibabels_with_x_and_y_negated(tmp_path: Path, degrees: float, axis: int) -> None:
    hu = chest_hu(34, 40)
    ras = turned(degrees, axis) @ turned(7.0, (axis + 1) % 3) @ np.diag([0.7, 0.8, 2.5, 1.0])
    ras[:3, 3] = (11, -22, 33)
    path = write_nifti(tmp_path / "oblique.nii.gz", hu.T, ras)
    volume = read_ct(path)
    reference = nibabel.load(path)
    values = np.asanyarray(reference.dataobj)
    assert volume.affine is not None
    rng = np.random.default_rng(0)
    for _ in range(20):
        zyx = [int(rng.integers(edge)) for edge in volume.array.shape]
        world = volume.affine @ [*zyx[::-1], 1.0]
        ijk = np.linalg.inv(reference.affine) @ RAS_TO_LPS @ world
        assert np.allclose(ijk, np.rint(ijk), atol=1e-3)
        i, j, k = np.rint(ijk[:3]).astype(int)
        assert volume.array[tuple(zyx)] == values[i, j, k]
    steps = volume.affine[:3, :3]
    assert np.array_equal(np.abs(steps).argmax(axis=0), [0, 1, 2])
    assert (np.diag(steps) > 0).all()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_written_and_read_again_is_the_same(tmp_path: Path, suffix: str) -> None:
    affine = turned(15, 2) @ np.diag([0.7, 0.8, 2.5, 1.0])
    affine[:3, 3] = (1, 2, 3)
    volume = Volume(chest_hu(), Pixels.HU, (2.5, 0.8, 0.7), affine, "scan")
    write_volume(volume, tmp_path / f"scan{suffix}")
    again = read_ct(tmp_path / f"scan{suffix}")
    assert np.array_equal(again.array, volume.array)
    assert again.array.dtype == volume.array.dtype
    assert again.affine is not None
    assert np.allclose(again.affine, affine, atol=1e-5)
    assert again.spacing_mm == pytest.approx(volume.spacing_mm)
    assert (again.pixels, again.source) == (Pixels.HU, f"scan{suffix}")
    assert again.warnings == (OFF.format(15),)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd"])
def test_metaimage_lies_where_simpleitk_says(tmp_path: Path, suffix: str) -> None:
    path = write_mhd(tmp_path / f"scan{suffix}", chest_hu(5, 40), (0.7, 0.8, 2.5))
    image = sitk.ReadImage(str(path))
    flipped = sitk.Flip(image, [True, False, True])
    sitk.WriteImage(flipped, str(path))
    volume = read_ct(path)
    assert volume.affine is not None
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    reread = sitk.ReadImage(str(path))
    for zyx in ((0, 0, 0), (4, 3, 30), (2, 39, 17)):
        world = (volume.affine @ [*zyx[::-1], 1.0])[:3]
        index = reread.TransformPhysicalPointToIndex([float(value) for value in world])
        assert volume.array[zyx] == reread[index]


def oblique(path: Path, degrees: float, axis: int, hu: NDArray[np.generic] | None = None) -> Path:
    ras = RAS_TO_LPS @ turned(degrees, axis) @ np.diag([0.7, 0.8, 2.5, 1.0])
    return write_nifti(path, (chest_hu() if hu is None else hu).T, ras)


def sheared(path: Path, shear: float) -> Path:
    """A scan each of whose slices lies `shear` of the slice spacing further back than the last."""
    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    affine[1, 2] = 2.5 * shear
    if path.suffix == ".nii":
        return write_nifti(path, chest_hu().T, RAS_TO_LPS @ affine)
    lines = "space: left-posterior-superior\nspace origin: (0,0,0)\nencoding: raw\nendian: little\n"
    steps = " ".join(f"({x},{y},{z})" for x, y, z in affine[:3, :3].T)
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nsizes: 64 64 8\n{lines}space directions: {steps}\n"
    )
    path.write_bytes(f"{header}\n".encode() + chest_hu().astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_off_the_patients_axes_is_read_with_a_warning(tmp_path: Path, axis: int) -> None:
    volume = read_ct(oblique(tmp_path / "scan.nii", -17, axis))
    assert volume.warnings == (OFF.format(17),)
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_slightly_off_the_patients_axes_is_read_without_a_word(
    tmp_path: Path, axis: int
) -> None:
    assert read_ct(oblique(tmp_path / "scan.nii", 9.5, axis)).warnings == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [30.5, 45.0, 59.0])
def test_a_scan_far_off_the_patients_axes_is_refused(
    tmp_path: Path, axis: int, degrees: float
) -> None:
    off = min(degrees, 90 - degrees)
    path = oblique(tmp_path / "scan.nii", degrees, axis, chest_hu(40, 40))
    with pytest.raises(
        ScanError,
        match=rf"^scan\.nii: lies {off:.1f} degrees off the patient's axes; expected at most 30\.",
    ):
        read_ct(path)


def test_a_mask_off_the_patients_axes_is_warned_about_and_refused_as_its_scan(
    tmp_path: Path,
) -> None:
    inside = (chest_hu() < -500).astype(np.uint8)
    mask = read_mask(oblique(tmp_path / "near.nii", 17, 2, inside))
    assert mask.warnings == (OFF.format(17),)
    with pytest.raises(ScanError, match=r"lies 40\.0 degrees off the patient's axes"):
        read_mask(oblique(tmp_path / "far.nii", 40, 2, inside))


def test_the_widest_of_the_three_angles_counts() -> None:
    affine = turned(12, 0) @ turned(20, 2) @ np.diag([0.7, 0.8, 2.5, 1.0])
    assert degrees_off_axes(affine) == pytest.approx(23.2, abs=0.1)
    assert degrees_off_axes(np.diag([0.7, 0.8, 2.5, 1.0])) == 0


@pytest.mark.parametrize("name", ["scan.nii", "scan.nrrd"])
def test_a_sheared_grid_is_refused(tmp_path: Path, name: str) -> None:
    told = rf"^{name}: the voxel axes in the header are 11\.3 degrees off a right angle"
    with pytest.raises(ScanError, match=told):
        read_ct(sheared(tmp_path / name, 0.2))


@pytest.mark.parametrize("name", ["scan.nii", "scan.nrrd"])
def test_the_rounding_of_a_header_is_no_shear(tmp_path: Path, name: str) -> None:
    volume = read_ct(sheared(tmp_path / name, 0.004))
    assert np.array_equal(volume.array, chest_hu())
    assert volume.warnings == ()


@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd"])
def test_a_sheared_metaimage_is_refused(tmp_path: Path, name: str) -> None:
    image = sitk.GetImageFromArray(chest_hu())
    slant = np.radians(5)
    image.SetDirection((1, np.sin(slant), 0, 0, np.cos(slant), 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / name))
    with pytest.raises(ScanError, match=r"5\.0 degrees off a right angle"):
        read_ct(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".mha"])
def test_slices_too_small_once_upright_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    small = chest_hu(4, 64)[:, :31]
    if suffix == ".nii":
        oblique(path, 0, 0, small)
    else:
        write_mhd(path, small, (0.7, 0.8, 2.5))
    told = "upright, it has 4 axial slices of 64 x 31 pixels; expected axial slices of at least 32"
    with pytest.raises(ScanError, match=rf"^scan\{suffix}: {told} x 32 pixels"):
        read_ct(path)


def test_a_single_sagittal_slice_in_nifti_is_refused(tmp_path: Path) -> None:
    ras = np.array([[0, 0, 2.0, 0], [-2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    path = write_nifti(tmp_path / "scan.nii", chest_hu(1).T, ras)
    told = "64 axial slices of 1 x 64 pixels; expected axial slices of at least 32 x 32 pixels"
    with pytest.raises(ScanError, match=told):
        read_ct(path)


def test_small_slices_without_a_place_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", chest_hu(4, 64)[:, :, :20].T)
    with pytest.raises(ScanError, match="4 axial slices of 20 x 64 pixels; expected"):
        read_ct(path)


def test_few_slices_are_counted_upright(tmp_path: Path) -> None:
    ras = np.array([[-2.0, 0, 0, 0], [0, 0, -2.0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    coronal = chest_hu(2).transpose(1, 0, 2)
    volume = read_ct(write_nifti(tmp_path / "scan.nii", coronal.T, ras))
    assert np.array_equal(volume.array, chest_hu(2))
    assert volume.warnings == ("only 2 slices",)
