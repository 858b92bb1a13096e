"""What the viewer gets: voxels and geometry, nobody's name, and maps that belong to the scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from covidssl.errors import ScanError, UsageError
from covidssl.io import read_ct, write_volume
from covidssl.viewing import pages_of, shown_map, shown_scan
from covidssl.viewing.shown import for_the_viewer
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_nifti, write_png
from tests.viewing.scans import SPOT, write_map, write_scan


def test_a_scan_is_given_upright_in_hu_where_it_lies(tmp_path: Path) -> None:
    ct = shown_scan(write_scan(tmp_path / "scan"))
    image = nibabel.Nifti1Image.from_bytes(for_the_viewer(ct, "scan").nifti)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, chest_hu(14, 48))
    np.testing.assert_allclose(image.affine[:3, 3], [20, 30, 0])
    np.testing.assert_allclose(image.header.get_zooms(), [0.7, 0.8, 2.5], rtol=1e-6)


def test_nothing_of_the_header_comes_along(tmp_path: Path) -> None:
    told = {"PatientName": "Doe^Jane", "PatientID": "MRN-4711", "StudyDate": "20200317"}
    ct = shown_scan(write_scan(tmp_path / "scan", **told))
    nifti = for_the_viewer(ct, "scan").nifti
    assert not [value for value in told.values() if value.encode() in nifti]
    files = pages_of(ct, [], b"")
    for value in (*told.values(), "Doe", "Jane", "4711"):
        assert not [name for name, file in files.items() if value.encode() in file.content], value


def test_what_the_reader_doubted_stands_on_the_page(tmp_path: Path) -> None:
    grey = chest_hu(14, 48).clip(0, 255).astype(np.uint8)
    ct = shown_scan(lps_nifti(tmp_path / "scan.nii", grey, 1.0))
    page = pages_of(ct, [], b"")[""].content.decode()
    assert "8-bit volume: taken as windowed grey values, not HU" in page
    assert "resampled, or the size is not known" in page
    assert "mediastinum" not in page


def test_a_picture_is_shown_though_it_says_no_place(tmp_path: Path) -> None:
    ct = shown_scan(write_png(tmp_path / "slice.png", chest_grey(48)))
    image = nibabel.Nifti1Image.from_bytes(for_the_viewer(ct, "slice").nifti)
    assert image.shape == (48, 48, 1)
    assert image.header["sform_code"] == 1


def test_a_map_in_another_orientation_is_turned_like_the_scan(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    image = nibabel.Nifti1Image.from_filename(write_map(scan, tmp_path / "map.nii"))
    turned = image.as_reoriented(nibabel.orientations.axcodes2ornt(("S", "R", "A")))
    assert turned.shape != image.shape
    write_nifti(tmp_path / "turned.nii", np.asarray(turned.dataobj), turned.affine)
    found = shown_map(tmp_path / "turned.nii", shown_scan(scan))
    assert found.array[SPOT].min() > 0
    assert np.count_nonzero(found.array) == found.array[SPOT].size


def test_a_map_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    other = lps_nifti(tmp_path / "other.nii", np.zeros((14, 64, 48), np.float32))
    with pytest.raises(ScanError, match=r"other\.nii: .*48 x 64 x 14.*48 x 48 x 14"):
        shown_map(other, shown_scan(scan))


def test_a_map_of_the_same_size_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan")
    ct = read_ct(scan)
    assert ct.affine is not None
    affine = ct.affine.copy()
    affine[2, 3] += 5.0
    moved = replace(ct, array=np.zeros(ct.array.shape, np.float32), pixels=None, affine=affine)
    write_volume(moved, tmp_path / "moved.nii")
    with pytest.raises(ScanError, match=r"moved\.nii: lies up to 2\.0 voxels beside the scan"):
        shown_map(tmp_path / "moved.nii", ct)


def test_of_several_scans_one_must_be_named(tmp_path: Path) -> None:
    for name in ("one.nii", "two.nii"):
        lps_nifti(tmp_path / "scans" / name, chest_hu(14, 48))
    with pytest.raises(UsageError, match=r"holds 2 scans.*--series: one\.nii, two\.nii"):
        shown_scan(tmp_path / "scans")
    assert shown_scan(tmp_path / "scans", "two.nii").source == "two.nii"
    with pytest.raises(UsageError, match=r"no scan called 'three'"):
        shown_scan(tmp_path / "scans", "three")
