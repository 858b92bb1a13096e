"""Every scan is read once, and what was seen of it is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidssl.audit.seen import FileFacts, Seen, see
from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError
from covidssl.files import write_bytes
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: a volume and a picture with colours, a JPEG and a file that is no picture."""
    folder = tmp_path / "set"
    lps_nifti(folder / "COVID" / "a.nii.gz", chest_hu(12, 64, seed=1))
    grey = chest_grey(64, seed=2)
    write_png(folder / "COVID" / "b.png", np.stack([grey] * 3 + [np.full_like(grey, 255)], -1))
    path = write_png(folder / "normal" / "c.png", chest_grey(96, seed=3))
    Image.open(path).save(folder / "normal" / "d.jpg", quality=95)
    write_bytes(folder / "normal" / "e.png", b"no picture")
    return folder


def dataset(folder: Path) -> Dataset:
    return read_dataset(folder, "COVID")


def read_again(folder: Path, cache: Path) -> tuple[Seen, int]:
    """What is seen, and how many scans were read for it."""
    read: list[Any] = []

    def counted(items: Iterable[Any], _what: str, _count: int) -> Iterable[Any]:
        for item in items:
            read.append(item)
            yield item

    return see(dataset(folder), 8, cache, counted), len(read)


def same(first: Seen, second: Seen) -> bool:
    return (
        all((first.views[name] == second.views[name]).all() for name in first.views)
        and (first.hashes == second.hashes).all()
        and first.fingerprint == second.fingerprint
        and (first.facts, first.dropped) == (second.facts, second.dropped)
    )


def test_facts_are_those_of_the_files_and_not_of_the_reader(folder: Path) -> None:
    seen = see(dataset(folder), 8)
    found = {scan.name: one for scan, one in zip(seen.scans, seen.facts, strict=True)}
    assert found == {
        "COVID/a.nii.gz": FileFacts("nifti", "hu", 12, 64, 64),
        "COVID/b.png": FileFacts("PNG", "RGBA", 1, 64, 64),
        "normal/c.png": FileFacts("PNG", "L", 1, 96, 96),
        "normal/d.jpg": FileFacts("JPEG", "L", 1, 96, 96),
    }


def test_file_that_cannot_be_read_is_dropped_with_its_reason(folder: Path) -> None:
    ((name, reason),) = see(dataset(folder), 8).dropped
    assert name == "normal/e.png"
    assert reason.startswith("normal/e.png: ")


def test_picture_saved_twice_is_a_near_duplicate_and_not_equal(folder: Path) -> None:
    prints = see(dataset(folder), 8).prints
    assert prints.near[:, :2].tolist() == [[2, 3]]
    assert not len(prints.equal)


def test_cache_gives_the_same_and_reads_nothing(folder: Path, tmp_path: Path) -> None:
    first, read = read_again(folder, tmp_path / "cache")
    again, nothing = read_again(folder, tmp_path / "cache")
    assert (read, nothing) == (5, 0)
    assert same(first, again)
    assert same(first, see(dataset(folder), 8))


def test_cache_of_a_changed_file_is_not_used(folder: Path, tmp_path: Path) -> None:
    first, _ = read_again(folder, tmp_path / "cache")
    write_png(folder / "normal" / "c.png", chest_grey(100, seed=9))
    changed, read = read_again(folder, tmp_path / "cache")
    assert read == 5
    assert changed.fingerprint != first.fingerprint


def test_cache_that_is_damaged_is_made_again(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = read_again(folder, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        again, read = read_again(folder, tmp_path / "cache")
    assert read == 5
    assert same(first, again)
    assert "is not readable; it is made again" in caplog.text


def test_labels_are_not_kept_in_the_cache(folder: Path, tmp_path: Path) -> None:
    read_again(folder, tmp_path / "cache")
    turned = read_dataset(folder, "normal")
    seen = see(turned, 8, tmp_path / "cache")
    assert seen.target.tolist() == [0, 0, 1, 1]


def test_class_of_which_nothing_can_be_read_is_refused(folder: Path) -> None:
    for name in ("c.png", "d.jpg"):
        write_bytes(folder / "normal" / name, b"no picture")
    with pytest.raises(DataError, match=r"no scan of one class could be read \(3 dropped\)"):
        see(dataset(folder), 8)
