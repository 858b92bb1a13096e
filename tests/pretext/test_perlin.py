"""The pretext: lesions drawn by (seed, step), in the lungs alone, and a loss for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from covidssl.augment import AugmentRanges, sample_augment, see_through, to_hu, warp
from covidssl.config import load_config
from covidssl.experiments import PretrainConfig
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.lesions import LesionRanges, preset
from covidssl.networks.unet import Restored
from covidssl.pretext import (
    CleanSlices,
    PerlinPretext,
    RestorationBatch,
    RestorationLoss,
    Setting,
    corrupt,
)
from covidssl.randomness import torch_generator
from covidssl.training import Share

STILL = AugmentRanges(
    flip=0, rotation_degrees=0, zoom=(1, 1), shift=0,
    window_low_hu=(-1000, -1000), window_high_hu=(400, 400),
)  # fmt: skip


def slices(n: int = 4, edge: int = 64) -> CleanSlices:
    """Dark lungs with some texture in a bright body."""
    frames = torch.full((n, 1, edge, edge), 48000)
    lungs = torch.zeros((n, 1, edge, edge), dtype=torch.bool)
    for left in (8, 36):
        lungs[..., 12:52, left : left + 20] = True
    noise = torch.randint(5000, 9000, frames.shape, generator=torch_generator(1))
    frames = torch.where(lungs, noise, frames)
    return CleanSlices(frames.to(torch.uint16), lungs, torch.full((n, 2), 320 / edge))


def batch_of(plan: PerlinPretext, key: tuple[int, int] = (0, 0)) -> RestorationBatch:
    seed, step = key
    return corrupt(slices(), plan, Setting(LUNG_WINDOW_HU, 5, seed), Share(step, 0, 4))[0]


def test_the_same_step_gives_the_same_batch() -> None:
    first, second = batch_of(PerlinPretext(), (7, 3)), batch_of(PerlinPretext(), (7, 3))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("key", [(7, 4), (8, 3)])
def test_another_step_or_seed_gives_another_batch(key: tuple[int, int]) -> None:
    assert not torch.equal(
        batch_of(PerlinPretext(), (7, 3)).corrupted, batch_of(PerlinPretext(), key).corrupted
    )


def test_lesions_stay_inside_the_lungs() -> None:
    lesions = LesionRanges(kinds={"ground_glass": 1, "crazy_paving": 1})
    batch = batch_of(PerlinPretext(augment=STILL, lesions=lesions))
    outside = ~slices().lungs
    assert torch.equal(batch.corrupted[outside], batch.clean[outside])
    assert float(batch.lesion[outside].max()) == 0
    assert float((batch.corrupted - batch.clean).max()) > 0.05


def test_corrupted_and_clean_go_through_the_same_window() -> None:
    batch = batch_of(PerlinPretext())
    alike = batch.lesion == 0
    assert torch.allclose(batch.corrupted[alike], batch.clean[alike], atol=1e-6)


def test_the_share_of_closed_skips_follows_the_plan() -> None:
    plan = PerlinPretext(skip_dropout=0.4)
    keep = torch.cat([batch_of(plan, (0, step)).keep_skips for step in range(60)])
    assert float(keep.float().mean()) == pytest.approx(0.6, abs=0.05)
    assert batch_of(PerlinPretext(skip_dropout=0)).keep_skips.all()


def test_clean_slices_are_not_written_into() -> None:
    given = slices()
    copies = [tensor.clone() for tensor in given]
    corrupt(given, PerlinPretext(), Setting(LUNG_WINDOW_HU, 5, 0), Share(0, 0, 4))
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


def restoration(error: torch.Tensor, lesion: torch.Tensor) -> RestorationBatch:
    clean = torch.full_like(error, 0.5)
    return RestorationBatch(clean + error, clean, lesion, torch.ones(len(error), 4))


def test_with_weight_one_the_loss_is_the_mean_absolute_error() -> None:
    error = torch.rand((3, 1, 8, 8), generator=torch_generator(2)) * 0.2
    batch = restoration(error, torch.rand((3, 1, 8, 8), generator=torch_generator(3)))
    loss = RestorationLoss(lesion_weight=1, lesion_map=0)
    found = loss.of(Restored(batch.corrupted, torch.zeros_like(error)), batch)
    assert float(found.total) == pytest.approx(float(error.abs().mean()), rel=1e-5)


def test_an_error_inside_a_lesion_costs_more_than_the_same_outside() -> None:
    lesion = torch.zeros((1, 1, 8, 8))
    lesion[..., :4] = 1
    inside = torch.zeros_like(lesion)
    inside[..., :4] = 0.1
    outside = inside.flip(-1)
    loss = RestorationLoss(lesion_weight=4, lesion_map=0)

    def cost(error: torch.Tensor) -> float:
        batch = restoration(error, lesion)
        return float(loss.of(Restored(batch.corrupted, torch.zeros_like(error)), batch).total)

    assert cost(inside) == pytest.approx(4 * cost(outside), rel=1e-4)


def test_the_loss_of_a_batch_is_the_mean_of_its_pictures() -> None:
    """So that accumulation does not change it, however much lesion a picture has."""
    batch = batch_of(PerlinPretext())
    restored = Restored(batch.corrupted, torch.zeros_like(batch.lesion))
    loss = RestorationLoss()
    whole = float(loss.of(restored, batch).total)
    alone = [
        float(
            loss.of(
                Restored(*(t[k : k + 1] for t in restored)),
                RestorationBatch(*(t[k : k + 1] for t in batch)),
            ).total
        )
        for k in range(4)
    ]
    assert whole == pytest.approx(sum(alone) / 4, rel=1e-5)


def test_the_task_makes_what_the_network_learns_from() -> None:
    task = PerlinPretext().task(Setting(LUNG_WINDOW_HU, 5, seed=7))
    made = task.examples(slices(), Share(3, 0, 4))
    assert torch.equal(made.corrupted, batch_of(PerlinPretext(), (7, 3)).corrupted)


def test_a_share_of_a_batch_gets_the_draws_that_it_has_in_the_whole() -> None:
    setting, whole = Setting(LUNG_WINDOW_HU, 5, 7), batch_of(PerlinPretext(), (7, 3))
    last = CleanSlices(*(tensor[1:3] for tensor in slices()))
    made = corrupt(last, PerlinPretext(), setting, Share(3, 1, 2))[0]
    assert all(torch.equal(part, all_[1:3]) for part, all_ in zip(made, whole, strict=True))


def test_a_still_augmentation_is_the_identity() -> None:
    unit = torch.rand((2, 1, 32, 32), generator=torch_generator(4))
    params = sample_augment(STILL, torch_generator(0), 2)
    assert torch.allclose(warp(unit, params), unit, atol=1e-5)
    assert torch.allclose(see_through(to_hu(unit, LUNG_WINDOW_HU), params), unit, atol=1e-5)


def test_a_flip_mirrors_left_and_right() -> None:
    unit = torch.rand((2, 1, 32, 32), generator=torch_generator(4))
    params = sample_augment(STILL.model_copy(update={"flip": 1.0}), torch_generator(0), 2)
    assert torch.allclose(warp(unit, params), unit.flip(-1), atol=1e-4)


def test_a_wider_window_makes_lungs_brighter() -> None:
    lung = torch.full((1, 1, 4, 4), -850.0)
    wide = sample_augment(
        STILL.model_copy(update={"window_low_hu": (-1400, -1400)}), torch_generator(0), 1
    )
    narrow = sample_augment(STILL, torch_generator(0), 1)
    assert float(see_through(lung, wide)[0, 0, 0, 0]) == pytest.approx(550 / 1800)
    assert float(see_through(lung, narrow)[0, 0, 0, 0]) == pytest.approx(150 / 1400)


def test_window_jitter_is_as_wide_as_the_public_sets_differ() -> None:
    """Their lungs lie at grey values from 28 to 107 of 255."""
    lung = torch.full((4000, 1, 1, 1), -850.0)
    seen = (
        see_through(lung, sample_augment(PerlinPretext().augment, torch_generator(5), 4000)) * 255
    )
    assert float(seen.min()) < 28
    assert float(seen.max()) > 107
    assert float(((seen > 28) & (seen < 107)).float().mean()) > 0.8
    demo = load_config(PretrainConfig, Path(__file__).parents[2] / "configs/demo/pretrain.yaml")
    assert demo.pretext.augment == PerlinPretext().augment


def test_lesions_may_be_named() -> None:
    assert PerlinPretext.model_validate({"lesions": "ggo"}).lesions == preset("ggo")


def test_the_backend_of_the_noise_is_the_plans() -> None:
    auto, product = (batch_of(PerlinPretext(augment=STILL, backend=b)) for b in ("auto", "product"))
    torch.testing.assert_close(auto.corrupted, product.corrupted, atol=1e-3, rtol=0)


def test_the_reference_backend_draws_the_same_lesions_from_noise_of_its_own() -> None:
    pytest.importorskip("noise")
    lesions = LesionRanges(foci=(1, 1), clean_share=0, octaves=(1, 1))
    drawn = {
        name: corrupt(
            slices(1, 32), PerlinPretext(lesions=lesions, augment=STILL, backend=name),
            Setting(LUNG_WINDOW_HU, 5, 0), Share(0, 0, 1),
        )
        for name in ("auto", "reference")
    }  # fmt: skip
    (auto, params), (reference, same) = drawn["auto"], drawn["reference"]
    assert params.rows() == same.rows()
    assert not torch.equal(auto.corrupted, reference.corrupted)
    # One place and size, another outline: most of the two lesions lies in both.
    both = torch.minimum(auto.lesion, reference.lesion).sum()
    assert both > 0.5 * torch.maximum(auto.lesion, reference.lesion).sum()


def test_a_lesion_outside_the_lungs_is_not_asked_for_where_they_alone_are_shown() -> None:
    blanking = STILL.model_copy(update={"blanked": 1.0})
    plan = PerlinPretext(augment=blanking, confined=False)
    batch, outside = batch_of(plan), ~slices().lungs
    assert float(batch.lesion[outside].max()) == 0
    assert float(batch.lesion[~outside].max()) > 0.5
    seen = batch_of(PerlinPretext(augment=STILL, confined=False))
    assert float(seen.lesion[outside].max()) > 0.5
