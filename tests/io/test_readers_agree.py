"""Ours against SimpleITK and nibabel: each voxel's value and its place in the world."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, write_volume
from covidssl.volume import Volume
from tests.scan_files import chest_hu

SPACING_XYZ = (0.7, 0.8, 2.5)
ORIGIN = (-123.25, 45.5, -678.125)
SUFFIXES = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"]
HU = chest_hu(36, 40, seed=3)[:, :36]

GRIDS: dict[str, tuple[tuple[float, float, float], tuple[int, int, int]]] = {
    "straight": ((0, 0, 0), (1, 1, 1)),
    "feet first": ((0, 0, 0), (1, 1, -1)),
    "mirrored": ((0, 0, 0), (-1, 1, 1)),
    "turned about the head": ((0, 0, 180), (1, 1, 1)),
    "coronal": ((90, 0, 0), (1, 1, 1)),
    "sagittal": ((0, 90, 0), (1, -1, 1)),
    "oblique": ((12, -7, 5), (1, 1, 1)),
    "oblique and flipped": ((-9, 14, 20), (-1, 1, -1)),
    "oblique coronal": ((80, 6, -8), (1, -1, 1)),
}


def direction(grid: str) -> NDArray[np.float64]:
    """The directions of the voxel axes x, y, z in LPS, as columns."""
    degrees, signs = GRIDS[grid]
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned * np.array(signs)


def written(path: Path, grid: str) -> Path:
    """`HU` on a grid, in a file that SimpleITK wrote."""
    image = sitk.GetImageFromArray(HU)
    image.SetSpacing(SPACING_XYZ)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction(grid).reshape(-1).tolist())
    sitk.WriteImage(image, str(path))
    return path


def some_voxels(volume: Volume, count: int = 60) -> list[tuple[tuple[int, ...], list[float]]]:
    """Indices (z, y, x) into a volume, and where they lie in LPS, mm."""
    assert volume.affine is not None
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        zyx = tuple(int(rng.integers(edge)) for edge in volume.array.shape)
        found.append((zyx, (volume.affine @ [*zyx[::-1], 1.0])[:3].tolist()))
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("grid", GRIDS)
def test_simpleitk_finds_the_same_values_at_the_same_places(
    tmp_path: Path, grid: str, suffix: str
) -> None:
    path = written(tmp_path / f"scan{suffix}", grid)
    volume, reference = read_ct(path), sitk.ReadImage(str(path))
    for zyx, place in some_voxels(volume):
        index = reference.TransformPhysicalPointToIndex(place)
        assert volume.array[zyx] == reference[index]
        assert np.allclose(reference.TransformIndexToPhysicalPoint(index), place, atol=0.01)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_nibabel_finds_the_same_values_at_the_same_places(
    tmp_path: Path, grid: str, suffix: str
) -> None:
    path = written(tmp_path / f"scan{suffix}", grid)
    volume, reference = read_ct(path), nibabel.load(path)
    values = np.asarray(reference.dataobj)
    for zyx, (left, back, head) in some_voxels(volume):
        ijk = np.linalg.inv(reference.affine) @ [-left, -back, head, 1.0]
        assert np.allclose(ijk, np.rint(ijk), atol=0.01)
        assert volume.array[zyx] == values[tuple(np.rint(ijk[:3]).astype(int))]


@pytest.mark.parametrize("grid", GRIDS)
def test_all_formats_give_one_volume(tmp_path: Path, grid: str) -> None:
    first, *others = (read_ct(written(tmp_path / f"scan{suffix}", grid)) for suffix in SUFFIXES)
    for other in others:
        assert np.array_equal(other.array, first.array)
        assert other.affine is not None
        assert np.allclose(other.affine, first.affine, atol=1e-3)
        assert other.spacing_mm == pytest.approx(first.spacing_mm, abs=1e-5)
        assert other.warnings == first.warnings


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("grid", GRIDS)
def test_written_and_read_again_a_scan_is_itself(tmp_path: Path, grid: str, suffix: str) -> None:
    volume = read_ct(written(tmp_path / "given.nrrd", grid))
    write_volume(volume, tmp_path / f"scan{suffix}")
    again = read_ct(tmp_path / f"scan{suffix}")
    assert np.array_equal(again.array, volume.array)
    assert (again.array.dtype, again.pixels) == (np.int16, Pixels.HU)
    # A NIfTI header holds float32.
    assert np.allclose(again.affine, volume.affine, rtol=1e-6, atol=1e-4)
    assert again.spacing_mm == pytest.approx(volume.spacing_mm, rel=1e-6)
    assert again.warnings == volume.warnings
    reference = sitk.ReadImage(str(tmp_path / f"scan{suffix}"))
    for zyx, place in some_voxels(volume, 20):
        assert again.array[zyx] == reference[reference.TransformPhysicalPointToIndex(place)]


@pytest.mark.parametrize(
    ("stored", "scale"),
    [
        *product([np.int16, np.int32, np.float32, np.float64], [(1.0, 0.0)]),
        *product([np.int16, np.uint16, np.float32], [(0.5, -1024.0), (2.0, -1024.0)]),
    ],
)
def test_scaled_values_are_those_of_the_independent_readers(
    tmp_path: Path, stored: type, scale: tuple[float, float]
) -> None:
    slope, intercept = scale
    values = np.rint((HU.astype(np.float64) - intercept) / slope)
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(values.astype(stored).T, np.diag([-0.7, -0.8, 2.5, 1])), path)
    header = bytearray(path.read_bytes())
    header[112:120] = np.array(scale, "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(header)
    ours = read_ct(path).array
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.array_equal(ours, np.rint(theirs).astype(np.int16))
    assert np.array_equal(ours, np.rint(nibabel.load(path).get_fdata().T).astype(np.int16))


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr"])
def test_an_nrrd_in_other_words_for_space_lies_where_simpleitk_says(
    tmp_path: Path, name: str
) -> None:
    path = written(tmp_path / name, "oblique")
    header = path.read_bytes()
    header = header.replace(b"left-posterior-superior", b"right-anterior-superior")
    path.write_bytes(header)
    volume, reference = read_ct(path), sitk.ReadImage(str(path))
    for zyx, place in some_voxels(volume):
        assert volume.array[zyx] == reference[reference.TransformPhysicalPointToIndex(place)]


def test_an_nrrd_without_a_space_is_taken_as_upright_with_a_warning(tmp_path: Path) -> None:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 40 36 36\nspacings: 0.7 0.8 2.5\n"
        "encoding: raw\nendian: little\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + HU.astype("<i2").tobytes())
    volume = read_ct(tmp_path / "scan.nrrd")
    assert volume.affine is None
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.warnings == ("the header gives no orientation: taken as lying upright (LPS)",)
    assert np.array_equal(volume.array, HU)
