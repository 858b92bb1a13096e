"""Under every split each scan is scored by a model that has not learnt from its like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.audit.folds import FoldKind, Folds, all_folds, apart
from covidssl.experiments import AuditConfig
from covidssl.splits import Assigned
from tests.audit.made_up import half, scans_of, seen_of

CONFIG = AuditConfig(folds=5, gap=7)


def folds_of(kind: str, **scans: object) -> Folds:
    seen = seen_of(scans_of(half(200), **scans))  # type: ignore[arg-type]
    return next(folds for folds in all_folds(seen, CONFIG) if folds.kind == kind)


@pytest.mark.parametrize("kind", ["random", "blocked", "patient"])
def test_every_scan_is_scored_once_and_never_learnt_from_in_its_fold(kind: str) -> None:
    folds = folds_of(kind, patients=[f"p{row // 4}" for row in range(200)])
    scored = np.concatenate([test for _, test in folds.pairs])
    assert sorted(scored) == list(range(200))
    for number, (train, test) in enumerate(folds.pairs):
        assert not set(train) & set(test)
        assert (folds.fold[test] == number).all()


@pytest.mark.parametrize("kind", ["random", "blocked"])
def test_folds_hold_both_classes_alike(kind: str) -> None:
    for _, test in folds_of(kind).pairs:
        assert np.bincount(half(200)[test]).tolist() == [20, 20]


def test_gap_keeps_neighbours_of_a_class_apart() -> None:
    folds = folds_of("blocked")
    place = np.tile(np.arange(100), 2)
    for train, test in folds.pairs:
        for positive in (0, 1):
            learnt = place[train[half(200)[train] == positive]]
            scored = place[test[half(200)[test] == positive]]
            assert np.abs(learnt[:, None] - scored).min() == 8
            assert np.ptp(scored) == 19
    assert "7 scans left out" in folds.text


def test_gap_is_narrower_where_blocks_are_short() -> None:
    seen = seen_of(scans_of(half(40)))
    blocked = next(f for f in all_folds(seen, AuditConfig(gap=30)) if f.kind == "blocked")
    assert "2 scans left out" in blocked.text
    assert min(len(train) for train, _ in blocked.pairs) == 40 - 2 * (4 + 2 * 2)


def test_patients_stand_in_one_fold() -> None:
    patients = [f"p{row // 4}" for row in range(200)]
    folds = folds_of("patient", patients=patients)
    for patient in set(patients):
        rows = [row for row, of in enumerate(patients) if of == patient]
        assert len(set(folds.fold[rows])) == 1


def test_near_duplicates_stand_in_one_fold() -> None:
    seen = seen_of(scans_of(half(200)))
    hashes = seen.hashes.copy()
    hashes[50:60] = hashes[50]
    grouped = next(
        folds
        for folds in all_folds(replace(seen, hashes=hashes), CONFIG)
        if folds.kind == "grouped"
    )
    assert len(set(grouped.fold[50:60])) == 1
    assert not any(folds.kind == "grouped" for folds in all_folds(seen, CONFIG))


def test_own_splits_learn_from_train_and_validation_and_score_test() -> None:
    words = ["train", "validation", "test", "train"] * 50
    folds = folds_of("given", splits=words)
    ((train, test),) = folds.pairs
    assert {words[row] for row in train} == {"train", "validation"}
    assert {words[row] for row in test} == {"test"}
    assert set(np.flatnonzero(folds.fold >= 0)) == set(test)


def test_splits_without_a_test_are_scored_on_validation() -> None:
    folds = folds_of("given", splits=["train", "validation"] * 100)
    assert folds.text == "learnt from train, scored on validation"


def test_split_file_is_one_more_split() -> None:
    seen = seen_of(scans_of(half(20)))
    assigned = [
        Assigned(scan, scan.name, "test" if row % 2 else "train")
        for row, scan in enumerate(seen.scans)
    ]
    found = {folds.kind: folds for folds in all_folds(seen, CONFIG, assigned)}
    assert found["file"].pairs[0][1].tolist() == list(range(1, 20, 2))


def test_split_without_a_class_to_learn_from_is_left_out() -> None:
    words = ["train"] * 100 + ["test"] * 100
    seen = seen_of(scans_of(half(200), splits=words))
    assert "given" not in {folds.kind for folds in all_folds(seen, CONFIG)}


def test_random_folds_follow_the_seed() -> None:
    seen = seen_of(scans_of(half(200)))
    first, again, other = (
        all_folds(seen, AuditConfig(seed=seed))[0].fold.tolist() for seed in (3, 3, 4)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("kinds", "carries", "expected"),
    [
        (["random", "blocked", "patient", "given"], True, "patient"),
        (["random", "blocked", "given"], True, "blocked"),
        (["random", "blocked", "given"], False, "given"),
        (["random", "blocked"], False, "blocked"),
        (["random"], True, None),
    ],
)
def test_split_to_prove_oneself_on_keeps_patients_apart_best(
    kinds: list[FoldKind], carries: bool, expected: str | None
) -> None:
    found = apart([replace(folds_of("random"), kind=kind) for kind in kinds], carries)
    assert (found.kind if found else None) == expected


def test_split_that_leaks_is_nothing_to_prove_oneself_on() -> None:
    kinds: list[FoldKind] = ["random", "file", "given", "blocked"]
    all_of = [replace(folds_of("random"), kind=kind) for kind in kinds]
    for leaking, expected in ((["file"], "given"), (["file", "given"], "blocked"), ([], "file")):
        found = apart(all_of, False, leaking)
        assert found is not None
        assert found.kind == expected
    assert apart(all_of[:3], False, ["file", "given"]) is None
