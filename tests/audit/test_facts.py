"""What is counted: planted duplicates, patients on two sides, files that cannot be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from covidssl.audit.facts import Pair, as_json, by_place, gather
from covidssl.audit.seen import Seen
from covidssl.splits import Assigned
from tests.audit.made_up import CLASSES, dataset_of, half, scans_of, seen_of


def planted() -> Seen:
    """Twenty scans: 3 and 4 equal, 5 nearly as 15 of the other class, 11 nearly as 12."""
    seen = seen_of(scans_of(half(20)))
    hashes, voxels = seen.hashes.copy(), list(seen.voxels)
    hashes[4], voxels[4] = hashes[3], voxels[3]
    hashes[15] = hashes[5] ^ np.r_[np.uint8(3), np.zeros(31, np.uint8)]
    hashes[12] = hashes[11]
    return replace(seen, hashes=hashes, voxels=tuple(voxels))


def test_planted_duplicates_are_found_and_no_others() -> None:
    found = gather(planted(), dataset_of(planted().scans))
    assert found.equal == (Pair(3, 4, 0),)
    assert found.near == (Pair(5, 15, 2), Pair(11, 12, 0))


def test_duplicates_are_counted_within_and_across_the_classes() -> None:
    seen = planted()
    found = gather(seen, dataset_of(seen.scans))
    said = by_place((*found.equal, *found.near), seen.target, CLASSES)
    assert said == "1 within normal, 1 within COVID, 1 across the classes"
    written = as_json(found, seen, CLASSES)
    assert written["near"]["within"] == {"normal": 0, "COVID": 1}
    assert written["near"]["across"] == 1
    assert written["near"]["scans"][0] == ["normal/5.png", "COVID/5.png", 2]


def test_without_duplicates_there_are_none() -> None:
    seen = seen_of(scans_of(half(20)))
    found = gather(seen, dataset_of(seen.scans))
    assert (found.equal, found.near, found.leaks) == ((), (), {})


def test_duplicates_on_two_sides_of_the_own_splits_leak() -> None:
    scans = scans_of(half(20), splits=["train", "validation", "test", "train"] * 5)
    seen = replace(planted(), scans=scans)
    # 5 is in validation and 15 in train; the others that are alike are all in train.
    (near,) = gather(seen, dataset_of(scans)).leaks["given"]
    assert (near.kind, near.count, near.examples) == (
        "near", 1, (("normal/5.png", "COVID/5.png"),),
    )  # fmt: skip


def test_patients_on_two_sides_of_a_split_file_leak() -> None:
    scans = scans_of(half(20), patients=[f"p{row // 2}" for row in range(20)])
    seen = seen_of(scans)
    torn = [
        Assigned(scan, scan.name, "test" if row % 2 else "train") for row, scan in enumerate(scans)
    ]
    whole = [
        Assigned(scan, scan.name, "test" if row // 2 % 2 else "train")
        for row, scan in enumerate(scans)
    ]
    (leak,) = gather(seen, dataset_of(scans), torn).leaks["file"]
    assert (leak.kind, leak.count) == ("patient", 10)
    assert gather(seen, dataset_of(scans), whole).leaks["file"] == ()


def test_formats_sizes_and_lungs_are_counted_by_class() -> None:
    seen = planted()
    told = tuple(
        one._replace(mode="RGBA" if row < 3 else "L", width=64 + row % 2)
        for row, one in enumerate(seen.facts)
    )
    seen = replace(seen, facts=told, without_lungs=("COVID/1.png", "COVID/2.png"))
    found = gather(seen, dataset_of(seen.scans))
    assert found.kinds == {"normal": {"PNG L": 7, "PNG RGBA": 3}, "COVID": {"PNG L": 10}}
    assert found.sizes["COVID"] == {"64 × 64": 5, "65 × 64": 5}
    assert found.without_lungs == {"normal": 0, "COVID": 2}


def test_scans_that_could_not_be_read_are_counted_with_the_others() -> None:
    scans = scans_of(half(20))
    seen = replace(seen_of(scans[1:]), dropped=((scans[0].name, "normal/0.png: broken"),))
    found = gather(seen, dataset_of(scans))
    assert found.counts == {"normal": 10, "COVID": 10}
    assert as_json(found, seen, CLASSES)["dropped"] == 1
