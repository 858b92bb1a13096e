"""The rule: what is best, and when patience runs out."""

from __future__ import annotations

import pytest

from covidssl.errors import UsageError
from covidssl.quality import BEST_STEP, QualityPlan, metric_of
from covidssl.quality.rule import Judged, Notes, judge


def judged(plan: QualityPlan, values: list[float], notes: Notes | None = None) -> list[Judged]:
    notes = {} if notes is None else notes
    return [
        judge(plan, "probe_auroc", 10 * step, {"probe_auroc": value}, notes)
        for step, value in enumerate(values, start=1)
    ]


def test_it_stops_after_so_many_evaluations_without_a_gain() -> None:
    plan = QualityPlan(patience=2, minimum_gain=0.01)
    found = judged(plan, [0.6, 0.7, 0.705, 0.69, 0.8])
    assert [one.stop for one in found] == [False, False, False, True, False]


def test_slow_gains_add_up() -> None:
    plan = QualityPlan(patience=2, minimum_gain=0.01)
    assert not any(one.stop for one in judged(plan, [0.6, 0.606, 0.612, 0.618, 0.624]))


def test_without_patience_it_never_stops() -> None:
    assert not any(one.stop for one in judged(QualityPlan(), [0.6] * 50))


def test_any_gain_makes_the_best_and_a_tie_does_not() -> None:
    notes: Notes = {}
    plan = QualityPlan(minimum_gain=0.1)
    assert [one.best for one in judged(plan, [0.6, 0.61, 0.61, 0.5], notes)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert notes[BEST_STEP] == 20


def test_a_run_that_goes_on_judges_as_if_it_had_never_stopped() -> None:
    plan = QualityPlan(patience=2, minimum_gain=0.01)
    values = [0.6, 0.7, 0.705, 0.69]
    whole, notes = judged(plan, values), Notes()
    first = judged(plan, values[:2], notes)
    assert first + judged(plan, values[2:], dict(notes)) == whole


def test_labels_decide_where_there_are_any_and_lesions_where_not() -> None:
    assert metric_of(QualityPlan(), probed=True, restores=True, maps=True) == "probe_auroc"
    assert metric_of(QualityPlan(), probed=False, restores=True, maps=True) == "lesion_auroc"
    assert metric_of(QualityPlan(), probed=False, restores=False, maps=False) is None


@pytest.mark.parametrize(
    ("rule", "restores", "told"),
    [
        ("probe_auroc", True, "--probe-data"),
        ("knn_auroc", True, "--probe-data"),
        ("lesion_auroc", False, "restores"),
        ("lesion_map_auroc", False, "restores"),
        ("lesion_map_auroc", True, r"pretext\.lesion_head"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(rule: str, restores: bool, told: str) -> None:
    plan = QualityPlan.model_validate({"rule": rule})
    with pytest.raises(UsageError, match=told):
        metric_of(plan, probed=False, restores=restores, maps=False)
