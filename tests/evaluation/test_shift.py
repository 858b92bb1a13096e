"""Another prevalence and another site: what is estimated is what was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from covidssl.datasets import LabelledScan
from covidssl.errors import UsageError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.external import externals_of
from covidssl.evaluation.scoring import scores_of
from covidssl.evaluation.shift import (
    Shift,
    calibration_prevalence,
    likeliest_prevalence,
    site_shift,
)
from covidssl.evaluation.unpaired import unpaired_difference
from covidssl.io import ScanFiles
from covidssl.randomness import numpy_generator
from covidssl.splits import Assigned
from tests.evaluation.made import BOOTSTRAP, drawn, judged_of


def shifted(here: Evaluation, there: Evaluation, calibrated_on: float | None = 0.5) -> Shift:
    there = replace(there, name="clinic")
    return site_shift(here, there, scores_of(here, BOOTSTRAP), calibrated_on, BOOTSTRAP)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_prevalence_is_estimated_without_labels_where_it_alone_has_shifted(share: float) -> None:
    found = shifted(drawn(2000), drawn(2000, seed=1, share=share))
    assert found.prevalence.value == pytest.approx(share)
    assert found.by_answers is not None
    assert found.by_answers.low < share < found.by_answers.high
    assert found.by_answers.value == pytest.approx(share, abs=0.05)
    assert found.by_probabilities == pytest.approx(share, abs=0.05)
    assert abs(found.differences["auroc"].value) < 0.03


def test_the_likeliest_prevalence_is_the_share_of_a_mixture_that_is_told_apart_without_error() -> (
    None
):
    assert likeliest_prevalence(np.array([1.0] * 3 + [0.0] * 7), 0.5) == pytest.approx(0.3)


@pytest.mark.parametrize("apart", [0.4, 0.8])
def test_prevalence_of_a_weak_model_is_the_one_of_highest_likelihood(apart: float) -> None:
    """EM crawls here: 200 steps from a half are far from the maximum."""
    generator = numpy_generator(0, 11)
    positive = generator.random(3000) < 0.1
    seen = generator.normal(0, 1, 3000) + apart * positive
    probability = np.asarray(expit(apart * seen - apart**2 / 2))
    shares = np.linspace(0.001, 0.999, 999)[:, None]
    likelihood = np.log(shares * probability * 2 + (1 - shares) * (1 - probability) * 2).sum(axis=1)
    found = likeliest_prevalence(probability, 0.5)
    assert found == pytest.approx(float(shares[likelihood.argmax(), 0]), abs=2e-3)


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_probabilities_that_say_nothing_give_no_prevalence(spread: float) -> None:
    probability = 0.3 + spread * numpy_generator(0, 12).normal(size=50)
    assert likeliest_prevalence(probability, 0.3) is None


def test_a_set_of_positives_alone_is_at_the_end_of_the_scale() -> None:
    assert likeliest_prevalence(np.full(40, 0.9), 0.5) == pytest.approx(1.0, abs=1e-6)


def test_a_model_that_tells_nothing_gives_no_prevalence_by_its_answers() -> None:
    found = shifted(drawn(400, shift=0.0), drawn(400, shift=0.0, seed=1), None)
    assert found.by_answers is None
    assert found.by_probabilities is None


def test_a_site_where_the_model_is_worse_is_told_with_a_warning() -> None:
    found = shifted(drawn(400, shift=3.0), drawn(400, shift=0.5, seed=1))
    assert found.warning
    assert found.text.startswith("clinic: the AUROC there is lower: -0.")
    assert found.differences["auroc"].high < 0
    assert found.differences["brier"].low > 0


def test_a_site_like_this_one_is_told_to_be_so() -> None:
    found = shifted(drawn(400), drawn(400, seed=1))
    assert not found.warning
    assert found.text.startswith("clinic: the AUROC there is not told from that here: ")


def test_probabilities_that_are_too_high_there_are_told() -> None:
    there = drawn(400, seed=1)
    found = shifted(drawn(400), judged_of(there.target, there.logit + 2))
    assert found.in_the_large.low > 0
    assert "probabilities are too high there by 0." in found.text


def test_an_unpaired_difference_turns_its_sign_with_its_sides() -> None:
    first, second = drawn(200, shift=2.0), drawn(150, shift=1.0, seed=1)
    one = unpaired_difference(first, second, "auroc", BOOTSTRAP)
    other = unpaired_difference(second, first, "auroc", BOOTSTRAP)
    assert one is not None
    assert other is not None
    assert one.value == pytest.approx(-other.value)
    assert one.low == pytest.approx(-other.high, abs=0.03)


def test_an_unpaired_difference_is_wider_than_either_side() -> None:
    first, second = drawn(200), drawn(200, seed=1)
    found = unpaired_difference(first, second, "auroc", BOOTSTRAP)
    assert found is not None
    alone = scores_of(first, BOOTSTRAP).model.auroc
    assert found.high - found.low > alone.high - alone.low


def test_a_side_of_one_class_has_no_difference() -> None:
    one_class = judged_of(np.ones(5, np.int64), np.zeros(5))
    assert unpaired_difference(drawn(), one_class, "auroc", BOOTSTRAP) is None


def test_probabilities_are_calibrated_on_the_validation_scans_share() -> None:
    def scan(k: int, positive: bool, split: str) -> Assigned:
        files = ScanFiles(f"{k}", "picture", ())
        return Assigned(LabelledScan(f"{k}", files, positive), f"{k}", split)

    found = [scan(k, k < 3, "validation") for k in range(12)] + [scan(20, True, "train")]
    assert calibration_prevalence(found) == 0.25
    assert calibration_prevalence(found[:3]) is None
    assert calibration_prevalence(found[-1:]) is None


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (["clinic"], "--external clinic: expected NAME=PATH"),
        (["=labels.csv"], "expected NAME=PATH"),
        (["a/b={there}"], "the name of letters, digits"),
        (["../up={there}"], "the name of letters, digits"),
        (["clinic={there}", "Clinic={there}"], "--external Clinic: two sets have this name"),
        (["clinic={there}/nowhere"], "--external clinic: there is no .*nowhere"),
    ],
)
def test_external_sets_that_cannot_be_meant_are_refused(
    written: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        externals_of([text.format(there=tmp_path) for text in written])


def test_external_sets_are_taken_in_their_order_with_equals_in_the_path(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    found = externals_of([f"x={odd}", f"clinic-2.b={tmp_path}"])
    assert [(one.name, one.path) for one in found] == [("x", odd), ("clinic-2.b", tmp_path)]
