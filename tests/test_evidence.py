"""The evidence map is the logit, spread over the pixels that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from covidssl.evidence import class_evidence
from covidssl.model import Aggregation, load_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan
from covidssl.prediction import AnswerPlan, Predictor
from covidssl.randomness import initial_weights, torch_generator
from tests.prediction.models import SCANS, scan, write_model


def classifier(head: HeadPlan | None = None, dimensions: Literal[2, 3] = 2) -> CovidClassifier:
    plan = EncoderPlan(channels=(8, 16, 24), dimensions=dimensions)
    with initial_weights(1):
        network = CovidClassifier(build_encoder(plan), head)
    size = network.feature_mean.shape
    draw = torch_generator(2)
    network.set_feature_scale(torch.rand(size, generator=draw), torch.rand(size, generator=draw))
    network.set_head(torch.randn(size, generator=draw), torch.tensor(0.7))
    return network


def test_the_evidence_of_all_pixels_adds_up_to_the_logit() -> None:
    network = classifier()
    unit = torch.rand((3, 1, 32, 32), generator=torch_generator(3))
    total = class_evidence(network, unit).sum((1, 2)) + 0.7
    assert total.detach().numpy() == pytest.approx(network(unit).detach().numpy(), rel=1e-3)


@pytest.mark.parametrize("shape", [(30, 37), (33, 32)])
def test_the_evidence_adds_up_in_pictures_of_any_size(shape: tuple[int, int]) -> None:
    """What lies on the border that the encoder pads is counted too."""
    network = classifier()
    unit = torch.rand((2, 1, *shape), generator=torch_generator(3))
    evidence = class_evidence(network, unit)
    assert evidence.shape == (2, *shape)
    total = evidence.sum((1, 2)) + 0.7
    assert total.detach().numpy() == pytest.approx(network(unit).detach().numpy(), rel=1e-3)


def test_the_evidence_of_a_volume_adds_up_to_its_logit() -> None:
    network = classifier(dimensions=3)
    unit = torch.rand((2, 1, 9, 16, 18), generator=torch_generator(3))
    evidence = class_evidence(network, unit)
    assert evidence.shape == (2, 9, 16, 18)
    total = evidence.sum((1, 2, 3)) + 0.7
    assert total.detach().numpy() == pytest.approx(network(unit).detach().numpy(), rel=1e-3)


def test_the_evidence_of_a_scans_slices_adds_up_to_its_logit_by_their_attention() -> None:
    network = classifier(HeadPlan(kind="attention"))
    attention: Any = network.attention
    with torch.no_grad():
        attention.score.weight.normal_(generator=torch_generator(4))
        unit = torch.rand((5, 1, 32, 32), generator=torch_generator(3))
        scores = [score.double().numpy() for score in network.scores(unit)]
        logit = float(network(unit[None], torch.ones((1, 5), dtype=torch.bool)))
    weights = Aggregation(rule="attention").weights(*scores)
    assert np.ptp(weights) > 0.01
    maps = class_evidence(network, unit).numpy() * weights[:, None, None]
    assert maps.sum() + 0.7 == pytest.approx(logit, rel=1e-3)


def test_the_evidence_lies_where_the_picture_was_changed() -> None:
    network = classifier()
    unit = torch.full((1, 1, 64, 64), 0.2)
    changed = unit.clone()
    changed[..., 40:52, 8:20] = 0.7
    difference = (class_evidence(network, changed) - class_evidence(network, unit)).abs()[0]
    # A wide border: convolutions and norms spread a change.
    near = float(difference[28:64, 0:32].sum())
    assert near > 0.5 * float(difference.sum())


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_scans_answer_and_its_evidence_come_from_one_pass_of_the_encoder(
    tmp_path: Path, backend: Literal["torch", "onnx"]
) -> None:
    """The graph of ONNX has no evidence: there it is PyTorch's one pass."""
    model = load_model(write_model(tmp_path, SCANS, far=False))
    predictor, silent = (
        Predictor([model], AnswerPlan(backend=backend, maps=maps)) for maps in (True, False)
    )
    prepared = predictor.prepare(scan(1))
    seen: list[int] = []
    model.classifier.encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    answered = predictor.answer(prepared)
    assert answered.maps is not None
    assert sum(seen) == len(answered.answer.slices) > 1
    assert silent.answer(prepared).answer.probability == answered.answer.probability
