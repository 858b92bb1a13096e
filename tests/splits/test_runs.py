"""Where file order carries patients and none is known, runs of files are resampled whole."""

from __future__ import annotations

from collections import Counter

import pytest

from covidssl.datasets import Dataset
from covidssl.splits import (
    Assigned,
    SplitPlan,
    group_kind,
    groups_of_scans,
    in_runs,
    propose,
    settle,
    widest_gap,
)
from tests.splits.prints import in_the_order_of_patients, prints_of
from tests.splits.sets import dataset, in_file_order, of_patients, scan

WORDS = ("train", "validation", "test")


def names(whole: Dataset) -> list[str]:
    return [one.name for one in whole.scans]


def of_scans(whole: Dataset) -> list[Assigned]:
    return [Assigned(one, one.patient or one.name, "all") for one in whole.scans]


def test_scans_of_nobody_known_are_in_runs_where_order_carries_patients() -> None:
    whole = in_file_order(400)
    found = in_runs(of_scans(whole), in_the_order_of_patients(names(whole)), 20)
    assert set(Counter(one.group for one in found).values()) == {20}
    assert group_kind(found) == "run of neighbouring files (no patient ids)"
    run = [one.scan.name for one in found if one.group == "positive-0001"]
    assert run == [f"COVID/slice {k}.png" for k in range(20, 40)]


def test_runs_are_shorter_where_there_would_be_fewer_than_ten_of_a_class() -> None:
    whole = in_file_order(60)
    found = in_runs(of_scans(whole), in_the_order_of_patients(names(whole), 5), 20)
    assert len({one.group for one in found}) == 20
    assert len(set(groups_of_scans(whole.scans, 20))) == 20


def test_scans_stay_groups_of_their_own_where_order_tells_nothing() -> None:
    whole = in_file_order(200)
    assert in_runs(of_scans(whole), prints_of(names(whole)), 20) == of_scans(whole)


def test_patients_and_groups_of_several_scans_stay_as_they_are() -> None:
    known = of_patients(40, 10)
    assert in_runs(of_scans(known), in_the_order_of_patients(names(known)), 20) == of_scans(known)
    whole = in_file_order(200)
    pairs = [Assigned(one, f"pair {k // 2}", "all") for k, one in enumerate(whole.scans)]
    assert in_runs(pairs, in_the_order_of_patients(names(whole)), 20) == pairs


def test_scans_that_could_not_be_read_and_too_few_of_them_are_no_reason_to_stop() -> None:
    few = in_file_order(2)
    assert in_runs(of_scans(few), prints_of(names(few)), 20) == of_scans(few)
    whole = in_file_order(200)
    found = in_runs(of_scans(whole), in_the_order_of_patients(names(whole)[:-3]), 20)
    assert len({one.group for one in found}) == 20


def test_given_lists_are_resampled_by_runs_where_order_carries_patients() -> None:
    whole = dataset(
        *(
            scan(f"{p}/{k}.png", p, None, WORDS[k // 50 % 3])
            for p in (False, True)
            for k in range(300)
        )
    )
    prints = in_the_order_of_patients(names(whole))
    assigned, notes = settle(propose(whole, SplitPlan(), 0), prints)
    assert notes.leaks == ()
    assert group_kind(assigned) == "run of neighbouring files (no patient ids)"
    assert set(Counter(one.group for one in assigned).values()) == {20}


def test_known_patients_are_the_groups_and_stand_among_the_runs() -> None:
    known = [scan(f"{k}.png", False, "ab"[k % 2]) for k in range(4)]
    assert groups_of_scans(known, 20) == ["patient a", "patient b"] * 2


@pytest.mark.parametrize(("sizes", "widest"), [((400, 300), 15), ((300, 400), 15), ((9, 9), 0)])
def test_gap_is_at_most_half_a_block_of_the_smaller_class(
    sizes: tuple[int, int], widest: int
) -> None:
    assert widest_gap(sizes, 10) == widest
