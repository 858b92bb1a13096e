"""Patches of volumes: a pretext learns from a part of a frame, another one at every step."""

from __future__ import annotations

import torch

from covidssl.pretext.clean import CleanSlices
from covidssl.randomness import torch_generator
from covidssl.training import Share

Patch = tuple[int, int, int]

_PATCH_STREAM = 71


def cut_patches(slices: CleanSlices, patch: Patch | None, seed: int, share: Share) -> CleanSlices:
    """Cut one patch out of each volume of a batch, keyed by seed, step and place in the batch.

    A patch holds a lung voxel that is drawn evenly from the volume's, at a place in the patch that
    is drawn too; of a volume without lungs the patch may lie anywhere.

    Args:
        slices: clean volumes (B, 1, Z, Y, X).
        patch: voxels (z, y, x) of a patch; None, or the volumes' own shape, gives all of them.
        seed: of the run.
        share: which volumes of which step; the same ones get the same corners.

    Returns:
        Frames and lungs (B, 1, *patch), on the device of `slices`.

    Raises:
        ValueError: for slices in place of volumes, or a patch that is larger than they are.
    """
    if patch is None:
        return slices
    size = tuple(slices.frames.shape[2:])
    if len(size) != 3:
        raise ValueError("Patches are cut from volumes (B, 1, Z, Y, X); slices are taken whole.")
    if any(edge < 1 or edge > most for edge, most in zip(patch, size, strict=True)):
        raise ValueError(f"A patch {patch} does not fit into volumes {size}: set pretext.patch.")
    if patch == size:
        return slices
    corners = _corners(slices.lungs[:, 0], patch, seed, share)
    return slices._replace(
        frames=_parts(slices.frames, corners, patch), lungs=_parts(slices.lungs, corners, patch)
    )


def _corners(lungs: torch.Tensor, patch: Patch, seed: int, share: Share) -> torch.Tensor:
    """First voxels (B, 3) of the patches of volumes whose lungs are (B, Z, Y, X)."""
    generator = torch_generator(seed, _PATCH_STREAM, share.step)
    draw = torch.rand((share.drawn, 4), generator=generator, dtype=torch.float64)
    draw = draw[share.first :].to(lungs.device)
    _, depth, height, width = lungs.shape
    edges, size = (torch.tensor(of, device=lungs.device) for of in (patch, lungs.shape[1:]))
    counted = lungs.flatten(1).cumsum(1)
    held = counted[:, -1]
    wanted = (draw[:, 0] * held).long().clamp(max=(held - 1).clamp_min(0)) + 1
    voxel = torch.searchsorted(counted, wanted[:, None])[:, 0].clamp(max=counted.shape[1] - 1)
    places = [voxel // (height * width), voxel // width % height, voxel % width]
    about = torch.stack(places, dim=1) - (draw[:, 1:] * edges).long()
    anywhere = (draw[:, 1:] * (size - edges + 1)).long()
    corners = torch.where((held > 0)[:, None], about, anywhere)
    return corners.clamp_min(0).minimum(size - edges)


def _parts(volumes: torch.Tensor, corners: torch.Tensor, patch: Patch) -> torch.Tensor:
    """The patches of (B, 1, Z, Y, X) at corners (B, 3)."""
    device = volumes.device
    z, y, x = (
        corners[:, axis, None] + torch.arange(edge, device=device)
        for axis, edge in enumerate(patch)
    )
    rows = torch.arange(len(volumes), device=device)[:, None, None, None]
    found = volumes[:, 0][rows, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]
    return found[:, None]
