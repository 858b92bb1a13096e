"""onnxruntime says what PyTorch says, and what `evaluate` would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.diagnosis import pooled_features, scores_of
from covidssl.errors import ScanError, UsageError, WeightsError
from covidssl.export import programs
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Model, load_model
from covidssl.networks.heads import HeadPlan
from covidssl.prediction import AnswerPlan, OnnxBackend, Predictor, TorchBackend, refused
from covidssl.prediction.backends import must_agree
from covidssl.randomness import numpy_generator
from tests.export.taught_models import HU_SLICES, card_of, write_taught
from tests.prediction.models import CPU, picture, scan, write_model


def frames_for(model: Model, count: int) -> np.ndarray:
    shape = (count, *model.card.frame.shape)
    return numpy_generator(5).integers(0, 65536, shape).astype(np.uint16)


def test_torch_says_what_fine_tuning_and_evaluation_see(tmp_path: Path) -> None:
    card = card_of(HU_SLICES, HeadPlan(kind="attention", attention_features=4))
    model = load_model(write_taught(tmp_path, card))
    frames = frames_for(model, 70)
    found, expected = TorchBackend(model).scores(frames), scores_of(model.classifier, frames, CPU)
    np.testing.assert_allclose(found.logit, expected.logit, atol=1e-6)
    np.testing.assert_allclose(found.attention, expected.attention, atol=1e-6)
    features = pooled_features(model.classifier, frames, CPU)
    np.testing.assert_allclose(found.features, features, atol=1e-6)


def test_onnx_answers_as_torch_does(asked: Model) -> None:
    plans = [AnswerPlan(backend=name, augmentations=2) for name in ("torch", "onnx")]
    torch_, onnx = (Predictor([asked], one) for one in plans)
    for seed in (201, 202, 203):
        first, second = (one.answer(one.prepare(picture(seed))).answer for one in (torch_, onnx))
        assert second.probability == pytest.approx(first.probability, abs=1e-5)
        assert second.distance == pytest.approx(first.distance, rel=1e-4)
        assert second.uncertainty is not None
        assert first.uncertainty is not None
        assert second.uncertainty.spread == pytest.approx(first.uncertainty.spread, rel=1e-4)
        assert (second.outcome, second.label) == (first.outcome, first.label)


def test_onnx_weighs_slices_by_attention_as_torch_does(tmp_path: Path) -> None:
    card = card_of(HU_SLICES, HeadPlan(kind="attention", attention_features=4))
    model = load_model(write_taught(tmp_path, card))
    answers = []
    for name in ("torch", "onnx"):
        predictor = Predictor([model], AnswerPlan(backend=name, maps=False))
        answers.append(predictor.answer(predictor.prepare(scan(3))).answer)
    weights = [[one.weight for one in answer.slices] for answer in answers]
    assert np.ptp(weights[0]) > 1e-3
    np.testing.assert_allclose(weights[1], weights[0], atol=1e-5)


def test_onnx_takes_volumes(tmp_path: Path) -> None:
    frame = Frame(size=32, depth=8, pixels=Pixels.HU)
    model = load_model(write_model(tmp_path, frame, far=False))
    frames = frames_for(model, 3)
    expected, found = (kind(model).scores(frames) for kind in (TorchBackend, OnnxBackend))
    np.testing.assert_allclose(found.logit, expected.logit, atol=1e-5)


def test_a_backend_that_says_something_else_is_refused(asked: Model, tmp_path: Path) -> None:
    other = load_model(write_model(tmp_path, seed=2, far=False))
    must_agree(TorchBackend(asked), asked)
    with pytest.raises(WeightsError, match="does not say what the network says"):
        must_agree(TorchBackend(other), asked)


def test_a_model_that_says_nothing_is_refused_and_so_is_its_answer(
    asked: Model, tmp_path: Path
) -> None:
    silent = load_model(write_model(tmp_path, seed=1, far=False))
    with torch.no_grad():
        silent.classifier.head.bias.fill_(float("nan"))
    with pytest.raises(WeightsError, match="does not say what the network says"):
        must_agree(TorchBackend(silent), asked)
    predictor = Predictor([silent])
    with pytest.raises(ScanError, match="no finite number") as found:
        predictor.answer(predictor.prepare(picture(201)))
    assert refused("one", found.value).outcome == "failed"


def test_an_ensemble_of_which_one_says_nothing_gives_no_answer(
    asked: Model, tmp_path: Path
) -> None:
    silent = load_model(write_model(tmp_path, seed=2, far=False))
    with torch.no_grad():
        silent.classifier.head.bias.fill_(float("nan"))
    predictor = Predictor([asked, silent])
    with pytest.raises(ScanError, match="no finite number"):
        predictor.answer(predictor.prepare(picture(201)))


def test_without_onnx_the_backend_says_what_to_install(
    asked: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "find_spec", {}.get)
    with pytest.raises(UsageError, match=r"pip install 'covidssl\[export\]'"):
        Predictor([asked], AnswerPlan(backend="onnx"))
