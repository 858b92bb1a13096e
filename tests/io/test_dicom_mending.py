"""What is wrong with a series: the verdict's code, and with the policy `repair` what is mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, find_scans, read_scan
from covidssl.volume import Volume
from tests.dicom_files import recode, write_enhanced
from tests.scan_files import change_dicom, chest_hu, write_dicom

LONG = chest_hu(40, 40)
LOWEST, SPACING = -1024, (2.5, 0.8, 0.7)


def read(folder: Path, policy: Policy = Policy.REPAIR) -> Volume:
    (scan,) = find_scans([folder]).scans
    return read_scan(replace(scan, name=folder.name), Reading(policy=policy))


def refused(folder: Path, policy: Policy = Policy.REPAIR) -> tuple[str, str]:
    with pytest.raises(ScanError) as refusal:
        read(folder, policy)
    return refusal.value.code, str(refusal.value)


def halfway(first: NDArray[np.int16], second: NDArray[np.int16]) -> NDArray[np.int16]:
    between = (first.astype(np.float32) + second.astype(np.float32)) / 2
    return np.rint(between).astype(np.int16)


def drop(paths: Sequence[Path], lost: Sequence[int]) -> None:
    for index in lost:
        paths[index].unlink()


def localisers(paths: list[Path]) -> None:
    change_dicom(paths[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def coronal(paths: list[Path]) -> None:
    change_dicom(paths[3], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])


def smaller(paths: list[Path]) -> None:
    change_dicom(paths[39], Rows=36, PixelData=bytes(36 * 40 * 2))


def finer(paths: list[Path]) -> None:
    change_dicom(paths[39], PixelSpacing=[0.4, 0.4])


def cut(paths: list[Path]) -> None:
    paths[39].write_bytes(paths[39].read_bytes()[:-900])


def gap(paths: list[Path]) -> None:
    drop(paths, [20])


def twice(paths: list[Path]) -> None:
    file = pydicom.dcmread(paths[5])
    file.save_as(paths[5].with_name("again.dcm"))


def jittered(paths: list[Path]) -> None:
    change_dicom(paths[20], ImagePositionPatient=[-20, -30, 50.6])


def tilted(paths: list[Path]) -> None:
    for index, path in enumerate(paths):
        change_dicom(path, ImagePositionPatient=[-20, -30 + 0.5 * index, 2.5 * index])


DEFECTS: dict[str, Callable[[list[Path]], None]] = {
    "localiser": localisers,
    "mixed_orientations": coronal,
    "mixed_sizes": smaller,
    "mixed_spacings": finer,
    "truncated": cut,
    "missing_slices": gap,
    "duplicate_slices": twice,
    "uneven_spacing": jittered,
    "gantry_tilt": tilted,
}


@pytest.mark.parametrize("policy", [Policy.SKIP, Policy.STRICT])
@pytest.mark.parametrize("code", DEFECTS)
def test_a_defect_is_refused_by_its_code_where_nothing_may_be_mended(
    tmp_path: Path, code: str, policy: Policy
) -> None:
    DEFECTS[code](write_dicom(tmp_path / "case", LONG))
    found, told = refused(tmp_path / "case", policy)
    assert found == code
    assert told.startswith("case: ")


@pytest.mark.parametrize(("code", "told"), [
    ("localiser", "left out 1 of 40 images that are localisers"),
    ("mixed_orientations", "left out 1 of 40 slices in another orientation"),
    ("mixed_sizes", "left out 1 of 40 slices of another size"),
    ("mixed_spacings", "left out 1 of 40 slices of another pixel spacing"),
    ("truncated", "left out 1 of 40 slices whose files are truncated or damaged"),
    ("missing_slices", "1 missing slice interpolated between z = 47.5 and 52.5 mm"),
    ("duplicate_slices", "left out 1 slice that was there twice, the first at z = 12.5 mm"),
    ("uneven_spacing", "resampled to an even spacing of 2.5 mm, from 1.9 to 3.1 mm"),
    ("gantry_tilt", "gantry tilt of 11.3 degrees taken out, slice by slice"),
])  # fmt: skip
def test_a_defect_is_mended_and_said_where_it_may_be(tmp_path: Path, code: str, told: str) -> None:
    DEFECTS[code](write_dicom(tmp_path / "case", LONG))
    volume = read(tmp_path / "case")
    assert volume.repairs[0].startswith(told)
    assert volume.array.dtype == np.int16
    assert volume.spacing_mm == pytest.approx(SPACING)


def test_a_whole_series_is_read_without_a_repair(tmp_path: Path) -> None:
    write_dicom(tmp_path / "case", LONG)
    volume = read(tmp_path / "case")
    assert np.array_equal(volume.array, LONG)
    assert volume.repairs == ()


def test_missing_slices_are_interpolated_and_nothing_else_changes(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    drop(paths, [11, 12])
    volume = read(tmp_path / "case")
    told = "2 missing slices interpolated between z = 25 and 32.5 mm"
    assert volume.repairs == (told,)
    rest = [index for index in range(40) if index not in (11, 12)]
    assert np.array_equal(volume.array[rest], LONG[rest])
    step = (LONG[13].astype(np.float64) - LONG[10]) / 3
    assert np.abs(volume.array[11] - (LONG[10] + step)).max() <= 0.51
    assert np.abs(volume.array[12] - (LONG[10] + 2 * step)).max() <= 0.51
    assert volume.affine is not None
    assert np.allclose(volume.affine @ [0, 0, 39, 1], [-20, -30, 97.5, 1])


@pytest.mark.parametrize("lost", [[10, 11, 12], [4, 14, 24]])
def test_three_missing_in_a_row_or_too_many_in_all_are_not_made_up(
    tmp_path: Path, lost: list[int]
) -> None:
    drop(write_dicom(tmp_path / "case", LONG), lost)
    code, told = refused(tmp_path / "case")
    assert code == "missing_slices"
    assert "3 slices are missing" in told
    assert "Too much to interpolate: at most 2 slices in a row and 5% of all" in told


def test_a_truncated_slice_inside_is_interpolated_and_one_at_the_end_is_left_out(
    tmp_path: Path,
) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:10])
    for index in (0, 4, 9):
        paths[index].write_bytes(paths[index].read_bytes()[:-2000])
    volume = read(tmp_path / "case")
    assert volume.repairs == (
        "left out 3 of 10 slices whose files are truncated or damaged",
        "1 missing slice interpolated between z = 7.5 and 12.5 mm",
    )
    assert len(volume.array) == 8
    assert np.array_equal(volume.array[3], halfway(LONG[3], LONG[5]))
    assert np.array_equal(volume.array[[0, 7]], LONG[[1, 8]])
    assert volume.affine is not None
    assert volume.affine[2, 3] == pytest.approx(2.5)


def test_three_truncated_slices_inside_a_short_series_are_not_made_up(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:10])
    for index in (2, 4, 6):
        paths[index].write_bytes(paths[index].read_bytes()[:-2000])
    assert refused(tmp_path / "case")[0] == "missing_slices"


@pytest.mark.parametrize("syntax", ["JPEG-LS", "RLE", "JPEG 2000"])
def test_a_compressed_slice_that_does_not_decode_is_mended_as_a_truncated_one(
    tmp_path: Path, syntax: str
) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:10])
    for path in paths:
        recode(path, syntax)
    paths[4].write_bytes(paths[4].read_bytes()[:-1500])
    assert refused(tmp_path / "case", Policy.SKIP)[1].startswith("case (slice004.dcm)")
    volume = read(tmp_path / "case")
    assert volume.repairs[0] == "left out 1 of 10 slices whose files are truncated or damaged"
    assert np.array_equal(volume.array[4], halfway(LONG[3], LONG[5]))
    assert np.array_equal(volume.array[5:], LONG[5:10])


def test_what_was_left_out_is_said_of_a_single_slice_too(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:2])
    change_dicom(paths[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume = read(tmp_path / "case")
    assert volume.repairs == ("left out 1 of 2 images that are localisers",)
    assert volume.warnings == ("only 1 slice",)
    assert np.array_equal(volume.array, LONG[1:2])


def test_doubled_slices_with_equal_pixels_count_once(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for index in (5, 6, 39):
        pydicom.dcmread(paths[index]).save_as(tmp_path / "case" / f"again{index}.dcm")
    volume = read(tmp_path / "case")
    assert np.array_equal(volume.array, LONG)
    assert volume.repairs == ("left out 3 slices that were there twice, the first at z = 12.5 mm",)


def test_doubled_slices_with_other_pixels_are_refused(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    file = pydicom.dcmread(paths[5])
    file.PixelData = LONG[6].astype("<i2").tobytes()
    file.save_as(tmp_path / "case" / "again.dcm")
    assert refused(tmp_path / "case")[0] == "duplicate_slices"


@pytest.mark.parametrize(("tag", "name"), [
    ("AcquisitionNumber", "acquisition number"),
    ("TemporalPositionIdentifier", "temporal position"),
])  # fmt: skip
def test_two_acquisitions_in_one_series_are_told_apart(tmp_path: Path, tag: str, name: str) -> None:
    for number, path in enumerate(write_dicom(tmp_path / "case", LONG[:12], z_mm=[
        2.5 * (index % 6) for index in range(12)
    ])):  # fmt: skip
        change_dicom(path, **{tag: 1 + number // 6})
    code, told = refused(tmp_path / "case")
    assert code == "duplicate_slices"
    assert f"They fall apart by {name} into 2 stacks (6 + 6 slices)" in told


def test_uneven_slices_are_resampled_along_their_normal(tmp_path: Path) -> None:
    places = [2.5 * index for index in range(40)]
    places[20] += 0.75
    write_dicom(tmp_path / "case", LONG, z_mm=places)
    volume = read(tmp_path / "case")
    assert len(volume.array) == 40
    assert np.array_equal(volume.array[:20], LONG[:20])
    assert np.array_equal(volume.array[21:], LONG[21:])
    # 2.5 of the 3.25 mm from slice 19 to slice 20.
    mixed = LONG[19] + (LONG[20].astype(np.float64) - LONG[19]) * 2.5 / 3.25
    assert np.abs(volume.array[20] - mixed).max() <= 0.51


def test_two_far_stacks_in_one_series_are_not_bridged(tmp_path: Path) -> None:
    places = [2.5 * index + 41.3 * (index >= 20) for index in range(40)]
    write_dicom(tmp_path / "case", LONG, z_mm=places)
    assert refused(tmp_path / "case")[0] == "uneven_spacing"


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


def test_of_mixed_orientations_only_an_axial_majority_is_kept(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG)
    for path in paths[:20]:
        change_dicom(path, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert refused(tmp_path / "case")[0] == "mixed_orientations"
    for path in paths[15:20]:
        change_dicom(path, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    volume = read(tmp_path / "case")
    assert volume.repairs == ("left out 15 of 40 slices in another orientation",)
    assert np.array_equal(volume.array, LONG[15:])


def test_a_size_that_one_in_five_slices_has_is_not_left_out(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path / "case", LONG)[::5]:
        change_dicom(path, Rows=36, PixelData=bytes(36 * 40 * 2))
    assert refused(tmp_path / "case")[0] == "mixed_sizes"


@pytest.mark.parametrize(("tags", "code"), [
    ({"Modality": "MR"}, "not_ct"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
    ({"ImageType": ["LOCALIZER"]}, "localiser"),
    ({"ImagePositionPatient": None}, "no_position"),
    ({"PixelSpacing": None}, "no_spacing"),
    ({"PixelSpacing": [0.0, 0.7]}, "damaged_header"),
    ({"RescaleSlope": 0}, "damaged_header"),
    ({"NumberOfFrames": 2}, "no_position"),
    ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "damaged_header"),
])  # fmt: skip
def test_what_cannot_be_mended_is_refused_under_repair_too(
    tmp_path: Path, tags: dict[str, object], code: str
) -> None:
    write_dicom(tmp_path / "case", LONG[:6], **tags)
    assert refused(tmp_path / "case")[0] == code


def test_an_8_bit_secondary_capture_is_refused_unless_said_to_be_grey(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:6], RescaleIntercept=0)
    grey = np.rint(np.clip((LONG[:6] + 1000.0) / 1400, 0, 1) * 255).astype(np.uint8)
    for path, plane in zip(paths, grey, strict=True):
        change_dicom(
            path, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
            PixelData=plane.tobytes(),
        )  # fmt: skip
    code, told = refused(tmp_path / "case")
    assert code == "eight_bit"
    assert "8 bits a pixel: a secondary capture" in told
    (scan,) = find_scans([tmp_path / "case"]).scans
    assert np.array_equal(read_scan(scan, Reading(pixels=Pixels.WINDOWED)).array, grey)


def test_a_defect_within_a_multi_frame_file_is_mended_alike(tmp_path: Path) -> None:
    order = [index for index in range(40) if index != 17]
    write_enhanced(tmp_path / "case" / "all.dcm", LONG, order=order, NumberOfFrames=39)
    assert refused(tmp_path / "case", Policy.SKIP)[0] == "missing_slices"
    volume = read(tmp_path / "case")
    assert volume.repairs == ("1 missing slice interpolated between z = 40 and 45 mm",)
    assert np.array_equal(volume.array[17], halfway(LONG[16], LONG[18]))


@pytest.mark.realdata
@pytest.mark.parametrize("case", ["LIDC-IDRI-0001", "LIDC-IDRI-0003"])
def test_a_real_slab_with_a_truncated_slice_is_mended_near_the_lost_one(
    real_data: Path, tmp_path: Path, case: str
) -> None:
    whole = read(real_data / "lidc-slabs" / case)
    for path in (real_data / "lidc-slabs" / case).rglob("*.dcm"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    paths = sorted(
        tmp_path.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2]
    )
    paths[5].write_bytes(paths[5].read_bytes()[:-100_000])
    volume = read(tmp_path)
    assert "1 missing slice interpolated" in volume.repairs[1]
    rest = [index for index in range(len(whole.array)) if index != 5]
    assert np.array_equal(volume.array[rest], whole.array[rest])
    assert np.array_equal(volume.array[5], halfway(whole.array[4], whole.array[6]))
    lost = np.abs(volume.array[5].astype(int) - whole.array[5])
    assert np.median(lost) < 30
