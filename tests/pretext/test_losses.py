"""The restoration loss: its terms, their sums, and the lesion map with its loss."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from covidssl.networks.unet import RestorationUNet, Restored
from covidssl.pretext import PerlinPretext, RestorationBatch, RestorationLoss
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share
from tests.pretext.pictures import SETTING, network_of, slices

PLAIN = {"lesion_weight": 1, "lesion_map": 0}


def made_up(n: int = 3, shape: tuple[int, ...] = (32, 32)) -> tuple[Restored, RestorationBatch]:
    generator = torch_generator(2)
    clean, error, lesion, logit = (torch.rand((n, 1, *shape), generator=generator) for _ in "abcd")
    batch = RestorationBatch(clean, clean, (lesion > 0.7).float(), torch.ones(n, 4))
    return Restored(clean + 0.2 * (error - 0.5), 4 * logit - 2), batch


def total(loss: RestorationLoss, shape: tuple[int, ...] = (32, 32)) -> float:
    restored, batch = made_up(shape=shape)
    return float(loss.of(restored, batch).total)


def test_the_squared_error_alone_is_its_mean() -> None:
    restored, batch = made_up()
    found = total(RestorationLoss(l1=0, l2=1, **PLAIN))
    assert found == pytest.approx(float((restored.unit - batch.clean).square().mean()), rel=1e-5)


@pytest.mark.parametrize("shape", [(32, 32), (8, 9), (8, 16, 16)])
def test_dissimilarity_is_nothing_for_the_same_picture_and_grows_with_the_error(
    shape: tuple[int, ...],
) -> None:
    restored, batch = made_up(shape=shape)
    loss = RestorationLoss(l1=0, ssim=1, **PLAIN)
    errors = [
        float(loss.of(Restored(torch.lerp(batch.clean, restored.unit, k), None), batch).total)
        for k in (0.0, 0.5, 1.0)
    ]
    assert errors[0] == pytest.approx(0, abs=1e-5)
    assert errors[0] < errors[1] < errors[2] < 2


def test_dissimilarity_is_of_the_structure_and_forgives_an_even_shift_more_than_noise() -> None:
    _, batch = made_up()
    noise = 0.1 * torch.where(made_up()[0].lesion_logit > 0, 1.0, -1.0)
    loss = RestorationLoss(l1=0, ssim=1, **PLAIN)
    shift, rough = (
        float(loss.of(Restored(batch.clean + change, None), batch).total) for change in (0.1, noise)
    )
    assert shift < 0.5 * rough


def test_a_sum_is_the_sum_of_its_terms_and_reports_each() -> None:
    restored, batch = made_up()
    both = RestorationLoss(l1=1, l2=2, ssim=0.5, **PLAIN)
    alone = [
        total(RestorationLoss(**({"l1": 0, "l2": 0, "ssim": 0} | term), **PLAIN))
        for term in ({"l1": 1}, {"l2": 2}, {"ssim": 0.5})
    ]
    found = both.of(restored, batch)
    assert float(found.total) == pytest.approx(sum(alone), rel=1e-5)
    assert tuple(found.parts) == both.parts(lesion_map=True)
    assert float(found.parts["l2"]) == pytest.approx(alone[1] / 2, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        RestorationLoss(l2=1),
        RestorationLoss(l1=0, ssim=1),
        RestorationLoss(l1=1, l2=1, ssim=1, lesion_map=1, lesion_map_loss="focal_dice"),
    ],
    ids=["l2", "ssim", "all"],
)
def test_a_batch_may_come_in_parts(loss: RestorationLoss) -> None:
    restored, batch = made_up()
    alone = [
        loss.of(
            Restored(*(part[k : k + 1] for part in restored)),
            RestorationBatch(*(part[k : k + 1] for part in batch)),
        )
        for k in range(3)
    ]
    mean = sum(float(one.total) for one in alone) / 3
    assert float(loss.of(restored, batch).total) == pytest.approx(mean, rel=1e-5)


def focal_dice(logit: float, lesion: torch.Tensor) -> float:
    clean = torch.zeros((1, 1, 16, 16))
    batch = RestorationBatch(clean, clean, lesion, torch.ones(1, 4))
    loss = RestorationLoss(lesion_map=1, lesion_map_loss="focal_dice")
    said = torch.where(lesion > 0, logit, -logit)
    return float(loss.of(Restored(clean, said), batch).total)


def test_focal_and_dice_reward_the_right_map() -> None:
    lesion = torch.zeros((1, 1, 16, 16))
    lesion[..., :3] = 1
    assert focal_dice(4.0, lesion) < focal_dice(0.0, lesion) < focal_dice(-4.0, lesion)


def test_focal_and_dice_reward_an_empty_map_of_a_clean_picture() -> None:
    assert focal_dice(8.0, torch.zeros((1, 1, 16, 16))) < 0.1
    assert focal_dice(-8.0, torch.zeros((1, 1, 16, 16))) > 1


def test_a_loss_that_asks_for_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one of l1, l2 and ssim"):
        RestorationLoss(l1=0)


@pytest.mark.parametrize("head", ["decoder", "bottleneck", "none"])
def test_the_map_may_come_from_the_decoder_or_the_bottleneck_or_not_at_all(head: str) -> None:
    pretext = PerlinPretext(lesion_head=head)
    network, task = network_of(pretext), pretext.task(SETTING)
    assert isinstance(network, RestorationUNet)
    found: Losses = task.loss(network, task.examples(slices(), Share(0, 0, 4)))
    assert tuple(found.parts) == task.parts
    assert ("lesion_map" in found.parts) == (head != "none")
    found.total.backward()
    learnt = {name for name, one in network.named_parameters() if one.grad is not None}
    assert ("lesion_head.weight" in learnt) == (head == "bottleneck")


def test_skips_may_be_closed_by_a_chance_a_level() -> None:
    pretext = PerlinPretext(skip_dropout=(0.0, 0.8))
    keep = torch.cat(
        [
            pretext.task(SETTING).examples(slices(), Share(step, 0, 4)).keep_skips
            for step in range(60)
        ]
    )
    assert keep[:, 0].all()
    assert float(keep[:, 1].float().mean()) == pytest.approx(0.2, abs=0.07)
