"""What is packed or linked to do harm is refused by name, and the other scans are answered."""

from __future__ import annotations

import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from covidssl.errors import ScanError
from covidssl.files import read_csv
from covidssl.io import find_scans, read_scan
from covidssl.manifest import read_manifest
from covidssl.maps import write_maps
from tests.dicom_files import deflate_bomb, recode
from tests.maps.made_maps import chest, said_of, untaught
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, write_dicom, write_png
from tests.security.traps import (
    BOMB_BYTES,
    huge_png,
    leading_out_zip,
    lying_zip,
    overlapping_zip,
    write_links_out,
    write_outside,
)
from tests.security.verbs import ran

_OPENED: list[str] | None = None


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _OPENED is not None and isinstance(arguments[0], (str, bytes)):
        path = arguments[0]
        _OPENED.append(path if isinstance(path, str) else path.decode(errors="replace"))


sys.addaudithook(_note_opening)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """All paths that Python opens in the block."""
    global _OPENED
    opened: list[str] = []
    _OPENED = opened
    try:
        yield opened
    finally:
        _OPENED = None


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_lies_about_its_size_does_not_fill_the_memory(
    tmp_path: Path, method: int
) -> None:
    archive = lying_zip(tmp_path / "x.zip", method)
    assert archive.stat().st_size < BOMB_BYTES / 500
    tracemalloc.start()
    try:
        (scan,) = find_scans([archive]).scans
        with pytest.raises(ScanError):
            read_scan(scan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < BOMB_BYTES / 8


def test_members_that_lie_over_each_other_are_taken_for_a_trap(tmp_path: Path) -> None:
    archive = overlapping_zip(tmp_path / "x.zip")
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
    # By its own table of contents each member shrank by no more than CT may.
    assert sum(one.file_size for one in infos) < 200 * sum(one.compress_size for one in infos)
    (scan,) = find_scans([archive]).scans
    assert scan.code == "zip_bomb"


def test_a_deflated_trap_does_not_fill_the_memory_when_dicom_objects_are_made(
    tmp_path: Path,
) -> None:
    made = chest()
    paths = write_dicom(tmp_path / "in", made.hu, PixelSpacing=[2.0, 2.0])
    for path in paths:
        recode(path, "deflated")
    paths[3].write_bytes(deflate_bomb(paths[3].read_bytes(), BOMB_BYTES >> 20))
    assert paths[3].stat().st_size < BOMB_BYTES / 500
    (source,) = find_scans([tmp_path / "in"]).scans
    said = said_of(read_scan(source), made.lungs, untaught())
    tracemalloc.start()
    try:
        written = write_maps(tmp_path, "it", said, source, dicom=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {"seg", "sr"} <= set(written.paths)
    assert peak < BOMB_BYTES / 2


def write_traps(clinic: Path, outside: Path) -> None:
    write_links_out(clinic, outside)
    overlapping_zip(clinic / "overlap.zip")
    lying_zip(clinic / "lie.zip", zipfile.ZIP_BZIP2)
    secret = (outside / "secret.png").read_bytes()
    for number, name in enumerate(("../../dropped.png", "/tmp/dropped.png", "a/../../dropped.png")):
        leading_out_zip(clinic / f"out{number}.zip", name, secret)
    target = str(outside / "secret.png").encode()
    leading_out_zip(clinic / "linked.zip", "scan.png", target, link=True)
    huge_png(clinic / "huge.png")
    write_png(clinic / "good.png", chest_grey())


@pytest.mark.parametrize("verb", ["predict", "prepare"])
def test_a_clinic_full_of_traps_is_worked_through(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    outside, clinic, out = write_outside(tmp_path / "outside"), tmp_path / "clinic", tmp_path / "o"
    write_traps(clinic, outside)
    model = [write_untrained_model(tmp_path / "model")] if verb == "predict" else []
    before = sorted(tmp_path.rglob("*"))
    with opened_files() as opened:
        done = ran(out, capfd, verb, *model, clinic, "--out", out)
    assert done.code == (1 if verb == "predict" else 0), done.said
    if verb == "predict":
        table = read_csv(out / "predictions.csv")
        good = [row["scan"] for row in table if row["outcome"] in ("ok", "warned")]
    else:
        good = [row.scan for row in read_manifest(out) if row.status in ("ok", "warned")]
    assert good == ["good.png"]
    assert any("good.png" in path for path in opened)
    assert not [path for path in opened if "secret" in path]
    new = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    beside = [path for path in new if not path.is_relative_to(out)]
    assert {path.name for path in beside} <= {"o.ids-key"}
    assert not Path("/tmp/dropped.png").exists()
    assert not (tmp_path / "dropped.png").exists()


def test_each_trap_has_its_own_reason(tmp_path: Path) -> None:
    outside, clinic = write_outside(tmp_path / "outside"), tmp_path / "clinic"
    write_traps(clinic, outside)
    found = find_scans([clinic])
    codes, told = {}, []
    for scan in found.scans:
        try:
            read_scan(scan)
            codes[scan.name] = "read"
        except ScanError as refusal:
            codes[scan.name] = refusal.code
            told.append(str(refusal))
    assert not [text for text in told if str(outside) in text]
    assert codes == {
        "0.mhd": "outside_folder",
        "0.nhdr": "outside_folder",
        "1.mhd": "outside_folder",
        "1.nhdr": "outside_folder",
        "good.png": "read",
        "huge.png": "too_big",
        "index.dcm": "no_dicom",
        "lie.zip/scan.nii": "unreadable",
        "linked.mhd": "outside_folder",
        "linked.zip/scan.png": "unreadable",
        "out0.zip": "zip_path",
        "out1.zip": "zip_path",
        "out2.zip": "zip_path",
        "overlap.zip": "zip_bomb",
    }
    assert found.ignored["(link out of the folder)"] >= 4
