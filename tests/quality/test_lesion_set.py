"""Label-free AUROC of lesions: a half for who does nothing, one for who knows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from covidssl.errors import DataError
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.lesions import LesionRanges, preset
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet, Restored
from covidssl.pretext import CleanSlices
from covidssl.quality import LesionSet, draw_lesion_set, lesion_quality
from covidssl.randomness import initial_weights, torch_generator


def clean(*shape: int) -> CleanSlices:
    """Pictures of noise, an ellipse in their middle for lungs."""
    noise = torch.rand((4, 1, *shape), generator=torch_generator(1))
    axes = [torch.linspace(-1, 1, edge) for edge in shape]
    inside = sum(axis**2 for axis in torch.meshgrid(*axes, indexing="ij")) < 0.7
    frames = (9000 + 4000 * noise).to(torch.uint16)
    return CleanSlices(
        frames, inside.expand(4, 1, *shape).contiguous(), torch.full((4, len(shape)), 4.0)
    )


def drawn(*shape: int) -> LesionSet:
    return draw_lesion_set(clean(*(shape or (64, 64))), LesionRanges(), LUNG_WINDOW_HU)


class Knowing(RestorationUNet):
    """Lifts off exactly what the lesion map says."""

    def __init__(self, lesions: LesionSet) -> None:
        nn.Module.__init__(self)
        self.lesions, self.somewhere = lesions, nn.Parameter(torch.zeros(1))

    def forward(self, unit: torch.Tensor, keep_skips: torch.Tensor | None = None) -> Restored:
        assert keep_skips is None
        lesion = self.lesions.lesion.float()
        return Restored(unit - lesion, lesion)


@pytest.mark.parametrize("shape", [(64, 64), (16, 32, 32)])
def test_a_network_that_lifts_nothing_off_scores_a_half(shape: tuple[int, ...]) -> None:
    plan = EncoderPlan.model_validate({"channels": (8, 8), "dimensions": len(shape)})
    with initial_weights(0):
        network = RestorationUNet(build_encoder(plan))
    found = lesion_quality(network, drawn(*shape))
    assert found["lesion_auroc"] == 0.5
    assert found["lesion_map_auroc"] == 0.5


def test_who_knows_the_lesions_scores_one() -> None:
    lesions = drawn()
    found = lesion_quality(Knowing(lesions), lesions)
    assert found["lesion_auroc"] == 1.0
    assert found["lesion_map_auroc"] == 1.0


def test_the_error_inside_of_who_does_nothing_is_what_was_drawn() -> None:
    lesions = drawn()
    with initial_weights(0):
        network = RestorationUNet(build_encoder(EncoderPlan(channels=(8, 8))))
    found = lesion_quality(network, lesions)
    changed = (lesions.corrupted - lesions.clean).abs()
    assert found["error_inside"] == pytest.approx(float(changed[lesions.lesion].mean()), rel=1e-4)
    assert found["error_inside"] > 5 * found["error_outside"]


def test_a_network_without_a_lesion_map_has_no_auroc_of_it() -> None:
    with initial_weights(0):
        network = RestorationUNet(build_encoder(EncoderPlan(channels=(8, 8))), "none")
    assert "lesion_map_auroc" not in lesion_quality(network, drawn())


def test_the_set_is_the_same_every_time_and_no_picture_is_left_clean() -> None:
    first, second = drawn(), drawn()
    assert torch.equal(first.corrupted, second.corrupted)
    always_clean = LesionRanges().model_copy(update={"clean_share": 1.0})
    found = draw_lesion_set(clean(64, 64), always_clean, LUNG_WINDOW_HU)
    assert bool(found.lesion.flatten(1).any(1).all())


def test_pictures_without_lungs_are_refused() -> None:
    slices = clean(64, 64)
    empty = slices._replace(lungs=torch.zeros_like(slices.lungs))
    with pytest.raises(DataError, match=r"quality\.every=null"):
        draw_lesion_set(empty, preset("covid"), LUNG_WINDOW_HU)


@pytest.mark.gpu
def test_a_gpu_measures_what_a_cpu_does() -> None:
    with initial_weights(0):
        network = RestorationUNet(build_encoder(EncoderPlan(channels=(8, 8))))
        nn.init.normal_(network.decoder.last.weight, std=0.1)
    lesions = drawn()
    here = lesion_quality(network, lesions)
    there = lesion_quality(network.to("cuda"), lesions)
    assert there == pytest.approx(here, abs=1e-3)
