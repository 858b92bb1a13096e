"""A stopped or changed preparation goes on, and does just what is needed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from covidssl.errors import DataError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, find_scans
from covidssl.manifest import ManifestRow, read_manifest
from covidssl.preparing import Job, StoreOptions, StoreWriter, prepare_scan, prepare_store
from covidssl.pseudonyms import Pseudonyms
from covidssl.store import ScanRecord, Store, group_of
from tests.scan_files import chest_hu, lps_nifti, write_dicom
from tests.store.stores import EDGE, fill, groups_written, prepare


def begin(source: Path, out: Path, **changes: object) -> StoreWriter:
    job = Job(out, replace(StoreOptions(), **changes))
    return StoreWriter.begin(job, find_scans([source]).scans, resume=True)


def todo(source: Path, out: Path, **changes: object) -> list[str]:
    return [scan.name for scan in begin(source, out, **changes).todo]


ALL = ["b/scan.nii.gz", "broken.nii", "nolung.nii", "series", "two.nii"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fill(tmp_path / "in")


def test_a_stopped_run_goes_on_without_reading_again(source: Path, tmp_path: Path) -> None:
    whole = prepare(source, tmp_path / "whole")
    with begin(source, tmp_path / "out") as writer:
        for scan in writer.todo[:3]:
            writer.keep(prepare_scan(scan, writer.job))
    written = groups_written(tmp_path / "out")
    assert todo(source, tmp_path / "out") == ALL[3:]
    store = prepare(source, tmp_path / "out", resume=True)
    assert written.items() <= groups_written(tmp_path / "out").items()
    assert store.fingerprint == whole.fingerprint
    assert store.manifest == whole.manifest


def test_an_unfinished_store_says_how_much_is_missing(source: Path, tmp_path: Path) -> None:
    with begin(source, tmp_path / "out") as writer:
        for scan in writer.todo[:3]:
            writer.keep(prepare_scan(scan, writer.job))
    with pytest.raises(DataError, match="2 of 5 scans are missing; run prepare with --resume"):
        Store.open(tmp_path / "out")
    store = Store.open(tmp_path / "out", partial=True)
    assert store.missing == ("series", "two.nii")
    assert {stored.scan for stored in store.slices} == {"b/scan.nii.gz"}
    assert [row.status for row in store.manifest] == ["ok", "failed", "dropped"]
    assert store.read(store.slices[0]).array.shape == (EDGE, EDGE)


def test_a_group_whose_line_was_lost_in_a_kill_speaks_for_itself(
    source: Path, tmp_path: Path
) -> None:
    with begin(source, tmp_path / "out") as writer:
        prepare_scan(writer.todo[0], writer.job)
    assert todo(source, tmp_path / "out") == ALL[1:]
    assert len(Store.open(tmp_path / "out", partial=True).slices) == 5


def test_a_torn_line_of_the_journal_is_passed_over(source: Path, tmp_path: Path) -> None:
    whole = prepare(source, tmp_path / "out")
    begin(source, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    assert len(Store.open(tmp_path / "out", partial=True).missing) == 0  # two.nii has its group
    assert prepare(source, tmp_path / "out", resume=True).manifest == whole.manifest


def test_a_least_share_changes_the_listing_and_reads_nothing_again(
    source: Path, tmp_path: Path
) -> None:
    prepare(source, tmp_path / "out")
    written = groups_written(tmp_path / "out")
    assert todo(source, tmp_path / "out", min_lung_share=0.19) == []
    few = prepare(source, tmp_path / "out", StoreOptions(min_lung_share=0.19), resume=True)
    assert groups_written(tmp_path / "out") == written
    fresh = prepare(source, tmp_path / "fresh", StoreOptions(min_lung_share=0.19))
    assert 0 < len(few.slices) < 13
    assert (few.fingerprint, few.manifest) == (fresh.fingerprint, fresh.manifest)
    none = prepare(source, tmp_path / "out", StoreOptions(min_lung_share=0.9), resume=True)
    assert len(none.slices) == 0
    assert "too little lung" in none.manifest[0].verdict
    again = prepare(source, tmp_path / "out", resume=True)
    assert len(again.slices) == 13
    assert groups_written(tmp_path / "out") == written


@pytest.mark.parametrize(
    "change", [{"pixels": Pixels.HU}, {"lungs": "lungmask"}, {"window": (-1100.0, 300.0)}], ids=str
)
def test_what_voxels_or_masks_depend_on_is_read_again(
    source: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    prepare(source, tmp_path / "out")
    assert todo(source, tmp_path / "out", **change) == ALL


def test_another_key_of_the_pseudonyms_reads_again(source: Path, tmp_path: Path) -> None:
    scans = find_scans([source]).scans
    one, other = (Pseudonyms(bytes([key]) * 32) for key in (1, 2))
    first = prepare_store(Job(tmp_path / "out", ids=one), scans)
    assert not StoreWriter.begin(Job(tmp_path / "out", ids=one), scans, resume=True).todo
    second = prepare_store(Job(tmp_path / "out", ids=other), scans, resume=True)
    series = [{row.scan: row.series for row in store.manifest} for store in (first, second)]
    assert "" != series[0]["series"] != series[1]["series"] != ""


def test_a_policy_reads_again_only_what_it_can_change(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    assert todo(source, tmp_path / "out", policy=Policy.REPAIR) == ["broken.nii"]
    prepare(source, tmp_path / "out", StoreOptions(policy=Policy.REPAIR), resume=True)
    assert todo(source, tmp_path / "out", policy=Policy.REPAIR) == []
    assert todo(source, tmp_path / "out", policy=Policy.SKIP) == ["broken.nii"]
    prepare(source, tmp_path / "out", resume=True)
    assert todo(source, tmp_path / "out", policy=Policy.STRICT) == []


def test_a_mended_scan_serves_where_mending_is_allowed_alone() -> None:
    row = ManifestRow("a", "repaired", "", "nifti", repairs="turned round")
    record = ScanRecord("key", row, "repair")
    assert record.serves("key", "repair")
    assert not record.serves("key", "skip")
    assert not record.serves("key", "strict")
    assert not record.serves("other", "repair")
    whole = replace(record, row=replace(row, status="ok", repairs=""))
    assert all(whole.serves("key", policy) for policy in ("repair", "skip", "strict"))


def test_strict_writes_the_table_and_then_refuses(source: Path, tmp_path: Path) -> None:
    strict = StoreOptions(policy=Policy.STRICT)
    with pytest.raises(DataError, match=r"1 of 5 scans are defective .* broken\.nii: could not be"):
        prepare(source, tmp_path / "out", strict)
    assert len(read_manifest(tmp_path / "out")) == 5
    with pytest.raises(DataError, match="some are not as policy=strict asks"):
        Store.open(tmp_path / "out")
    assert len(Store.open(tmp_path / "out", partial=True).slices) == 13
    assert todo(source, tmp_path / "out") == []
    assert len(prepare(source, tmp_path / "out", resume=True).slices) == 13
    (source / "broken.nii").unlink()
    assert len(prepare(source, tmp_path / "out", strict, resume=True).slices) == 13


def test_a_failed_scan_is_tried_again_when_it_changed_or_on_demand(
    source: Path, tmp_path: Path
) -> None:
    prepare(source, tmp_path / "out")
    assert todo(source, tmp_path / "out") == []
    job, scans = Job(tmp_path / "out"), find_scans([source]).scans
    writer = StoreWriter.begin(job, scans, resume=True, retry_failed=True)
    assert [scan.name for scan in writer.todo] == ["broken.nii"]
    lps_nifti(source / "broken.nii", chest_hu(3, EDGE, seed=5))
    store = prepare(source, tmp_path / "out", resume=True)
    assert {row.scan: row.status for row in store.manifest}["broken.nii"] == "ok"


def test_a_scan_that_changed_is_read_again_and_no_other(source: Path, tmp_path: Path) -> None:
    before = prepare(source, tmp_path / "out")
    written = groups_written(tmp_path / "out")
    path = lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=9))
    os.utime(path, ns=(1, 1))
    assert todo(source, tmp_path / "out") == ["two.nii"]
    after = prepare(source, tmp_path / "out", resume=True)
    prints = [{row.scan: row.fingerprint for row in store.manifest} for store in (before, after)]
    assert {name for name in prints[0] if prints[0][name] != prints[1][name]} == {"two.nii"}
    now = groups_written(tmp_path / "out")
    changed = {name for name in now if now[name] != written[name]}
    assert changed == {Path(group_of("two.nii")).name}


def test_a_scan_that_came_or_went_changes_the_listing(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    lps_nifti(source / "new.nii", chest_hu(3, EDGE, seed=7))
    (source / "two.nii").unlink()
    assert todo(source, tmp_path / "out") == ["new.nii"]
    store = prepare(source, tmp_path / "out", resume=True)
    fresh = prepare(source, tmp_path / "fresh")
    assert (store.fingerprint, store.manifest) == (fresh.fingerprint, fresh.manifest)


def test_what_is_taken_out_of_the_inputs_leaves_the_store(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    (tmp_path / "out" / "qc" / "mine.png").write_bytes(b"not ours")
    for name in ("two.nii", "nolung.nii"):
        (source / name).unlink()
    prepare(source, tmp_path / "out", resume=True)
    stays = {Path(group_of(name)).name for name in ("series", "b/scan.nii.gz")}
    assert set(groups_written(tmp_path / "out")) == stays
    pictures = {path.name for path in (tmp_path / "out" / "qc").iterdir()}
    assert pictures == {f"{name}.png" for name in stays} | {"mine.png"}


def test_a_group_that_another_process_changed_meanwhile_is_not_listed(
    source: Path, tmp_path: Path
) -> None:
    whole = prepare(source, tmp_path / "whole")
    with begin(source, tmp_path / "out") as writer:
        for scan in writer.todo:
            writer.keep(prepare_scan(scan, writer.job))
    lps_nifti(tmp_path / "in2" / "two.nii", chest_hu(2, EDGE, seed=9))
    prepare(tmp_path / "in2", tmp_path / "other")
    group = tmp_path / "out" / group_of("two.nii")
    shutil.rmtree(group)
    shutil.copytree(tmp_path / "other" / group_of("two.nii"), group)
    with pytest.raises(DataError, match=r"another process changed 1 scan, .* 'two\.nii'"):
        writer.finish()
    assert todo(source, tmp_path / "out") == ["two.nii"]
    store = prepare(source, tmp_path / "out", resume=True)
    assert (store.fingerprint, store.manifest) == (whole.fingerprint, whole.manifest)


def test_half_written_groups_of_a_killed_run_are_made_again(source: Path, tmp_path: Path) -> None:
    whole = prepare(source, tmp_path / "out")
    (tmp_path / "out" / "store.json").rename(tmp_path / "out" / "unfinished.json")
    scans = tmp_path / "out" / "scans"
    for row in whole.manifest:
        if row.stored:
            file = tmp_path / "out" / row.file / "pixels" / "c.0.0.0"
            shutil.copytree(tmp_path / "out" / row.file, scans / f".{Path(row.file).name}.1.part")
            file.write_bytes(file.read_bytes()[:500])
    again = prepare(source, tmp_path / "out", resume=True)
    assert again.fingerprint == whole.fingerprint
    assert len(list(scans.iterdir())) == 3
    assert [again.read(stored).array.shape for stored in again.slices] == [(EDGE, EDGE)] * 13


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_harmed_scan_of_a_finished_store_is_made_again(
    source: Path, tmp_path: Path, harm: str
) -> None:
    store = prepare(source, tmp_path / "out")
    group = tmp_path / "out" / group_of("series")
    if harm == "gone":
        shutil.rmtree(group)
        with pytest.raises(DataError, match="1 of 3 scans are missing, such as 'series'"):
            Store.open(tmp_path / "out")
        part = Store.open(tmp_path / "out", partial=True)
        assert part.missing == ("series",)
        assert {stored.scan for stored in part.slices} == {"b/scan.nii.gz", "two.nii"}
        assert part.fingerprint != store.fingerprint
        assert [part.read(stored).array.shape for stored in part.slices] == [(EDGE, EDGE)] * 7
    else:
        file = group / "lungs" / "c.0.0.0"
        file.write_bytes(file.read_bytes()[:-1])
    again = prepare(source, tmp_path / "out", resume=True)
    assert again.fingerprint == store.fingerprint
    assert again.read(again.slices[7]).lungs.any()


def test_an_index_of_another_store_is_refused(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    prepare(source, tmp_path / "other", StoreOptions(min_lung_share=0.2))
    index = tmp_path / "other" / "index.safetensors"
    shutil.copy(index, tmp_path / "out" / "index.safetensors")
    with pytest.raises(DataError, match="does not belong to this store's store.json"):
        Store.open(tmp_path / "out")
    index.unlink()
    with pytest.raises(DataError, match="is missing. Run prepare with --resume"):
        Store.open(tmp_path / "other")


def test_a_full_folder_is_not_written_into_unasked(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out")
    scans = find_scans([source]).scans
    with pytest.raises(UsageError, match="exists and is not empty; go on with --resume"):
        StoreWriter.begin(Job(tmp_path / "out"), scans)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something that is no store"):
        StoreWriter.begin(Job(tmp_path / "other"), scans, resume=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_of_series_that_share_a_folder_one_is_taken(tmp_path: Path) -> None:
    for kernel, thick in (("B70f", 2.5), ("B30f", 5.0)):
        write_dicom(
            tmp_path / "in", chest_hu(6, EDGE), names=kernel + "{:03d}.dcm",
            ConvolutionKernel=kernel, SliceThickness=thick, PatientID="a", StudyInstanceUID="1.2",
        )  # fmt: skip
    store = prepare(tmp_path / "in", tmp_path / "out")
    assert sorted(row.status for row in store.manifest) == ["ok", "passed_over"]
    passed = next(row for row in store.manifest if row.status == "passed_over")
    assert passed.verdict.startswith("passed over for")
    assert len({stored.scan for stored in store.slices}) == 1
    job = Job(tmp_path / "all")
    both = StoreWriter.begin(job, find_scans([tmp_path / "in"]).scans, all_series=True)
    assert len(both.todo) == 2
