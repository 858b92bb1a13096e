"""Patches of volumes: keyed by seed and step, where the lungs are, each picture its own."""

from __future__ import annotations

import pytest
import torch

from covidssl.pretext import CleanSlices
from covidssl.pretext.patches import cut_patches
from covidssl.training import Share

SHAPE, PATCH = (16, 20, 24), (4, 6, 8)


def volumes(n: int = 4, shape: tuple[int, ...] = SHAPE) -> CleanSlices:
    """Volumes whose voxels are their own numbers, with a small lung in a corner of each."""
    count = int(torch.tensor(shape).prod())
    frames = torch.arange(n * count).view(n, 1, *shape).to(torch.int32)
    lungs = torch.zeros(n, 1, *shape, dtype=torch.bool)
    lungs[..., 2:5, 3:6, 4:7] = True
    return CleanSlices(frames, lungs, torch.full((n, len(shape)), 2.0))


def cut(slices: CleanSlices, step: int = 0, seed: int = 0, first: int = 0) -> CleanSlices:
    return cut_patches(slices, PATCH, seed, Share(step, first, len(slices.frames)))


def corner(patch: torch.Tensor) -> tuple[int, int, int]:
    """Where the first voxel of a patch of `volumes` lies."""
    number = int(patch.flatten()[0]) % (SHAPE[0] * SHAPE[1] * SHAPE[2])
    z, within = divmod(number, SHAPE[1] * SHAPE[2])
    return z, *divmod(within, SHAPE[2])


def test_a_patch_is_a_part_of_the_volume_with_its_lungs() -> None:
    whole = volumes()
    for number, (frame, lungs) in enumerate(zip(*cut(whole)[:2], strict=True)):
        z, y, x = corner(frame)
        here = (number, 0, slice(z, z + 4), slice(y, y + 6), slice(x, x + 8))
        assert torch.equal(frame[0], whole.frames[here])
        assert torch.equal(lungs[0], whole.lungs[here])


def test_every_patch_holds_lung_and_lung_lies_anywhere_in_it() -> None:
    whole = volumes(2)
    corners = set()
    for step in range(40):
        found = cut(whole, step)
        assert found.lungs.flatten(1).any(1).all()
        corners |= {corner(frame) for frame in found.frames}
    assert len(corners) > 30
    lowest, highest = (f(z for z, _, _ in corners) for f in (min, max))
    assert (lowest, highest) == (0, 4)


def test_without_lungs_a_patch_may_lie_anywhere() -> None:
    whole = volumes(2)._replace(lungs=torch.zeros(2, 1, *SHAPE, dtype=torch.bool))
    corners = [corner(frame) for step in range(60) for frame in cut(whole, step).frames]
    for axis, (edge, part) in enumerate(zip(SHAPE, PATCH, strict=True)):
        assert {place[axis] for place in corners} >= {0, edge - part}


def test_pictures_of_a_batch_get_corners_of_their_own() -> None:
    same = CleanSlices(*(part[:1].expand(8, *part.shape[1:]) for part in volumes(1)))
    assert len({corner(frame) for frame in cut(same).frames}) > 4


def test_a_corner_depends_on_seed_and_step_alone() -> None:
    first = cut(volumes(), step=3, seed=5)
    assert torch.equal(first.frames, cut(volumes(), step=3, seed=5).frames)
    assert not torch.equal(first.frames, cut(volumes(), step=4, seed=5).frames)
    assert not torch.equal(first.frames, cut(volumes(), step=3, seed=6).frames)


def test_a_picture_gets_the_same_patch_on_any_number_of_processes() -> None:
    whole, together = volumes(), cut(volumes())
    rest = CleanSlices(*(part[2:] for part in whole))
    assert torch.equal(cut(rest, first=2).frames, together.frames[2:])


def test_no_patch_or_one_as_large_as_the_frame_leaves_volumes_whole() -> None:
    whole = volumes()
    for patch in (None, SHAPE):
        assert cut_patches(whole, patch, 0, Share(0, 0, 4)) is whole


def test_a_patch_that_does_not_fit_says_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"does not fit into volumes.*pretext\.patch"):
        cut_patches(volumes(), (17, 6, 8), 0, Share(0, 0, 4))
    with pytest.raises(ValueError, match="slices are taken whole"):
        cut_patches(volumes(shape=(20, 24)), PATCH, 0, Share(0, 0, 4))


@pytest.mark.gpu
def test_a_gpu_cuts_the_same_patches() -> None:
    whole = volumes()
    there = CleanSlices(*(part.to("cuda") for part in whole))
    for step in range(5):
        for here, found in zip(cut(whole, step), cut(there, step), strict=True):
            assert torch.equal(here, found.cpu())
