from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import ScanError
from covidssl.io import ScanFiles, archive, find_scans, read_ct, read_mask, read_scan
from covidssl.io.archive import on_disk
from covidssl.pseudonyms import Pseudonyms
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_dicom, write_mhd, write_png


def packed(folder: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A `.zip` of all files in a folder."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", compression) as into:
        for path in sorted(folder.rglob("*")):
            into.write(path, path.relative_to(folder))
    return archive


def every_format(folder: Path) -> Path:
    write_dicom(folder / "case", chest_hu(4), names="IM{:03d}")
    write_dicom(folder / "named", chest_hu(3))
    lps_nifti(folder / "inner" / "scan.nii.gz", chest_hu())
    write_mhd(folder / "a" / "scan.mhd", chest_hu(), (0.7, 0.8, 2.5))
    write_mhd(folder / "scan.nrrd", chest_hu(), (0.7, 0.8, 2.5))
    write_png(folder / "slice.png", chest_grey())
    return folder


def only(archive: Path) -> ScanFiles:
    (scan,) = find_scans([archive]).scans
    return scan


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_what_is_in_a_zip_reads_as_if_it_were_unpacked(tmp_path: Path, compression: int) -> None:
    loose = every_format(tmp_path / "loose")
    packed(loose, tmp_path / "given" / "x.zip", compression)
    unpacked = {scan.name: scan for scan in find_scans([loose]).scans}
    found = find_scans([tmp_path / "given"])
    assert found.ignored == {}
    assert [scan.name for scan in found.scans] == [f"x.zip/{name}" for name in unpacked]
    for scan in found.scans:
        reference = read_scan(unpacked[scan.name.removeprefix("x.zip/")])
        volume = read_scan(scan)
        assert np.array_equal(volume.array, reference.array)
        assert volume.spacing_mm == reference.spacing_mm
        assert volume.source == scan.name


def test_a_zip_with_one_scan_is_read_by_its_own_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "loose", chest_hu(4))
    archive = packed(tmp_path / "loose", tmp_path / "case.zip")
    assert only(archive).name == "case.zip"
    assert np.array_equal(read_ct(archive).array, chest_hu(4))


def test_a_mask_may_be_in_a_zip(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "loose" / "m.nii.gz", (chest_hu() < -500).astype(np.uint8))
    mask = read_mask(packed(tmp_path / "loose", tmp_path / "m.zip"))
    assert np.array_equal(mask.array, chest_hu() < -500)


def test_only_the_scans_own_members_are_unpacked_and_they_are_gone_afterwards(
    tmp_path: Path,
) -> None:
    archive = packed(every_format(tmp_path / "loose"), tmp_path / "x.zip")
    scans = {scan.name: scan for scan in find_scans([archive]).scans}
    with on_disk(scans["x.zip/a/scan.mhd"]) as there:
        assert [path.name for path in there.paths] == ["scan.mhd", "scan.raw"]
        (folder,) = {path.parent.parent for path in there.paths}
        assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["scan.mhd", "scan.raw"]
        assert there.archive is None
    assert not folder.exists()


def test_a_scan_on_disk_is_left_where_it_is(tmp_path: Path) -> None:
    scan = only(lps_nifti(tmp_path / "scan.nii", chest_hu()))
    with on_disk(scan) as there:
        assert there is scan


def test_two_series_in_one_folder_of_a_zip_share_it(tmp_path: Path) -> None:
    write_dicom(tmp_path / "loose" / "case", chest_hu(3), names="b{}.dcm")
    write_dicom(tmp_path / "loose" / "case", chest_hu(4), names="a{}.dcm")
    scans = find_scans([packed(tmp_path / "loose", tmp_path / "x.zip")]).scans
    assert [(scan.name, scan.folder) for scan in scans] == [
        ("x.zip/case#1", "x.zip/case"),
        ("x.zip/case#2", "x.zip/case"),
    ]


