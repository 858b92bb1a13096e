"""What is deflated is inflated within bounds, however its header lies about itself."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from covidssl.errors import ScanError
from covidssl.io import Reading, choose_series, find_scans, read_scan
from covidssl.io.opening import DEFLATED, open_dicom
from covidssl.pseudonyms import Pseudonyms
from tests.dicom_files import deflate_bomb, recode
from tests.scan_files import chest_hu, write_dicom

HU = chest_hu(4, 64)
BOMB_MIB = 1500
MOST_MIB = 200


def short_length(content: bytes) -> bytes:
    return content[:140] + struct.pack("<I", 4) + content[144:]


def long_header(content: bytes) -> bytes:
    filler = struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, 2**17) + bytes(2**17)
    return content[:144] + filler + content[144:]


LIES: dict[str, Callable[[bytes], bytes]] = {
    "a good header": lambda content: content,
    "a header that says it is shorter": short_length,
    "a header of 128 KiB": long_header,
    "no preamble": lambda content: content[132:],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_deflate_bomb_takes_no_more_memory_than_its_slices_need(tmp_path: Path, lie: str) -> None:
    for path in write_dicom(tmp_path / "case", HU):
        recode(path, "deflated")
        path.write_bytes(LIES[lie](deflate_bomb(path.read_bytes(), BOMB_MIB)))
    tracemalloc.start()
    try:
        (scan,) = choose_series(find_scans([tmp_path / "case"]).scans).scans
        volume = read_scan(scan, Reading(ids=Pseudonyms(bytes(32))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(volume.array, HU)
    assert peak < MOST_MIB * 2**20


def test_a_bomb_beside_a_series_does_not_go_off_in_the_choice(tmp_path: Path) -> None:
    tags: dict[str, object] = {"StudyInstanceUID": "1.2.3", "PatientID": "p"}
    write_dicom(tmp_path / "case", chest_hu(24, 40), names="a{:03d}.dcm", **tags)
    for path in write_dicom(tmp_path / "case", HU, names="b{}.dcm", **tags):
        recode(path, "deflated")
        path.write_bytes(deflate_bomb(path.read_bytes(), BOMB_MIB))
    tracemalloc.start()
    try:
        choice = choose_series(find_scans([tmp_path / "case"]).scans)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [scan.paths[0].name for scan in choice.scans] == ["a000.dcm"]
    assert peak < MOST_MIB * 2**20


def test_pixels_that_would_only_come_after_a_bomb_are_not_waited_for(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path / "case", HU):
        file = pydicom.dcmread(path)
        file.add_new(0x00291010, "OB", bytes(200 * 2**20))
        file.save_as(path)
        recode(path, "deflated")
        break
    (scan,) = find_scans([path]).scans
    with pytest.raises(ScanError) as refusal:
        read_scan(scan)
    assert refusal.value.code == "truncated"


def test_a_header_of_a_million_empty_items_is_refused_and_not_built(tmp_path: Path) -> None:
    (path,) = write_dicom(tmp_path / "case", HU[:1])
    recode(path, "deflated")
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 10**6
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack("<HH2sHI", 0x0009, 0x1011, b"SQ", 0, 2**32 - 1) + items + end
    path.write_bytes(deflate_bomb(path.read_bytes(), 0, sequence))
    tracemalloc.start()
    try:
        (scan,) = find_scans([tmp_path / "case"]).scans
        with pytest.raises(ScanError):
            read_scan(scan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MIB * 2**20


def test_a_deflated_file_is_opened_as_the_plain_one_and_keeps_its_transfer_syntax(
    tmp_path: Path,
) -> None:
    (path,) = write_dicom(tmp_path / "case", HU[:1])
    plain = pydicom.dcmread(path)
    recode(path, "deflated")
    opened = open_dicom(path, ["Rows", "PixelData"], 2**20, pixels=True).dataset
    assert opened.file_meta.TransferSyntaxUID == DEFLATED
    assert (opened.Rows, opened.PixelData) == (plain.Rows, plain.PixelData)


def test_a_deflated_file_that_ends_early_is_refused_as_truncated(tmp_path: Path) -> None:
    paths = write_dicom(tmp_path / "case", HU)
    for path in paths:
        recode(path, "deflated")
    paths[2].write_bytes(paths[2].read_bytes()[:-1000])
    (scan,) = find_scans([tmp_path / "case"]).scans
    with pytest.raises(ScanError, match=r"^case \(slice002\.dcm\)") as refusal:
        read_scan(scan)
    assert refusal.value.code == "truncated"
