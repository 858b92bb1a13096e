"""Scores of a set: what a reader can check by hand, and the sentences beside trivial models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.errors import DataError
from covidssl.evaluation.beside import Row, rows_beside, verdicts
from covidssl.evaluation.scoring import at_prevalences, curves, scores_of
from covidssl.metrics import Estimate
from tests.evaluation.made import BOOTSTRAP, drawn, judged_of, noise


def test_points_of_the_roc_curve_enclose_the_area_that_is_told() -> None:
    judged = drawn(150)
    scores = scores_of(judged, BOOTSTRAP)
    (roc,) = curves(judged, scores)["roc"]
    area = float(np.trapezoid(roc["y"], roc["x"]))
    assert area == pytest.approx(scores.model.auroc.value, abs=2e-3)
    assert (roc["threshold"][0], roc["x"][0], roc["y"][0]) == (None, 0.0, 0.0)


def test_curves_of_many_scans_stay_small() -> None:
    judged = drawn(3000, shift=0.5)
    found = curves(judged, scores_of(judged, BOOTSTRAP._replace(rounds=100)))
    assert len(found["roc"][0]["x"]) <= 200
    assert (found["pr"][0]["x"][0], found["pr"][0]["x"][-1]) == (1.0, 0.0)


def test_delong_stands_beside_the_bootstrap_and_agrees_with_it_about() -> None:
    scores = scores_of(drawn(300, shift=1.0), BOOTSTRAP)
    assert scores.delong is not None
    assert scores.delong.estimate.value == pytest.approx(scores.model.auroc.value)
    assert scores.delong.estimate.low == pytest.approx(scores.model.auroc.low, abs=0.02)
    assert scores.delong.estimate.high == pytest.approx(scores.model.auroc.high, abs=0.02)


def test_where_one_patient_holds_a_class_there_is_no_delong_and_that_is_said() -> None:
    judged = drawn(40)
    scans = tuple(
        replace(one, group="one patient") if positive else one
        for one, positive in zip(judged.scans, judged.target, strict=True)
    )
    scores = scores_of(replace(judged, scans=scans), BOOTSTRAP)
    assert scores.delong is None
    assert any(text.startswith("No DeLong interval: One group") for text in scores.cautions)


def test_predictive_values_follow_bayes_at_every_prevalence() -> None:
    scores = scores_of(drawn(), BOOTSTRAP).model
    found = {one.prevalence: one for one in at_prevalences(scores, (0.03, 0.5))}
    assert list(found) == [0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5]
    hit, cleared = scores.sensitivity.value, scores.specificity.value
    at = found[0.03]
    assert at.ppv.value == pytest.approx(hit * 0.03 / (hit * 0.03 + (1 - cleared) * 0.97))
    assert at.npv.value == pytest.approx(cleared * 0.97 / (cleared * 0.97 + (1 - hit) * 0.03))
    assert at.accuracy.value == pytest.approx(0.03 * hit + 0.97 * cleared)
    assert found[0.5].accuracy.value == pytest.approx(scores.balanced_accuracy.value)
    assert at.ppv.low < at.ppv.value < at.ppv.high


def test_a_set_of_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="carry the same label"):
        scores_of(judged_of(np.ones(5, np.int64), np.zeros(5)), BOOTSTRAP)


def test_a_model_that_beats_every_trivial_one_is_told_so() -> None:
    judged = replace(drawn(), rival=noise(200), trivial={"border": noise(200, 1)})
    rows = rows_beside(judged, BOOTSTRAP)
    assert [row.key for row in rows] == ["rival", "border"]
    (said,) = verdicts(rows)
    assert said.text.startswith("The strongest of 2 trivial models")
    assert not said.warning
    assert all(row.difference is not None and row.difference.low > 0 for row in rows)


@pytest.mark.parametrize(
    ("shift", "words"), [(0.0, "not told from 0"), (-2.0, "the model's is lower")]
)
def test_a_model_that_does_not_beat_them_is_told_that_it_shows_nothing(
    shift: float, words: str
) -> None:
    good = drawn(shift=2.0).probability
    own = drawn(shift=2.0) if shift == 0 else drawn(shift=0.5, seed=1)
    rival = good if shift == 0 else drawn(shift=3.0).probability
    judged = replace(own, rival=noise(200), trivial={"shape": rival})
    (said,) = verdicts(rows_beside(judged, BOOTSTRAP))
    assert said.warning
    assert words in said.text
    assert "(shape of the lungs alone; " in said.text
    assert said.text.endswith("shows nothing beyond what that trivial model sees.")


def view(key: str, auroc: Estimate, plain: float = 0.9, lost: float = 0.0) -> Row:
    return Row(
        "view", key, key, 100, auroc, auroc, Estimate(plain, plain - 0.05, plain + 0.05),
        Estimate(plain - auroc.value, lost, 1.0),
    )  # fmt: skip


def test_what_is_kept_is_a_share_of_what_lies_above_chance() -> None:
    (said,) = verdicts([view("lungs_only", Estimate(0.7, 0.6, 0.8), lost=0.1)])
    assert "the AUROC is 0.700 (0.600 to 0.800), and 0.900 on the same scans" in said.text
    assert "keeps 50% of what its AUROC has above chance; what it loses is told" in said.text
    assert said.warning


def test_a_model_no_better_than_chance_has_nothing_to_keep() -> None:
    rows = [view(key, Estimate(0.5, 0.4, 0.6), plain=0.48) for key in ("lungs_only", "ranked")]
    (said,) = verdicts(rows)
    assert said.text.startswith("On the images as they are the AUROC is not shown to be above")


def test_where_the_interval_reaches_chance_nothing_is_kept_whatever_the_value() -> None:
    row = view("lungs_only", Estimate(0.5, 0.4, 0.6), plain=0.54)
    assert row.plain is not None
    assert row.plain.low < 0.5 < row.plain.value
    (said,) = verdicts([row])
    assert said.text.startswith("On the images as they are the AUROC is not shown to be above")


@pytest.mark.parametrize(
    ("auroc", "words"),
    [
        (Estimate(0.6, 0.5, 0.7), "what is left is not told from chance"),
        (Estimate(0.45, 0.35, 0.5), "what is left is not told from chance"),
        (Estimate(0.3, 0.2, 0.4), ": below chance."),
    ],
)
def test_what_is_left_is_held_against_chance_by_its_interval(auroc: Estimate, words: str) -> None:
    (said,) = verdicts([view("lungs_only", auroc)])
    assert said.warning
    assert words in said.text
    assert ("keeps" in said.text) is (auroc.high >= 0.5)


def test_a_shortcut_is_told_though_the_plain_images_show_nothing() -> None:
    (nothing, masked) = verdicts([view("lungs_masked", Estimate(0.8, 0.7, 0.9), plain=0.52)])
    assert nothing.text.startswith("On the images as they are")
    assert "a shortcut" in masked.text


def test_the_difference_to_the_rival_is_paired_and_always_there() -> None:
    judged = replace(drawn(), rival=noise(200))
    scores = scores_of(judged, BOOTSTRAP)
    assert scores.rival is not None
    assert scores.over_rival is not None
    parts = [scores.model.auroc.value, scores.rival.auroc.value]
    assert scores.over_rival.value == pytest.approx(parts[0] - parts[1])
    assert scores_of(drawn(), BOOTSTRAP).over_rival is None


def test_differences_have_as_many_rounds_as_are_asked_for() -> None:
    judged = replace(drawn(60), rival=noise(60), trivial={"border": noise(60, 1)})
    one = rows_beside(judged, BOOTSTRAP._replace(rounds=1))[0].difference
    assert one is not None
    assert one.low == one.high


@pytest.mark.parametrize(
    ("auroc", "warning", "words"),
    [
        (Estimate(0.52, 0.45, 0.6), False, "not told from chance"),
        (Estimate(0.8, 0.7, 0.9), True, "a shortcut"),
        (Estimate(0.2, 0.1, 0.3), True, "below chance"),
    ],
)
def test_without_lungs_anything_but_chance_is_a_warning(
    auroc: Estimate, warning: bool, words: str
) -> None:
    (said,) = verdicts([view("lungs_masked", auroc)])
    assert (said.warning, words in said.text) == (warning, True)
