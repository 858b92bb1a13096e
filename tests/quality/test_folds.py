"""Folds of a labelled set: nobody is learnt from and scored, whatever the set is like."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError
from covidssl.quality.folds import Folds, make_folds
from tests.quality.made import prints_of, scans_of

HALF = [False, True] * 60


def overlapping(folds: Folds, of: list[str]) -> list[set[str]]:
    """What the three parts of each fold have in common, by a mark of each scan."""
    return [
        {of[row] for row in a} & {of[row] for row in b}
        for fold in folds.folds
        for a, b in combinations(fold, 2)
    ]


def test_no_patient_is_learnt_from_and_scored(tmp_path: Path) -> None:
    people: list[str | None] = [f"person-{place // 4}" for place in range(120)]
    scans = scans_of(tmp_path, people, [place // 4 % 2 == 1 for place in range(120)])
    folds = make_folds(scans, prints_of(scans), 5)
    assert "patients" in folds.text
    assert not any(overlapping(folds, [str(one) for one in people]))


def test_near_duplicates_of_two_patients_are_never_learnt_from_and_scored(tmp_path: Path) -> None:
    people: list[str | None] = [f"person-{place}" for place in range(120)]
    scans = scans_of(tmp_path, people, HALF)
    pairs = tuple((place, place + 60) for place in range(0, 40, 2))
    folds = make_folds(scans, prints_of(scans, pairs), 5)
    marks = [str(place) for place in range(120)]
    for first, second in pairs:
        marks[second] = marks[first]
    assert not any(overlapping(folds, marks))


def test_without_patients_blocks_are_apart_by_a_gap(tmp_path: Path) -> None:
    scans = scans_of(tmp_path, [None] * 120, HALF)
    folds = make_folds(scans, prints_of(scans), 4, gap=5)
    assert "contiguous" in folds.text
    for fold in folds.folds:
        for a, b in combinations(fold, 2):
            # Two classes in turn: so many places of one class are twice as many of both.
            apart = [abs(x - y) for x in a for y in b if x % 2 == y % 2]
            assert min(apart) > 2 * 5


def test_a_known_patient_stays_together_where_others_are_not_known(tmp_path: Path) -> None:
    people: list[str | None] = [None] * 120
    for place in (0, 30, 60, 90, 118):
        people[place] = "person"
    scans = scans_of(tmp_path, people, HALF)
    folds = make_folds(scans, prints_of(scans), 4, gap=0)
    marks = [person or str(place) for place, person in enumerate(people)]
    assert not any(overlapping(folds, marks))


@pytest.mark.parametrize("known", [True, False])
def test_every_scan_is_scored_once(tmp_path: Path, known: bool) -> None:
    people = [f"person-{place}" if known else None for place in range(120)]
    scans = scans_of(tmp_path, people, HALF)
    scored = np.concatenate([fold.score for fold in make_folds(scans, prints_of(scans), 5).folds])
    assert sorted(scored.tolist()) == list(range(120))


def test_folds_do_not_change_from_run_to_run(tmp_path: Path) -> None:
    scans = scans_of(tmp_path, [f"person-{place}" for place in range(120)], HALF)
    first, second = (make_folds(scans, prints_of(scans), 5) for _ in range(2))
    for a, b in zip(first.folds, second.folds, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_two_patients_of_a_class_are_refused(tmp_path: Path) -> None:
    people: list[str | None] = [f"person-{place % 2}" for place in range(20)] + ["a", "b", "c"]
    scans = scans_of(tmp_path, people, [True] * 20 + [False] * 3)
    with pytest.raises(DataError, match="2 patients or distinct scans of the positive class"):
        make_folds(scans, prints_of(scans), 5)
