"""What is wrong with a series: the verdict's code, and with the policy `repair` what is mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from covidssl.io import Policy
from tests.dicom_files import recode, write_enhanced
from tests.io.series_cases import LONG, SPACING, drop, halfway, read, refused
from tests.scan_files import change_dicom, chest_hu, write_dicom


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
    paths = write_dicom(tmp_path / "case", LONG)
    for index in (0, 4, 39):
        paths[index].write_bytes(paths[index].read_bytes()[:-2000])
    volume = read(tmp_path / "case")
    assert volume.repairs == (
        "left out 3 of 40 slices whose files are truncated or damaged",
        "1 missing slice interpolated between z = 7.5 and 12.5 mm",
    )
    assert len(volume.array) == 38
    assert np.array_equal(volume.array[3], halfway(LONG[3], LONG[5]))
    assert np.array_equal(volume.array[[0, 37]], LONG[[1, 38]])
    assert volume.affine is not None
    assert volume.affine[2, 3] == pytest.approx(2.5)


def test_three_truncated_slices_inside_a_short_series_are_not_made_up(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", LONG[:30])
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


def test_a_slice_made_up_among_uneven_ones_is_counted_and_said(tmp_path: Path) -> None:
    places = [2.5 * index for index in range(60)]
    places[10] += 0.4
    del places[30]
    write_dicom(tmp_path / "case", chest_hu(59, 40), z_mm=places)
    (told,) = read(tmp_path / "case").repairs
    assert told == (
        "resampled to an even spacing of 2.5 mm, from 2.1 to 5 mm, uneven in 3 places, with 1 "
        "missing slice interpolated"
    )


def test_too_many_missing_slices_are_not_made_up_by_resampling_either(tmp_path: Path) -> None:
    places = [2.5 * index for index in range(44)]
    places[5] += 0.4
    for index in (41, 40, 31, 30):
        del places[index]
    write_dicom(tmp_path / "case", LONG, z_mm=places)
    assert refused(tmp_path / "case")[0] == "uneven_spacing"


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
