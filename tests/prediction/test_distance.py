"""How far a scan is from the training scans, and from where on that is too far."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance

from covidssl.answers import Outcome, Reason
from covidssl.commands import finetune
from covidssl.config import load_config
from covidssl.errors import WeightsError
from covidssl.experiments import FinetuneConfig
from covidssl.files import write_csv
from covidssl.finetuning import Places
from covidssl.model import FEATURES, Model, load_model
from covidssl.out_of_distribution import (
    FALSE_ALARMS,
    LEAST_SCANS,
    DistanceLimit,
    distance_limit,
    fit_training_features,
    of_scans,
    read_training_features,
    save_training_features,
)
from covidssl.prediction import AnswerPlan, Predictor
from covidssl.prediction.gate import FAR, reason_of_distance
from covidssl.prediction.members import Distance, middle
from covidssl.randomness import numpy_generator
from tests.prediction.models import HELD_OUT, TRAIN, VALIDATION, features_of, grey, picture
from tests.scan_files import write_png

PLAN = AnswerPlan(maps=False)


def drawn(n: int, *key: int) -> np.ndarray:
    """Features that lie along few directions, with a little in all."""
    mixing = numpy_generator(3).normal(size=(4, 20)) * np.array([5.0, 3.0, 2.0, 1.0])[:, None]
    generator = numpy_generator(*key)
    few = generator.normal(size=(n, 4)) @ mixing
    return (few + 0.3 * generator.normal(size=(n, 20)) + 7).astype(np.float32)


def test_the_distance_is_that_of_mahalanobis_where_all_directions_are_told() -> None:
    features = numpy_generator(4).normal(size=(400, 6)) @ np.diag([1.0, 2, 3, 4, 5, 6])
    found = fit_training_features(features.astype(np.float32))
    exact = EmpiricalCovariance().fit(features)
    expected = np.sqrt(exact.mahalanobis(features) / 6)
    np.testing.assert_allclose(found.distance(features), expected, rtol=0.01)


def test_scans_of_the_training_sets_kind_lie_near_1_and_others_far() -> None:
    found = fit_training_features(drawn(300, 1))
    alike = found.distance(drawn(300, 2))
    assert np.median(alike) == pytest.approx(1, abs=0.15)
    # The same spread, in other directions.
    other = numpy_generator(5).normal(size=(300, 20)) * drawn(300, 1).std() + 7
    assert found.distance(other).min() > 2 * np.quantile(alike, 0.99)


@pytest.mark.parametrize("n", [20, 150])
def test_the_share_of_false_alarms_is_as_stated(n: int) -> None:
    found = fit_training_features(drawn(300, 1))
    limits = [distance_limit(found.distance(drawn(n, 6, n, k))) for k in range(150)]
    held_out = np.sort(found.distance(drawn(20_000, 7)))
    shares = [1 - np.searchsorted(held_out, one.limit) / len(held_out) for one in limits if one]
    stated = max(FALSE_ALARMS, 1 / (n + 1))
    assert limits[0] is not None
    assert limits[0].false_alarms == pytest.approx(stated, rel=0.5)
    assert limits[0].false_alarms == pytest.approx(np.mean(shares), rel=0.25)


def test_few_validation_scans_give_no_limit() -> None:
    assert distance_limit(np.ones(LEAST_SCANS - 1)) is None
    assert distance_limit(np.ones(LEAST_SCANS)) is not None


def test_features_that_never_vary_do_no_harm() -> None:
    features = np.concatenate((drawn(40, 8), np.ones((40, 3), np.float32)), axis=1)
    assert np.isfinite(fit_training_features(features).distance(features)).all()
    few = fit_training_features(features[:2])
    assert np.isfinite(few.distance(features)).all()


def test_a_scan_is_the_mean_of_its_frames() -> None:
    features = np.array([[1.0], [3.0], [10.0]], np.float32)
    np.testing.assert_array_equal(of_scans(features, np.array([4, 4, 9])), [[2.0], [10.0]])


# In the model folder


def test_held_out_scans_are_near_and_others_are_not(asked: Model) -> None:
    assert asked.features is not None
    assert asked.card.distance is not None
    limit = asked.card.distance.limit
    held_out = asked.features.distance(features_of(asked.classifier, HELD_OUT))
    # At the stated 3 % more than three of thirty come about once in two hundred times.
    assert np.count_nonzero(held_out > limit) <= 3
    answers = {
        name: Predictor([asked], PLAN).answer(Predictor([asked], PLAN).prepare(made)).answer
        for name, made in {
            "dark": grey(0.4 * picture(200).array[0]),
            "upside down": grey(picture(200).array[0][::-1]),
        }.items()
    }
    assert answers["dark"].outcome == Outcome.ABSTAINED
    assert answers["dark"].reasons[0].code == "far_from_training"
    assert (answers["dark"].distance or 0.0) > FAR * limit
    assert answers["dark"].distance_limit == limit
    assert answers["upside down"].outcome == Outcome.WARNED
    assert answers["upside down"].reasons[0].code == "unlike_training"
    assert answers["upside down"].probability is not None


def test_with_force_a_scan_that_is_far_is_answered_with_its_reason(asked: Model) -> None:
    predictor = Predictor([asked], AnswerPlan(maps=False, force=True))
    answer = predictor.answer(predictor.prepare(grey(0.4 * picture(200).array[0]))).answer
    assert (answer.outcome, answer.reasons[0].code) == (Outcome.WARNED, "far_from_training")
    assert answer.probability is not None


def test_lungs_that_look_wrong_and_a_distance_above_the_limit_are_too_much() -> None:
    limit = DistanceLimit(limit=1.5, false_alarms=0.01, scans=100)
    odd, other = (Reason(code=code, text="so") for code in ("odd_lungs", "lossy"))
    assert reason_of_distance(1.4, limit, [odd]) == ()
    assert reason_of_distance(9.0, None, [odd]) == ()
    assert reason_of_distance(1.6, limit, [other])[0].code == "unlike_training"
    assert reason_of_distance(1.6, limit, [odd])[0].code == "far_from_training"
    assert reason_of_distance(3.1, limit, [])[0].code == "far_from_training"


def test_a_model_from_before_there_were_limits_loads_and_tells_no_distance(
    of_pictures: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(of_pictures, tmp_path / "model")
    card = json.loads((folder / "card.json").read_text())
    del card["distance"], card["files"][FEATURES]
    (folder / "card.json").write_text(json.dumps(card))
    (folder / FEATURES).unlink()
    before = load_model(folder)
    predictor = Predictor([before], PLAN)
    answer = predictor.answer(predictor.prepare(grey(0.4 * picture(200).array[0]))).answer
    assert (answer.distance, answer.distance_limit) == (None, None)
    assert answer.outcome == Outcome.OK


def test_features_of_the_training_scans_must_be_those_of_the_card(
    of_pictures: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(of_pictures, tmp_path / "model")
    other = fit_training_features(drawn(30, 9))
    sha256 = save_training_features(folder / FEATURES, other)
    with pytest.raises(WeightsError, match=r"training_features\.safetensors"):
        load_model(folder)
    with pytest.raises(WeightsError, match="does not hold the features of the training scans"):
        read_training_features(folder / FEATURES, sha256, 21)
    again = read_training_features(folder / FEATURES, sha256, 20)
    np.testing.assert_array_equal(again.distance(drawn(5, 1)), other.distance(drawn(5, 1)))
    (folder / FEATURES).unlink()
    with pytest.raises(WeightsError, match=r"training_features\.safetensors"):
        load_model(folder)


def test_of_an_ensemble_the_distance_of_the_middle_counts_by_its_own_limit() -> None:
    near, mid, far = (
        Distance(found, DistanceLimit(limit=limit, false_alarms=0.01, scans=100))
        for found, limit in ((3.0, 10.0), (1.0, 1.2), (2.0, 1.0))
    )
    assert middle([far, near, mid]) == mid
    assert middle([far, None, near]) == near
    assert middle([None]) is None


def test_fine_tuning_writes_what_the_training_scans_look_like_and_the_limit(
    tmp_path: Path,
) -> None:
    splits = {"train": TRAIN, "validation": VALIDATION, "test": range(200, 204)}
    rows = [
        {"path": f"{seed}.png", "label": ("well", "ill")[seed % 2], "split": split}
        for split, seeds in splits.items()
        for seed in seeds
    ]
    for seed in (seed for seeds in splits.values() for seed in seeds):
        write_png(tmp_path / "set" / f"{seed}.png", picture(seed).array[0])
    write_csv(tmp_path / "set" / "set.csv", ("path", "label", "split"), rows)
    settings = ["frame.size=32", "frame.pixels=windowed", "encoder.channels=[8,8]",
                "encoder.groups=4", "learns=probe", "positive_class=ill"]  # fmt: skip
    config = load_config(FinetuneConfig, None, settings)
    places = Places(tmp_path / "run", device="cpu")
    made = load_model(finetune.main(config, tmp_path / "set" / "set.csv", places))
    found = made.card.distance
    assert found is not None
    assert made.features is not None
    assert found.scans == 30
    assert found.false_alarms == pytest.approx(1 / 31)
    validation = made.features.distance(features_of(made.classifier, VALIDATION))
    assert found.limit == pytest.approx(validation.max(), rel=1e-5)
    page = (tmp_path / "run" / "model" / "MODEL.md").read_text()
    assert f"than {found.limit:.3g} (about 1 is usual). Of 30 validation scans" in page
