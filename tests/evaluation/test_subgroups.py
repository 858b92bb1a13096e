"""Subgroups: numbers in thirds, small ones with their caution, and the worst one named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from covidssl.datasets import Dataset
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.subgroups import NOT_GIVEN, Subgroup, check_columns, subgroups, worst
from covidssl.evaluation.unpaired import difference_of_parts, unpaired_difference
from covidssl.metrics import evaluate
from tests.evaluation.made import BOOTSTRAP, drawn, judged_of, with_columns


def parts(judged: Evaluation, values: Sequence[str]) -> list[Subgroup]:
    return subgroups(with_columns(judged, "site", values), ["site"], BOOTSTRAP)


def test_scores_of_a_subgroup_are_those_of_its_scans_alone() -> None:
    judged = drawn()
    values = ["a" if k % 3 else "b" for k in range(200)]
    a, b = parts(judged, values)
    assert (a.value, b.value, a.n + b.n) == ("a", "b", 200)
    inside = np.array(values) == "a"
    alone = evaluate(
        judged.target[inside], judged.probability[inside], 0.5,
        np.asarray(judged.group)[inside].tolist(), BOOTSTRAP.generator(), BOOTSTRAP.rounds,
    )  # fmt: skip
    assert a.scores["auroc"] == alone.auroc
    assert a.from_the_rest is not None
    assert a.from_the_rest.value == pytest.approx(a.scores["auroc"].value - b.scores["auroc"].value)


def test_numbers_are_cut_into_thirds_from_low_to_high() -> None:
    ages = [str(20 + k // 2) for k in range(200)]
    found = parts(drawn(), ages)
    assert [one.value for one in found] == ["up to 53", "above 53 to 86", "above 86"]
    assert [one.n for one in found] == [68, 66, 66]


def test_thirds_that_lie_close_together_are_told_apart_as_they_are_written() -> None:
    days = [f"{45123.5 + k // 2 / 10}" for k in range(200)]
    found = parts(drawn(), days)
    assert [one.value for one in found] == [
        "up to 45126.8", "above 45126.8 to 45130.1", "above 45130.1",
    ]  # fmt: skip
    assert sum(one.n for one in found) == 200


def test_patients_with_scans_in_both_parts_are_drawn_once_for_both() -> None:
    """Each patient has the same scan on either side: the difference is 0 whoever is drawn."""
    half = drawn(60, shift=1.0)
    again = tuple(
        replace(one, scan=replace(one.scan, name=f"again {one.scan.name}")) for one in half.scans
    )
    both = replace(
        half,
        scans=half.scans + again,
        target=np.tile(half.target, 2),
        logit=np.tile(half.logit, 2),
        probability=np.tile(half.probability, 2),
    )
    for one in parts(both, ["a"] * 60 + ["b"] * 60):
        assert one.from_the_rest is not None
        assert tuple(one.from_the_rest) == pytest.approx((0, 0, 0), abs=1e-12)


def test_difference_of_patients_of_one_part_each_is_that_of_draws_by_themselves() -> None:
    judged = drawn(200, shift=1.0)
    inside = np.arange(200) % 2 == 0
    found = difference_of_parts(judged, inside, "auroc", BOOTSTRAP)
    alone = unpaired_difference(judged.part(inside), judged.part(~inside), "auroc", BOOTSTRAP)
    assert found is not None
    assert alone is not None
    assert found.value == pytest.approx(alone.value)
    assert tuple(found) == pytest.approx(tuple(alone), abs=0.04)


def test_numbers_of_few_values_are_kinds() -> None:
    assert [one.value for one in parts(drawn(), ["10", "9"] * 100)] == ["9", "10"]


def test_a_number_written_in_words_makes_kinds_of_all() -> None:
    values = ["old", *(str(k % 6) for k in range(199))]
    assert [one.value for one in parts(drawn(), values)] == ["0", "1", "2", "3", "4", "5", "old"]


def test_rows_that_say_nothing_stand_by_themselves_and_last() -> None:
    found = parts(drawn(), ["" if k < 60 else "zz" for k in range(200)])
    assert [(one.value, one.n) for one in found] == [("zz", 140), (NOT_GIVEN, 60)]


def test_a_column_that_names_scans_is_refused() -> None:
    with pytest.raises(DataError, match=r"Column 'site' has 200 different texts.*20 at most"):
        parts(drawn(), [f"scan {k}" for k in range(200)])


@pytest.mark.parametrize(
    ("positive", "score", "absent"), [(1, "sensitivity", "normal"), (0, "specificity", "COVID")]
)
def test_a_subgroup_of_one_class_has_the_one_score_that_is_defined(
    positive: int, score: str, absent: str
) -> None:
    judged = drawn()
    values = ["one" if label == positive and k % 2 else "rest"
              for k, label in enumerate(judged.target)]  # fmt: skip
    one = parts(judged, values)[0]
    assert list(one.scores) == [score]
    called = judged.probability[np.array(values) == "one"] >= 0.5
    assert one.scores[score].value == pytest.approx(float(np.mean(called == positive)))
    assert one.scores[score].low < one.scores[score].value < one.scores[score].high
    assert one.cautions == (f"no scan of class {absent}: only the {score} is defined",)
    assert one.from_the_rest is None


def test_a_subgroup_of_one_patient_has_no_interval_and_says_so() -> None:
    (alone, rest) = parts(drawn(), ["alone", *["rest"] * 199])
    assert alone.scores == {}
    assert "no interval can be drawn" in alone.cautions[0]
    assert rest.n == 199


def test_small_subgroups_carry_a_caution_and_are_not_called_the_worst() -> None:
    judged = drawn()
    values = ["tiny" if k in (0, 1, 2, 150, 151, 152) else "ab"[k % 2] for k in range(200)]
    found = parts(judged, values)
    (tiny,) = (one for one in found if one.value == "tiny")
    assert tiny.small
    assert tiny.cautions[0].startswith("Only 3 groups hold the positive class")
    (sentence,) = worst(found)
    assert "the worst subgroup is tiny" not in sentence
    assert sentence.endswith("1 too small to be judged is passed over.")


def test_the_worst_subgroup_is_named_with_its_distance_from_the_rest() -> None:
    target = np.tile([0, 1], 150).astype(np.int64)
    site = np.repeat(["good", "bad", "fair"], 100)
    clear = drawn(300, shift=4.0, seed=2)
    logit = np.where(target == 1, 1.0, -1.0) * np.abs(clear.logit)
    logit[site == "bad"] = clear.logit[site == "bad"] * 0.1
    (sentence,) = worst(parts(judged_of(target, logit), site.tolist()))
    assert sentence.startswith("site: the worst subgroup is bad (100 scans)")
    assert "told from 0; intervals are not corrected for the number of subgroups." in sentence
    assert "not told from 0" not in sentence


def test_one_large_subgroup_is_no_worst_one() -> None:
    (sentence,) = worst(parts(drawn(), ["only"] * 200))
    assert sentence == "site: fewer than two subgroups are large enough to name a worst one."


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["scanner"], r"--by scanner: set has no such column .*: age, sex\."),
        (["age", "age"], "--by age: is given twice"),
    ],
)
def test_columns_that_are_not_there_are_refused_with_those_that_are(
    asked: list[str], words: str
) -> None:
    dataset = Dataset("set", (), ("normal", "COVID"), ("age", "sex"))
    with pytest.raises(UsageError, match=words):
        check_columns(dataset, asked)


def test_class_folders_have_no_columns_and_that_is_said() -> None:
    with pytest.raises(UsageError, match="none. Class folders have none: give a CSV"):
        check_columns(Dataset("set", (), ("normal", "COVID")), ["age"])
