from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.errors import ScanError
from covidssl.io import read_ct
from covidssl.io.voxel_files import may_be_packed, voxel_files
from tests.scan_files import chest_hu, write_mhd

SPACING = (0.7, 0.8, 2.5)


def changed(path: Path, old: str, new: str) -> Path:
    """The header with one text put in another's place."""
    content = write_mhd(path, chest_hu(), SPACING).read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


# Some of these would bring down the library that reads the format.
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("NDims = 3", "NDims = 65536", "NDims is no number from 1 to 4"),
        ("NDims = 3", "NDims = -1", "NDims is no number from 1 to 4"),
        ("NDims = 3", "NDims = 2", "4 belong|2 belong"),
        ("DimSize = 64 64 8", "DimSize = 64 64", "2 numbers where 3 belong"),
        ("DimSize = 64 64 8", "DimSize = 64 64 99999999", "an edge of DimSize is no number"),
        ("DimSize = 64 64 8\n", "", "gives no DimSize"),
        ("Offset = -5 -6 7", "Offset = -5 x 7", "a word where a number belongs"),
        ("ElementDataFile", "Element", "does not say where the voxels are"),
        ("BinaryData = True", f"BinaryData = {'x' * 5000}", "a line of 5013 characters"),
        ("BinaryData = True", "NDims = 3", "a field that stands twice"),
    ],
)
def test_a_damaged_metaimage_header_is_refused_before_it_is_parsed(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(
        ScanError, match=rf"^scan\.mha: the header is damaged: .*({told})"
    ) as refusal:
        read_ct(changed(tmp_path / "scan.mha", old, new))
    assert refusal.value.code == "damaged_header"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("endian: little", f"endian: {'x' * 5000}", "a line of 5008 characters"),
        ("dimension: 3", "dimension: 99", "dimension is no number from 1 to 4"),
        ("dimension: 3", "dimension: 4", "3 sizes where 4 belong"),
        ("sizes: 64 64 8", "sizes: 64 64 nan", "one of the sizes is no number"),
        ("sizes: 64 64 8", "dimension: 3", "a field that stands twice"),
        ("NRRD0004", "NRRX0004", "does not begin with NRRD"),
    ],
)
def test_a_damaged_nrrd_header_is_refused_before_it_is_parsed(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ScanError, match=rf"^scan\.nrrd: the header is damaged: .*{told}") as it:
        read_ct(changed(tmp_path / "scan.nrrd", old, new))
    assert it.value.code == "damaged_header"


def test_long_comments_and_key_value_pairs_are_fine(tmp_path: Path) -> None:
    long = f"NRRD0004\n# {'x' * 3000}\nDICOM:={'y' * 3000}\nDICOM:=again"
    volume = read_ct(changed(tmp_path / "scan.nrrd", "NRRD0004", long))
    assert volume.array.shape == (8, 64, 64)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd"])
def test_another_format_under_this_name_is_refused(tmp_path: Path, name: str) -> None:
    write_mhd(tmp_path / "scan.nii", chest_hu(), SPACING).rename(tmp_path / name)
    with pytest.raises(ScanError, match="the header is damaged"):
        read_ct(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "suffix", "packed"),
    [
        ("CompressedData = True\n", ".mha", True),
        ("CompressedData = False\n", ".mha", False),
        ("BinaryData = False\n", ".mha", True),
        ("encoding: raw\n", ".nrrd", False),
        ("encoding: gzip\n", ".nrrd", True),
        ("encoding: ascii\n", ".nrrd", True),
    ],
)
def test_packed_voxels_may_be_shorter_than_they_claim(
    header: str, suffix: str, packed: bool
) -> None:
    assert may_be_packed(header, suffix) is packed


def test_a_pattern_is_no_format_to_be_run() -> None:
    header = "NDims = 3\nElementDataFile = %s%99999999d%03d.raw 1 3 1\n"
    assert voxel_files(header, ".mhd") == ("%s%99999999d%03d.raw 1 3 1",)
