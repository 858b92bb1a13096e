"""A tilted gantry: sheared to where its pixels lie, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.io.series_cases import LONG, LOWEST, read, refused
from tests.scan_files import change_dicom, write_dicom


def ramp(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU that linear interpolation gives exactly: (..., 3) mm -> HU."""
    return -300 + world @ np.array([3.0, 7.0, 4.0])


def write_tilted(folder: Path, degrees: float, slices: int = 30, edge: int = 48) -> None:
    """A series of `ramp` with its gantry tilted; the table moves along z."""
    angle = np.radians(degrees)
    way = (1.0, 0.0, 0.0, 0.0, np.cos(angle), -np.sin(angle))
    paths = write_dicom(folder, np.zeros((slices, edge, edge), np.int16), orientation=way)
    y, x = np.mgrid[:edge, :edge][..., np.newaxis] * 1.0
    for index, path in enumerate(paths):
        corner = np.array([-20.0, -30.0, 2.5 * index])
        world = corner + x * 0.7 * np.array(way[:3]) + y * 0.8 * np.array(way[3:])
        stored = np.rint(ramp(world)).astype(np.int16) + 1024
        change_dicom(path, ImagePositionPatient=list(corner), PixelData=stored.tobytes())


@pytest.mark.parametrize("degrees", [-9.0, 4.0, 21.5])
def test_a_tilted_gantry_is_sheared_to_where_its_pixels_lie(tmp_path: Path, degrees: float) -> None:
    write_tilted(tmp_path / "case", degrees)
    volume = read(tmp_path / "case")
    assert volume.repairs == (
        f"gantry tilt of {abs(degrees):.1f} degrees taken out, slice by slice",
    )
    assert volume.affine is not None
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    z, y, x = np.indices(volume.array.shape)
    world = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ volume.affine.T
    off = np.abs(volume.array - ramp(world[..., :3]))
    # What no slice covers is air; at a slice's rim a pixel mixes with air.
    covered = np.zeros(volume.array.shape, bool)
    inside = volume.array != LOWEST
    covered[:, 1:-1] = inside[:, 1:-1] & inside[:, :-2] & inside[:, 2:]
    assert off[covered].max() <= 1.01
    assert covered.sum() > 0.9 * 30 * 46 * 48
    assert (inside.sum(axis=(1, 2)) >= 47 * 48).all()


def test_a_tilted_series_with_a_missing_slice_is_mended_in_both(tmp_path: Path) -> None:
    write_tilted(tmp_path / "case", 10.0)
    (tmp_path / "case" / "slice015.dcm").unlink()
    volume = read(tmp_path / "case")
    assert [told.split(" of ")[0] for told in volume.repairs] == [
        "1 missing slice interpolated between z = 35 and 40 mm", "gantry tilt",
    ]  # fmt: skip
    whole = tmp_path / "whole"
    write_tilted(whole, 10.0)
    reference = read(whole)
    assert volume.array.shape == reference.array.shape
    inside = (reference.array[14:17] != LOWEST).all(axis=0)
    inside[1:-1] &= inside[:-2] & inside[2:]
    assert np.abs(volume.array[15] - reference.array[15])[inside][200:-200].max() <= 1


def test_slices_moved_within_their_plane_are_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for index in range(15, 25):
        change_dicom(paths[index], ImagePositionPatient=[-20, -22, 2.5 * index])
    code, told = refused(tmp_path / "case")
    assert code == "shifted_slices"
    assert "by up to 8.0 mm" in told


@pytest.mark.parametrize("degrees", [31.0, 35.0, -45.0])
def test_a_gantry_tilted_by_more_than_30_degrees_is_refused_as_that(
    tmp_path: Path, degrees: float
) -> None:
    write_tilted(tmp_path / "case", degrees, 6)
    code, told = refused(tmp_path / "case")
    assert code == "gantry_tilt"
    assert f"the gantry was tilted by {abs(degrees):.1f} degrees" in told


def test_a_gantry_tilted_by_29_degrees_is_mended(tmp_path: Path) -> None:
    write_tilted(tmp_path / "case", 29.0, 12)
    assert read(tmp_path / "case").repairs[0].startswith("gantry tilt of 29.0 degrees")
