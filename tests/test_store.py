from __future__ import annotations

import csv
import json
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_ct
from covidssl.lungs import segment_lungs
from covidssl.manifest import COLUMNS, read_manifest
from covidssl.preparing import StoreOptions, StoreWriter
from covidssl.store import Store, StoredSlice
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_dicom, write_png

EDGE = 96


def fill(source: Path) -> Path:
    """Three scans that can be used, one of another window, one with no lung, one broken."""
    write_dicom(source / "series", chest_hu(6, EDGE))
    lps_nifti(source / "b" / "scan.nii.gz", chest_hu(5, EDGE, seed=1))
    lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=2))
    empty = chest_hu(4, EDGE)
    empty[:, 20:-20, 12:-12] = 40
    lps_nifti(source / "nolung.nii", empty)
    (source / "broken.nii").write_bytes(b"no scan")
    return source


def prepare(
    source: Path, out: Path, options: StoreOptions | None = None, resume: bool = False
) -> Store:
    writer = StoreWriter.create(out, options, resume)
    for scan in find_scans([source]).scans:
        writer.add(scan)
    return writer.finish()


def test_every_scan_gets_a_row_and_a_verdict(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    rows = {row.scan: row for row in store.manifest}
    assert {name: row.status for name, row in rows.items()} == {
        "series": "ok",
        "b/scan.nii.gz": "ok",
        "two.nii": "warned",
        "nolung.nii": "dropped",
        "broken.nii": "failed",
    }
    assert rows["series"].verdict == ""
    assert rows["two.nii"].verdict == "only 2 slices"
    assert rows["nolung.nii"].verdict.startswith("no lung found")
    assert rows["broken.nii"].verdict.startswith("could not be read as NIfTI")
    series = rows["series"]
    assert (series.format, series.pixels) == ("dicom", "hu")
    assert (series.slices, series.height, series.width) == (6, EDGE, EDGE)
    assert (series.spacing_z_mm, series.spacing_y_mm, series.spacing_x_mm) == (2.5, 0.8, 0.7)


def test_lung_volume_is_in_millilitres(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    ct = read_ct(tmp_path / "in" / "series")
    voxels = segment_lungs(ct).mask.array.sum()
    row = next(row for row in store.manifest if row.scan == "series")
    assert row.lung_ml == pytest.approx(voxels * 2.5 * 0.8 * 0.7 / 1000, abs=0.06)


def test_a_slice_is_read_as_it_was(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    ct = read_ct(tmp_path / "in" / "series")
    lungs = segment_lungs(ct)
    slices = [stored for stored in store.slices if stored.scan == "series"]
    assert [stored.index for stored in slices] == list(range(6))
    for stored in slices:
        array, mask = store.read(stored)
        assert array.dtype == np.int16
        assert mask.dtype == np.bool_
        assert np.array_equal(array, ct.array[stored.index])
        assert np.array_equal(mask, lungs.mask.array[stored.index])
        assert stored.lung_share == pytest.approx(float(lungs.slice_share[stored.index]), abs=1e-6)
        assert stored.spacing_mm == (0.8, 0.7)


def test_the_box_holds_the_lungs_of_the_whole_scan(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    stored = next(stored for stored in store.slices if stored.scan == "series")
    seen = segment_lungs(read_ct(tmp_path / "in" / "series")).mask.array.any(axis=0)
    top, bottom, left, right = stored.box
    assert seen[top:bottom, left:right].sum() == seen.sum()
    for line in (seen[top], seen[bottom - 1], seen[:, left], seen[:, right - 1]):
        assert line.any()


def test_slices_with_little_lung_are_not_listed_but_counted(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    everything = prepare(source, tmp_path / "all", StoreOptions(min_lung_share=0.0))
    shares = sorted(stored.lung_share for stored in everything.slices)
    middle = shares[len(shares) // 2]
    store = prepare(source, tmp_path / "out", StoreOptions(min_lung_share=middle))
    assert 0 < len(store.slices) < len(everything.slices)
    assert all(stored.lung_share >= middle for stored in store.slices)
    assert store.slices_dropped == 6 + 5 + 2 + 4 - len(store.slices)


def test_prepared_twice_is_the_same_and_changed_is_not(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    first = prepare(source, tmp_path / "1")
    assert prepare(source, tmp_path / "2").fingerprint == first.fingerprint
    lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=3))
    assert prepare(source, tmp_path / "3").fingerprint != first.fingerprint


def test_the_same_voxels_have_the_same_fingerprint_in_the_manifest(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png(tmp_path / "in" / name, chest_grey(EDGE))
    write_png(tmp_path / "in" / "c.png", chest_grey(EDGE, seed=4))
    one, same, other = (
        row.fingerprint for row in prepare(tmp_path / "in", tmp_path / "o").manifest
    )
    assert one == same != other


def test_two_kinds_of_pixel_must_be_chosen_from(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    write_png(source / "x.png", chest_grey(EDGE))
    store = prepare(source, tmp_path / "out")
    with pytest.raises(DataError, match="holds hu and windowed; training needs one kind"):
        _ = store.pixels
    windowed = store.of_kind(Pixels.WINDOWED)
    assert windowed.pixels is Pixels.WINDOWED
    assert [stored.scan for stored in windowed.slices] == ["x.png"]
    assert windowed.slices[0].spacing_mm is None
    assert windowed.read(windowed.slices[0]).array.dtype == np.uint8
    assert store.of_kind(Pixels.HU).pixels is Pixels.HU


def test_a_store_travels_to_a_worker(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    before = store.read(store.slices[0])
    after = pickle.loads(pickle.dumps(store)).read(store.slices[0])
    assert np.array_equal(before.array, after.array)


def test_an_unknown_scan_is_refused(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(DataError, match="out: holds no scan 'else'"):
        store.read(replace(store.slices[0], scan="else"))


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no prepared store"):
        Store.open(tmp_path)


def test_an_unfinished_store_is_refused(tmp_path: Path) -> None:
    writer = StoreWriter.create(tmp_path / "out")
    writer.add(find_scans([fill(tmp_path / "in")]).scans[0])
    with pytest.raises(DataError, match="an unfinished store; run prepare with --resume"):
        Store.open(tmp_path / "out")


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_store_with_a_missing_or_short_file_is_refused(tmp_path: Path, harm: str) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    row = next(row for row in store.manifest if row.scan == "series")
    file = tmp_path / "out" / row.file
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"scan 'series' .* is missing or not whole"):
        Store.open(tmp_path / "out")
    again = prepare(tmp_path / "in", tmp_path / "out", resume=True)
    assert again.fingerprint == store.fingerprint


def test_a_stopped_run_goes_on_without_reading_again(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    whole = prepare(source, tmp_path / "whole")
    writer = StoreWriter.create(tmp_path / "out")
    scans = {scan.name: scan for scan in find_scans([source]).scans}
    file = tmp_path / "out" / writer.add(scans["series"]).file
    written = file.stat().st_mtime_ns
    store = prepare(source, tmp_path / "out", resume=True)
    assert file.stat().st_mtime_ns == written
    assert store.fingerprint == whole.fingerprint
    assert store.manifest == whole.manifest


def test_a_scan_that_changed_is_read_again(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    before = prepare(source, tmp_path / "out")
    path = lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=9))
    os.utime(path, ns=(1, 1))
    after = prepare(source, tmp_path / "out", resume=True)
    prints = [{row.scan: row.fingerprint for row in store.manifest} for store in (before, after)]
    assert prints[0]["two.nii"] != prints[1]["two.nii"]
    assert prints[0]["series"] == prints[1]["series"]


def test_a_half_written_file_of_a_killed_run_is_not_taken_for_whole(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    whole = prepare(source, tmp_path / "out")
    (tmp_path / "out" / "store.json").rename(tmp_path / "out" / "unfinished.json")
    for row in whole.manifest:
        if row.stored:
            file = tmp_path / "out" / row.file
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])
            (file.parent / f".{file.name}.1.part.safetensors").write_bytes(content[:50])
    again = prepare(source, tmp_path / "out", resume=True)
    assert again.fingerprint == whole.fingerprint
    assert len(list((tmp_path / "out" / "scans").iterdir())) == 3


def test_a_full_folder_is_not_written_into_unasked(tmp_path: Path) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(UsageError, match="exists and is not empty; go on with --resume"):
        StoreWriter.create(tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something that is no store"):
        StoreWriter.create(tmp_path / "other", resume=True)


def test_going_on_with_other_options_is_refused(tmp_path: Path) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(UsageError, match=r"other options: min_lung_share 0\.06 \(now 0\.2\)"):
        StoreWriter.create(tmp_path / "out", StoreOptions(min_lung_share=0.2), resume=True)


LIMITED = """
import resource, sys
from pathlib import Path
from covidssl.errors import CovidsslError
from covidssl.io import find_scans
from covidssl.preparing import StoreWriter

resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))
writer = StoreWriter.create(Path(sys.argv[2]))
try:
    for scan in find_scans([Path(sys.argv[1])]).scans:
        writer.add(scan)
except CovidsslError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_a_full_disk_leaves_nothing_half_written_and_resuming_completes(tmp_path: Path) -> None:
    source = fill(tmp_path / "in")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(source), str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert run.returncode == 1
    assert "the disk is full or the file too large" in run.stderr
    assert "Traceback" not in run.stderr
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["unfinished.json"]
    with pytest.raises(DataError, match="unfinished store"):
        Store.open(tmp_path / "out")
    store = prepare(source, tmp_path / "out", resume=True)
    assert store.fingerprint == prepare(source, tmp_path / "whole").fingerprint


def test_nothing_of_the_header_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canaries = {
        "PatientName": "CANARY^NAME", "PatientID": "CANARY-ID", "PatientBirthDate": "19010101",
        "StudyDate": "19991231", "SeriesDescription": "CANARY SERIES", "AccessionNumber": "CANARY",
        "SeriesInstanceUID": "1.2.3.99999", "StudyInstanceUID": "1.2.4.99999",
        "FrameOfReferenceUID": "1.2.5.99999", "InstitutionName": "CANARY HOSPITAL",
    }  # fmt: skip
    source = tmp_path / "in"
    write_dicom(source / "good", chest_hu(6, EDGE), **canaries)
    paths = write_dicom(source / "gap", chest_hu(6, EDGE), **canaries)
    paths[2].unlink()
    write_dicom(source / "mr", chest_hu(4, EDGE), **{**canaries, "Modality": "MR"})
    with caplog.at_level(logging.DEBUG):
        store = prepare(source, tmp_path / "out")
    assert [row.status for row in store.manifest] == ["failed", "ok", "failed"]
    written = b"".join(
        path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    for canary in ("CANARY", "99999", "19991231", "19010101", str(tmp_path)):
        assert canary.encode() not in written
        assert canary not in caplog.text


def test_the_manifest_is_a_plain_table(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    with (tmp_path / "out" / "manifest.csv").open(newline="") as lines:
        table = list(csv.reader(lines))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == 1 + len(store.manifest)
    assert read_manifest(tmp_path / "out") == store.manifest


def test_a_manifest_with_other_columns_is_refused(tmp_path: Path) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    (tmp_path / "out" / "manifest.csv").write_text("scan,status\na,ok\n")
    with pytest.raises(DataError, match=r"out/manifest\.csv, line 2: 'verdict' does not fit"):
        Store.open(tmp_path / "out")


def test_another_format_is_refused(tmp_path: Path) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    path = tmp_path / "out" / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(DataError, match="store format 99, this version reads 1"):
        Store.open(tmp_path / "out")


@pytest.mark.realdata
def test_real_slices_of_every_set_go_through(real_data: Path, tmp_path: Path) -> None:
    writer = StoreWriter.create(tmp_path / "out")
    for scan in find_scans([real_data / "luna16-slices"]).scans[::8]:
        writer.add(scan)
    for scan in find_scans([real_data / "lidc-slabs"]).scans:
        writer.add(scan)
    store = writer.finish()
    windowed = [row.status for row in store.manifest if row.format == "picture"]
    assert 0.04 < windowed.count("dropped") / len(windowed) < 0.2
    assert len(store.of_kind(Pixels.HU).slices) == 16 + 12 + 11
    some: StoredSlice = store.slices[0]
    assert store.read(some).lungs.mean() == pytest.approx(some.lung_share, abs=1e-4)
