"""A probe is a plain logistic regression, and nothing that is scored has a part in its fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from covidssl.randomness import numpy_generator
from covidssl.selection import LEAST_GROUPS
from pipelines.study.folds import Labels, cut, groups_of_rarer, labels_of
from pipelines.study.probes import (
    STRENGTHS,
    Features,
    Fit,
    Fitted,
    kernel_probe,
    probe,
)
from pipelines.study.targets import TargetSet
from pipelines.study.trivial import RIVALS, nearest_thumbnail
from tests.study.made_targets import made_target, with_other_labels

TARGET = made_target(120)
FOLD = cut(TARGET, "blocked")[2]
FEW, ALL = labels_of(TARGET, FOLD, 0.3, 0), labels_of(TARGET, FOLD, 1.0, 0)
PROBED = {"linear on thumbnail", "kernel on thumbnail"}
"""Rivals that are probes of thumbnails; of what probes do not see there are tests of their own."""

OfFew = Callable[[str], Fitted]


@pytest.fixture(scope="module")
def of_few() -> OfFew:
    """What a rival says that learnt from few labels; each is fitted once."""
    return cache(lambda name: RIVALS[name](TARGET, FEW))


def features(width: int, shift: float = 0.5, seed: int = 0) -> Features:
    """Noise with the class in a few of the numbers, of scales that differ widely."""
    generator = numpy_generator(seed, 9191)
    found = generator.normal(size=(len(TARGET.target), width))
    found[:, : width // 10] += shift * TARGET.target[:, None]
    return (found * np.geomspace(0.01, 100, width) + 3).astype(np.float32)


def in_small_groups() -> TargetSet:
    """The same images in groups of four neighbours: enough to choose on."""
    group = tuple(f"{kind}-{row // 4}" for row, kind in enumerate(TARGET.target))
    return replace(TARGET, group=group)


def plain(given: Features, taught: np.ndarray, strength: float) -> LogisticRegression:
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    return model.fit(given[taught], TARGET.target[taught])


@pytest.mark.parametrize("labels", [FEW, ALL], ids=["more numbers than labels", "all labels"])
@pytest.mark.parametrize("width", [40, 600])
def test_a_probe_is_a_plain_logistic_regression(labels: Labels, width: int) -> None:
    # So plain a class that a strength is chosen at which chances differ.
    given = features(width, shift=2.0)
    fitted = probe(given)(TARGET, labels)
    strength = float(fitted.chosen.removeprefix("C "))
    scaled = StandardScaler().fit(given[labels.all].astype(np.float64)).transform(given)
    expected = plain(scaled, labels.all, strength).predict_proba(scaled[labels.score])[:, 1]
    np.testing.assert_allclose(fitted.chance, expected, atol=3e-3)
    assert fitted.chance.std() > 0.02


def test_its_strength_is_that_of_least_loss_with_whole_groups_held_out() -> None:
    given, rows = features(60), ALL.all
    scaled = StandardScaler().fit(given[rows].astype(np.float64)).transform(given)
    group = np.array(TARGET.group)[rows]
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for taught, held in StratifiedGroupKFold(4).split(rows, TARGET.target[rows], group):
            assert not set(group[taught]) & set(group[held])
            said = plain(scaled, rows[taught], strength).predict_proba(scaled[rows[held]])
            loss += len(held) * log_loss(TARGET.target[rows[held]], said[:, 1], labels=[0, 1])
        losses.append(loss)
    best = STRENGTHS[int(np.argmin(losses))]
    assert probe(given)(TARGET, ALL).chosen == f"C {best:g}"


def test_strength_follows_what_the_features_hold() -> None:
    chosen = [
        float(probe(features(300, shift))(TARGET, ALL).chosen.removeprefix("C "))
        for shift in (0.0, 2.0)
    ]
    assert chosen[0] == STRENGTHS[0]
    assert chosen[1] > chosen[0]


@pytest.mark.parametrize("labels", [FEW, ALL], ids=["few", "all"])
def test_neither_images_nor_labels_that_are_scored_change_the_fit(labels: Labels) -> None:
    given = features(300)
    fitted = probe(given)(TARGET, labels)
    left_alone = labels.score[:3]
    noisy = given.copy()
    hidden = np.setdiff1d(np.arange(len(given)), np.concatenate((labels.all, left_alone)))
    noisy[hidden] = numpy_generator(1).normal(0, 1000, (len(hidden), 300))
    other = with_other_labels(TARGET, np.concatenate((hidden, left_alone)))
    again = probe(noisy)(other, labels)
    assert (again.chosen, again.inner) == (fitted.chosen, fitted.inner)
    np.testing.assert_allclose(again.chance[:3], fitted.chance[:3], atol=1e-5)
    assert np.abs(again.chance[3:] - fitted.chance[3:]).max() > 0.1


@pytest.mark.parametrize("way", [probe, kernel_probe])
def test_the_inner_score_is_of_a_fit_that_has_not_seen_what_chooses(
    way: Callable[[Features], Fit],
) -> None:
    """Were a label that chooses learnt from, turning them all would not mirror the score."""
    given, target = features(60, 1.0), in_small_groups()
    fitted = way(given)(target, ALL)
    turned = way(given)(with_other_labels(target, ALL.choose), ALL)
    assert fitted.inner > 0.7
    assert turned.inner == pytest.approx(1 - fitted.inner, abs=1e-6)


@pytest.mark.parametrize("labels", [FEW, ALL], ids=["few labels", "all labels"])
def test_a_kernel_probe_is_a_support_vector_machine_as_it_comes(labels: Labels) -> None:
    given = features(60, 2.0)
    chance = kernel_probe(given)(TARGET, labels).chance
    scaled = StandardScaler().fit(given[labels.all].astype(np.float64)).transform(given)
    model = SVC(C=1.0, kernel="rbf", gamma=1 / 60, class_weight="balanced")
    margin = model.fit(scaled[labels.all], TARGET.target[labels.all]).decision_function(scaled)
    logit = np.log(chance / (1 - chance))
    slope, start = np.polyfit(margin[labels.score], logit, 1)
    assert slope > 0
    np.testing.assert_allclose(logit, slope * margin[labels.score] + start, atol=1e-2)
    assert roc_auc_score(TARGET.target[labels.score], chance) > 0.7


def test_chances_of_both_probes_are_of_one_scale() -> None:
    """Else folds of different protocols, put together, would be worse than either."""
    target = in_small_groups()
    for shift in (1.0, 2.0):
        given = features(60, shift)
        spread = [np.std(way(given)(target, ALL).chance) for way in (kernel_probe, probe)]
        assert 0.6 < spread[0] / spread[1] < 1.6


def test_held_out_margins_that_mislead_turn_nothing_round() -> None:
    """Of two groups a class, each unlike the other, either misleads about the other."""
    group = np.array([f"{kind}-{row % 2}" for row, kind in enumerate(TARGET.target)])
    side = np.where(np.char.endswith(group, "1"), 4.0, -4.0) * np.where(TARGET.target == 1, 1, -1)
    given = numpy_generator(5, 9191).normal(size=(len(group), 6)).astype(np.float32)
    given[:, 0] += side
    given[:, 1] += 3 * np.char.endswith(group, "1")
    fitted = kernel_probe(given)(replace(TARGET, group=tuple(group)), ALL)
    assert roc_auc_score(TARGET.target[ALL.score], fitted.chance) > 0.9


def test_a_kernel_probe_of_one_group_of_a_class_still_says_something() -> None:
    first = [np.flatnonzero(np.array(TARGET.group) == TARGET.group[row])[:6] for row in (0, -1)]
    labels = Labels(np.concatenate(first), ALL.choose, ALL.score)
    alone = replace(TARGET, group=tuple(str(one) for one in TARGET.target))
    fitted = kernel_probe(features(60, 1.0))(alone, labels)
    assert ((fitted.chance > 0) & (fitted.chance < 1)).all()
    assert len(np.unique(fitted.chance)) > 3


def test_a_kernel_probe_sees_what_no_line_parts() -> None:
    """One class lies about the other: the reason to have it beside a linear probe."""
    generator = numpy_generator(7, 9191)
    given = generator.normal(size=(len(TARGET.target), 6)).astype(np.float32)
    given *= np.where(TARGET.target == 1, 3.0, 1.0).astype(np.float32)[:, None]
    round_it, straight = kernel_probe(given)(TARGET, ALL), probe(given)(TARGET, ALL)
    truth = TARGET.target[ALL.score]
    assert roc_auc_score(truth, round_it.chance) > 0.9 > roc_auc_score(truth, straight.chance) + 0.1


def test_a_kernel_probe_learns_from_no_row_that_is_scored() -> None:
    given = features(60, 1.0)
    fitted = kernel_probe(given)(TARGET, FEW)
    again = kernel_probe(given)(with_other_labels(TARGET, FEW.score), FEW)
    np.testing.assert_array_equal(fitted.chance, again.chance)


def test_with_too_few_groups_to_choose_on_a_kernel_probe_has_no_inner_score() -> None:
    assert groups_of_rarer(TARGET.target, np.array(TARGET.group), ALL.choose) < LEAST_GROUPS
    assert np.isnan(kernel_probe(features(60))(TARGET, ALL).inner)
    assert np.isfinite(probe(features(60))(TARGET, ALL).inner)
    assert np.isfinite(kernel_probe(features(60))(in_small_groups(), ALL).inner)


def test_thumbnails_are_probed_as_encoders_are(of_few: OfFew) -> None:
    expected = probe(TARGET.thumbnails)(TARGET, FEW)
    np.testing.assert_array_equal(of_few("linear on thumbnail").chance, expected.chance)
    expected = kernel_probe(TARGET.thumbnails)(TARGET, FEW)
    np.testing.assert_array_equal(of_few("kernel on thumbnail").chance, expected.chance)


def test_from_one_group_of_a_class_nothing_is_held_out() -> None:
    first = [np.flatnonzero(np.array(TARGET.group) == TARGET.group[row])[:6] for row in (0, -1)]
    labels = Labels(np.concatenate(first), ALL.choose, ALL.score)
    alone = replace(TARGET, group=tuple(str(one) for one in TARGET.target))
    fitted = probe(features(60))(alone, labels)
    assert fitted.chosen == f"C {STRENGTHS[2]:g}"
    assert np.isfinite(fitted.chance).all()


def test_a_feature_that_never_changes_does_no_harm() -> None:
    given = features(60, 1.0)
    given[:, 0] = 7.0
    given[:, 1] = np.where(np.isin(np.arange(len(given)), ALL.all), 0.0, 1e6)
    fitted = probe(given)(TARGET, ALL)
    assert np.isfinite(fitted.chance).all()


@pytest.mark.parametrize("name", RIVALS)
def test_trivial_rivals_see_what_they_are_said_to_see(name: str, of_few: OfFew) -> None:
    fitted = of_few(name)
    assert ((fitted.chance >= 0) & (fitted.chance <= 1)).all()
    assert roc_auc_score(TARGET.target[FEW.score], fitted.chance) > 0.7
    blind = replace(
        TARGET,
        thumbnails=numpy_generator(2).random(TARGET.thumbnails.shape, np.float32),
        sizes=np.full_like(TARGET.sizes, 400),
        frames=np.where(TARGET.target[:, None, None] == 1, 65535, 0).astype(np.uint16),
    )
    unseen = RIVALS[name](blind, FEW)
    assert abs(roc_auc_score(TARGET.target[FEW.score], unseen.chance) - 0.5) < 0.2


@pytest.mark.parametrize("name", sorted(set(RIVALS) - PROBED))
def test_rivals_learn_from_no_row_that_is_scored(name: str, of_few: OfFew) -> None:
    again = RIVALS[name](with_other_labels(TARGET, FEW.score), FEW)
    np.testing.assert_array_equal(of_few(name).chance, again.chance)
    assert of_few(name).inner == again.inner


def test_the_nearest_thumbnail_gives_its_label() -> None:
    taught, asked = (TARGET.thumbnails[rows].astype(np.float64) for rows in (ALL.all, ALL.score))
    nearest = ((asked[:, None] - taught[None]) ** 2).sum(2).argmin(1)
    fitted = nearest_thumbnail(TARGET, ALL)
    np.testing.assert_array_equal(fitted.chance, TARGET.target[ALL.all][nearest])
