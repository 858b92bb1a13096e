"""Labelled scans become frames once, and a bad one never stops the others."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidssl import each_scan, labelled_frames, lungs
from covidssl.datasets import LabelledScan, read_dataset
from covidssl.duplicates import picture_hash
from covidssl.errors import CovidsslError, DataError, ScanError
from covidssl.files import write_bytes
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.rivals import FEATURES
from covidssl.scan_frames import frames_of_scan
from covidssl.volume import Volume
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

FRAME = Frame(size=32)
Scans = tuple[LabelledScan, ...]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two ill and two well: three pictures and a volume of 8 slices."""
    lps_nifti(tmp_path / "set" / "COVID" / "a.nii.gz", chest_hu(8, 64, seed=1))
    write_png(tmp_path / "set" / "COVID" / "b.png", chest_grey(64, seed=2))
    for seed, name in ((3, "c.png"), (4, "d.png")):
        write_png(tmp_path / "set" / "normal" / name, chest_grey(64, seed))
    return tmp_path / "set"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def scans_in(folder: Path) -> Scans:
    return read_dataset(folder, "COVID").scans


def load(folder: Path, cache: Path | None = None, frame: Frame = FRAME) -> LabelledFrames:
    return load_labelled_frames(scans_in(folder), frame, 3, cache)


