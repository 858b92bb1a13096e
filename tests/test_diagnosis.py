"""Fine-tuning: where it starts, what it weighs, and what validation chooses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from covidssl.augment import AugmentRanges
from covidssl.diagnosis import (
    DiagnosisBatch,
    DiagnosisTask,
    LabelledBatch,
    ProbeData,
    parameter_groups,
    pooled_features,
    scores_of,
    start_from_probe,
)
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.model import Aggregation
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.training import Share

CPU = torch.device("cpu")


def classifier() -> CovidClassifier:
    with initial_weights(1):
        return CovidClassifier(build_encoder(EncoderPlan(channels=(8, 16, 24))))


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames whose class is a bright square."""
    generator = numpy_generator(seed)
    frames = generator.integers(0, 30000, (n, 32, 32)).astype(np.uint16)
    target = np.arange(n) % 2
    frames[target == 1, 10:16, 10:16] += 30000
    return frames, target.astype(np.int64)


def test_the_head_starts_from_a_probe_that_tells_the_classes() -> None:
    network = classifier()
    (train, y_train), (held, y_held) = labelled(40, 1), labelled(20, 2)
    features = [pooled_features(network, frames, CPU) for frames in (train, held)]
    train_data, held_data = ProbeData(features[0], y_train), ProbeData(features[1], y_held)
    loss = start_from_probe(network, train_data, held_data)
    logits = scores_of(network, held, CPU).logit
    assert loss < 0.3
    assert logits[y_held == 1].min() > logits[y_held == 0].max()


def test_the_probe_leaves_the_encoder_unchanged() -> None:
    network = classifier()
    before = {n: t.clone() for n, t in network.encoder.state_dict().items()}
    frames, target = labelled(20, 1)
    features = pooled_features(network, frames, CPU)
    start_from_probe(network, ProbeData(features, target), ProbeData(features, target))
    assert all(torch.equal(t, before[n]) for n, t in network.encoder.state_dict().items())


def test_a_probe_of_more_features_than_pictures_is_the_one_of_all_features() -> None:
    """Fitted in the span of the pictures, where it is quick; compared with the fit in full."""
    generator = numpy_generator(5)
    target = np.arange(40) % 2
    features = generator.normal(size=(40, 96)).astype(np.float32)
    features[:, :5] += target[:, None]
    network = classifier()
    start_from_probe(network, ProbeData(features, target), ProbeData(features, target))
    scaled = (features - features.mean(0)) / features.std(0)
    full = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=5000)
    full.fit(scaled.astype(np.float64), target)
    weight = network.head.weight.detach().numpy()[0]
    assert np.abs(weight - full.coef_[0]).max() < 0.01 * np.abs(full.coef_).max()


def test_the_features_of_a_frame_do_not_depend_on_how_many_there_are() -> None:
    network = classifier()
    frames, _ = labelled(70, 1)  # more than go through the network at once
    together = scores_of(network, frames, CPU).logit
    alone = np.concatenate([scores_of(network, frames[k : k + 1], CPU).logit for k in (0, 66)])
    assert alone == pytest.approx(together[[0, 66]], abs=1e-5)


def test_both_classes_weigh_the_same_however_many_frames_they_have() -> None:
    target = np.array([1] * 3 + [0] * 27)
    task = DiagnosisTask(AugmentRanges(), LUNG_WINDOW_HU, target, seed=0)
    frames = torch.zeros((30, 1, 32, 32), dtype=torch.uint16)
    made = task.examples(
        LabelledBatch(frames, torch.tensor(target, dtype=torch.float32)), Share(0, 0, len(frames))
    )
    assert float(made.weight[made.target == 1].sum()) == pytest.approx(15)
    assert float(made.weight[made.target == 0].sum()) == pytest.approx(15)


def test_examples_are_keyed_by_the_step() -> None:
    frames, target = labelled(6, 1)
    batch = LabelledBatch(torch.from_numpy(frames)[:, None], torch.from_numpy(target).float())
    task = DiagnosisTask(AugmentRanges(), LUNG_WINDOW_HU, target, seed=0)

    def unit(step: int) -> torch.Tensor:
        made: DiagnosisBatch = task.examples(batch, Share(step, 0, len(batch.frames)))
        return made.unit

    assert torch.equal(unit(4), unit(4))
    assert not torch.equal(unit(4), unit(5))
    assert float(unit(4).min()) >= 0
    assert float(unit(4).max()) <= 1


def test_every_parameter_is_trained_once_and_shallow_levels_slowest() -> None:
    network = classifier()
    groups = parameter_groups(network, head_rate=0.1, layer_decay=0.5)
    scales = [group["rate_scale"] for group in groups]
    assert scales == [0.1, 0.25, 0.5, 1.0]
    found = [p for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    assert {id(p) for p in found} == {id(p) for p in network.parameters()}
    assert len(found) == len(list(network.parameters()))


def test_frozen_levels_are_given_to_no_optimiser() -> None:
    network = classifier()
    network.freeze(2)
    groups = parameter_groups(network, head_rate=0.1, layer_decay=0.5)
    assert [group["rate_scale"] for group in groups] == [0.1, 1.0]
    found = {id(p) for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    assert found == {id(p) for p in network.parameters() if p.requires_grad}


def test_aggregation_follows_the_stated_rule() -> None:
    logits = np.array([5.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    assert Aggregation(rule="mean").of(logits) == pytest.approx(2.5)
    assert Aggregation(rule="top_third").of(logits) == pytest.approx(4.5)
    assert Aggregation(rule="top_third").of(np.array([2.0])) == 2.0
    assert Aggregation(rule="whole_volume").of(np.array([2.0])) == 2.0
    attention = np.log([4.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    assert Aggregation(rule="attention").of(logits, attention) == pytest.approx(3.4)


@pytest.mark.parametrize("rule", ["mean", "top_third", "attention"])
def test_the_weights_of_a_scans_slices_add_up_to_one(rule: str) -> None:
    draw = numpy_generator(3)
    logits, attention = draw.normal(size=7), 50 * draw.normal(size=7)
    weights = Aggregation.model_validate({"rule": rule}).weights(logits, attention)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0


def test_attention_without_the_heads_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the head's attention"):
        Aggregation(rule="attention").of(np.array([1.0, 2.0]))
