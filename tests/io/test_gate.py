from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

HU = chest_hu().astype(np.float32)


def test_hu_are_clipped_to_what_ct_holds(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[0, 0, :4] = (-3024, -2000, 3071, 3600)
    volume = read_ct(lps_nifti(tmp_path / "scan.nii", hu))
    assert volume.array.dtype == np.int16
    assert volume.array[0, 0, :4].tolist() == [-1024, -1024, 3071, 3071]


def test_a_constant_outside_the_field_of_view_is_fine(tmp_path: Path) -> None:
    hu = chest_hu()
    hu[:, :10] = -3024
    assert read_ct(lps_nifti(tmp_path / "scan.nii", hu)).array.min() == -1024


def with_nan() -> NDArray[np.generic]:
    hu = HU.copy()
    hu[0, 0, 0] = np.nan
    return hu


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (with_nan(), "of the voxels are NaN or infinite"),
        (HU * 20, "Scaled wrongly"),
        (np.where(HU > -500, 30000, HU), "are above 4000 HU"),
        (HU * 4 + 900, "are below -1200 HU"),
        ((HU + 1024).clip(0, 1800) / 1800, r"normalised to 0\.\.1"),
        ((HU + 1024).clip(0, 2000).astype(np.int16), "offset of 1024"),
        ((HU > -500).astype(np.int16), "holds only the values 0, 1: a mask"),
        (np.full(HU.shape, -1000, np.int16), "holds only the value -1000"),
        (np.where(HU < -500, -150, HU).astype(np.int16), r"only 0\.00% of the voxels are air"),
        (HU.astype(np.complex64), "of type complex64"),
    ],
)  # fmt: skip
def test_values_that_are_no_hu_are_refused(
    tmp_path: Path, values: NDArray[np.generic], told: str
) -> None:
    with pytest.raises(ScanError, match=rf"^scan\.nii\.gz: .*{told}"):
        read_ct(lps_nifti(tmp_path / "scan.nii.gz", values))


def test_hu_are_not_read_as_grey_values(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"said to be windowed grey values, which are 0\.\.255"):
        read_ct(lps_nifti(tmp_path / "scan.nii", chest_hu()), Pixels.WINDOWED)


def test_a_picture_is_never_hu(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="a picture holds windowed grey values"):
        read_ct(write_png(tmp_path / "x.png", chest_grey()), Pixels.HU)
