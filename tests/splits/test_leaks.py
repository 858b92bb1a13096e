"""What leaks is found, counted and named; what does not leak is left in peace."""

from __future__ import annotations

import logging
import re

import pytest

from covidssl.datasets import Dataset
from covidssl.errors import DataError
from covidssl.splits import (
    Assigned,
    Leak,
    Prints,
    SplitPlan,
    leakage_in_words,
    leaks,
    propose,
    refuse_early,
    refuse_leaks,
    set_aside,
    settle,
    split_dataset,
)
from tests.splits.prints import in_the_order_of_patients, prints_of
from tests.splits.sets import dataset, in_file_order, of_patients, scan, splits_of

PLACES = ("train", "validation", "test")
MIXED = ["train", "train", "train", "validation", "test"]


def given(patients: bool = True) -> Dataset:
    """Eight scans of each class in each split, in given splits."""
    return dataset(
        *(
            scan(f"{s}/{k}.png", k % 2 == 1, f"{s}-{k}" if patients else None, s)
            for s in PLACES
            for k in range(16)
        )
    )


def names(whole: Dataset) -> list[str]:
    return [one.name for one in whole.scans]


def found_in(whole: Dataset, prints: Prints, plan: SplitPlan | None = None) -> tuple[Leak, ...]:
    return leaks(split_dataset(whole, plan or SplitPlan(), 0), prints)


def test_split_without_a_leak_has_none() -> None:
    assert found_in(given(), prints_of(names(given()))) == ()
    assert leakage_in_words(()) == ""


@pytest.mark.parametrize("bits", [0, 1, 24])
def test_near_duplicates_in_two_splits_are_named(bits: int) -> None:
    prints = prints_of(names(given()), near={"test/3.png": ("train/1.png", bits)})
    (leak,) = found_in(given(), prints)
    assert (leak.kind, leak.count) == ("near", 1)
    assert leak.examples == (("train/1.png", "test/3.png"),)
    assert "1 pair of near duplicates (at most 24 of the 256 bits" in leak.text
    assert "(1 in train and test); first: train/1.png (train) and test/3.png (test)" in leak.text


@pytest.mark.parametrize(
    "near",
    [{"test/3.png": ("train/1.png", 25)}, {"test/3.png": ("test/1.png", 0)}],
    ids=["not near", "in one split"],
)
def test_what_is_not_near_or_not_apart_is_no_leak(near: dict[str, tuple[str, int]]) -> None:
    assert found_in(given(), prints_of(names(given()), near)) == ()


def test_equal_scans_are_counted_once_and_opposite_labels_are_told() -> None:
    equal = {"test/2.png": "train/1.png", "test/5.png": "validation/5.png"}
    (leak,) = found_in(given(), prints_of(names(given()), equal=equal))
    assert (leak.kind, leak.count) == ("equal", 2)
    assert "2 pairs of scans with the same voxels" in leak.text
    assert "1 in train and test" in leak.text
    assert "1 in validation and test" in leak.text
    assert "1 with opposite labels" in leak.text


def test_duplicates_of_what_is_left_out_are_no_leak() -> None:
    prints = prints_of(names(given()), near={"test/3.png": ("train/1.png", 5)})
    assigned = [
        Assigned(one.scan, one.group, "unused" if one.scan.name == "train/1.png" else one.split)
        for one in split_dataset(given(), SplitPlan(), 0)
    ]
    assert leaks(assigned, prints) == ()


def test_patient_in_two_splits_is_told_by_scans_and_not_by_name() -> None:
    ann = [scan("x.png", True, "Ann", "train"), scan("y.png", True, "Ann", "validation")]
    (leak,) = leaks(split_dataset(dataset(*given().scans, *ann), SplitPlan(), 0))
    assert (leak.kind, leak.count) == ("patient", 1)
    assert "x.png (train) and y.png (validation) are of one patient" in leak.text
    assert "Ann" not in leak.text


@pytest.mark.parametrize("kind", ["random", "blocked"])
def test_split_that_tears_patients_apart_is_refused_before_a_picture_is_read(kind: str) -> None:
    whole = dataset(*(scan(f"{k}.png", k % 2 == 0, f"p{k // 7}") for k in range(400)))
    proposed = propose(whole, SplitPlan.model_validate({"kind": kind, "gap": 0}), 0)
    with pytest.raises(DataError, match=r"patients? in more than one split.*not by scan.*kind=pat"):
        refuse_early(proposed, allowed=False)
    refuse_early(proposed, allowed=True)


# File order


def order_leaks(plan: SplitPlan, whole: Dataset | None = None) -> list[Leak]:
    whole = whole or in_file_order(200)
    found = found_in(whole, in_the_order_of_patients(names(whole)), plan)
    return [leak for leak in found if leak.kind == "order"]


