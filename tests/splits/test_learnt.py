"""What a model learnt from is known again by its pictures, whatever they are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.errors import DataError
from covidssl.splits import (
    Assigned,
    Leak,
    Learnt,
    Prints,
    SplitPlan,
    StartsFrom,
    learnt_from,
    propose,
    settle,
)
from covidssl.splits import overlap as overlap_of
from tests.splits.prints import prints_of
from tests.splits.sets import dataset, scan

SPLITS = ("train", "train", "validation", "validation", "test", "test", "unused", "gap")
NAMES = [f"{k}.png" for k in range(len(SPLITS))]
FIRST = prints_of(NAMES)


def assigned(splits: tuple[str, ...] = SPLITS, prefix: str = "") -> list[Assigned]:
    return [
        Assigned(scan(f"{prefix}{name}", k % 2 == 1), name, split)
        for k, (name, split) in enumerate(zip(NAMES, splits, strict=True))
    ]


def renamed(prints: Prints, prefix: str) -> Prints:
    return replace(prints, names=tuple(f"{prefix}{name}" for name in prints.names))


def learnt() -> Learnt:
    return learnt_from(assigned(), FIRST)


def test_train_and_validation_scans_are_kept_and_no_others() -> None:
    found = learnt()
    assert found.chose.tolist() == [0, 0, 1, 1]
    assert (found.hashes == FIRST.hashes[:4]).all()
    assert [row.tobytes().hex() for row in found.voxels] == list(FIRST.voxels[:4])
    assert found.taught.chose.tolist() == [0, 0]


def test_copies_are_known_whatever_they_are_called() -> None:
    copies = renamed(FIRST, "other/")
    found = overlap_of(learnt(), copies, copies.names)
    assert (found.of, found.equal, found.near) == (8, tuple(copies.names[:4]), ())
    assert str(found).startswith("4 of 8 scans are among what the model learnt from (4 with the")


@pytest.mark.parametrize(("bits", "near"), [(0, True), (24, True), (25, False)])
def test_near_duplicates_are_known(bits: int, near: bool) -> None:
    both = prints_of([*NAMES, "like.png"], near={"like.png": ("0.png", bits)})
    found = overlap_of(learnt(), both, ["like.png"])
    assert found.equal == ()
    assert (found.near == ("like.png",)) == near


def test_other_pictures_called_alike_are_no_copies() -> None:
    many = prints_of([f"x{k}" for k in range(20)])
    others = Prints(tuple(NAMES), many.hashes[10:18], many.voxels[10:18], many.thumbnails[10:18])
    assert overlap_of(learnt(), others, NAMES).names == ()


def test_what_was_learnt_before_is_kept_too() -> None:
    turned = ("test", "test", "gap", "gap", "train", "train", "validation", "validation")
    found = learnt_from(assigned(turned), FIRST, learnt())
    assert len(found.chose) == 8
    assert overlap_of(found, FIRST, NAMES).equal == tuple(NAMES)


def test_what_does_not_fit_is_refused() -> None:
    found = learnt()
    with pytest.raises(DataError, match="do not fit"):
        Learnt(found.hashes[1:], found.voxels, found.chose)
    with pytest.raises(DataError, match="do not fit"):
        Learnt(found.hashes, found.voxels, found.chose.astype(np.int64))


# Started from a model


def leaks_with(splits: tuple[str, ...], start: StartsFrom) -> tuple[Leak, ...]:
    marks = [one if one in ("train", "validation", "test") else "train" for one in splits]
    whole = dataset(
        *(scan(name, k % 2 == 1, name, mark) for k, (name, mark) in enumerate(zip(NAMES, marks,
          strict=True)))
    )  # fmt: skip
    return settle(propose(whole, SplitPlan(), 0), FIRST, start=start)[1].leaks


def test_same_split_again_is_no_leak() -> None:
    assert leaks_with(SPLITS, StartsFrom(learnt(), "")) == ()


def test_test_scans_that_taught_or_chose_the_model_before_are_a_leak() -> None:
    turned = ("test", "validation", "test", "train", "train", "train", "validation", "test")
    first, second = leaks_with(turned, StartsFrom(learnt(), ""))
    assert (first.kind, first.count) == ("init", 2)
    assert "in the test split, which the model that it starts from has seen: 2 of 3" in first.text
    assert (second.kind, second.count) == ("init", 1)
    assert "in the validation split" in second.text


def test_leakage_of_the_model_before_is_leakage_of_this_one() -> None:
    (leak,) = leaks_with(SPLITS, StartsFrom(None, "a patient in two splits"))
    assert leak.text.endswith("learnt on a split that leaks: a patient in two splits")
