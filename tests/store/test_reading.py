from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_ct
from covidssl.lungs import segment_lungs
from covidssl.manifest import COLUMNS, read_manifest
from covidssl.preparing import Job, StoreOptions, prepare_store
from covidssl.store import Store, StoredSlice, group_of
from covidssl.store.reading import Corner
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png
from tests.store.stores import EDGE, fill, prepare


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
        _ = Store.open(tmp_path / "out").manifest


@pytest.mark.parametrize("before", [1, 99])
def test_another_format_is_refused_and_says_what_to_do(tmp_path: Path, before: int) -> None:
    prepare(fill(tmp_path / "in"), tmp_path / "out")
    path = tmp_path / "out" / "store.json"
    path.write_text(path.read_text().replace('"format": 2', f'"format": {before}'))
    with pytest.raises(DataError, match=f"format {before}, this version reads 2.*--overwrite"):
        Store.open(tmp_path / "out")
    with pytest.raises(UsageError, match=f"a store of format {before}.*--overwrite"):
        prepare(tmp_path / "in", tmp_path / "out", resume=True)


def test_slices_are_a_sequence_made_as_they_are_asked_for(tmp_path: Path) -> None:
    slices = prepare(fill(tmp_path / "in"), tmp_path / "out").slices
    assert len(slices) == 13
    assert slices[-1] == slices[12] == list(slices)[12]
    assert slices[3:5] == (slices[3], slices[4])
    with pytest.raises(IndexError):
        _ = slices[13]
    assert [stored.scan for stored in slices] == sorted(stored.scan for stored in slices)
    assert slices.indexes.tolist() == [stored.index for stored in slices]


def test_a_patch_is_the_box_of_the_scan(tmp_path: Path) -> None:
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    ct = read_ct(tmp_path / "in" / "series")
    stored = next(stored for stored in store.slices if stored.scan == "series")
    array, lungs = store.read_patch(stored, Corner(1, 20, 30), (4, 40, 21))
    assert np.array_equal(array, ct.array[1:5, 20:60, 30:51])
    assert np.array_equal(lungs, segment_lungs(ct).mask.array[1:5, 20:60, 30:51])
    with pytest.raises(DataError, match=r"series: has \(6, 96, 96\) voxels; a patch ends at \(7,"):
        store.read_patch(stored, Corner(3, 0, 0), (4, 40, 20))


@pytest.mark.realdata
def test_real_slices_of_every_set_go_through(real_data: Path, tmp_path: Path) -> None:
    pictures = find_scans([real_data / "luna16-slices"]).scans[::8]
    slabs = find_scans([real_data / "lidc-slabs"]).scans
    store = prepare_store(Job(tmp_path / "out"), [*pictures, *slabs])
    windowed = [row.status for row in store.manifest if row.format == "picture"]
    assert 0.04 < sum(status not in ("ok", "warned") for status in windowed) / len(windowed) < 0.3
    assert len(store.of_kind(Pixels.HU).slices) <= 16 + 12 + 11
    some: StoredSlice = store.slices[0]
    assert store.read(some).lungs.mean() == pytest.approx(some.lung_share, abs=1e-4)


def test_who_has_a_store_open_gets_no_voxels_of_the_one_prepared_in_its_place(
    tmp_path: Path,
) -> None:
    source = fill(tmp_path / "in")
    store = prepare(source, tmp_path / "out")
    stored = next(stored for stored in store.slices if stored.scan == "two.nii")
    lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=9))
    again = prepare(source, tmp_path / "out", resume=True)
    with pytest.raises(DataError, match="prepared anew since it was opened; open it again"):
        store.read(stored)
    assert again.read(stored).array.shape == (EDGE, EDGE)


def test_a_file_that_is_opened_again_must_be_the_one_that_was_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the new file is as long as the old one."""
    monkeypatch.setattr("covidssl.store.places._OPEN_FILES", 1)
    store = prepare(fill(tmp_path / "in"), tmp_path / "out")
    stored = store.slices[0]
    first = store.read(stored).array
    assert np.array_equal(store.read(stored).array, first)
    file = tmp_path / "out" / group_of(stored.scan) / "pixels" / "c.0.0.0"
    content = file.read_bytes()
    file.rename(file.with_suffix(".old"))
    file.write_bytes(content)
    with pytest.raises(DataError, match="prepared anew since it was opened"):
        store.read(stored)
