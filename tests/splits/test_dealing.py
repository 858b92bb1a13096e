"""No patient and no neighbour of a test scan is learnt from."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from covidssl.datasets import Dataset
from covidssl.errors import DataError
from covidssl.splits import (
    Assigned,
    SplitPlan,
    group_kind,
    propose,
    read_splits,
    split_dataset,
    splits_fingerprint,
    write_splits,
)
from tests.splits.sets import dataset, in_file_order, of_patients, scan, splits_of

LABELS = ("train", "validation")


def labelled(assigned: list[Assigned]) -> list[Assigned]:
    return [one for one in assigned if one.split in LABELS]


def test_given_splits_are_taken_as_they_are() -> None:
    names = ("train", "validation", "test")
    scans = [scan(f"{s}-{p}.png", p, split=s) for s in names for p in (False, True)]
    assigned = split_dataset(dataset(*scans), SplitPlan(), seed=0)
    assert [one.split for one in assigned] == [one.split for one in scans]


@pytest.mark.parametrize("seed", range(5))
def test_split_by_patient_never_splits_a_patient(seed: int) -> None:
    places: dict[str, set[str]] = {}
    for one in split_dataset(of_patients(), SplitPlan(), seed):
        places.setdefault(str(one.scan.patient), set()).add(one.split)
    assert all(len(splits) == 1 for splits in places.values())


def test_split_by_patient_keeps_shares_and_classes() -> None:
    plan = SplitPlan(kind="patient", test=0.2, validation=0.15)
    assigned = split_dataset(of_patients(40, 1), plan, seed=0)
    counts = Counter((one.split, one.scan.positive) for one in assigned)
    for positive in (False, True):
        assert counts["test", positive] == 4
        assert counts["validation", positive] == 3
        assert counts["train", positive] == 13


def test_patient_of_both_classes_stays_whole() -> None:
    both = [scan(f"both{p}/{k}.png", k == 1, f"both{p}") for p in range(20) for k in range(2)]
    places: dict[str, set[str]] = {}
    for one in split_dataset(dataset(*of_patients().scans, *both), SplitPlan(), 0):
        places.setdefault(one.group, set()).add(one.split)
    assert all(len(splits) == 1 for splits in places.values())


@pytest.mark.parametrize("kind", ["patient", "random"])
def test_same_seed_gives_the_same_split_and_another_seed_another(kind: str) -> None:
    plan = SplitPlan.model_validate({"kind": kind})
    whole = of_patients() if kind == "patient" else in_file_order()
    first, again, other = (splits_of(split_dataset(whole, plan, seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_random_split_of_known_patients_resamples_patients() -> None:
    assigned = split_dataset(of_patients(), SplitPlan(kind="random"), seed=0)
    assert group_kind(assigned) == "patient"
    assert {one.group for one in assigned} == {one.scan.patient for one in assigned}


def test_order_of_the_scans_does_not_change_the_split_by_patient() -> None:
    shuffled = list(of_patients().scans)
    random.Random(0).shuffle(shuffled)
    assert splits_of(split_dataset(dataset(*shuffled), SplitPlan(), 0)) == splits_of(
        split_dataset(of_patients(), SplitPlan(), 0)
    )


def test_too_few_patients_to_train_on_are_refused() -> None:
    with pytest.raises(DataError, match="the train split holds no scan of class 'normal'"):
        split_dataset(of_patients(4), SplitPlan(), seed=0)


def test_blocks_are_contiguous_in_file_order() -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked", gap=0), seed=0)
    for positive in (False, True):
        row = [one.split for one in assigned if one.scan.positive == positive]
        runs = [row[k] for k in range(len(row)) if k == 0 or row[k] != row[k - 1]]
        assert runs == ["validation", "train", "test", "train", "test", "train", "test", "train"]
        assert Counter(row) == {"train": 240, "test": 120, "validation": 40}


@pytest.mark.parametrize("gap", [1, 7, 20])
def test_nothing_in_test_is_within_the_gap_of_a_label(gap: int) -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked", gap=gap), seed=0)
    for positive in (False, True):
        row = [one.split for one in assigned if one.scan.positive == positive]
        learnt = [k for k, split in enumerate(row) if split in LABELS]
        tests = [k for k, split in enumerate(row) if split == "test"]
        assert min(abs(t - k) for t in tests for k in learnt) == gap + 1


def test_validation_is_not_within_the_gap_of_train() -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked", gap=12), seed=0)
    row = [one.split for one in assigned if one.scan.positive]
    places = {name: [k for k, split in enumerate(row) if split == name] for name in LABELS}
    assert min(abs(t - v) for t in places["train"] for v in places["validation"]) == 13


def test_gap_takes_nothing_from_test() -> None:
    sizes = [
        Counter(
            one.split
            for one in split_dataset(in_file_order(), SplitPlan(kind="blocked", gap=gap), seed=0)
        )
        for gap in (0, 30)
    ]
    assert sizes[0]["test"] == sizes[1]["test"]
    assert sizes[1]["gap"] > 0


@pytest.mark.parametrize("of_a_class", [60, 100, 200, 300, 320])
def test_blocks_of_small_sets_leave_enough_to_learn_from(
    of_a_class: int, caplog: pytest.LogCaptureFixture
) -> None:
    assigned = split_dataset(in_file_order(of_a_class), SplitPlan(kind="blocked"), seed=0)
    counts = Counter(one.split for one in assigned)
    block = of_a_class // 10
    assert counts["test"] == 6 * block
    assert counts["validation"] >= block
    assert counts["train"] >= 5 * block
    assert f"too wide for 10 blocks of {block} scans; {block // 2} are left out" in caplog.text


def test_gap_wider_than_half_a_block_keeps_test_apart_by_half_a_block() -> None:
    plan = SplitPlan(kind="blocked", gap=50, validation_blocks=(0, 9), test_blocks=(3,))
    assigned = split_dataset(in_file_order(), plan, seed=0)
    row = [one.split for one in assigned if one.scan.positive]
    learnt = [k for k, split in enumerate(row) if split in LABELS]
    tests = [k for k, split in enumerate(row) if split == "test"]
    assert min(abs(t - k) for t in tests for k in learnt) == 21
    assert row[4 * 40 + 20 : 9 * 40 - 20] == ["train"] * 160


def test_gap_of_the_reason_is_the_one_that_was_left_out() -> None:
    notes = propose(in_file_order(100), SplitPlan(kind="blocked"), 0).notes
    assert "; 5 scans left out at each border" in notes.reason
    assert notes.plan["gap"] == 5


@pytest.mark.parametrize(("gap", "told"), [(3, False), (20, True)])
def test_gaps_that_take_over_a_third_of_train_are_told_with_numbers(
    gap: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked", gap=gap), seed=0)
    left = sum(one.split == "train" for one in assigned)
    said = f"take {480 - left} of 480 training scans (10 blocks a class, a gap of {gap} scans)"
    assert (said in caplog.text) == told
    assert (left < 320) == told


def test_blocks_that_leave_nothing_to_learn_from_are_refused_with_their_numbers() -> None:
    plan = SplitPlan(kind="blocked", blocks=3, test_blocks=(1, 2), gap=2)
    said = (
        r"train split holds no scan.*cut into 3 blocks of each class with a gap of 2 scans.*--set"
    )
    with pytest.raises(DataError, match=said):
        split_dataset(in_file_order(60), plan, seed=0)


def test_groups_of_blocks_are_runs_of_neighbouring_files() -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked", run_length=20), seed=0)
    assert set(Counter(one.group for one in assigned).values()) == {20}
    assert group_kind(assigned) == "run of neighbouring files (no patient ids)"


@pytest.mark.parametrize(
    "blocks",
    [
        {"test_blocks": (2, 10)},
        {"test_blocks": (2,), "validation_blocks": (2,)},
        {"test_blocks": (2,), "validation_blocks": (-1,)},
    ],
)
def test_blocks_that_are_not_there_or_are_named_twice_are_refused(
    blocks: dict[str, tuple[int, ...]],
) -> None:
    with pytest.raises(ValidationError, match="blocks are numbered 0 to 9"):
        SplitPlan.model_validate({"kind": "blocked", **blocks})


def test_auto_refuses_to_choose_when_neither_patients_nor_splits_are_known() -> None:
    with pytest.raises(DataError, match=r"no patients and no splits are known.*kind=blocked.*rand"):
        split_dataset(in_file_order(), SplitPlan(), seed=0)


def test_auto_refuses_when_a_single_patient_is_not_known() -> None:
    scans = [*of_patients().scans, scan("stranger.png", True)]
    with pytest.raises(DataError, match="covidssl does not choose"):
        split_dataset(dataset(*scans), SplitPlan(), seed=0)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("given", "'given', but some rows have no split"), ("patient", "'patient', but some scans")],
)
def test_kind_that_the_dataset_does_not_carry_is_refused(kind: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        split_dataset(in_file_order(), SplitPlan.model_validate({"kind": kind}), seed=0)


def test_random_split_warns_of_what_it_does(caplog: pytest.LogCaptureFixture) -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="random"), seed=0)
    assert "slices of one patient may stand on both sides" in caplog.text
    assert group_kind(assigned) == "scan"


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_split_that_lacks_a_class_is_refused(missing: str) -> None:
    scans = [
        scan(f"{s}-{p}.png", p, split=s)
        for s in ("train", "validation", "test")
        for p in (False, True)
        if (s, p) != (missing, True)
    ]
    with pytest.raises(DataError, match=f"the {missing} split holds no scan of class 'COVID'"):
        split_dataset(dataset(*scans), SplitPlan(), seed=0)


@pytest.mark.parametrize("absent", LABELS)
def test_nothing_to_train_or_validate_on_is_refused(absent: str) -> None:
    names = [name for name in ("train", "validation", "test") if name != absent]
    scans = [scan(f"{s}-{p}.png", p, split=s) for s in names for p in (False, True)]
    with pytest.raises(DataError, match=f"the {absent} split holds no scan"):
        split_dataset(dataset(*scans), SplitPlan(), seed=0)


def test_dataset_may_do_without_a_test_split() -> None:
    scans = [scan(f"{s}-{p}.png", p, split=s) for s in LABELS for p in (False, True)]
    assert len(split_dataset(dataset(*scans), SplitPlan(), seed=0)) == 4


@pytest.mark.parametrize(
    ("whole", "plan"),
    [
        (of_patients(80), SplitPlan(kind="patient")),
        (in_file_order(), SplitPlan(kind="blocked", gap=10)),
    ],
    ids=["patient", "blocked"],
)
class TestLabelFraction:
    @staticmethod
    def take(whole: Dataset, plan: SplitPlan, fraction: float, draw: int = 0) -> list[Assigned]:
        update = {"label_fraction": fraction, "label_draw": draw}
        return split_dataset(whole, plan.model_copy(update=update), seed=0)

    def test_keeps_about_its_share_of_the_labels(self, whole: Dataset, plan: SplitPlan) -> None:
        kept, every = (len(labelled(self.take(whole, plan, f))) for f in (0.25, 1.0))
        assert 0.25 <= kept / every < 0.45

    def test_keeps_whole_groups(self, whole: Dataset, plan: SplitPlan) -> None:
        every = Counter((o.group, o.split) for o in labelled(self.take(whole, plan, 1.0)))
        kept = Counter((o.group, o.split) for o in labelled(self.take(whole, plan, 0.1)))
        assert 0 < len(kept) < len(every)
        assert all(every[group] == count for group, count in kept.items())

    def test_keeps_both_classes_of_both_splits(self, whole: Dataset, plan: SplitPlan) -> None:
        kept = {(o.split, o.scan.positive) for o in labelled(self.take(whole, plan, 0.001))}
        assert kept == {(split, p) for split in LABELS for p in (False, True)}

    def test_another_draw_keeps_other_labels(self, whole: Dataset, plan: SplitPlan) -> None:
        names = [
            {o.scan.name for o in labelled(self.take(whole, plan, 0.1, draw))} for draw in (0, 0, 1)
        ]
        assert names[0] == names[1]
        assert names[0] != names[2]

    def test_leaves_test_alone(self, whole: Dataset, plan: SplitPlan) -> None:
        tests = [
            [o for o in self.take(whole, plan, f, draw) if o.split == "test"]
            for f, draw in ((1.0, 0), (0.1, 0), (0.1, 1))
        ]
        assert tests[0] == tests[1] == tests[2]

    def test_puts_the_rest_aside_and_adds_nothing(self, whole: Dataset, plan: SplitPlan) -> None:
        every = splits_of(self.take(whole, plan, 1.0))
        changed = {
            (every[name], split)
            for name, split in splits_of(self.take(whole, plan, 0.1)).items()
            if split != every[name]
        }
        assert changed == {(split, "unused") for split in LABELS}


@pytest.mark.parametrize("whole", [of_patients(), in_file_order()], ids=["patients", "files"])
def test_splits_are_read_as_they_were_written(whole: Dataset, tmp_path: Path) -> None:
    plan = SplitPlan(kind="patient" if whole.scans[0].patient else "blocked", label_fraction=0.5)
    assigned = split_dataset(whole, plan, seed=0)
    write_splits(tmp_path / "splits.csv", assigned, whole)
    assert read_splits(tmp_path / "splits.csv", whole) == assigned


def test_splits_of_another_dataset_are_refused(tmp_path: Path) -> None:
    assigned = split_dataset(of_patients(), SplitPlan(), seed=0)
    write_splits(tmp_path / "splits.csv", assigned, of_patients())
    with pytest.raises(DataError, match=r"p39/0\.png is not in this dataset \(set\).*--split all"):
        read_splits(tmp_path / "splits.csv", of_patients(39))


def test_splits_of_a_dataset_that_was_labelled_anew_are_refused(tmp_path: Path) -> None:
    before = of_patients()
    write_splits(tmp_path / "splits.csv", split_dataset(before, SplitPlan(), seed=0), before)
    anew = dataset(scan("p00/0.png", True, "p00"), *before.scans[1:])
    with pytest.raises(DataError, match=r"p00/0\.png has another label there"):
        read_splits(tmp_path / "splits.csv", anew)


def test_groups_of_known_patients_are_patients() -> None:
    assigned = split_dataset(of_patients(), SplitPlan(), seed=0)
    assert group_kind(assigned) == "patient"
    assert {one.group for one in assigned} == {one.scan.patient for one in assigned}


def with_marks(*splits: str | None) -> Dataset:
    """Patients of both classes, two for each mark."""
    return dataset(
        *(
            scan(f"p{k}-{p}.png", p, f"p{k}-{p}", split)
            for k, split in enumerate(splits)
            for p in (False, True)
        )
    )


@pytest.mark.parametrize("kind", ["auto", "given"])
def test_split_column_that_is_partly_filled_is_refused_with_its_counts(kind: str) -> None:
    partly = with_marks("train", "validation", "test", *([None] * 20))
    said = r"only 6 of 46 scans carry a split \(2 train, 2 validation, 2 test\), 40 rows.*Fill"
    with pytest.raises(DataError, match=said):
        split_dataset(partly, SplitPlan.model_validate({"kind": kind}), seed=0)


@pytest.mark.parametrize("last", ["test", None], ids=["full", "partly filled"])
def test_split_column_that_is_overridden_is_warned_of(
    last: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    marked = with_marks(*["train"] * 8, "validation", last)
    assigned = split_dataset(marked, SplitPlan(kind="patient"), seed=0)
    assert splits_of(assigned) != {one.name: one.split for one in marked.scans}
    assert "its own splits (16 train, 2 validation" in caplog.text
    assert "are not used: split.kind is 'patient'" in caplog.text


def test_splits_that_are_used_or_absent_are_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    split_dataset(with_marks("train", "validation", "test"), SplitPlan(), seed=0)
    split_dataset(of_patients(), SplitPlan(kind="patient"), seed=0)
    assert not caplog.records


def test_train_and_test_without_validation_is_told_to_mark_some_patients() -> None:
    marked = with_marks("train", "train", "test")
    said = r"no scan; its column says 4 train, 2 test\. Mark some of the train patients of both"
    with pytest.raises(DataError, match=said):
        split_dataset(marked, SplitPlan(), seed=0)


def test_fingerprint_of_splits_does_not_follow_the_order_of_scans() -> None:
    assigned = split_dataset(of_patients(), SplitPlan(), seed=0)
    assert splits_fingerprint(assigned[::-1]) == splits_fingerprint(assigned)


@pytest.mark.parametrize("changed", ["name", "group", "split", "label", "patient", "one less"])
def test_fingerprint_of_splits_follows_what_decides_the_scores(changed: str) -> None:
    first, *others = split_dataset(of_patients(), SplitPlan(), seed=0)
    other = {
        "name": [replace(first, scan=replace(first.scan, name="other.png"))],
        "group": [replace(first, group="somebody else")],
        "split": [replace(first, split="unused")],
        "label": [replace(first, scan=replace(first.scan, positive=not first.scan.positive))],
        "patient": [replace(first, scan=replace(first.scan, patient="somebody else"))],
        "one less": [],
    }[changed]
    assert splits_fingerprint([*other, *others]) != splits_fingerprint([first, *others])
