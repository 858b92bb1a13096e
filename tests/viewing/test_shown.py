"""What the viewer gets: voxels and geometry, nobody's name, and maps that belong to the scan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidssl.errors import ScanError, UsageError
from covidssl.io import read_ct, write_volume
from covidssl.viewing import pages_of, shown_map, shown_scan
from covidssl.viewing.shown import for_the_viewer
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_nifti, write_png
from tests.viewing.scans import SPOT, write_map, write_scan


def test_a_scan_is_given_upright_in_hu_where_it_lies(tmp_path: Path) -> None:
    ct = shown_scan(write_scan(tmp_path / "scan")).ct
    image = nibabel.Nifti1Image.from_bytes(for_the_viewer(ct, "scan").nifti)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, chest_hu(14, 48))
    np.testing.assert_allclose(image.affine[:3, 3], [20, 30, 0])
    np.testing.assert_allclose(image.header.get_zooms(), [0.7, 0.8, 2.5], rtol=1e-6)


def test_nothing_of_the_header_comes_along(tmp_path: Path) -> None:
    told = {"PatientName": "Doe^Jane", "PatientID": "MRN-4711", "StudyDate": "20200317"}
    looked = shown_scan(write_scan(tmp_path / "scan", **told))
    nifti = for_the_viewer(looked.ct, "scan").nifti
    assert not [value for value in told.values() if value.encode() in nifti]
    files = pages_of(looked, [], b"")
    for value in (*told.values(), "Doe", "Jane", "4711"):
        assert not [name for name, file in files.items() if value.encode() in file.content], value


def test_what_the_reader_doubted_stands_on_the_page(tmp_path: Path) -> None:
    grey = chest_hu(14, 48).clip(0, 255).astype(np.uint8)
    looked = shown_scan(lps_nifti(tmp_path / "scan.nii", grey, 1.0))
    page = pages_of(looked, [], b"")[""].content.decode()
    assert "8-bit volume: taken as windowed grey values, not HU" in page
    assert "resampled, or the size is not known" in page
    assert "mediastinum" not in page


def test_a_picture_is_shown_though_it_says_no_place(tmp_path: Path) -> None:
    ct = shown_scan(write_png(tmp_path / "slice.png", chest_grey(48))).ct
    image = nibabel.Nifti1Image.from_bytes(for_the_viewer(ct, "slice").nifti)
    assert image.shape == (48, 48, 1)
    assert image.header["sform_code"] == 1


def test_a_map_in_another_orientation_is_turned_like_the_scan(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    image = nibabel.Nifti1Image.from_filename(write_map(scan, tmp_path / "map.nii"))
    turned = image.as_reoriented(nibabel.orientations.axcodes2ornt(("S", "R", "A")))
    assert turned.shape != image.shape
    write_nifti(tmp_path / "turned.nii", np.asarray(turned.dataobj), turned.affine)
    found = shown_map(tmp_path / "turned.nii", shown_scan(scan).ct)
    assert found.array[SPOT].min() > 0
    assert np.count_nonzero(found.array) == found.array[SPOT].size


def test_a_map_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    other = lps_nifti(tmp_path / "other.nii", np.zeros((14, 64, 48), np.float32))
    with pytest.raises(ScanError, match=r"other\.nii: .*48 x 64 x 14.*48 x 48 x 14"):
        shown_map(other, shown_scan(scan).ct)


def moved(ct: Volume, path: Path, voxels: float) -> Path:
    """A map of the scan that lies some voxels beside it."""
    assert ct.affine is not None
    affine = ct.affine.copy()
    affine[2, 3] += 2.5 * voxels
    array = np.zeros(ct.array.shape, np.float32)
    write_volume(replace(ct, array=array, pixels=None, affine=affine), path)
    return path


@pytest.mark.parametrize("voxels", [0.2, 2.0])
def test_a_map_of_the_same_size_that_lies_elsewhere_is_refused(
    tmp_path: Path, voxels: float
) -> None:
    ct = read_ct(write_scan(tmp_path / "scan"))
    with pytest.raises(
        ScanError, match=rf"moved\.nii: lies up to {voxels:.1f} voxels beside the scan"
    ):
        shown_map(moved(ct, tmp_path / "moved.nii", voxels), ct)


def test_a_map_beside_the_scan_by_what_a_header_rounds_off_is_shown(tmp_path: Path) -> None:
    ct = read_ct(write_scan(tmp_path / "scan"))
    assert shown_map(moved(ct, tmp_path / "near.nii", 0.02), ct).affine is ct.affine


@pytest.mark.parametrize("silent", ["map", "scan"])
def test_where_one_of_two_does_not_say_how_it_lies_the_map_is_refused(
    tmp_path: Path, silent: str
) -> None:
    # Columns run to the patient's right in the one that says so: taken as they are, sides swap.
    placed = np.diag([1.5, 1.5, 2.5, 1.0])
    affines = {"scan": placed, "map": placed, silent: None}
    scan = write_nifti(tmp_path / "scan.nii", chest_hu(14, 48).T, affines["scan"])
    ones = np.ones((48, 48, 14), np.float32)
    overlay = write_nifti(tmp_path / "map.nii", ones, affines["map"])
    with pytest.raises(ScanError, match=f"map.nii: the .* says how it lies .* the {silent} does"):
        shown_map(overlay, shown_scan(scan).ct)


def test_where_neither_says_how_it_lies_the_page_says_so_of_both(tmp_path: Path) -> None:
    scan = write_nifti(tmp_path / "scan.nii", chest_hu(14, 48).T)
    overlay = write_nifti(tmp_path / "lesions.nii", np.ones((48, 48, 14), np.float32))
    looked = shown_scan(scan)
    maps = [("lesions.nii", shown_map(overlay, looked.ct))]
    page = pages_of(looked, maps, b"")[""].content.decode()
    assert page.count("the header gives no orientation") == 2
    assert "lesions.nii: the header gives no orientation" in page


def test_a_picture_of_a_map_is_refused(tmp_path: Path) -> None:
    ct = shown_scan(write_png(tmp_path / "slice.png", chest_grey(48))).ct
    evidence = write_png(tmp_path / "evidence.png", np.full((48, 48), 128, np.uint8))
    with pytest.raises(ScanError, match=r"evidence\.png: a map is a NIfTI file.*'covidssl report'"):
        shown_map(evidence, ct)


def test_voxels_that_say_no_place_keep_their_lengths(tmp_path: Path) -> None:
    ct = read_ct(write_scan(tmp_path / "scan"))
    shown = for_the_viewer(replace(ct, affine=None, spacing_mm=(5.0, 0.8, 0.7)), "scan")
    image = nibabel.Nifti1Image.from_bytes(shown.nifti)
    np.testing.assert_allclose(image.header.get_zooms(), [0.7, 0.8, 5.0], rtol=1e-6)


def test_maps_of_both_signs_get_a_pair_of_colours_and_no_colour_twice(tmp_path: Path) -> None:
    looked = shown_scan(write_scan(tmp_path / "scan"))
    lesions, evidence = (np.zeros(looked.ct.array.shape, np.float32) for _ in range(2))
    lesions[SPOT], evidence[SPOT] = 0.5, -0.8
    maps = [
        (name, replace(looked.ct, array=array, pixels=None))
        for name, array in (("lesions", lesions), ("evidence", evidence))
    ]
    files = pages_of(looked, maps, b"")
    told = json.loads(files["settings.json"].content)["volumes"][1:]
    assert [(one["colormap"], one["below"]) for one in told] == [("green", ""), ("warm", "winter")]
    assert [one["high"] for one in told] == pytest.approx([0.5, 0.8])
    assert told[1]["low"] == pytest.approx(0.04)
    page = files[""].content.decode()
    assert "0 to 0.5<" in page
    assert "-0.8 to 0.8, nothing between -0.04 and 0.04<" in page


def test_of_several_scans_one_must_be_named(tmp_path: Path) -> None:
    for name in ("one.nii", "two.nii"):
        lps_nifti(tmp_path / "scans" / name, chest_hu(14, 48))
    with pytest.raises(UsageError, match=r"holds 2 scans.*--series: one\.nii, two\.nii"):
        shown_scan(tmp_path / "scans")
    assert shown_scan(tmp_path / "scans", "two.nii").ct.source == "two.nii"
    with pytest.raises(UsageError, match=r"no scan called 'three'"):
        shown_scan(tmp_path / "scans", "three")
