from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, write_volume
from covidssl.io.orient import upright
from covidssl.volume import Volume
from tests.scan_files import chest_hu, write_mhd, write_nifti

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


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


@pytest.mark.parametrize("degrees", [0.0, 20.0, 80.0, 100.0, 170.0, 200.0, 300.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affine_is_nibabels_with_x_and_y_negated(tmp_path: Path, degrees: float, axis: int) -> None:
    hu = chest_hu(6, 40)
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
    assert (again.pixels, again.source, again.warnings) == (Pixels.HU, f"scan{suffix}", ())


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