@pytest.mark.parametrize("name", ["./a/b.nii", "a\\b.nii", "a//b.nii", "a/./b.nii"])
def test_other_ways_to_write_a_path_are_understood(tmp_path: Path, name: str) -> None:
    path = lps_nifti(tmp_path / "scan.nii", chest_hu())
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as into:
        into.writestr(zipfile.ZipInfo(name), path.read_bytes())
    scan = only(tmp_path / "x.zip")
    assert scan.name == "x.zip/a/b.nii"
    assert np.array_equal(read_scan(scan).array, chest_hu())


def test_the_stamp_follows_the_contents_and_not_the_time(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "a" / "scan.nii", chest_hu(seed=1))
    lps_nifti(tmp_path / "b" / "scan.nii", chest_hu(seed=2))
    archive = packed(tmp_path / "a", tmp_path / "x.zip")
    first = only(archive).stamp()
    os.utime(archive, (1, 1))
    assert only(archive).stamp() == first
    packed(tmp_path / "b", archive)
    assert only(archive).stamp() != first


def test_the_stamp_of_a_zip_that_is_gone_is_another_one(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "a" / "scan.nii", chest_hu())
    scan = only(packed(tmp_path / "a", tmp_path / "x.zip"))
    stamp = scan.stamp()
    (tmp_path / "x.zip").unlink()
    assert scan.stamp() != stamp


def test_hidden_files_in_a_zip_are_passed_over_and_others_counted(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    write_png(loose / "x.png", chest_grey())
    for junk in (".DS_Store", "__MACOSX/._x.png", "Thumbs.db", ".git/z.png"):
        (loose / junk).parent.mkdir(exist_ok=True)
        (loose / junk).write_bytes(b"junk")
    (loose / "notes.txt").write_text("notes")
    found = find_scans([packed(loose, tmp_path / "x.zip")])
    assert [scan.name for scan in found.scans] == ["x.zip/x.png"]
    assert found.ignored == {".txt": 1}


def refused(archive: Path, code: str) -> str:
    """The reason why a zip, or what is in it, cannot be read."""
    scan = only(archive)
    assert (scan.format, scan.code) == ("unreadable", code)
    with pytest.raises(ScanError) as refusal:
        read_scan(scan)
    assert refusal.value.code == code
    assert str(refusal.value).startswith(f"{scan.name}: ")
    return str(refusal.value)


@pytest.mark.parametrize(
    "name",
    ["../out.png", "/out.png", "a/../../out.png", "C:\\out.png", "C:out.png", "a:b.png",
     "in/C:out.png", "a\nb.png"],
)  # fmt: skip
def test_paths_that_lead_out_of_a_zip_are_refused(tmp_path: Path, name: str) -> None:
    picture = write_png(tmp_path / "x.png", chest_grey())
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as into:
        into.writestr(zipfile.ZipInfo(name), picture.read_bytes())
    assert "absolute or lead out by '..'" in refused(tmp_path / "x.zip", "zip_path")


@pytest.mark.parametrize("other", ["a/x.png", "a\\x.png", "./a/x.png", "a//x.png"])
def test_two_files_under_one_path_are_refused_and_none_of_them_is_taken(
    tmp_path: Path, other: str
) -> None:
    with (
        warnings.catch_warnings(action="ignore"),  # Python warns where the names are alike
        zipfile.ZipFile(tmp_path / "x.zip", "w") as into,
    ):
        for seed, name in enumerate(("a/x.png", other)):
            picture = write_png(tmp_path / "x.png", chest_grey(seed=seed))
            into.writestr(zipfile.ZipInfo(name), picture.read_bytes())
    assert "1 of its files have the path of another one" in refused(tmp_path / "x.zip", "zip_path")


def test_a_time_in_a_name_is_no_drive(tmp_path: Path) -> None:
    picture = write_png(tmp_path / "x.png", chest_grey())
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as into:
        into.writestr("at 12:30/x.png", picture.read_bytes())
    assert read_scan(only(tmp_path / "x.zip")).array.shape == (1, 64, 64)


def test_a_zip_of_too_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_MOST_MEMBERS", 3)
    for number in range(4):
        with zipfile.ZipFile(tmp_path / "x.zip", "a") as into:
            into.writestr(f"{number}.png", b"x")
        codes = {scan.code for scan in find_scans([tmp_path / "x.zip"]).scans}
        assert ("zip_bomb" in codes) is (number == 3)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "loose" / "x.png", chest_grey())
    archive = packed(tmp_path / "loose", tmp_path / "x.zip")
    content = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(mark) + flags] |= 1
    archive.write_bytes(content)
    assert "1 of its 1 files are encrypted" in refused(archive, "zip_encrypted")


