"""The score of a scan follows its status, then how unusual its numbers are in this store."""

from __future__ import annotations

import numpy as np

from covidssl.manifest import STATUSES, ManifestRow
from covidssl.qc.suspicion import ORDER, suspicions


def row(name: str = "a", status: str = "ok", **numbers: float | None) -> ManifestRow:
    given = {"lung_ml": 4000.0, "left_right": 0.9, "slices": 60, "slices_with_lung": 50} | numbers
    return ManifestRow(name, status, "", "nifti", **given)  # type: ignore[arg-type]


def usual(count: int = 20) -> list[ManifestRow]:
    volumes = np.random.default_rng(0).normal(4000, 400, count)
    return [row(f"usual {i}", lung_ml=float(ml)) for i, ml in enumerate(volumes)]


def test_every_status_has_its_place() -> None:
    assert sorted(ORDER) == sorted(STATUSES)


def test_no_number_lifts_a_scan_above_a_worse_status() -> None:
    absurd = {"lung_ml": 1e6, "left_right": 1e3, "slices_with_lung": 1}
    rows = [*usual(), *(row(status, status, **absurd) for status in ORDER)]
    scores = [found.score for found in suspicions(rows)[-len(ORDER) :]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_a_lung_much_smaller_than_the_others_is_unusual_and_said_so() -> None:
    *others, small = suspicions([*usual(), row(lung_ml=900.0)])
    assert small.score > max(other.score for other in others)
    (text,) = small.unusual
    assert text.startswith("lung volume")
    assert text.endswith("below the median")


def test_ratio_and_share_count_too() -> None:
    rows = [*usual(), row(left_right=0.1), row(slices_with_lung=5)]
    *_, ratio, share = suspicions(rows)
    assert [text.split(" deviations")[0].rsplit(" ", 1)[0] for text in ratio.unusual] == [
        "left to right"
    ]
    assert share.unusual[0].startswith("share of slices with lung")


def test_a_store_of_equal_scans_has_nothing_unusual() -> None:
    assert {found.score for found in suspicions([row(str(i)) for i in range(10)])} == {100.0}


def test_a_few_scans_are_not_compared() -> None:
    assert suspicions([row(), row(), row(lung_ml=10.0)])[2] == (100.0, ())


def test_what_is_not_known_does_not_count() -> None:
    blank = {"lung_ml": None, "left_right": None, "slices": None, "slices_with_lung": None}
    *_, unknown = suspicions([*usual(), row(**blank)])
    assert unknown == (100.0, ())
    *_, empty = suspicions([*usual(), row(lung_ml=0.0, slices=1, slices_with_lung=1)])
    assert empty.score == 100.0
