"""Masked restoration: so many patches are hidden, and what is hidden alone is asked for."""

from __future__ import annotations

import pytest
import torch

from covidssl.networks.unet import Restored
from covidssl.pretext import MaePretext
from covidssl.pretext.mae import hide, sample_masks
from covidssl.randomness import torch_generator
from covidssl.training import Share
from tests.pretext.pictures import SETTING, slices


@pytest.mark.parametrize("shape", [(64, 64), (8, 32, 32)], ids=["slices", "volumes"])
def test_every_picture_hides_the_same_share(shape: tuple[int, ...]) -> None:
    masks = sample_masks(MaePretext(mask_patch=8), torch_generator(0), 20, shape)
    assert masks.shape == (20, 1, *shape)
    share = masks.float().mean(tuple(range(1, masks.ndim)))
    assert torch.equal(share, share[:1].expand(20))
    assert float(share[0]) == pytest.approx(0.6, abs=0.04)
    assert (masks[0] != masks[1]).any()


def test_what_is_hidden_is_whole_patches() -> None:
    mask = sample_masks(MaePretext(mask_patch=8), torch_generator(0), 4, (32, 32))
    patches = mask.view(4, 4, 8, 4, 8).float().mean((2, 4))
    assert set(patches.unique().tolist()) == {0.0, 1.0}


def test_a_frame_that_is_no_multiple_of_a_patch_is_covered_to_its_ends() -> None:
    masks = sample_masks(MaePretext(mask_patch=16), torch_generator(0), 50, (40, 40))
    assert masks.shape == (50, 1, 40, 40)
    assert masks[..., -1, -1].any()
    assert not masks[..., -1, -1].all()


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_something_is_hidden_and_something_is_not(ratio: float) -> None:
    masks = sample_masks(MaePretext(mask_ratio=ratio), torch_generator(0), 3, (32, 32))
    share = masks.float().mean((1, 2, 3))
    assert ((share > 0) & (share < 1)).all()


def test_hidden_pixels_tell_nothing_but_the_mean_of_the_others() -> None:
    unit = torch.rand((2, 1, 32, 32), generator=torch_generator(1))
    mask = sample_masks(MaePretext(mask_patch=8), torch_generator(0), 2, (32, 32))
    hidden = hide(unit, mask)
    assert torch.equal(hidden[~mask], unit[~mask])
    for picture, where, all_ in zip(hidden, mask, unit, strict=True):
        assert torch.allclose(picture[where], all_[~where].mean(), atol=1e-5)


def test_an_error_where_nothing_was_hidden_costs_nothing() -> None:
    task = MaePretext(mask_patch=8).task(SETTING)
    examples = task.examples(slices(), Share(0, 0, 4))
    hidden = examples.lesion > 0

    class Wrong(torch.nn.Module):
        def __init__(self, where: torch.Tensor) -> None:
            super().__init__()
            self.where = where

        def forward(self, _: torch.Tensor) -> Restored:
            return Restored(examples.clean + 0.25 * self.where, None)

    assert float(task.loss(Wrong(~hidden), examples).total) == 0
    assert float(task.loss(Wrong(hidden), examples).total) == pytest.approx(0.25, rel=1e-4)
