"""What each kind of lesion does to HU, given how deep inside it a voxel lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from covidssl.hounsfield import AIR_HU
from covidssl.lesions.ranges import REVERSED_HALO
from covidssl.lesions.scene import Scene, margin_mm, wide
from covidssl.lesions.septa import septa

AERATED_AIR = 0.85
"""Share of air in normal lung; `opacity_hu` is what a voxel with that share gains."""

_AIR_LEFT, _NO_AIR = 1.5, 0.35
"""Stretch of a dense texture below and above its median, which keeps the standard deviation.

Air that is left makes a consolidation much lighter; without air nothing makes it much denser.
"""

_FAR_MM2 = 1.0e12
_AT_ONCE = 2**19
"""Voxels of a mesh that are worked on together: each needs some 150 bytes."""

_SHARPEST_MM = 1.0e-3


def fade(level: Tensor, edge_mm: Tensor, inwards_mm: Tensor | float = 0.0) -> Tensor:
    """Smooth step from 0 to 1 over the edge, half-way where the level is `inwards_mm`."""
    steep = 1 / edge_mm.clamp(min=_SHARPEST_MM)
    t = (level * steep).add_(0.5 - inwards_mm * steep).clamp_(0.0, 1.0)
    return (t * -2).add_(3).mul_(t).mul_(t)


def with_haze(alpha: Tensor, level: Tensor, scene: Scene) -> Tensor:
    """Share of ground glass with the faint haze that fades out beyond the outline, in the lungs.

    Args:
        alpha: (B, ...) share without haze.
        level: (B, ...) mm inside the outline of the nearest focus, below 0 beyond it.
        scene: of the batch.
    """
    if not bool((scene.draws.haze_mm * scene.draws.haze_share > 0).any()):
        return alpha
    p = scene.params
    width = wide(p.haze_mm, scene)
    share = wide(p.haze_share.masked_fill(p.haze_mm <= 0, 0.0), scene)
    haze = fade(level, width, -0.5 * width).mul_(share).mul_(scene.inside)
    return haze.mul_(1 - alpha).add_(alpha)


def add_ground_glass(hu: Tensor, alpha: Tensor, texture: Tensor, scene: Scene) -> Tensor:
    """HU after adding density where there is air; `hu` itself is not changed."""
    p = scene.params
    opacity = wide(p.opacity_hu, scene)
    air = (hu * (1 / AIR_HU)).clamp_(0.0, 1.0)
    strength = (texture * (opacity * wide(p.texture_contrast, scene))).add_(opacity)
    strength.clamp_(min=0.2 * opacity, max=2 * opacity)
    # No more than the air that there is: water is 0 HU, and fluid makes nothing denser.
    added = (strength * (1 / AERATED_AIR)).clamp_(max=-AIR_HU).mul_(air)
    if bool((scene.draws.vessels_kept < 1).any()):
        kept = wide(p.vessels_kept, scene)
        covered = strength.add_(AERATED_AIR * AIR_HU).sub_(hu)
        covered = torch.minimum(covered.clamp_(min=0), -AIR_HU * air)
        added = added.mul_(kept).add_(covered.mul_(1 - kept))
    return added.mul_(alpha).add_(hu)


def lay_mesh(hu: Tensor, alpha: Tensor, rows: Tensor, scene: Scene) -> None:
    """Add thickened septa to the ground glass of pictures `rows`, in place.

    Args:
        hu: (B, ...) with ground glass.
        alpha: (n, ...) share of crazy paving in the voxels of `rows`.
        rows: (n,) int64.
        scene: of the batch.
    """
    plane = alpha[0, 0].numel()
    planes = max(1, _AT_ONCE // max(1, plane))
    pictures = max(1, planes // alpha.shape[1])
    for n in range(0, len(rows), pictures):
        for k in range(0, alpha.shape[1], planes):
            piece = alpha[n : n + pictures, k : k + planes]
            _lay_mesh_piece(hu, piece, rows[n : n + pictures], k, scene)


def _lay_mesh_piece(hu: Tensor, alpha: Tensor, rows: Tensor, first: int, scene: Scene) -> None:
    """Lay the mesh in some pictures, from plane `first` of them on (in slices, from that line)."""
    voxels = _voxels(alpha)
    of = rows[voxels[0]]
    index = (of, voxels[1] + first, *voxels[2:])
    p, mm = scene.params, scene.mm.to(hu.device)
    pixel_mm = mm[:, -2:].amax(1)
    # A mesh finer than its voxels would be noise.
    cell_mm = torch.maximum(p.mesh_mm, pixel_mm)
    finest = torch.maximum(scene.draws.mesh_mm, scene.mm[:, -2:].amax(1))
    extent = scene.mm * torch.tensor(scene.size)
    cells = [int(most) + 1 for most in (extent / finest[:, None]).amax(0).tolist()]
    places = [axis[of, k] / cell_mm[of] for axis, k in zip(scene.axes, index[1:], strict=True)]
    # What is narrower than a voxel fills a part of it.
    width = (p.mesh_width_mm.square() + pixel_mm.square()).sqrt()
    narrow = (p.mesh_width_mm / width)[of]
    line = septa(places, voxels[0], p.seed[rows], cells).mul_((cell_mm / width)[of])
    line = line.neg_().add_(1).clamp_(min=0).mul_(narrow * p.mesh_hu[of]).mul_(alpha[voxels])
    before = hu[index]
    hu[index] = before + torch.minimum(line, (-before).clamp_(min=0))


def dense_core(
    kind: int, level: Tensor, pattern: Tensor | None, rows: Tensor, scene: Scene
) -> Tensor:
    """Share of density without air in the pictures `rows`, (n, ...), from the level of a kind.

    Args:
        kind: code of the kind.
        level: (n, ...) mm inside the outline.
        pattern: (B, ...) mm inside what the outline's threshold keeps; None keeps all. It breaks
            the ring of a reversed halo; other levels are cut by it already.
        rows: (n,) int64.
        scene: of the batch.
    """
    p = scene.params
    edge = wide(p.edge_mm[rows], scene)
    if kind == REVERSED_HALO:
        within = fade(level, edge, wide(p.ring_mm[rows], scene))
        core = fade(level, edge).mul_(within.neg_().add_(1))
        if pattern is not None:
            core.mul_(fade(pattern[rows], edge))
    else:
        core = fade(level, edge, wide(p.halo_mm[rows], scene))
    return core.mul_(wide(p.dense_opacity[rows], scene))


def lay_dense(
    hu: Tensor, lesion_map: Tensor, core: Tensor, texture: Tensor, rows: Tensor, scene: Scene
) -> None:
    """Blend pictures `rows` towards their density without air, in place.

    Args:
        hu: (B, ...), changed.
        lesion_map: (B, ...), changed beyond the lungs alone.
        core: (n, ...) how far voxels of `rows` are filled.
        texture: (B, ...) the finer field.
        rows: (n,) int64.
        scene: of the batch.
    """
    p = scene.params
    inside = scene.inside[rows]
    before = hu[rows]
    target = leaky_relu_(texture[rows].clamp_(-2.5, 2.5), _AIR_LEFT / _NO_AIR)
    target.mul_(wide(_NO_AIR * p.dense_contrast_hu[rows], scene))
    change = target.add_(wide(p.dense_hu[rows], scene)).sub_(before)
    core = core.mul_(_cover(inside, rows, scene))
    change.mul_(core)
    if any(scene.reach):
        # Beyond the lungs only what is raised belongs to the lesion: fat and air, not muscle.
        change = torch.where(inside, change, change.clamp(min=0))
        raised = core.mul_(change > 0).mul_(~inside)
        # Foci of the other dense kind may have raised a voxel before: together no more than all.
        lesion_map[rows] = (1 - raised).mul_(lesion_map[rows]).add_(raised)
    hu[rows] = before.add_(change)


def _cover(inside: Tensor, rows: Tensor, scene: Scene) -> Tensor:
    """How far a dense lesion may fill a voxel: 1 in the lungs, 0 from the scene's margin on."""
    if not any(scene.reach):
        return inside.float()
    mm = scene.mm.to(inside.device)[rows]
    squared = torch.zeros(inside.shape, device=inside.device).masked_fill_(~inside, _FAR_MM2)
    for axis, far in enumerate(scene.reach):
        source, count = squared.clone(), squared.shape[axis + 1]
        for step in range(1, min(far, count - 1) + 1):
            cost = wide((step * mm[:, axis]).square(), scene)
            first, last = (t.narrow(axis + 1, 0, count - step) for t in (squared, source))
            torch.minimum(first, source.narrow(axis + 1, step, count - step) + cost, out=first)
            after = squared.narrow(axis + 1, step, count - step)
            torch.minimum(after, last + cost, out=after)
    margin = margin_mm(scene.params.swallow_mm[rows], mm)
    beyond = squared.sqrt_().neg_().add_(wide(margin, scene))
    beyond = beyond.div_(wide(mm[:, -2:].amax(1), scene)).clamp_(0.0, 1.0)
    return torch.where(inside, 1.0, beyond)


def _voxels(alpha: Tensor) -> tuple[Tensor, ...]:
    """Indices of the voxels to work on: those of the lesion where that is known without waiting."""
    if alpha.device.type == "cpu":
        return (alpha > 0).nonzero(as_tuple=True)
    return _all_voxels(alpha)


def _all_voxels(alpha: Tensor) -> tuple[Tensor, ...]:
    return torch.unravel_index(torch.arange(alpha.numel(), device=alpha.device), alpha.shape)
