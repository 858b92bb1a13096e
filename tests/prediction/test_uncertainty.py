"""How far an answer moves: test-time augmentation of one model, and an ensemble of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.calibration import Calibration
from covidssl.errors import UsageError
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import CLASSIFIER, Aggregation, Model, load_model
from covidssl.networks.heads import HeadPlan
from covidssl.prediction import Answered, AnswerPlan, Predictor
from covidssl.prediction.augmenting import augmented
from covidssl.volume import Volume
from tests.export.taught_models import HU_SLICES, card_of, write_taught
from tests.prediction.models import PICTURES, SCANS, picture, scan, write_model

ATTENTION = HeadPlan(kind="attention", attention_features=4)
VOLUMES = Frame(size=32, depth=8, pixels=Pixels.HU)


def plan(augmentations: int, seed: int = 0) -> AnswerPlan:
    return AnswerPlan(maps=False, augmentations=augmentations, seed=seed)


def asked_of(models: list[Model], ct: Volume, how: AnswerPlan) -> Answered:
    predictor = Predictor(models, how)
    return predictor.answer(predictor.prepare(ct))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    root = tmp_path_factory.mktemp("ensemble")
    return [
        load_model(write_model(root / str(k), seed=k, far=k == 1, operating_point=0.3 + k / 10,
                               calibration=Calibration(1.0 + k, 0.1)))
        for k in (1, 2, 3)
    ]  # fmt: skip


def test_augmentations_leave_the_answer_and_tell_how_far_it_moves(asked: Model) -> None:
    alone = asked_of([asked], picture(201), plan(0)).answer
    answer = asked_of([asked], picture(201), plan(7)).answer
    assert alone.uncertainty is None
    assert answer.probability == alone.probability
    found = answer.uncertainty
    assert found is not None
    assert (found.of, found.members) == ("test-time augmentation", 8)
    assert found.low < found.high
    assert found.low <= answer.probability <= found.high  # type: ignore[operator]
    assert found.spread > 0


def test_augmentations_do_not_depend_on_the_order_of_scans(asked: Model) -> None:
    predictor = Predictor([asked], plan(3))
    prepared = [predictor.prepare(picture(seed)) for seed in (201, 202, 203)]
    forth = [predictor.answer(one).answer for one in prepared]
    back = [predictor.answer(one).answer for one in reversed(prepared)]
    assert forth == back[::-1]
    assert len({one.uncertainty.spread for one in forth if one.uncertainty}) == 3
    other = asked_of([asked], picture(201), plan(3, seed=1)).answer
    assert other.uncertainty != forth[0].uncertainty


def test_the_first_augmentations_do_not_depend_on_how_many_follow() -> None:
    frames = np.random.default_rng(0).integers(0, 65536, (20, 32, 32)).astype(np.uint16)
    few, many = augmented(frames, PICTURES, 2, 0), augmented(frames, PICTURES, 5, 0)
    assert augmented(frames, PICTURES, 0, 0) == []
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(many[0], many[1])


def test_all_slices_of_a_scan_are_moved_alike() -> None:
    slice_ = np.random.default_rng(1).integers(0, 65536, (1, 32, 32)).astype(np.uint16)
    (moved,) = augmented(np.repeat(slice_, 20, axis=0), PICTURES, 1, 0)
    assert moved.dtype == np.uint16
    np.testing.assert_array_equal(moved, np.repeat(moved[:1], 20, axis=0))


def test_augmentations_are_small() -> None:
    smooth = np.kron(np.random.default_rng(2).random((4, 4)), np.ones((8, 8)))
    frames = (smooth * 65535).astype(np.uint16)[None]
    for moved in augmented(frames, PICTURES, 6, 0):
        assert np.corrcoef(moved.ravel(), frames.ravel())[0, 1] > 0.9


def test_volumes_are_augmented_too(tmp_path: Path) -> None:
    of_volumes = load_model(write_model(tmp_path, VOLUMES, far=False))
    answer = asked_of([of_volumes], scan(5), plan(2)).answer
    assert answer.uncertainty is not None
    assert answer.uncertainty.members == 3
    assert answer.slices == ()


def test_slices_are_said_of_the_scan_as_it_is(tmp_path: Path) -> None:
    of_scans = load_model(write_model(tmp_path, SCANS, far=False))
    alone, answer = (asked_of([of_scans], scan(5), plan(count)).answer for count in (0, 3))
    assert len(alone.slices) == 5
    assert answer.slices == alone.slices


# Ensembles


def test_an_ensemble_answers_with_the_mean_of_calibrated_probabilities(three: list[Model]) -> None:
    each = [asked_of([one], picture(202), plan(0)).answer for one in three]
    answer = asked_of(three, picture(202), plan(0)).answer
    chances = [one.probability or 0.0 for one in each]
    assert answer.probability == pytest.approx(np.mean(chances))
    assert answer.operating_point == pytest.approx(0.5)
    assert answer.label == ("normal", "COVID")[bool(np.mean(chances) >= 0.5)]
    found = answer.uncertainty
    assert found is not None
    assert (found.of, found.members) == ("ensemble", 3)
    assert (found.low, found.high) == (min(chances), max(chances))
    assert answer.model == "+".join(one.model for one in each)
    # One of them knows the training scans.
    assert (answer.distance, answer.distance_limit) == (each[0].distance, each[0].distance_limit)


def test_the_spread_of_an_ensemble_is_that_of_its_logits(three: list[Model]) -> None:
    logits = []
    for one in three:
        chance = asked_of([one], picture(202), plan(0)).answer.probability or 0.0
        calibration = one.card.calibration
        logits.append((np.log(chance / (1 - chance)) - calibration.bias) / calibration.scale)
    found = asked_of(three, picture(202), plan(0)).answer.uncertainty
    assert found is not None
    assert found.spread == pytest.approx(np.std(logits), rel=1e-4)


def test_slices_of_an_ensemble_are_said_on_average(tmp_path: Path) -> None:
    models = [load_model(write_model(tmp_path / str(k), SCANS, k, far=False)) for k in (1, 2)]
    each = [asked_of([one], scan(5), plan(0)).answer.slices for one in models]
    both = asked_of(models, scan(5), plan(0)).answer.slices
    assert len(both) == 5
    assert sum(one.weight for one in both) == pytest.approx(1)
    for first, second, found in zip(*each, both, strict=True):
        assert found.slice == first.slice
        assert found.probability == pytest.approx((first.probability + second.probability) / 2)


def test_the_evidence_of_an_ensemble_adds_up_to_the_first_models_logit(tmp_path: Path) -> None:
    models = []
    for k, attention in enumerate((1.0, -3.0)):
        made = write_taught(tmp_path / str(k), card_of(HU_SLICES, ATTENTION))
        models.append(load_model(made))
        # Weights of slices that differ from model to model.
        with torch.no_grad():
            score = models[k].classifier.attention.get_submodule("score")
            score.get_parameter("weight").mul_(attention)
    other = models[1].card.model_copy(update={"files": {CLASSIFIER: "another"}})
    models[1] = replace(models[1], card=other)
    first, second = (asked_of([one], scan(5), plan(0)).answer for one in models)
    weights = np.array([[one.weight for one in answer.slices] for answer in (first, second)])
    assert np.ptp(weights, axis=0).max() > 0.01
    maps = asked_of(models, scan(5), AnswerPlan()).maps
    assert maps is not None
    chance, calibration = first.probability or 0.0, models[0].card.calibration
    logit = (np.log(chance / (1 - chance)) - calibration.bias) / calibration.scale
    bias = float(models[0].classifier.head.bias.detach())
    assert maps.evidence.sum() + bias == pytest.approx(logit, abs=1e-4)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"classes": ("healthy", "COVID")}, r"Model 2 .* classes is \('healthy', 'COVID'\)"),
        ({"frame": PICTURES.model_copy(update={"margin": 0.3})}, "frame is .*Give models"),
        (
            {"aggregation": Aggregation(most_slices=9)},
            "most_slices is 9, .* first is 5",
        ),
    ],
)
def test_models_that_see_or_name_something_else_make_no_ensemble(
    asked: Model, tmp_path: Path, card: dict[str, object], message: str
) -> None:
    frame = card.pop("frame", PICTURES)
    other = load_model(write_model(tmp_path, frame, 2, False, **card))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        Predictor([asked, other])
    card["frame"] = frame


def test_no_model_one_twice_and_an_augmented_ensemble_are_refused(three: list[Model]) -> None:
    with pytest.raises(UsageError, match="No model was given"):
        Predictor([])
    with pytest.raises(UsageError, match="given twice"):
        Predictor([three[0], three[1], three[0]])
    with pytest.raises(UsageError, match="Set augmentations to 0, or give one model"):
        Predictor(three, plan(2))