def test_a_zip_in_a_zip_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    write_png(tmp_path / "inner" / "y.png", chest_grey())
    packed(tmp_path / "inner", tmp_path / "loose" / "inner.zip")
    write_png(tmp_path / "loose" / "x.png", chest_grey())
    nested, picture = find_scans([packed(tmp_path / "loose", tmp_path / "x.zip")]).scans
    assert (nested.name, nested.code) == ("x.zip/inner.zip", "zip_nested")
    assert read_scan(picture).array.shape == (1, 64, 64)


def test_a_zip_that_would_unpack_to_far_more_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as into:
        for number in range(3):
            into.writestr(f"{number}.raw", bytes(100 << 20))
    told = refused(tmp_path / "x.zip", "zip_bomb")
    assert "times its size (0.3 GiB); CT shrinks by 10 at most, and above 200" in told


def test_a_zip_that_claims_more_than_any_disk_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as into:
        for number in range(20):
            into.writestr(f"{number}.raw", b"x")
    content = bytearray(archive.read_bytes())
    at = content.find(b"PK\1\2")
    while at >= 0:
        content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
        at = content.find(b"PK\1\2", at + 1)
    archive.write_bytes(content)
    assert "at most 1000000 files of 64 GiB are read" in refused(archive, "zip_bomb")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: float) -> None:
    lps_nifti(tmp_path / "loose" / "scan.nii", chest_hu())
    archive = packed(tmp_path / "loose", tmp_path / "x.zip")
    archive.write_bytes(archive.read_bytes()[: int(keep * archive.stat().st_size)])
    assert "no .zip file that can be read" in refused(archive, "zip_damaged")


def test_a_damaged_member_is_refused_when_it_is_read(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "loose" / "scan.nii", chest_hu())
    archive = packed(tmp_path / "loose", tmp_path / "x.zip", zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[1000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ScanError, match=r"^x\.zip/scan\.nii \(scan\.nii\): could not be unp") as it:
        read_scan(only(archive))
    assert it.value.code == "zip_damaged"
    assert str(tmp_path) not in str(it.value)


def test_an_empty_zip_and_a_text_file_called_zip_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "b.zip").write_text("no zip")
    first, second = find_scans([tmp_path]).scans
    assert (first.name, first.code) == ("a.zip", "empty_file")
    assert (second.name, second.code) == ("b.zip", "zip_damaged")


def test_voxels_outside_the_folder_of_their_header_are_refused(tmp_path: Path) -> None:
    path = write_mhd(tmp_path / "loose" / "in" / "scan.mhd", chest_hu(), (1, 1, 1))
    (path.parent / "scan.raw").rename(tmp_path / "loose" / "scan.raw")
    path.write_text(path.read_text().replace("scan.raw", "../scan.raw"))
    assert "from outside its own folder" in refused(tmp_path / "loose", "outside_folder")
    (tmp_path / "loose" / "scan.raw").unlink()
    archive = packed(tmp_path / "loose", tmp_path / "x.zip")
    assert "from outside its own folder" in refused(archive, "outside_folder")


def test_names_of_members_stay_out_of_messages_where_they_are_hidden(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "loose" / "SMITH-JOHN.nii", chest_hu())
    archive = packed(tmp_path / "loose", tmp_path / "x.zip", zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[1000] ^= 0xFF
    archive.write_bytes(content)
    (scan,) = find_scans([archive], Pseudonyms(bytes(32))).scans
    with pytest.raises(ScanError, match=r"\(file 1\): could not be unpacked") as refusal:
        read_scan(scan)
    assert "SMITH" not in str(refusal.value)
