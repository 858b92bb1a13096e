"""From clean pictures, their lungs and a draw to pictures with pseudo-lesions; nothing random here.

Ground glass is air replaced by fluid: density is added in proportion to the air in the voxel, so
that vessels and walls stay to be seen. Consolidation leaves no air: the voxel is blended towards
one density, and what was in it is hidden, at the pleura a little beyond the lung too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from covidssl.lesions.densities import add_ground_glass, dense_core, fade, lay_dense, lay_mesh
from covidssl.lesions.fields import outline_field, texture_field
from covidssl.lesions.outlines import KindFoci, ellipses, foci_of, level_mm
from covidssl.lesions.params import LesionParams
from covidssl.lesions.places import centres
from covidssl.lesions.ranges import CONSOLIDATION, CRAZY_PAVING, KINDS, MOST_OCTAVES, REVERSED_HALO
from covidssl.lesions.scene import Scene, lay_out, wide
from covidssl.perlin import Backend

_CELLS_A_DEVIATION = 0.3
"""Depth that a standard deviation of one thresholded octave stands for, in cells of the field."""

_ABSENT = -1.0e6


class Rendered(NamedTuple):
    """What the network sees and where it was changed; both of the clean pictures' shape, float32.

    Attributes:
        corrupted_hu: the pictures with pseudo-lesions, HU.
        lesion_map: share of the lesion in each voxel, 0 to 1, exactly 0 outside the lungs, but for
            what dense lesions raised within `swallow_mm` of them.
    """

    corrupted_hu: Tensor
    lesion_map: Tensor


def render(
    clean_hu: Tensor,
    lungs: Tensor,
    params: LesionParams,
    voxel_mm: Tensor,
    backend: Backend = "auto",
) -> Rendered:
    """Lay the pseudo-lesions of `params` into the lungs of `clean_hu`, on its device.

    Voxels without lesion, and pictures whose draw is clean or whose lungs are empty, keep their
    HU exactly; ground glass never lowers a voxel. The inputs are not changed. A picture comes out
    the same to the last bit whatever batch it is in.

    Args:
        clean_hu: (B, 1, Y, X) slices or (B, 1, Z, Y, X) volumes from the feet to the head,
            float32 HU.
        lungs: of the same shape, bool, or numbers of which more than 0.5 is lung.
        params: B draws; kept on the CPU they spare a GPU the waiting, as `voxel_mm` does.
        voxel_mm: (B, 2) or (B, 3) size of a voxel along each axis in mm.
        backend: what computes the Perlin fields.

    Raises:
        ValueError: when the shapes do not fit each other.
    """
    _check(clean_hu, lungs, params, voxel_mm)
    corrupted, lesion_map = clean_hu.clone(), torch.zeros_like(clean_hu)
    if not bool((params.foci > 0).any()):
        return Rendered(corrupted, lesion_map)
    inside = lungs[:, 0] if lungs.dtype == torch.bool else lungs[:, 0] > 0.5
    scene = lay_out(inside, params, voxel_mm)
    levels = _levels(inside, scene, backend)
    nearest = torch.full(scene.inside.shape, _ABSENT, device=inside.device)
    for foci, level in levels.values():
        deeper = nearest[foci.rows]
        nearest[foci.rows] = torch.maximum(deeper, level, out=deeper)
    alpha = fade(nearest, wide(scene.params.edge_mm, scene)).mul_(scene.inside)
    texture = texture_field(scene, backend)
    hu = add_ground_glass(clean_hu[:, 0][scene.box], alpha, texture, scene)
    for kind, (foci, level) in levels.items():
        if kind == CRAZY_PAVING:
            edge = wide(scene.params.edge_mm[foci.rows], scene)
            share = fade(level, edge).mul_(scene.inside[foci.rows])
            lay_mesh(hu, share, foci.rows, scene)
    for kind in (CONSOLIDATION, REVERSED_HALO):
        if kind in levels:
            foci, level = levels[kind]
            core = dense_core(kind, level, foci.rows, scene)
            lay_dense(hu, alpha, core, texture, foci.rows, scene)
    corrupted[:, 0][scene.box], lesion_map[:, 0][scene.box] = hu, alpha
    return Rendered(corrupted, lesion_map)


def _check(clean_hu: Tensor, lungs: Tensor, params: LesionParams, voxel_mm: Tensor) -> None:
    if clean_hu.ndim not in (4, 5) or clean_hu.shape[1] != 1 or lungs.shape != clean_hu.shape:
        raise ValueError(
            "render needs pictures and lungs of one shape (B, 1, Y, X) or (B, 1, Z, Y, X), got "
            f"{tuple(clean_hu.shape)} and {tuple(lungs.shape)}."
        )
    batch, axes = clean_hu.shape[0], clean_hu.ndim - 2
    if len(params.seed) != batch or voxel_mm.shape != (batch, axes):
        raise ValueError(
            f"render needs {batch} draws and voxel sizes ({batch}, {axes}) for {batch} pictures, "
            f"got {len(params.seed)} draws and voxel sizes {tuple(voxel_mm.shape)}."
        )


def _levels(inside: Tensor, scene: Scene, backend: Backend) -> dict[int, tuple[KindFoci, Tensor]]:
    """For each kind that occurs, how far (mm) voxels lie inside its foci's outlines."""
    device, draws = inside.device, scene.draws
    voxel_mm = scene.mm.to(device)
    centre_mm = centres(inside, scene.params, voxel_mm) * voxel_mm[:, None]
    forms = ellipses(draws).to(device)
    levels = {}
    for kind in range(len(KINDS)):
        foci = foci_of(draws, kind)
        if foci is not None:
            foci = KindFoci(foci.rows.to(device), [c.to(device) for c in foci.columns])
            levels[kind] = foci, level_mm(scene.axes, centre_mm, forms, foci)
    if levels:
        _distort(levels, scene, backend)
    return levels


def _distort(levels: dict[int, tuple[KindFoci, Tensor]], scene: Scene, backend: Backend) -> None:
    """Move outlines by the outline's field, and cut from foci what its threshold leaves out."""
    draws, device = scene.draws, scene.inside.device
    is_cut = bool((draws.coverage < 1).any())
    if not is_cut and not bool((draws.outline_roughness > 0).any()):
        return
    field = outline_field(scene, backend)
    # In proportion to the cell, not the radius: the steepness of the edge then stays bounded.
    distortion = field * wide((draws.outline_roughness * draws.feature_mm).to(device), scene)
    depth = wide(_mm_a_deviation(draws).to(device), scene)
    quantile = torch.special.ndtri(draws.coverage.double()).float().to(device)
    pattern = field.add_(wide(quantile, scene)).mul_(depth) if is_cut else None
    for foci, level in levels.values():
        level.add_(distortion[foci.rows])
        if pattern is not None:
            torch.minimum(level, pattern[foci.rows], out=level)


def _mm_a_deviation(draws: LesionParams) -> Tensor:
    """Depth in mm that a standard deviation of the outline's field stands for, (B,).

    Further octaves make a field steeper, so that its threshold's border would be sharper than
    `edge_mm` says: the slope of octave k is (persistence x lacunarity)^k of the first's.
    """
    octave = torch.arange(MOST_OCTAVES)
    wanted = octave < draws.octaves[:, None]
    height = draws.persistence[:, None] ** octave
    slope = height * draws.lacunarity[:, None] ** octave
    steepness = ((slope * wanted).square().sum(1) / (height * wanted).square().sum(1)).sqrt()
    return draws.feature_mm * _CELLS_A_DEVIATION / steepness