@pytest.mark.parametrize("kind", ["random", "grouped"])
def test_order_that_carries_patients_and_is_torn_apart_is_a_leak(kind: str) -> None:
    whole = in_file_order(200)
    prints = in_the_order_of_patients(names(whole))
    assigned = split_dataset(whole, SplitPlan.model_validate({"kind": kind}), 0, prints)
    (leak,) = leaks(assigned, prints)
    assert leak.kind == "order"
    assert leak.count > 20
    assert "file order carries patients, and none are known: the nearest neighbour of" in leak.text
    assert "such neighbours of test scans and " in leak.text
    said = "such neighbours of validation scans away to where they are learnt from; first: "
    assert said in leak.text


@pytest.mark.parametrize("gap", [0, 3, 10])
def test_blocks_keep_that_order_together(gap: int) -> None:
    assert order_leaks(SplitPlan(kind="blocked", gap=gap)) == []


def test_lists_that_keep_patients_whole_are_no_leak_though_patients_meet() -> None:
    marked = ["train", "validation", "test"]
    whole = dataset(
        *(
            scan(f"{p}/{k}.png", p, None, marked[k // 10 % 3])
            for p in (False, True)
            for k in range(150)
        )
    )
    assert order_leaks(SplitPlan(), whole) == []


def test_few_labels_of_a_split_that_tears_the_order_apart_leak_as_all_of_them() -> None:
    told = [
        [leak.text for leak in order_leaks(SplitPlan(kind="random", label_fraction=fraction))]
        for fraction in (1.0, 0.1)
    ]
    of_tests = [re.findall(r"(\d+ of \d+) such neighbours of test scans", text) for (text,) in told]
    assert of_tests[0] == of_tests[1] != []


def test_order_that_tells_nothing_is_no_leak() -> None:
    whole = in_file_order(200)
    assert found_in(whole, prints_of(names(whole)), SplitPlan(kind="random")) == ()


def test_order_is_not_asked_where_patients_are_known() -> None:
    assert order_leaks(SplitPlan(kind="patient"), of_patients(80, 5)) == []


def test_given_lists_that_tear_the_order_apart_are_found_too() -> None:
    marked = ["train", "train", "train", "validation", "test"]
    whole = dataset(
        *(scan(f"{p}/{k}.png", p, None, marked[k % 5]) for p in (False, True) for k in range(150))
    )
    (leak,) = order_leaks(SplitPlan(), whole)
    assert leak.count > 20


def marked(of_a_class: int, words: list[str]) -> Dataset:
    """Slices of nobody known, with these splits in file order, over and over again."""
    return dataset(
        *(
            scan(f"{p}/{k}.png", p, None, words[k % len(words)])
            for p in (False, True)
            for k in range(of_a_class)
        )
    )


@pytest.mark.parametrize("tests", [True, False], ids=["tests apart", "no tests"])
def test_validation_that_is_mixed_with_train_leaks_though_test_is_apart(tests: bool) -> None:
    words = ["train", "train", "validation"] * 30 + ["test" if tests else "gap"] * 60
    (leak,) = order_leaks(SplitPlan(), marked(150, words))
    assert "such neighbours of validation scans away" in leak.text
    assert "of test scans" not in leak.text


def test_test_that_is_mixed_with_train_leaks_though_validation_is_apart() -> None:
    words = ["train", "train", "test"] * 30 + ["validation"] * 60
    (leak,) = order_leaks(SplitPlan(), marked(150, words))
    assert "of validation scans" not in leak.text


@pytest.mark.parametrize("draw", range(4))
def test_few_labels_of_blocks_do_not_leak(draw: int) -> None:
    plan = SplitPlan(kind="blocked", gap=3, run_length=7, label_fraction=0.1, label_draw=draw)
    assert order_leaks(plan, in_file_order(400)) == []


def test_patient_of_one_scan_each_does_not_hide_the_order() -> None:
    known = dataset(
        *(scan(one.name, one.positive, one.name, one.split) for one in marked(150, MIXED).scans)
    )
    (leak,) = order_leaks(SplitPlan(), known)
    assert leak.count > 20


# What is set aside


def test_test_scans_stay_and_validation_gives_way_to_them() -> None:
    prints = prints_of(
        names(given()),
        near={
            "train/1.png": ("test/3.png", 9),
            "validation/5.png": ("test/5.png", 2),
            "train/9.png": ("validation/7.png", 4),
        },
    )
    assigned = split_dataset(given(), SplitPlan(), 0)
    kept, aside = set_aside(assigned, prints)
    gone = {name for name, split in splits_of(kept).items() if split == "gap"}
    assert gone == {"train/1.png", "validation/5.png", "train/9.png"}
    assert {(one.scan, one.was, one.of, one.bits) for one in aside} == {
        ("train/1.png", "train", "test/3.png", 9),
        ("validation/5.png", "validation", "test/5.png", 2),
        ("train/9.png", "train", "validation/7.png", 4),
    }
    assert leaks(kept, prints) == ()


def test_no_more_is_set_aside_than_must_be() -> None:
    # Validation goes because of the test scan, so train, which is near it alone, may stay.
    chain = {"validation/1.png": ("test/1.png", 20), "train/1.png": ("validation/1.png", 20)}
    prints = prints_of(names(given()), near=chain)
    kept, _ = set_aside(split_dataset(given(), SplitPlan(), 0), prints)
    gone = {name for name, split in splits_of(kept).items() if split == "gap"}
    assert "validation/1.png" in gone
    assert leaks(kept, prints) == ()
    apart = [(a, b) for a, b, _ in prints.near if {a, b} == {1, 33}]
    assert ("train/1.png" in gone) == bool(apart)


def blocked_with(copies: int) -> tuple[Dataset, Prints]:
    """Blocks in which train scans of one block are near duplicates of test scans."""
    whole = in_file_order(200)
    near = {f"COVID/slice {60 + k}.png": (f"COVID/slice {45 + k}.png", 3) for k in range(copies)}
    return whole, prints_of(names(whole), near)


def test_a_few_near_duplicates_across_blocks_are_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, prints = blocked_with(2)
    with caplog.at_level(logging.WARNING):
        assigned, notes = settle(propose(whole, SplitPlan(kind="blocked", gap=0), 0), prints)
    assert [one.scan for one in notes.set_aside] == ["COVID/slice 60.png", "COVID/slice 61.png"]
    assert "2 near duplicates across splits left out (2 of train)" in notes.reason
    assert "2 near duplicates of scans of other splits are left out (2 of train)" in caplog.text
    assert splits_of(assigned)["COVID/slice 60.png"] == "gap"
    assert notes.leaks == ()


def test_split_that_would_lose_too_much_is_not_mended_unasked() -> None:
    whole, prints = blocked_with(15)
    _, notes = settle(propose(whole, SplitPlan(kind="blocked", gap=0), 0), prints)
    assert (notes.set_aside, [leak.count for leak in notes.leaks]) == ((), [15])
    plan = SplitPlan(kind="blocked", gap=0, set_aside=True)
    _, notes = settle(propose(whole, plan, 0), prints)
    assert (len(notes.set_aside), notes.leaks) == (15, ())


@pytest.mark.parametrize(("asked", "leaking"), [(None, 1), (False, 1), (True, 0)])
def test_given_lists_are_changed_only_when_that_is_asked_for(
    asked: bool | None, leaking: int
) -> None:
    prints = prints_of(names(given()), near={"train/1.png": ("test/3.png", 9)})
    _, notes = settle(propose(given(), SplitPlan(set_aside=asked), 0), prints)
    assert len(notes.leaks) == leaking


# The refusal


def test_refusal_lists_all_leaks_and_what_to_do() -> None:
    prints = prints_of(
        names(given()),
        near={"train/1.png": ("test/3.png", 9)},
        equal={"test/2.png": "validation/2.png"},
    )
    _, notes = settle(propose(given(), SplitPlan(), 0), prints)
    said = (
        r"set: this split leaks.*\(1\) 1 pair of scans with the same voxels.*\(2\) 1 pair of near "
        r"dup.*split\.kind=grouped.*split\.set_aside=true.*--allow-leakage"
    )
    with pytest.raises(DataError, match=said):
        refuse_leaks(given(), notes.leaks, allowed=False)


def test_order_is_answered_by_blocks() -> None:
    found = order_leaks(SplitPlan(kind="random"))
    with pytest.raises(DataError, match=r"split\.kind=blocked, with a gap"):
        refuse_leaks(given(), found, allowed=False)


def test_allowed_leakage_is_cried_out_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    prints = prints_of(names(given()), near={"train/1.png": ("test/3.png", 9)})
    _, notes = settle(propose(given(), SplitPlan(), 0), prints, allowed=True)
    refuse_leaks(given(), notes.leaks, allowed=True)
    assert notes.leakage_allowed
    assert "THIS SPLIT LEAKS, which was allowed: 1 pair of near duplicates" in caplog.text


def test_leakage_is_not_noted_as_allowed_where_there_is_none() -> None:
    _, notes = settle(propose(given(), SplitPlan(), 0), prints_of(names(given())), allowed=True)
    assert not notes.leakage_allowed
