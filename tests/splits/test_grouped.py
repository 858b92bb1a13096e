"""Near duplicates stay together, and with them the scans of a patient."""

from __future__ import annotations

from collections import Counter

import pytest

from covidssl.datasets import Dataset
from covidssl.errors import DataError
from covidssl.splits import Assigned, SplitPlan, group_kind, leaks, split_dataset
from tests.splits.prints import prints_of
from tests.splits.sets import dataset, in_file_order, of_patients, scan, splits_of

GROUPED = SplitPlan(kind="grouped")


def pictures(count: int = 60) -> list[str]:
    return [f"{k:02d}.png" for k in range(count)]


def of_pictures(count: int = 60) -> Dataset:
    return dataset(*(scan(name, k % 2 == 1) for k, name in enumerate(pictures(count))))


def places(assigned: list[Assigned], *names: str) -> set[str]:
    return {splits_of(assigned)[name] for name in names}


@pytest.mark.parametrize("seed", range(8))
def test_near_duplicates_are_never_torn_apart(seed: int) -> None:
    chain = {"02.png": ("01.png", 24), "03.png": ("02.png", 24)}
    prints = prints_of(pictures(), near=chain, equal={"20.png": "31.png"})
    assigned = split_dataset(of_pictures(), GROUPED, seed, prints)
    assert len(places(assigned, "01.png", "02.png", "03.png")) == 1
    assert len(places(assigned, "20.png", "31.png")) == 1
    assert leaks(assigned, prints) == ()


@pytest.mark.parametrize("seed", range(8))
def test_near_duplicates_join_the_patients_whose_scans_they_are(seed: int) -> None:
    whole = of_patients(20)
    prints = prints_of([one.name for one in whole.scans], near={"p03/0.png": ("p08/2.png", 5)})
    assigned = split_dataset(whole, GROUPED, seed, prints)
    joined = [f"p{p}/{k}.png" for p in ("03", "08") for k in range(3)]
    assert len(places(assigned, *joined)) == 1
    assert len({one.group for one in assigned if one.scan.name in joined}) == 1
    assert group_kind(assigned) == "patient, or what near duplicates join"


def test_group_of_near_duplicates_is_resampled_whole() -> None:
    prints = prints_of(pictures(), near={"02.png": ("40.png", 3)})
    assigned = split_dataset(of_pictures(), GROUPED, 0, prints)
    sizes = Counter(one.group for one in assigned)
    assert sizes["02.png"] == 2
    assert set(sizes.values()) == {1, 2}
    assert "near duplicates" in group_kind(assigned)


def test_patients_without_a_near_duplicate_are_the_groups() -> None:
    whole = of_patients(20)
    prints = prints_of([one.name for one in whole.scans])
    assigned = split_dataset(whole, GROUPED, 0, prints)
    assert {one.group for one in assigned} == {one.scan.patient for one in assigned}
    assert group_kind(assigned) == "patient"


def test_scan_that_could_not_be_read_is_a_group_of_its_own() -> None:
    prints = prints_of(pictures()[1:])
    assigned = split_dataset(of_pictures(), GROUPED, 0, prints)
    assert {one.group for one in assigned if one.scan.name == "00.png"} == {"00.png"}
    assert len(assigned) == 60


def test_same_seed_gives_the_same_groups_and_another_seed_others() -> None:
    prints = prints_of(pictures(), near={"02.png": ("40.png", 3)})
    first, again, other = (
        splits_of(split_dataset(of_pictures(), GROUPED, seed, prints)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_grouped_split_without_the_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="'grouped', which needs the pictures of the scans"):
        split_dataset(in_file_order(), GROUPED, 0)


def test_runs_of_files_are_no_near_duplicates() -> None:
    assigned = split_dataset(in_file_order(), SplitPlan(kind="blocked"), 0)
    assert group_kind(assigned) == "run of neighbouring files (no patient ids)"
