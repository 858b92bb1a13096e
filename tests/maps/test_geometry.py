"""A map lies exactly over its scan, however the scan's file lies, by other libraries' reading."""

from __future__ import annotations

import zipfile
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from covidssl.io import find_scans, read_scan
from covidssl.maps import write_maps
from tests.maps.made_maps import Chest, Mask, chest, said_of, untaught
from tests.scan_files import chest_grey, write_dicom, write_nifti, write_png

CODES = [
    "".join(letters)
    for axes in permutations(("LR", "AP", "IS"))
    for letters in product(*axes)
]  # fmt: skip
MODEL = untaught()
Affine = NDArray[np.float64]


def lying(chest: Chest, code: str, affine: Affine) -> tuple[NDArray[np.int16], Mask, Affine]:
    """The chest and its ball (x, y, z) as a file in that orientation has them, by nibabel."""
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(code)))
    hu, ball = (
        nibabel.Nifti1Image(of.T.astype(np.int16), affine).as_reoriented(turn)
        for of in (chest.hu, chest.ball)
    )
    return np.asarray(hu.dataobj), np.asarray(ball.dataobj) > 0, hu.affine


def ras(spacing: tuple[float, float, float] = (2.0, 2.0, 4.0), degrees: float = 0.0) -> Affine:
    """The affine of an upright scan of such voxels (x, y, z), turned about an oblique axis."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, -0.48, 0.64]))
    affine[:3, :3] = turn.as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (12.5, -7.25, 3.0)
    return affine


def maps_for(path: Path, lungs: Mask, out: Path, dicom: bool = False) -> dict[str, Path]:
    """The written maps of the one scan at `path`, whose upright lungs are known."""
    source = find_scans([path]).scans[0]
    said = said_of(read_scan(source), lungs, MODEL)
    files = write_maps(out, "it", said, source, dicom).paths
    return {kind: out / name for kind, name in files.items()}


def loaded(path: Path) -> Any:
    """A NIfTI file, by nibabel."""
    return nibabel.load(path)


def overlap(hot: Mask, ball: Mask) -> float:
    """Dice of the voxels that the map lights up and those of the ball."""
    return float(2 * (hot & ball).sum() / (hot.sum() + ball.sum()))


@pytest.mark.parametrize("code", CODES)
def test_a_ball_lands_on_its_own_voxels_in_every_orientation(code: str, tmp_path: Path) -> None:
    made = chest()
    hu, ball, affine = lying(made, code, ras())
    scan = write_nifti(tmp_path / "scan.nii.gz", hu, affine)
    image = loaded(maps_for(scan, made.lungs, tmp_path)["lesion_map"])
    assert image.shape == hu.shape
    assert np.array_equal(image.affine, loaded(scan).affine)
    assert overlap(image.get_fdata() > 0.2, ball) > 0.75


@settings(max_examples=12, deadline=None)
@given(
    code=st.sampled_from(CODES),
    edges=st.tuples(st.floats(1.6, 2.6), st.floats(1.6, 2.6), st.floats(2.5, 6.0)),
    degrees=st.floats(-9.0, 9.0),
)
def test_a_ball_lands_right_on_oblique_and_uneven_grids(
    tmp_path_factory: pytest.TempPathFactory,
    code: str,
    edges: tuple[float, float, float],
    degrees: float,
) -> None:
    made, folder = chest(radius=7.0), tmp_path_factory.mktemp("oblique")
    hu, ball, affine = lying(made, code, ras(edges, degrees))
    scan = write_nifti(folder / "scan.nii", hu, affine)
    written = maps_for(scan, made.lungs, folder)["lesion_map"]
    ours, its = (sitk.ReadImage(str(path)) for path in (written, scan))
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(ours, of)() == getattr(its, of)()
    values = sitk.GetArrayFromImage(ours)
    assert overlap(values > 0.2, ball.T) > 0.6


def test_the_map_of_a_nifti_keeps_both_forms_and_names_nobody(tmp_path: Path) -> None:
    made = chest()
    image: Any = nibabel.Nifti1Image(made.hu.T, None)
    image.set_sform(ras(), code=4)
    image.set_qform(ras((2.0, 2.0, 4.0), degrees=2.0), code=2)
    image.header["descrip"] = b"Jane Doe"
    image.header["db_name"] = b"Jane"
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "scan.nii")
    written = maps_for(tmp_path / "scan.nii", made.lungs, tmp_path / "out")["evidence_map"]
    header, own = (loaded(path).header for path in (written, tmp_path / "scan.nii"))
    for of in ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "srow_x"):
        assert np.array_equal(header[of], own[of])
    assert b"Jane" not in header.binaryblock


def test_a_nifti_without_forms_gets_maps_without_forms(tmp_path: Path) -> None:
    made, scan = chest(), tmp_path / "scan.nii"
    source: Any = nibabel.Nifti1Image(made.hu.T, None)
    source.header.set_zooms((2.0, 2.0, 4.0))
    for form in (source.set_qform, source.set_sform):
        form(None, code=0)
    nibabel.save(source, scan)
    image = loaded(maps_for(scan, made.lungs, tmp_path)["lesion_map"])
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 0
    assert np.array_equal(image.affine, loaded(scan).affine)
    assert overlap(image.get_fdata() > 0.2, made.ball.T) > 0.75


def test_a_map_lies_over_a_metaimage_with_directions(tmp_path: Path) -> None:
    made = chest()
    image = sitk.GetImageFromArray(made.hu[:, ::-1])
    image.SetSpacing((2.0, 2.0, 4.0))
    image.SetOrigin((-5.0, 60.0, 7.0))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    read = sitk.ReadImage(str(maps_for(tmp_path / "scan.mhd", made.lungs, tmp_path)["lesion_map"]))
    assert np.allclose(read.GetOrigin(), image.GetOrigin(), atol=1e-4)
    assert np.allclose(read.GetDirection(), image.GetDirection(), atol=1e-6)
    assert overlap(sitk.GetArrayFromImage(read) > 0.2, made.ball[:, ::-1]) > 0.75


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_map_of_a_dicom_series_lies_where_its_slices_do(
    down: bool, zipped: bool, tmp_path: Path
) -> None:
    """Names in another order than the slices, and slices counted from head or feet."""
    made = chest()
    order = np.arange(len(made.hu))[:: -1 if down else 1]
    scan = tmp_path / "series"
    z_mm = [3.0 * k for k in order]
    paths = write_dicom(scan, made.hu[order], z_mm, PixelSpacing=[2.0, 1.8])
    for k, path in enumerate(paths):
        path.rename(path.with_name(f"{(7 * k) % len(paths):03d}-{k}.dcm"))
    if zipped:
        scan = tmp_path / "series.zip"
        with zipfile.ZipFile(scan, "w") as archive:
            for path in (tmp_path / "series").iterdir():
                archive.write(path, path.name)
    read = sitk.ReadImage(str(maps_for(scan, made.lungs, tmp_path / "out")["lesion_map"]))
    hot = np.argwhere(sitk.GetArrayFromImage(read) > 0.2)[:, ::-1].astype(float)
    found = np.mean([read.TransformContinuousIndexToPhysicalPoint(one) for one in hot], axis=0)
    z, y, x = np.argwhere(made.ball).mean(axis=0)
    assert found == pytest.approx((-20 + 1.8 * x, -30 + 2.0 * y, 3.0 * z), abs=0.8)


def test_a_zipped_nifti_keeps_its_geometry(tmp_path: Path) -> None:
    made = chest()
    hu, ball, affine = lying(made, "PSR", ras())
    scan = write_nifti(tmp_path / "scan.nii.gz", hu, affine)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(scan, "a/scan.nii.gz")
    written = maps_for(tmp_path / "in.zip", made.lungs, tmp_path / "out")["lesion_map"]
    image = loaded(written)
    assert np.array_equal(image.affine, loaded(scan).affine)
    assert overlap(image.get_fdata() > 0.2, ball) > 0.75


def test_a_picture_gets_pictures_of_its_size(tmp_path: Path) -> None:
    scan = write_png(tmp_path / "slice.png", chest_grey(64))
    source = find_scans([scan]).scans[0]
    model = untaught()
    frame = model.card.frame.model_copy(update={"pixels": "windowed"})
    model = type(model)(
        model.card.model_copy(update={"frame": frame}), model.classifier, model.restoration
    )
    said = said_of(read_scan(source), chest().lungs[:1], model)
    files = write_maps(tmp_path, "it", said, source).paths
    assert set(files) == {"lesion_map", "evidence_map"}
    assert said.maps is not None
    with Image.open(tmp_path / files["evidence_map"]) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (64, 64))
        slope, intercept = (float(picture.info[key]) for key in ("slope", "intercept"))
        values = np.asarray(picture) * slope + intercept
    # The mean over the box, times the pixels of a frame, is what the slice adds to the logit.
    box = said.maps.box
    mean = values[box.top : box.bottom, box.left : box.right].mean()
    assert mean * 32**2 == pytest.approx(float(said.maps.evidence.sum()), rel=0.1, abs=0.05)
    for of in (values[: box.top], values[box.bottom :]):
        assert not of.any()
