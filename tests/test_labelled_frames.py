"""Labelled scans become frames once, and a bad one never stops the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidssl.datasets import LabelledScan, read_dataset
from covidssl.errors import DataError
from covidssl.files import write_bytes
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.rivals import FEATURES
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
        and first.scans == second.scans
        and first.dropped == second.dropped
        and first.without_lungs == second.without_lungs
    )


def test_every_scan_gives_frames_with_its_label(folder: Path) -> None:
    found = load(folder)
    assert found.frames.shape == (3 + 1 + 1 + 1, 32, 32)
    assert found.scan_of.tolist() == [0, 0, 0, 1, 2, 3]
    assert found.target.tolist() == [1, 1, 1, 1, 0, 0]
    assert found.thumbnails.shape == (4, FEATURES)
    assert (found.dropped, found.without_lungs) == ((), ())


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
    assert "1 scans could not be used; first: normal/broken.png" in caplog.text


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