class Counted:
    """A progress that counts the scans that are read."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, items: Iterable[Any], _what: str, count: int) -> Iterable[Any]:
        self.read += count
        return items


def scans_read(folder: Path, cache: Path, frame: Frame = FRAME, most: int = 3) -> int:
    counted = Counted()
    load_labelled_frames(scans_in(folder), frame, most, cache, counted)
    return counted.read


def same(first: LabelledFrames, second: LabelledFrames) -> bool:
    return (
        np.array_equal(first.frames, second.frames)
        and np.array_equal(first.scan_of, second.scan_of)
        and np.array_equal(first.thumbnails, second.thumbnails)
        and np.array_equal(first.hashes, second.hashes)
        and first.voxels == second.voxels
        and first.scans == second.scans
        and first.dropped == second.dropped
        and first.without_lungs == second.without_lungs
        and first.pixels == second.pixels
        and first.warned == second.warned
    )


def test_every_scan_gives_frames_with_its_label(folder: Path) -> None:
    found = load(folder)
    assert found.frames.shape == (3 + 1 + 1 + 1, 32, 32)
    assert found.scan_of.tolist() == [0, 0, 0, 1, 2, 3]
    assert found.target.tolist() == [1, 1, 1, 1, 0, 0]
    assert found.thumbnails.shape == (4, FEATURES)
    assert (found.dropped, found.without_lungs) == ((), ())


def test_every_scan_has_a_hash_and_a_digest_of_its_voxels(folder: Path) -> None:
    found = load(folder)
    assert found.hashes.shape == (4, 32)
    assert found.hashes.dtype == np.uint8
    assert found.prints.names == tuple(scan.name for scan in found.scans)
    assert len(set(found.voxels)) == 4
    assert len(found.prints.alike) == 0


def test_copy_of_a_scan_in_another_format_and_a_touched_up_one_are_found(folder: Path) -> None:
    grey = chest_grey(64, seed=2)
    write_png(folder / "normal" / "copy.tif", grey)
    touched = np.clip(grey.astype(int) + 3, 0, 255).astype(np.uint8)
    write_png(folder / "normal" / "touched.png", touched)
    prints = load(folder).prints
    pairs = [[{prints.names[a], prints.names[b]} for a, b, _ in of]
             for of in (prints.equal, prints.near)]  # fmt: skip
    assert pairs[0] == [{"COVID/b.png", "normal/copy.tif"}]
    assert {"COVID/b.png", "normal/touched.png"} in pairs[1]


def test_volume_is_hashed_at_the_middle_of_what_is_looked_at(folder: Path) -> None:
    ct = read_scan(scans_in(folder)[0].files)
    looked_at = frames_of_scan(ct, lungs.segment_lungs(ct), FRAME, 3).slices
    expected = picture_hash(to_unit(ct.array[looked_at[1]], Pixels.HU, FRAME.window_hu))
    assert np.array_equal(load(folder).hashes[0], expected)


def test_frames_are_found_by_the_names_of_their_scans(folder: Path) -> None:
    found = load(folder)
    assert found.of(["COVID/a.nii.gz", "normal/d.png"]).tolist() == [0, 1, 2, 5]
    assert found.of(["nobody.png"]).tolist() == []


def test_scan_that_cannot_be_read_is_dropped_with_its_reason(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_bytes(folder / "normal" / "broken.png", b"no picture")
    found = load(folder)
    assert [scan.name for scan in found.scans] == [
        "COVID/a.nii.gz", "COVID/b.png", "normal/c.png", "normal/d.png",
    ]  # fmt: skip
    (name, reason), *others = found.dropped
    assert (name, others) == ("normal/broken.png", [])
    assert reason.startswith("normal/broken.png: ")
    assert "1 scan could not be used; first: normal/broken.png" in caplog.text


def test_scan_without_lungs_is_kept_whole_and_named(folder: Path) -> None:
    liver = np.random.default_rng(0).integers(170, 200, (64, 64)).astype(np.uint8)
    write_png(folder / "COVID" / "liver.png", liver)
    found = load(folder)
    assert found.without_lungs == ("COVID/liver.png",)
    (place,) = found.of(["COVID/liver.png"])
    assert found.frames[place].min() > 65535 * 160 / 255


def test_class_of_which_nothing_can_be_read_is_refused(folder: Path) -> None:
    for name in ("c.png", "d.png"):
        write_bytes(folder / "normal" / name, b"no picture")
    with pytest.raises(
        DataError, match=r"No scan of one class could be read \(2 dropped\)\. First"
    ):
        load(folder)


def test_set_of_which_nothing_can_be_read_is_refused_with_the_first_reason(folder: Path) -> None:
    (folder / "COVID" / "a.nii.gz").unlink()
    with pytest.raises(DataError, match=r"Not one of 3 scans.*First: COVID/b\.png: holds 8-bit"):
        load(folder, frame=Frame(size=32, pixels=Pixels.HU))


def test_cache_gives_the_same_frames_and_reads_no_scan_again(folder: Path, cache: Path) -> None:
    write_bytes(folder / "normal" / "broken.png", b"no picture")
    first = load(folder, cache)
    assert scans_read(folder, cache) == 0
    assert same(load(folder, cache), first)
    assert same(load(folder), first)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"frame": Frame(size=64)},
        {"frame": Frame(size=32, margin=0.3)},
        {"frame": Frame(size=32, window_hu=(-1350, 150))},
        {"most": 2},
    ],
    ids=["size", "margin", "window", "slices"],
)
def test_cache_of_another_cut_is_not_used(
    changed: dict[str, Any], folder: Path, cache: Path
) -> None:
    load(folder, cache)
    assert scans_read(folder, cache, **changed) == 4


def test_cache_is_not_used_when_a_file_has_changed(folder: Path, cache: Path) -> None:
    path = write_png(folder / "normal" / "e.tif", chest_grey(64, seed=8))
    first, before = load(folder, cache), path.stat()
    write_png(path, chest_grey(64, seed=9))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert path.stat().st_size == before.st_size
    assert not same(load(folder, cache), first)


def test_labels_are_not_kept_in_the_cache(folder: Path, cache: Path) -> None:
    load(folder, cache)
    turned = [replace(scan, positive=not scan.positive) for scan in scans_in(folder)]
    found = load_labelled_frames(turned, FRAME, 3, cache)
    assert found.target.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("damage", ["cut short", "another program's"])
def test_cache_that_is_damaged_is_made_again(
    damage: str, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(folder, cache)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "cut short" else b"hello")
    with caplog.at_level(logging.WARNING):
        assert same(load(folder, cache), first)
    assert "is not readable; it is made again" in caplog.text
    assert file.read_bytes() == whole


def test_fingerprint_follows_names_labels_and_pixels(folder: Path) -> None:
    first = load(folder)
    assert load(folder).fingerprint == first.fingerprint
    turned = tuple(replace(scan, positive=not scan.positive) for scan in first.scans)
    renamed = (replace(first.scans[0], name="other"), *first.scans[1:])
    brighter = first.frames.copy()
    brighter[0, 0, 0] += 1
    others = {
        replace(first, scans=turned).fingerprint,
        replace(first, scans=renamed).fingerprint,
        replace(first, frames=brighter).fingerprint,
    }
    assert len(others - {first.fingerprint}) == 3


def add_volume(folder: Path, name: str, seed: int) -> None:
    lps_nifti(folder / name, chest_hu(8, 64, seed))


def test_kinds_of_pixels_are_counted_by_class(folder: Path, cache: Path) -> None:
    expected = {(Pixels.HU, True): 1, (Pixels.WINDOWED, False): 2, (Pixels.WINDOWED, True): 1}
    assert load(folder, cache).kinds == expected
    assert load(folder, cache).kinds == expected


def test_classes_that_differ_in_the_kind_of_pixels_are_cried_out(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(folder)
    said = "THE CLASSES DIFFER IN PIXEL KIND (negative class: 0 in HU, 2 windowed; positive class:"
    assert said in caplog.text
    load(folder, cache)
    caplog.clear()
    load(folder, cache)
    assert said in caplog.text


def test_kinds_mixed_alike_in_both_classes_are_only_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_volume(folder, "normal/c.nii.gz", seed=3)
    (folder / "normal" / "c.png").unlink()
    load(folder)
    assert "Scans in HU and windowed pictures are mixed" in caplog.text
    assert "a shortcut" not in caplog.text


def test_one_kind_of_pixels_is_no_matter(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "COVID" / "a.nii.gz").unlink()
    load(folder)
    assert not caplog.records


@pytest.mark.parametrize("kept", ["none", "cache"])
def test_classes_told_by_their_format_alone_are_refused(
    kept: str, folder: Path, cache: Path
) -> None:
    (folder / "COVID" / "b.png").unlink()
    for _ in range(2):  # the second time from the cache
        with pytest.raises(DataError, match=r"positive class: 1 in HU, 0 windowed\): the format"):
            load(folder, cache if kept == "cache" else None)


def test_warnings_of_the_reader_are_kept(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    colours = np.stack([chest_grey(64, seed=5)] * 3, axis=-1)
    colours[2:6, 2:6] = (255, 0, 0)
    write_png(folder / "normal" / "red.png", colours)
    liver = np.random.default_rng(0).integers(170, 200, (64, 64)).astype(np.uint8)
    write_png(folder / "COVID" / "liver.png", liver)
    found = load(folder, cache)
    assert {name for name, _ in found.warned} == {"COVID/liver.png", "normal/red.png"}
    of_liver = [text for name, text in found.warned if name == "COVID/liver.png"]
    assert any("the whole picture was taken" in text for text in of_liver)
    assert dict(found.warned)["normal/red.png"] == "coloured pixels (16): arrows or letters?"
    assert "2 scans read with a warning; first: COVID/liver.png: " in caplog.text
    assert load(folder, cache).warned == found.warned


def failing_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the segmentation of c.png fail; no file is known of which it does."""
    segment = lungs.segment_lungs

    def fail(ct: Volume) -> lungs.Lungs:
        if ct.source == "normal/c.png":
            raise error
        return segment(ct)

    monkeypatch.setattr(labelled_frames, "segment_lungs", fail)


@pytest.mark.parametrize("error", [IndexError("x"), OSError(errno.EIO, "x"), MemoryError()])
def test_scan_that_fails_in_an_unforeseen_way_is_dropped_alone(
    error: Exception,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing_with(monkeypatch, error)
    found = load(folder)
    assert found.dropped == (("normal/c.png", f"unexpected {type(error).__name__}"),)
    assert len(found.scans) == 3
    assert f"normal/c.png: dropped: {type(error).__name__} in " in caplog.text


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space left"), CovidsslError("no space left")]
)
def test_full_disk_is_not_taken_for_a_bad_scan(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_with(monkeypatch, error)
    with pytest.raises(type(error), match="no space left"):
        load(folder)


def test_unforeseen_failures_are_not_kept_in_the_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        failing_with(broken, IndexError("x"))
        load(folder, cache)
    assert load(folder, cache).dropped == ()
    failing_with(monkeypatch, ScanError("normal/c.png: bad"))
    assert load(folder, cache).dropped == ()


def test_cache_of_another_revision_of_the_lungs_is_not_used(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(folder, cache)
    monkeypatch.setattr(each_scan, "REVISION", lungs.REVISION + 1)
    assert scans_read(folder, cache) == 4
