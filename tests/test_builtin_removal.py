"""The network in the box takes lesions off, which one that has learnt nothing does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from covidssl.frames import frame_mask, unit_from_frames
from covidssl.lesion_model import LesionModel, load_answering
from covidssl.lungs import segment_lungs
from covidssl.networks.encoder import build_encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.phantom import phantom_chest
from covidssl.prediction import predict
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.scan_frames import frames_of_scan
from covidssl.shipped import FOLDER

SHAPE, SPACING_MM = (24, 72, 72), (11.0, 4.8, 4.8)
LEAST = 0.03
"""Network units, 42 HU: so much at least is taken off inside lesions, on average."""


@pytest.fixture(scope="module")
def box() -> LesionModel:
    model = load_answering(FOLDER)
    assert isinstance(model, LesionModel)
    return model


def taken_off(network: torch.nn.Module, box: LesionModel, seed: int) -> tuple[float, float]:
    """What a network takes off on average, in drawn lesions and in the lung beside them."""
    made, frame = phantom_chest(seed, True, SHAPE, SPACING_MM), box.card.frame
    cut = frames_of_scan(made.ct, segment_lungs(made.ct), frame, 8)
    lesion = frame_mask(made.lesion[cut.slices], cut.box, frame)
    unit = unit_from_frames(torch.from_numpy(cut.frames))[:, None]
    with torch.no_grad():
        off: NDArray[np.float32] = (unit - network.eval()(unit).unit)[:, 0].numpy()
    inside = cut.lungs > 0.9
    return float(off[inside & lesion].mean()), float(off[inside & ~lesion].mean())


def knows_lesions(found: tuple[float, float]) -> bool:
    inside, beside = found
    return inside > LEAST and inside > 3 * abs(beside)


@pytest.mark.parametrize("seed", [3, 5])
def test_the_network_in_the_box_takes_off_lesions_and_leaves_the_lung_beside_them(
    seed: int, box: LesionModel
) -> None:
    assert knows_lesions(taken_off(box.restoration, box, seed))


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_weights_that_learnt_nothing_would_be_noticed(spread: float, box: LesionModel) -> None:
    network = box.card.network
    with initial_weights(1):
        drawn = RestorationUNet(build_encoder(network.encoder), network.lesion_map)
    generator = numpy_generator(1)
    with torch.no_grad():
        # Drawn weights alone restore what they see: the last layer begins at 0.
        for weights in drawn.parameters():
            noise = generator.normal(0, spread, tuple(weights.shape)).astype(np.float32)
            weights.add_(torch.from_numpy(noise))
    assert not knows_lesions(taken_off(drawn, box, 3))


def test_more_lesion_is_a_higher_burden_and_a_healthy_chest_has_little() -> None:
    found = []
    for ill in (True, False):
        burden = predict(FOLDER, phantom_chest(3, ill, SHAPE, SPACING_MM).ct).answer.burden
        assert burden is not None
        found.append(burden.both.percent)
    ill_percent, well_percent = found
    assert ill_percent > well_percent + 1
    assert 0 < well_percent < 8
