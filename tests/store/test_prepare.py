"""`covidssl prepare`: given masks, flags, resuming with other options, dry runs, identifiers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from covidssl.clean_slices import StoredFrames
from covidssl.cli import app
from covidssl.commands import prepare as verb
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PrepareConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import find_scans
from covidssl.manifest import read_manifest
from covidssl.preparing import Job, StoreWriter, prepare_scan
from covidssl.pseudonyms import Pseudonyms, key_beside
from covidssl.store import Store
from tests.scan_files import chest_hu, lps_nifti, write_dicom
from tests.store.stores import EDGE, fill, groups_written


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fill(tmp_path / "in")


def masks(folder: Path, seed: int = 0) -> Path:
    """A mask for `two.nii` that no method would find."""
    mask = np.zeros((2, EDGE, EDGE), np.uint8)
    mask[:, 30:60, 20 + seed : 50] = 1
    mask[:, 30:60, 55:80] = 2
    lps_nifti(folder / "two.nii", mask)
    return folder


def test_given_masks_are_used_and_a_changed_one_is_read_again(source: Path, tmp_path: Path) -> None:
    config = PrepareConfig(lungs_folder=masks(tmp_path / "masks"))
    verb.main(config, [source], tmp_path / "out")
    store = Store.open(tmp_path / "out")
    rows = {row.scan: row for row in store.manifest}
    assert rows["series"].code == "no_mask"
    stored = [stored for stored in store.slices if stored.scan == "two.nii"]
    assert len(stored) == 2
    assert stored[0].box == (30, 60, 20, 80)
    masks(tmp_path / "masks", seed=5)
    verb.main(config, [source], tmp_path / "out", "resume")
    assert Store.open(tmp_path / "out").slices[0].box == (30, 60, 25, 80)
    assert str(tmp_path / "masks") not in (tmp_path / "out" / "config.yaml").read_text()


def test_a_mask_counts_with_the_voxels_that_its_header_names(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "in" / "two.nii.gz", chest_hu(2, EDGE, seed=2))
    (tmp_path / "in" / "two.nii.gz").rename(tmp_path / "in" / "two.NII.GZ")
    for seed, box in ((0, (30, 60, 20, 80)), (5, (30, 60, 25, 80))):
        nifti = masks(tmp_path / "nifti", seed) / "two.nii"
        header = tmp_path / "masks" / "two.mhd"
        header.parent.mkdir(exist_ok=True)
        before = header.stat() if seed else None
        sitk.WriteImage(sitk.ReadImage(str(nifti)), str(header))
        if before is not None:
            os.utime(header, ns=(before.st_atime_ns, before.st_mtime_ns))
        config = PrepareConfig(lungs_folder=header.parent)
        verb.main(config, [tmp_path / "in"], tmp_path / "out", "resume")
        assert Store.open(tmp_path / "out").slices[0].box == box


def test_a_store_says_that_its_masks_were_given_and_warns_when_they_are_left_out(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = PrepareConfig(lungs_folder=masks(tmp_path / "masks"))
    verb.main(config, [source], tmp_path / "out")
    record = tmp_path / "out" / "store.json"
    assert json.loads(record.read_text())["options"]["lungs"] == "given"
    assert "made with --lungs" not in caplog.text
    verb.main(PrepareConfig(), [source], tmp_path / "out", "resume")
    assert "made with --lungs, and now" in caplog.text
    assert json.loads(record.read_text())["options"]["lungs"] == "threshold"


def test_a_picture_shows_the_mask_that_is_stored(source: Path, tmp_path: Path) -> None:
    """Also after a stopped run had shown a mask that was flagged, and so not stored."""
    verb.main(PrepareConfig(), [source], tmp_path / "out")
    pictures = tmp_path / "out" / "qc"
    before = {path.name: path.read_bytes() for path in pictures.iterdir()}
    mask = np.zeros((2, EDGE, EDGE), np.uint8)
    mask[:, 30:60, 20:50] = 1
    lps_nifti(tmp_path / "masks" / "two.nii", mask)
    ids = Pseudonyms.from_file(key_beside(tmp_path / "out"))
    job = Job(tmp_path / "out", ids=ids, lungs_folder=tmp_path / "masks")
    with StoreWriter.begin(job, find_scans([source]).scans, resume=True) as writer:
        statuses = [writer.keep(prepare_scan(scan, job)).status for scan in writer.todo]
    assert "flagged" in statuses
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} != before
    verb.main(PrepareConfig(), [source], tmp_path / "out", "resume")
    assert {path.name: path.read_bytes() for path in pictures.iterdir()} == before


def test_masks_cannot_be_found_by_hidden_names(source: Path, tmp_path: Path) -> None:
    config = PrepareConfig(lungs_folder=masks(tmp_path / "masks"), hash_paths=True)
    with pytest.raises(UsageError, match="give one of them"):
        verb.main(config, [source], tmp_path / "out")
    with pytest.raises(UsageError, match="there is no such folder"):
        verb.main(PrepareConfig(lungs_folder=tmp_path / "no"), [source], tmp_path / "out")


def test_a_flagged_scan_is_shown_and_not_used(source: Path, tmp_path: Path) -> None:
    mask = np.zeros((2, EDGE, EDGE), np.uint8)
    mask[:, 30:60, 20:50] = 1
    lps_nifti(tmp_path / "masks" / "two.nii", mask)
    config = PrepareConfig(lungs_folder=tmp_path / "masks")
    counts = verb.main(config, [source], tmp_path / "out")
    row = next(row for row in read_manifest(tmp_path / "out") if row.scan == "two.nii")
    assert counts["flagged"] == 1
    assert (row.status, row.file) == ("flagged", "")
    assert row.verdict
    assert len(Store.open(tmp_path / "out").slices) == 0
    assert len(list((tmp_path / "out" / "qc").iterdir())) >= 1
    assert "flagged" in (tmp_path / "out" / "qc.html").read_text()


def test_resuming_with_another_option_rewrites_the_configuration(
    source: Path, tmp_path: Path
) -> None:
    verb.main(PrepareConfig(), [source], tmp_path / "out")
    written = groups_written(tmp_path / "out")
    verb.main(PrepareConfig(min_lung_share=0.19), [source], tmp_path / "out", "resume")
    assert "min_lung_share: 0.19" in (tmp_path / "out" / "config.yaml").read_text()
    assert groups_written(tmp_path / "out") == written
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert (record["status"], record["resumed"]) == ("done", True)
    assert record["summary"]["slices with enough lung"] < 13


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    given = ["prepare", str(source), "--out", str(tmp_path / "out"), "--dry-run"]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["found: 1 dicom, 4 nifti", "to read: 5"]
    assert lines[2].startswith("time, from 4 scans read: ")
    assert " of " in lines[3]
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    verb.main(PrepareConfig(), [source], tmp_path / "out")
    assert verb.dry_run(PrepareConfig(), [source], tmp_path / "out")[1:] == [
        "prepared already: 5", "to read: 0",
    ]  # fmt: skip


def test_patients_and_series_have_pseudonyms_unless_asked_otherwise(tmp_path: Path) -> None:
    who = {"PatientID": "ANNA-1", "SeriesInstanceUID": "1.2.77"}
    write_dicom(tmp_path / "in" / "a", chest_hu(5, EDGE), **who)
    write_dicom(tmp_path / "in" / "b", chest_hu(5, EDGE, seed=1), PatientID="ANNA-1")
    verb.main(PrepareConfig(), [tmp_path / "in"], tmp_path / "out")
    one, other = read_manifest(tmp_path / "out")
    assert one.patient == other.patient != "ANNA-1"
    assert "" != one.series != other.series
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in files if b"ANNA" in path.read_bytes()]
    assert not [path for path in files if "key" in path.name]
    verb.main(PrepareConfig(keep_ids=True), [tmp_path / "in"], tmp_path / "named")
    assert [row.patient for row in read_manifest(tmp_path / "named")] == ["ANNA-1"] * 2
    assert read_manifest(tmp_path / "named")[0].series == "1.2.77"


def test_a_store_without_identifiers_is_not_resumed_with_them(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "a", chest_hu(5, EDGE), PatientID="ANNA-1")
    verb.main(PrepareConfig(), [tmp_path / "in"], tmp_path / "out")
    with pytest.raises(UsageError, match="--keep-ids off"):
        verb.main(PrepareConfig(keep_ids=True), [tmp_path / "in"], tmp_path / "out", "resume")


def test_hidden_paths_are_in_no_file(source: Path, tmp_path: Path) -> None:
    verb.main(PrepareConfig(hash_paths=True), [source], tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            for name in (b"two.nii", b"broken", b"scan.nii", str(tmp_path).encode()):
                assert name not in path.read_bytes(), path.name
    assert len(Store.open(tmp_path / "out").slices) == 13


def test_a_store_without_a_usable_scan_stays_and_is_told_wherever_it_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"no scan")
    (tmp_path / "in" / "empty.dcm").write_bytes(b"")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["prepare", str(tmp_path / "in"), "-o", str(out)])
    assert done.exit_code == 1
    assert done.stdout == f"{out}: 0 ok, 0 warned, 0 dropped, 2 failed\n"
    assert f"{out}: not one scan can be used." in caplog.text
    assert json.loads((out / "record.json").read_text())["status"] == "done"
    assert (out / "qc.html").is_file()
    for given in (["preview", str(out)], ["pretrain", "--data", str(out)]):
        done = CliRunner().invoke(app, [*given, "-o", str(tmp_path / "look")])
        assert isinstance(done.exception, DataError)
        said = str(done.exception)
        assert "not one scan of this store can be used (2 failed)" in said
        assert f"stands in {out / 'manifest.csv'}" in said
        assert "min_lung_share" not in said
        assert not (tmp_path / "look").exists()


def test_a_store_of_dropped_scans_names_the_least_share_of_lung(tmp_path: Path) -> None:
    lps_nifti(tmp_path / "in" / "chest.nii.gz", chest_hu(2, EDGE, seed=2))
    counts = verb.main(PrepareConfig(min_lung_share=0.9), [tmp_path / "in"], tmp_path / "out")
    assert verb.usable(counts) == 0
    with pytest.raises(DataError, match=r"\(.*dropped.*min_lung_share is the least"):
        StoredFrames(Store.open(tmp_path / "out"), Frame(pixels=Pixels.HU))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_prepares_with_workers(source: Path, tmp_path: Path, workers: str) -> None:
    given = ["prepare", str(source), "-o", str(tmp_path / "out"), "--workers", workers]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    assert done.stdout == f"{tmp_path / 'out'}: 2 ok, 1 warned, 1 dropped, 1 failed\n"
    assert len(Store.open(tmp_path / "out").slices) == 13
